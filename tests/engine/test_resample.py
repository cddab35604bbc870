"""The resample replacement: who is drawn, what a score is, and what is refused."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch

from benchmark.components import COUNTERFACTUAL, DEFAULT_KINDS, DRAWS
from benchmark.conformance.trial import obvious_effects, obvious_total
from benchmark.engine.memory import Chunk
from benchmark.engine.method import Method
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Cost, Request
from benchmark.engine.resample import over_draws, resampled
from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import kl, logit_diff
from benchmark.prompts.pairs import Pairs
from benchmark.prompts.task import Task
from benchmark.running.plugins import discover, load_method
from tests.tiny import PAIRS, tiny_pairs

OTHERS = (
    PromptPair("Mary and Tom gave milk to", "Ann and Mary gave milk to", " Mary", " Tom"),
    PromptPair("Mary sees the fish near", "the dog likes Tom and", " Ann", " Tom"),
    PromptPair("a bird sees the dog", None, " is", " are"),
    PromptPair("Tom and Mary gave fish", "Tom and John gave fish", " to", " and", split="discovery"),
    PromptPair("the fish and the dog", "the bird and the dog", " is", " are", split="discovery"),
)
ROWS = (*PAIRS, *OTHERS)
TASK = Task(name="tiny", title="Tiny", metric=logit_diff, summary="s", prompt_pairs=ROWS)
HEADS = ("head",)


def pairs_of(model: Model, count: int = len(PAIRS), **options: Any) -> Pairs:
    """The first rows of the task, in their order."""
    return replace(TASK.pairs_named(model, [f"tiny-{number:04d}" for number in range(count)]), **options)


def drawing_from(pairs: Pairs, *prompts: Sequence[int]) -> Pairs:
    """The same pairs, where the other rows have these as their corrupted prompts."""
    first = pairs.pairs[0]
    row = replace(first, prompt=replace(first.prompt, id="another"))
    return replace(pairs, rows_of=lambda split: [replace(row, corrupted=tuple(prompt)) for prompt in prompts])


def resample(method: str | Method, model: Model, pairs: Pairs, kinds: tuple[str, ...] = HEADS, **options: Any) -> Any:
    """Scores by kind."""
    made = discover().method(method) if isinstance(method, str) else method
    return made.scores(model, pairs, kinds, "resample", **options)


def test_prompts_are_drawn_from_the_other_rows_of_the_split_that_are_as_long(llama: Model) -> None:
    pairs = pairs_of(llama)
    encode = {row.clean: tuple(llama.tokens.encode(row.clean)) for row in ROWS}
    encode |= {row.corrupted: tuple(llama.tokens.encode(row.corrupted)) for row in ROWS if row.corrupted}
    drawn = resampled(pairs, 40, seed=3)
    assert drawn.ids == tuple(name for name in pairs.ids for _ in range(40))
    for place, row in enumerate(PAIRS):
        mine = drawn.pairs[40 * place : 40 * (place + 1)]
        others = [other for other in ROWS if other.split == "evaluation" and other is not row]
        prompts = {encode[other.corrupted or other.clean] for other in others}
        found = {one.corrupted for one in mine}
        assert found == {prompt for prompt in prompts if len(prompt) == len(encode[row.clean])}
        assert len(found) >= 2
        assert all(one.clean == encode[row.clean] for one in mine)
        assert {(one.correct, one.incorrect) for one in mine} == {
            (pairs.pairs[place].correct, pairs.pairs[place].incorrect)
        }
    of_discovery = resampled(TASK.pairs_named(llama, ["tiny-0008"]), 5, seed=0)
    assert {one.corrupted for one in of_discovery.pairs} == {encode["the bird and the dog"]}


def test_draws_hang_on_the_seed_and_the_pair_alone(llama: Model) -> None:
    pairs = pairs_of(llama)

    def prompts(pairs: Pairs, draws: int, seed: int) -> list[Any]:
        return [one.corrupted for one in resampled(pairs, draws, seed).pairs]

    assert prompts(pairs, 8, 0) == prompts(pairs, 8, 0) != prompts(pairs, 8, 1)
    assert prompts(pairs, 8, 0)[24:32] == prompts(pairs.take([3]), 8, 0)
    assert prompts(pairs.take([3]), 8, 0)[:3] == prompts(pairs.take([3]), 3, 0)
    rows = list(pairs.rows_of("evaluation"))
    assert prompts(replace(pairs, rows_of=lambda split: rows[::-1]), 8, 0) == prompts(pairs, 8, 0)


@pytest.mark.parametrize("metric", [logit_diff, kl], ids=lambda metric: metric.name)
def test_a_score_is_the_mean_effect_over_the_draws(llama: Model, metric: Any) -> None:
    """Against a loop over draws, heads and layers that shares no code with the engine."""
    pairs = pairs_of(llama, 3, metric=metric)
    effects = obvious_effects(llama, resampled(pairs, 3, 1), COUNTERFACTUAL, "head").unflatten(0, (3, 3))
    [found] = resample("activation-patching", llama, pairs, draws=3, seed=1).values()
    assert effects.abs().max() > 0.1
    torch.testing.assert_close(found.values.double(), effects.mean(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.extras["standard_error"].double(), effects.std(1) / 3**0.5, atol=1e-5, rtol=0)
    plain = load_method("activation-patching").scores(llama, pairs, HEADS)["head"]
    for name in ("clean_metric", "corrupted_metric", "pair_ids"):  # the gap stays that of the pair
        assert list(getattr(found, name)) == list(getattr(plain, name))


def test_integrated_gradients_sum_to_the_mean_patch_of_the_site(llama: Model) -> None:
    pairs = pairs_of(llama, 2)
    [found] = resample("integrated-gradients", llama, pairs, draws=3).values()
    drawn = resampled(pairs, 3, 0)
    for layer in range(llama.n_layers):
        totals = torch.zeros(6, dtype=torch.float64)
        for batch in drawn.batches():
            totals[list(batch.index)] = obvious_total(llama, drawn, batch, COUNTERFACTUAL, [Site("head", layer)])
        want = totals.unflatten(0, (2, 3)).mean(1)
        assert want.abs().max() > 0.05
        torch.testing.assert_close(found.values[:, layer].sum(1).double(), want, atol=1e-4, rtol=0)
    assert found.completeness_error.shape == (2,)
    assert found.completeness_error.max() < 1e-4


def specs() -> list[str]:
    registry = discover()
    able = [spec for spec in registry.variants() if "resample" in registry.method(spec).replacements]
    return [*able, "activation-patching:neurons=verified:budget=20"]


@pytest.mark.parametrize("spec", specs())
def test_one_draw_of_the_pairs_own_corrupted_prompt_is_the_counterfactual(llama: Model, spec: str) -> None:
    pairs = tiny_pairs(llama, PAIRS[:1])
    method = discover().method(spec)
    kinds = tuple(kind for kind in DEFAULT_KINDS if kind in method.kinds)
    found = resample(spec, llama, drawing_from(pairs, pairs.pairs[0].corrupted or ()), kinds, draws=1)
    for kind, want in method.scores(llama, pairs, kinds).items():
        torch.testing.assert_close(found[kind].values, want.values, equal_nan=True)
        assert found[kind].extras.keys() == want.extras.keys()
        assert torch.equal(found[kind].measured, want.measured)


def test_the_pairs_own_clean_prompt_changes_nothing(llama: Model) -> None:
    pairs = tiny_pairs(llama, PAIRS[:1])
    alike = drawing_from(pairs, pairs.pairs[0].clean)
    for spec in ("activation-patching", "attribution-patching", "integrated-gradients:path=joint"):
        for one in resample(spec, llama, alike, DEFAULT_KINDS, draws=2).values():
            assert one.values.nan_to_num().abs().max() <= (0 if spec == "activation-patching" else 1e-9)
            assert one.measured.any()
    mixed = drawing_from(pairs, pairs.pairs[0].clean, pairs.pairs[0].corrupted or ())
    [half] = resample("activation-patching", llama, mixed, ("pattern",), draws=40).values()
    [whole] = load_method("activation-patching").scores(llama, pairs, ("pattern",)).values()
    there = sum(one.corrupted == pairs.pairs[0].corrupted for one in resampled(mixed, 40, 0).pairs)
    assert 8 < there < 32
    assert whole.values.abs().max() > 0.01
    torch.testing.assert_close(half.values, whole.values * there / 40, atol=1e-5, rtol=1e-4)


def test_the_variance_of_a_score_falls_as_one_over_the_draws(llama: Model) -> None:
    pairs = pairs_of(llama, 1)
    names, verbs = product(("Mary", "Ann", "Tom"), ("John", "Tom")), ("gave", "likes")
    texts = [f"{one} and {other} {verb} milk to" for (one, other), verb in product(names, verbs)]
    prompts = [tuple(llama.tokens.encode(text)) for text in texts]
    many = drawing_from(pairs, *prompts)
    each = replace(many, pairs=tuple(replace(pairs.pairs[0], corrupted=prompt) for prompt in prompts))
    alone = load_method("attribution-patching").scores(llama, each, HEADS)["head"].values.double()
    by_prompt = dict(zip(prompts, alone, strict=True))
    for draws in (2, 8):
        means, errors = [], []
        for seed in range(600):
            values = torch.stack([by_prompt[one.corrupted] for one in resampled(many, draws, seed).pairs])
            means.append(values.mean(0))
            errors.append(values.var(0) / draws)
        [found] = resample("attribution-patching", llama, many, draws=draws, seed=599).values()
        torch.testing.assert_close(found.values[0].double(), means[-1], atol=1e-5, rtol=0)
        torch.testing.assert_close(found.extras["standard_error"][0].double(), errors[-1].sqrt(), atol=1e-5, rtol=0)
        spread, true = torch.stack(means).var(0).sum(), alone.var(0, unbiased=False).sum() / draws
        assert spread / true == pytest.approx(1, abs=0.15)
        assert torch.stack(errors).mean(0).sum() / true == pytest.approx(1, abs=0.15)
    drawn = Counter(one.corrupted for seed in range(600) for one in resampled(many, 8, seed).pairs)
    assert set(drawn) == set(prompts)
    assert max(drawn.values()) < 1.3 * min(drawn.values())


def test_scores_of_a_pair_depend_on_no_other_pair_and_on_no_batch(llama: Model) -> None:
    pairs = pairs_of(llama)
    together = resample("attribution-patching", llama, pairs)["head"].values
    small = resample("attribution-patching", llama, pairs, chunk=Chunk(tokens=7, pairs=3, rows=2))["head"].values
    torch.testing.assert_close(small, together, atol=1e-5 * float(together.abs().max()), rtol=0)
    alone = resample("attribution-patching", llama, pairs.take([4, 1]))["head"].values
    torch.testing.assert_close(alone, together[[4, 1]], atol=1e-5 * float(together.abs().max()), rtol=0)
    other = resample("attribution-patching", llama, pairs, seed=1)["head"].values
    assert (other - together).abs().max() > 0.01
    bare = pairs.take([0])
    bare = replace(bare, pairs=(replace(bare.pairs[0], corrupted=None),))
    found = resample("attribution-patching", llama, bare)["head"]
    torch.testing.assert_close(found.values, together[:1])
    assert found.corrupted_metric.isnan().all()


def test_places_sum_to_components(llama: Model) -> None:
    pairs = pairs_of(llama, 2)
    [places] = resample("attribution-patching", llama, pairs, draws=2, by_position=True).values()
    [whole] = resample("attribution-patching", llama, pairs, draws=2).values()
    torch.testing.assert_close(places.values.nansum(3), whole.values, atol=1e-5, rtol=0)
    assert places.extras["standard_error"].shape == places.values.shape


def test_what_a_method_draws_by_itself_is_added_to_the_error() -> None:
    found = over_draws(
        {
            "head": torch.tensor([1.0, 3.0, 5.0, 5.0]).reshape(4, 1, 1),
            "head.standard_error": torch.tensor([1.0, 1.0, 3.0, 4.0]).reshape(4, 1, 1),
            "integral_rows": torch.tensor([2.0, 4.0, 6.0, 6.0]),
        },
        2,
        HEADS,
    )
    assert found["head"].flatten().tolist() == [2.0, 5.0]
    assert found["integral_rows"].tolist() == [3.0, 6.0]
    assert found["head.standard_error"].flatten().tolist() == pytest.approx([2**0.5, 12.5**0.5])


@dataclass(frozen=True)
class Spy(Method):
    name = "spy"
    summary = "counts pairs"
    needs_replacement: bool = True  # type: ignore[misc]

    def attribute(self, model: Model, batch: Any, request: Request) -> dict[str, torch.Tensor]:
        request.prepared.append((request.replacement, len(batch)))
        return {kind: torch.ones(len(batch), model.layers(kind), model.size(kind)) for kind in request.kinds}

    def prepare(self, model: Model, pairs: Pairs, request: Request) -> list[Any]:
        SEEN.append(seen := [len(pairs)])
        return seen

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(0, 0)


SEEN: list[list[Any]] = []


def test_a_method_sees_counterfactuals_and_nothing_at_all_where_it_needs_no_replacement(llama: Model) -> None:
    pairs = pairs_of(llama, 1)
    found = resample(Spy(), llama, pairs)["head"]
    assert SEEN.pop() == [DRAWS, ("counterfactual", DRAWS)]
    assert found.provenance["replacement"] == "resample"
    assert found.provenance["draws"] == DRAWS
    found = resample(Spy(needs_replacement=False), llama, pairs)["head"]
    assert SEEN.pop() == [1, ("zero", 1)]
    assert found.extras == {}


def test_what_cannot_be_drawn_is_refused(llama: Model) -> None:
    pairs, method = pairs_of(llama, 2), load_method("attribution-patching")
    rows = [row for row in pairs.rows_of("evaluation") if len(row.clean) == 6]
    refused = {
        "these pairs are by hand": lambda: resample(method, llama, tiny_pairs(llama)),
        r"has none for tiny-0001 \(5\) \(tokens": lambda: resample(
            method, llama, replace(pairs, rows_of=lambda split: rows)
        ),
        "draws=0: at least 1": lambda: resample(method, llama, pairs, draws=0),
        "'counterfactual' draws nothing: leave out draws=3": lambda: method.scores(llama, pairs, HEADS, draws=3),
        "Denoising restores": lambda: resample(method, llama, pairs, direction="denoising"),
    }
    for words, call in refused.items():
        with pytest.raises(BenchmarkError, match=words):
            call()
