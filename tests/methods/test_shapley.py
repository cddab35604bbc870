"""Shapley and Owen values against games whose values are known, against captum's, and against their axioms."""

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from captum.attr import FeatureAblation, ShapleyValues, ShapleyValueSampling
from torch import Tensor

from benchmark.components import WAYS, Way
from benchmark.engine.intervention import Intervention
from benchmark.engine.means import mean_activations
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.models.litmus import load_litmus
from benchmark.running.plugins import load_method
from tests.tiny import PAIRS, tiny_model, tiny_pairs

HEADS = (3, 4)  # of a tiny model


def of_litmus(name: str, method: str, **options: Any) -> Tensor:
    litmus = load_litmus(name)
    model = litmus.model()
    pairs = litmus.task.pairs(model, limit=1)
    return load_method(method, **options).scores(model, pairs, ("head",))["head"].values[0]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("linear-chain", {(0, 0): 0.5, (1, 0): 1.5}),
        ("and-gate", {(0, 0): 0.5, (1, 1): 0.5}),
        ("or-gate", {(0, 0): 0.5, (1, 1): 0.5}),
        ("same-site-interaction", {(0, 0): 1.0, (0, 1): 0.0}),
        ("saturation", {(0, 0): 1.0}),
        ("backup-head", {(0, 0): 0.5, (1, 0): 0.5}),
    ],
)
@pytest.mark.parametrize("of", ["components", "sites"])
def test_planted_models_get_the_values_that_all_orders_give_them(name: str, wanted: Any, of: str) -> None:
    """One order and its reverse are enough where at most two components interact; `test_litmus` counts all orders."""
    found = of_litmus(name, "shapley", permutations=1, of=of)
    known = torch.zeros_like(found)
    for place, value in wanted.items():
        known[place] = value
    torch.testing.assert_close(found, known, atol=2e-3 if name == "backup-head" else 1e-5, rtol=0)


