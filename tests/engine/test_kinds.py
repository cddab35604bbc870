"""Every kind of component, at places and at all positions, against a plain loop on the Hugging Face model."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark import BenchmarkError, Intervention, Request, load_method, make_pairs
from benchmark.components import PLACES_ONLY, WAYS, Way
from benchmark.engine.kinds import KIND
from benchmark.engine.means import mean_activations
from benchmark.engine.model import Model, Site
from benchmark.models.tiny import ARCHITECTURES, hf_model
from benchmark.prompts.metrics import METRICS, kl, log_likelihood, logit_diff
from tests.engine import plain
from tests.tiny import PAIRS, tiny_model, tiny_pairs


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def both(request: pytest.FixtureRequest) -> tuple[Model, Any]:
    """A tiny model, and the same one as Hugging Face has it."""
    reference = hf_model(request.param, layers=2)
    reference.set_attn_implementation("eager")
    return tiny_model(request.param, layers=2), reference


def metric(logits: Tensor, pair: Any) -> float:
    return float(logits[list(pair.correct)].logsumexp(0) - logits[list(pair.incorrect)].logsumexp(0))


@pytest.mark.parametrize("way", WAYS, ids=str)
@torch.no_grad()
def test_exact_patching_is_what_a_plain_loop_gives(both: tuple[Model, Any], way: Way) -> None:
    """In the first and in the last layer, at one position in the middle, at the last and at all."""
    model, reference = both
    pairs = tiny_pairs(model, PAIRS[:2])
    kinds = tuple(kind for kind in KIND if way.replacement in KIND[kind].replacements)
    method = load_method("activation-patching", neurons=2)
    asked = (way.replacement, way.direction)
    one = pairs.take([0])  # means are over both
    places = method.scores(model, one, kinds, *asked, by_position=True)
    whole = method.scores(model, one, [kind for kind in kinds if kind not in PLACES_ONLY], *asked)
    assert set(places) == set(kinds)
    [pair], architecture = one.pairs, model.name
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    base, other = (clean, corrupted) if way.direction == "noising" else (corrupted, clean)
    unpatched, length = metric(reference(base).logits[0, -1], pair), base.shape[1]
    for kind, layer in [(name, layer) for name in kinds for layer in (0, model.layers(name) - 1)]:
        values = places[kind].values[0, layer]  # [index, pos]
        assert tuple(places[kind].values.shape[1:3]) == (model.layers(kind), plain.size(architecture, kind))
        if way.replacement == "counterfactual":
            new = plain.activation(reference, architecture, kind, layer, other)
        elif way.replacement == "zero":
            new = torch.zeros_like(plain.activation(reference, architecture, kind, layer, base))
        else:
            prompts = [prompt for row in pairs.discovery for prompt in (row.clean, row.corrupted)]
            seen = [
                plain.activation(reference, architecture, kind, layer, torch.tensor([prompt]))[0] for prompt in prompts
            ]
            new = torch.cat(seen).mean(0).expand(1, length, -1, -1)
        measured = (~values.isnan().any(1)).nonzero()[:, 0].tolist()
        at = (slice(1, 2), slice(length - 1, length), *([] if kind in PLACES_ONLY else [slice(None)]))
        cases = [(index, positions) for index in {measured[0], measured[-1]} for positions in at]

        def put(value: Tensor, cases: Any = cases, new: Tensor = new) -> Tensor:
            """A row for each case."""
            value = value.clone()
            for row, (index, positions) in enumerate(cases):
                value[row, positions, index] = new[0, positions, index]
            return value

        with plain.at(reference, architecture, kind, layer, put):
            logits = reference(base.expand(len(cases), -1), use_cache=False).logits[:, -1]
        for (index, positions), patched in zip(cases, logits, strict=True):
            moved = unpatched - metric(patched, pair)
            want = moved if way.direction == "noising" else -moved
            everywhere = positions == slice(None)
            got = whole[kind].values[0, layer, index] if everywhere else values[index, positions.start]
            assert float(got) == pytest.approx(want, abs=1e-5), (kind, layer, index, positions)


def test_a_residual_stream_carries_everything(both: tuple[Model, Any]) -> None:
    """Replaced at every position of any one layer, it gives the whole gap."""
    model, _ = both
    for way in WAYS[:2]:
        for batch in tiny_pairs(model).batches():
            run = Intervention(model, batch, Request(("residual",), way.replacement, way.direction))
            gap = run.patch_sites([[site] for site in run.sites])
            rows = torch.arange(len(batch))
            want = batch.value(model, batch.clean, rows) - batch.value(model, batch.corrupted, rows)
            torch.testing.assert_close(gap, want.expand_as(gap), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("whole", "parts"), [("attention", "head"), ("mlp", "neuron")])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_a_block_adds_is_the_patch_of_all_its_components(
    both: tuple[Model, Any], whole: str, parts: str, way: Way
) -> None:
    """At each position. With zero replacement they differ by the output bias; a norm of a mean is no mean of norms."""
    model, _ = both
    pairs = tiny_pairs(model, PAIRS[:1])
    means = mean_activations(model, pairs, (whole, parts))
    [batch] = pairs.batches()
    run = Intervention(model, batch, Request((whole, parts), way.replacement, way.direction, means=means))
    layers, length = model.n_layers, batch.clean.shape[1]

    def masked(kind: str) -> Tensor:
        """Each place of a layer out, by itself."""
        masks = torch.ones(layers * length, layers, model.size(kind), length)
        for number in range(layers * length):
            masks[number, number // length, :, number % length] = 0
        return run.value({kind: masks})

    if way.replacement == "zero":
        for site in model.sites((whole,)):
            block = model.bridge.blocks[site.layer]
            bias = getattr((block.attn.o if whole == "attention" else block.mlp.out).original_component, "bias", None)
            run.replacement[site] += 0 if bias is None else bias.reshape(1, 1, 1, -1)
    found, want = masked(whole), masked(parts)
    if model.name == "gemma2" and way.replacement == "mean":
        assert (found - want).abs().max() > 1e-4
    else:
        torch.testing.assert_close(found, want, atol=1e-5, rtol=0)
        assert (want - run.full).abs().max() > 1e-3


def run_on(model: Model, kinds: tuple[str, ...], way: Way = WAYS[0], metric: Any = logit_diff, **options: Any) -> Any:
    pairs = tiny_pairs(model, PAIRS[:1], metric)
    means = mean_activations(model, pairs, kinds)
    [batch] = pairs.batches()
    return Intervention(model, batch, Request(kinds, way.replacement, way.direction, means=means, **options))


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("metric", list(METRICS.values()), ids=lambda metric: metric.name)
def test_the_value_under_any_mask_is_that_of_an_obvious_edit(deep_llama: Model, way: Way, metric: Any) -> None:
    """With masks of one kind and of several, by place and for all positions; rows of a chunk belong to other masks."""
    kinds = ("head", "neuron", "attention", "query")
    run = run_on(deep_llama, kinds, way, metric)
    generator = torch.Generator().manual_seed(0)
    length = run.tokens.shape[1]
    for asked in (("head",), ("neuron", "query"), kinds):
        shapes = {
            kind: (3, deep_llama.n_layers, deep_llama.size(kind), *[length] * (kind != "neuron")) for kind in asked
        }
        masks = {kind: torch.rand(shape, generator=generator, dtype=torch.float64) for kind, shape in shapes.items()}
        for mask in masks.values():
            mask[1] = 1
        found = run.value(masks)
        for number in range(3):

            def moved(live: Tensor, site: Site, number: int = number, masks: dict[str, Tensor] = masks) -> Tensor:
                mask = masks[site.kind][number, site.layer]
                m = mask[None, :, None] if mask.ndim == 1 else mask.T[:, :, None]
                return run.replacement[site] + m * (live - run.replacement[site])

            edits = {site: partial(moved, site=site) for site in deep_llama.sites(asked)}
            unpatched = deep_llama.run(run.batch.clean)
            want = run.batch.value(deep_llama, run.tokens, torch.tensor([0]), edits, unpatched)
            torch.testing.assert_close(found[number], want, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(found[1], run.full)
        assert (found[0] - run.full).abs() > 1e-4


@pytest.mark.parametrize("metric", list(METRICS.values()), ids=lambda metric: metric.name)
@pytest.mark.parametrize("by_position", [False, True], ids=["summed", "places"])
def test_slopes_are_what_small_steps_of_the_value_give(metric: Any, by_position: bool) -> None:
    model = tiny_model("gpt2")  # the norms of the others compute in float32
    run = run_on(model, ("head", "mlp"), WAYS[1], metric, by_position=by_position)
    length, step = run.tokens.shape[1], 1e-4
    start = {kind: torch.full((1, model.n_layers, model.size(kind), length), 0.7).double() for kind in run.kinds}
    slopes = run.slopes(start)
    for kind, layer, index, position in (("head", 0, 2, length - 1), ("head", 1, 1, 3), ("mlp", 2, 0, length - 1)):
        ends = []
        for side in (step, -step):
            masks = {name: mask.clone() for name, mask in start.items()}
            masks[kind][0, layer, index, position if by_position else slice(None)] += side
            ends.append(run.value(masks)[0, 0])
        place = (0, 0, layer, index, *[position] * by_position)
        assert float(slopes[kind][place]) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), abs=1e-6)
    assert slopes["head"].abs().max() > 1e-3


def test_slopes_of_every_pair_at_every_mask_are_those_of_each_alone(deep_llama: Model) -> None:
    pairs = tiny_pairs(deep_llama, (PAIRS[0], PAIRS[2]))
    [batch] = pairs.batches()
    masks = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    together = Intervention(deep_llama, batch, Request(("head", "mlp"), tokens_per_forward=30)).slopes({"head": masks})
    for place, one in enumerate(pairs.take([place]) for place in range(2)):
        alone = Intervention(deep_llama, next(one.batches()), Request(("head", "mlp")))
        for number in range(3):
            found = alone.slopes({"head": masks[number : number + 1]})
            for kind, slopes in found.items():
                torch.testing.assert_close(together[kind][number, place], slopes[0, 0], atol=1e-6, rtol=1e-6)
    assert (together["head"][0] - together["head"][1]).abs().max() > 1e-3


def test_a_patch_is_a_mask_and_so_are_a_site_and_a_place(deep_llama: Model) -> None:
    run = run_on(deep_llama, ("head", "value"), by_position=True)
    effects = run.patch({site: torch.arange(deep_llama.size(site.kind)) for site in run.sites})
    masks = {"head": torch.ones(2, deep_llama.n_layers, 4, run.tokens.shape[1])}
    masks["head"][0, 1, 3, 4] = 0
    masks["head"][1, 2] = 0
    values = run.value(masks)
    torch.testing.assert_close(run.full - values[0], effects[Site("head", 1)][:, 3, 4])
    torch.testing.assert_close(run.full - values[1], run.patch_sites([[Site("head", 2)]])[0])


def test_the_values_of_pairs_of_their_own_are_those_of_all_pairs() -> None:
    """And with them comes which heads are something else, in that run, than what would replace them."""
    model = tiny_model("llama", prepend_bos=True)
    with torch.no_grad():
        model.bridge.blocks[1].attn.v.weight[:6] = 0  # of heads 1.0 and 1.1
    [batch] = tiny_pairs(model, (PAIRS[0], PAIRS[2])).batches()
    run = Intervention(model, batch, Request(("head", "mlp")))
    run.replacement[Site("head", 0)][0, :, 3] = run.live[Site("head", 0)][0, :, 3]
    mask = (torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(0)) < 0.6).double()
    mask[0] = 0
    mask[3], mask[4, :2] = 1, 1  # one that runs nothing, and one that starts in the last layer
    chosen = torch.tensor([1, 0, 1, 0, 1])
    found, changed = run.value_of({"head": mask}, chosen)
    torch.testing.assert_close(found, run.value({"head": mask})[torch.arange(5), chosen])
    for number, pair in enumerate(chosen.tolist()):

        def moved(live: Tensor, site: Site, number: int = number, pair: int = pair) -> Tensor:
            put = run.replacement[site]
            seen = ((live - put).abs() > 1e-12)[pair, 1:].any(2).any(0)  # at the BOS nothing is replaced
            assert torch.equal(changed["head"][number, site.layer], seen), (number, site)
            return put + mask[number, site.layer][:, None] * (live - put)

        model.run(batch.clean, {site: partial(moved, site=site) for site in model.sites(("head",))})
    assert changed["head"].sum(0).tolist() == [[5, 5, 5, 3], [0, 0, 5, 5], [5, 5, 5, 5]]


def test_a_row_starts_where_its_mask_first_says_anything(deep_llama: Model) -> None:
    run = run_on(deep_llama, ("head",))

    def taken(masks: Tensor) -> float:
        before = deep_llama.passes.whole_forward
        run.value({"head": masks})
        return deep_llama.passes.whole_forward - before

    masks = torch.ones(3, 3, 1, 4).repeat(1, 1, 3, 1)  # [layer, mask, layer, head]
    for layer in range(3):
        masks[layer, :, layer, 2] = 0
    low, middle, high = (taken(masks[layer]) for layer in range(3))
    assert low > middle > high > 0
    assert taken(torch.cat([masks[0], masks[2]])) == pytest.approx(low + high)
    assert taken(torch.ones(2, 3, 4)) == 0


def test_a_mask_of_another_shape_is_refused(llama: Model) -> None:
    run = run_on(llama, ("head",))
    for masks in (
        {"head": torch.ones(llama.n_layers, 4)},
        {"head": torch.ones(1, llama.n_layers, 4, 3)},
        {"neuron": torch.ones(1, llama.n_layers, 20)},
        {"head": torch.ones(2, llama.n_layers, 5)},
    ):
        with pytest.raises(BenchmarkError, match=r"A mask of kind '(head|neuron)' (has shape|is no tensor)"):
            run.value(masks)


SUMMED = [
    "attribution-patching", "integrated-gradients:steps=3", "integrated-gradients:steps=3:path=component",
    "integrated-gradients:steps=3:path=joint", "integrated-gradients:steps=3:path=input",
]  # fmt: skip


@pytest.mark.parametrize("label", SUMMED)
def test_a_gradient_methods_places_sum_to_its_components(llama: Model, label: str) -> None:
    """And the positions behind the end of a shorter prompt hold no number."""
    name, *options = label.split(":")
    method = load_method(name, **dict(option.split("=") for option in options))
    pairs = tiny_pairs(llama)
    assert len({len(pair.clean) for pair in pairs.pairs}) > 1
    kinds = ("head", "neuron") if "joint" in label else ("head", "key", "mlp")
    places, whole = method.scores(llama, pairs, kinds, by_position=True), method.scores(llama, pairs, kinds)
    for kind in kinds:
        values = places[kind].values
        torch.testing.assert_close(values.nan_to_num().sum(3), whole[kind].values, atol=1e-6, rtol=1e-5)
        assert values[0, 0, 0].isfinite().all() if kind == "key" else True
        for pair, row in zip(pairs.pairs, values, strict=True):
            assert row[..., : len(pair.clean)].isfinite().all()
            assert row[..., len(pair.clean) :].isnan().all()


def test_a_patch_at_a_position_computes_nothing_before_it(llama: Model) -> None:
    run = run_on(llama, ("mlp",), way=WAYS[2], by_position=True)  # zero: every position changes
    site, length = Site("mlp", 0), run.tokens.shape[1]
    run.patch({site: torch.tensor([0])})  # its shortcuts are known from here on
    widths: list[int] = []
    handle = llama.blocks[1].module.register_forward_pre_hook(lambda module, inputs: widths.append(inputs[0].shape[1]))
    run.patch({site: torch.tensor([0])})
    handle.remove()
    assert sorted(widths) == list(range(1, length + 1))


def test_log_likelihood_is_minus_the_loss_and_kl_that_of_torch(both: tuple[Model, Any]) -> None:
    model, reference = both
    pairs = make_pairs(model, PAIRS[:1], log_likelihood)
    [batch] = pairs.batches()
    rows = torch.tensor([0])
    loss = torch.nn.functional.cross_entropy(reference(batch.clean).logits[0, :-1], batch.clean[0, 1:])
    torch.testing.assert_close(batch.value(model, batch.clean, rows), -loss[None], atol=1e-6, rtol=0)
    [batch] = make_pairs(model, PAIRS[:1], kl).batches()
    clean, corrupted = (reference(tokens).logits[0, -1].log_softmax(0) for tokens in batch.both())
    want = torch.nn.functional.kl_div(corrupted, clean, reduction="sum", log_target=True)
    torch.testing.assert_close(batch.value(model, batch.corrupted, rows), -want[None], atol=1e-6, rtol=0)
    assert float(batch.value(model, batch.clean, rows)) == pytest.approx(0, abs=1e-9)


def test_what_means_nothing_is_refused_with_a_reason(llama: Model) -> None:
    pairs = tiny_pairs(llama, PAIRS[:1])
    method = load_method("activation-patching")
    with pytest.raises(BenchmarkError, match="Residual streams are scored by position only: a layer's residual stream"):
        method.scores(llama, pairs, ("residual",))
    with pytest.raises(BenchmarkError, match="Attention patterns can't be replaced by 'mean'"):
        method.scores(llama, pairs, ("pattern",), "mean")
    with pytest.raises(BenchmarkError, match="'random' has no scores by position"):
        load_method("random").scores(llama, pairs, ("head",), by_position=True)
    with pytest.raises(BenchmarkError, match="moves heads and neurons together"):
        load_method("integrated-gradients", path="joint").scores(llama, pairs, ("mlp",))


def test_scores_of_places_are_looked_at_like_others(llama: Model) -> None:
    method = load_method("activation-patching")
    scores = method.scores(llama, tiny_pairs(llama), ("head", "mlp"), by_position=True)
    head, mlp = scores["head"], scores["mlp"]
    frame = head.to_frame()
    assert list(frame) == ["pair", "layer", "index", "position", "score"]
    assert len(frame) == llama.n_layers * 4 * sum(len(pair.clean) for pair in tiny_pairs(llama).pairs)
    row = frame.iloc[77]
    pair = head.pair_ids.index(row.pair)
    assert row.score == head.values[pair, row.layer, row["index"], row.position]
    best = head.top(1).iloc[0]
    mean = head.values.nanmean(0)
    assert abs(best.score) == pytest.approx(float(mean.abs().nan_to_num().max()))
    assert best.score == pytest.approx(float(mean[best.layer, best["index"], best.position]))
    assert f"{best.component} at {best.position} {best.score:+.3g}" in repr(head)
    assert mlp.plot().get_xlabel() == "position"
    with pytest.raises(BenchmarkError, match="Places of heads fill no one picture"):
        head.plot()