def test_where_f_is_multilinear_joint_integrated_gradients_are_shapley_values() -> None:
    joint = of_litmus("linear-chain", "integrated-gradients", path="joint")
    torch.testing.assert_close(of_litmus("linear-chain", "shapley"), joint, atol=1e-5, rtol=0)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, deep_llama: Model) -> Callable[..., Any]:
    """Scores of a game v(kept [row, head]) in the place of a model's heads, all of which are said to change."""

    def scores(v: Callable[[Tensor], Tensor], **options: Any) -> Any:
        def value_of(run: Intervention, masks: dict[str, Tensor], pairs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return v(masks["head"].flatten(1)), {"head": masks["head"] >= 0}

        def patch_sites(run: Intervention, groups: Any) -> Tensor:
            both = v(torch.stack([torch.ones(12), torch.zeros(12)]).double())
            return (both[:1] - both[1:])[None]

        monkeypatch.setattr(Intervention, "value_of", value_of)
        monkeypatch.setattr(Intervention, "patch_sites", patch_sites)
        full = Intervention._read

        def read(run: Intervention, *given: Any) -> Tensor:
            return torch.zeros_like(full(run, *given)) + v(torch.ones(1, 12).double())

        monkeypatch.setattr(Intervention, "_read", read)
        pairs = tiny_pairs(deep_llama, PAIRS[:1])
        return load_method("shapley", **options).scores(deep_llama, pairs, ("head",))["head"]

    return scores


def test_one_order_and_its_reverse_are_exact_where_components_interact_in_pairs(play: Callable[..., Any]) -> None:
    draw = torch.Generator().manual_seed(0)
    alone = torch.randn(12, generator=draw).double()
    couples = torch.randn(12, 12, generator=draw).double().triu(1)

    def v(kept: Tensor) -> Tensor:
        return 3 + kept.double() @ alone + ((kept.double() @ couples) * kept).sum(-1)

    wanted = (alone + (couples + couples.T).sum(1) / 2).reshape(HEADS).float()
    for permutations in (1, 3):
        scores = play(v, permutations=permutations)
        torch.testing.assert_close(scores.values[0], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.extras["standard_error"][0], torch.zeros(HEADS), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "players", [(0, 1, 3), (1, 4, 11)], ids=["the only ones in one site", "each the only one in its site"]
)
def test_owen_values_are_shapley_values_where_one_site_holds_all_that_matter_or_each_holds_one(
    play: Callable[..., Any], players: tuple[int, ...]
) -> None:
    """By all six orders of three heads that interact as a couple and as three; the other heads do nothing."""

    def v(kept: Tensor) -> Tensor:
        a, b, c = kept[:, players].double().unbind(1)
        return a + 2 * a * b - 3 * a * b * c

    wanted = torch.zeros(12)
    for order in itertools.permutations(range(3)):
        kept = torch.zeros(4, 12)
        for row, player in enumerate(order, 1):
            kept[row:, players[player]] = 1
        wanted[[players[player] for player in order]] += v(kept).diff().float() / 6
    found = play(v, permutations=400, of="sites")
    off = (found.values[0].flatten() - wanted).abs()
    assert (off <= 4 * found.extras["standard_error"][0].flatten() + 1e-6).all()
    assert found.extras["standard_error"].max() < 0.05


def test_where_three_interact_a_site_has_its_share_as_a_whole_and_its_members_share_it(
    play: Callable[..., Any],
) -> None:
    """v is 1 if heads 0.0, 0.1 and 2.3 are there. Shapley: 1/3 each; Owen: 1/2 for layer 2, the rest for layer 0."""

    def v(kept: Tensor) -> Tensor:
        return kept[:, [0, 1, 11]].double().prod(-1)

    owen = play(v, permutations=1, of="sites").values[0]
    assert owen.sum(1).tolist() == [0.5, 0, 0.5]  # one order of the sites and its reverse: exact among them
    many = play(v, permutations=400, of="sites")
    assert many.values[0, 0, 0].item() == pytest.approx(0.25, abs=0.04)
    shapley = play(v, permutations=400)
    assert shapley.values[0, [0, 0, 2], [0, 1, 3]].tolist() == pytest.approx([1 / 3] * 3, abs=0.05)
    assert (shapley.values[0].flatten()[2:11] == 0).all()  # who does nothing gets nothing
    # an order with its reverse gives a head 1/2 where it is the first or the last of the three, which is 2/3 of them
    error = shapley.extras["standard_error"][0, 0, 0].item()
    assert error == pytest.approx((1 / 18 / 400) ** 0.5, rel=0.1)


@cache
def six_players() -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """Attention and MLP outputs of a tiny model in one game: v(kept [row, player]) as `Intervention.value` has it under
    each of the 64 masks, and the players' scores and standard errors."""
    model, kinds = tiny_model("gpt2"), ("attention", "mlp")
    pairs = tiny_pairs(model, PAIRS[:1])
    [batch] = pairs.batches()
    run = Intervention(model, batch, Request(kinds))
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    worth = run.value(dict(zip(kinds, (part[..., None] for part in every.split(3, 1)), strict=True)))[:, 0]
    numbers = torch.tensor([32, 16, 8, 4, 2, 1])
    found = load_method("shapley", permutations=40, of="joint").scores(model, pairs, kinds)
    scores = torch.cat([found[kind].values[0, :, 0] for kind in kinds])
    errors = torch.cat([found[kind].extras["standard_error"][0, :, 0] for kind in kinds])
    return lambda kept: worth[(kept.long() * numbers).sum(1)], scores, errors


def test_exact_shapley_values_of_captum_lie_within_the_standard_errors() -> None:
    """Captum goes through all 720 orders."""
    v, scores, errors = six_players()
    whole = {"baselines": torch.zeros(1, 6), "perturbations_per_eval": 720}
    [exact] = ShapleyValues(v).attribute(torch.ones(1, 6), **whole)
    assert ((scores - exact).abs() < 3.5 * errors).all()
    assert (errors < 0.1 * exact.abs().max()).all()
    assert (errors > 0).all()


def test_orders_that_captum_draws_agree_with_ours_within_both_standard_errors() -> None:
    """Captum tells no error, so that each of 400 orders is a call of its own."""
    v, scores, errors = six_players()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sampling = ShapleyValueSampling(v)
        alone = [sampling.attribute(torch.ones(1, 6), n_samples=1, perturbations_per_eval=6) for _ in range(400)]
    drawn = torch.cat(alone).double()
    both = (errors.double().square() + drawn.var(0) / len(drawn)).sqrt() + 1e-6
    assert ((scores - drawn.mean(0)).abs() < 4 * both).all()
    assert (both < 0.1 * scores.abs().max()).all()


def test_captum_ablating_a_mask_is_activation_patching(deep_llama: Model) -> None:
    pairs = tiny_pairs(deep_llama, PAIRS[:1])
    [batch] = pairs.batches()
    run = Intervention(deep_llama, batch, Request(("head",)))
    ablation = FeatureAblation(lambda mask: run.value({"head": mask.reshape(-1, *HEADS)})[0])
    theirs = ablation.attribute(torch.ones(1, 12), perturbations_per_eval=1)
    ours = load_method("activation-patching").scores(deep_llama, pairs, ("head",))["head"].values
    torch.testing.assert_close(theirs.reshape(1, *HEADS).float(), ours, atol=1e-5, rtol=0)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize(
    ("of", "kinds", "orders"),
    [("components", ("head", "mlp"), 1), ("sites", ("neuron",), 1), ("joint", ("mlp", "attention"), 3)],
)
def test_scores_sum_to_everything_replaced(way: Way, of: str, kinds: tuple[str, ...], orders: int) -> None:
    """Kind by kind, the other kinds live, or together. The total is patched anew."""
    model = tiny_model("gpt2")
    pairs = tiny_pairs(model, PAIRS[:2])
    method = load_method("shapley", permutations=orders, of=of)
    found = method.scores(model, pairs, kinds, way.replacement, way.direction)
    means = mean_activations(model, pairs, kinds) if way.replacement == "mean" else {}
    for batch in pairs.batches():
        run = Intervention(model, batch, Request(kinds, way.replacement, way.direction, means=means))
        games = [kinds] if of == "joint" else [(kind,) for kind in kinds]
        for game in games:
            total = run.patch_sites([[site for site in run.sites if site.kind in game]])[0].float()
            summed = torch.stack([found[kind].values[list(batch.index)].sum((1, 2)) for kind in game]).sum(0)
            torch.testing.assert_close(summed, total, atol=1e-5, rtol=1e-5)
            assert total.abs().max() > 1e-3
    assert all(one.completeness_error.max() < 1e-5 for one in found.values())


def test_another_seed_draws_other_orders_and_so_does_another_pair(llama: Model) -> None:
    pairs = tiny_pairs(llama, (PAIRS[0], PAIRS[0]))
    method = load_method("shapley", permutations=1)
    values = {seed: method.scores(llama, pairs, ("head",), seed=seed)["head"].values for seed in (0, 1)}
    assert torch.equal(values[0][0], values[0][1])  # the same prompt
    assert (values[0][0] - values[1][0]).abs().max() > 1e-4
    assert (
        load_method("shapley", permutations=1)
        .scores(llama, pairs, ("head",))["head"]
        .extras["standard_error"]
        .isnan()
        .all()
    )


def test_features_that_are_there_play_and_numbers_without_a_feature_do_not(llama: Model) -> None:
    from benchmark.models.tiny import attach_random, random_dictionary

    model = tiny_model("llama")
    attach_random(model, 3)
    larger = {0: random_dictionary(model.d_model, 5, 0), 2: random_dictionary(model.d_model, 2, 2)}
    model.attach("mlp-feature", "mlp", larger)
    pairs = tiny_pairs(model, PAIRS[:1])
    found = load_method("shapley", permutations=1).scores(model, pairs, ("mlp-feature",))["mlp-feature"]
    there = torch.zeros(3, 6, dtype=torch.bool)
    there[0], there[2, :2], there[2, -1] = True, True, True
    assert torch.equal(found.measured, there)
    assert found.completeness_error.max() < 1e-5
    assert (found.values[0][there] != 0).sum() >= 5


def test_a_refusal_says_which_kinds_play_together(llama: Model) -> None:
    pairs = tiny_pairs(llama, PAIRS[:1])
    with pytest.raises(BenchmarkError, match=r"head,neuron or attention,mlp, not head,mlp\. Choose of=components"):
        load_method("shapley", of="joint").scores(llama, pairs, ("head", "mlp"))
    with pytest.raises(BenchmarkError, match="permutations=0; at least 1"):
        load_method("shapley", permutations=0)
