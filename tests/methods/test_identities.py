"""The identities of F(m), on every architecture, in both directions, with every replacement where defined."""

import pytest
import torch

from benchmark.engine.integrals import AT_ONE, Quadrature
from benchmark.engine.intervention import Intervention
from benchmark.engine.means import mean_activations
from benchmark.engine.method import Request, Scores
from benchmark.engine.model import DEFAULT_KINDS, Model
from benchmark.prompts.pairs import Pairs
from benchmark.running.plugins import load_method
from tests.tiny import PAIRS, linear_model, tiny_model, tiny_pairs

WAYS = [("noising", "counterfactual"), ("noising", "zero"), ("noising", "mean"), ("denoising", "counterfactual")]
BATCH = PAIRS[1::2]  # two pairs of one length
ways = pytest.mark.parametrize(("direction", "replacement"), WAYS, ids=["-".join(way) for way in WAYS])


def scored(
    model: Model, pairs: Pairs, name: str, direction: str, replacement: str, **options: object
) -> dict[str, Scores]:
    return load_method(name, **options).scores(model, pairs, DEFAULT_KINDS, replacement, direction)


def interventions(model: Model, pairs: Pairs, direction: str, replacement: str) -> list[Intervention]:
    means = mean_activations(model, pairs, DEFAULT_KINDS) if replacement == "mean" else {}
    request = Request(DEFAULT_KINDS, replacement, direction, means=means)
    return [Intervention(model, batch, request) for batch in pairs.batches()]


@ways
def test_component_path_ig_equals_activation_patching(deep_model: Model, direction: str, replacement: str) -> None:
    pairs = tiny_pairs(deep_model, PAIRS[:1])
    exact = scored(deep_model, pairs, "activation-patching", direction, replacement, neurons=0)
    along = scored(deep_model, pairs, "integrated-gradients", direction, replacement, path="component", steps=12)
    for kind in DEFAULT_KINDS:
        assert exact[kind].values.abs().max() > 0.05
        torch.testing.assert_close(along[kind].values, exact[kind].values, atol=2e-5, rtol=0)


@ways
def test_site_path_ig_sums_to_the_whole_site_patch(model: Model, direction: str, replacement: str) -> None:
    pairs = tiny_pairs(model, BATCH)
    scores = scored(model, pairs, "integrated-gradients", direction, replacement, path="site", steps=16)
    for intervention in interventions(model, pairs, direction, replacement):
        for site in intervention.sites:
            total = intervention.patch_sites([[site]])[0]
            summed = scores[site.kind].values[list(intervention.batch.index), site.layer].sum(1)
            torch.testing.assert_close(summed, total.float(), atol=1e-4, rtol=0)
    assert scores["head"].completeness_error is not None
    assert scores["head"].completeness_error.max() < 1e-4


@ways
def test_joint_path_ig_sums_to_all_components_replaced(model: Model, direction: str, replacement: str) -> None:
    pairs = tiny_pairs(model, BATCH)
    scores = scored(model, pairs, "integrated-gradients", direction, replacement, path="joint", steps=32)
    summed = sum(scores[kind].values.sum((1, 2)) for kind in DEFAULT_KINDS)
    for intervention in interventions(model, pairs, direction, replacement):
        total = intervention.patch_sites([intervention.sites])[0].float()
        torch.testing.assert_close(summed[list(intervention.batch.index)], total, atol=2e-3, rtol=0)
    error = scores["head"].completeness_error
    assert error is not None
    assert error.max() < 2e-3


def test_joint_ig_scores_of_heads_are_the_same_whether_neurons_are_asked_for_or_not(llama: Model) -> None:
    pairs = tiny_pairs(llama)
    method = load_method("integrated-gradients", path="joint")
    both, heads = method.scores(llama, pairs, DEFAULT_KINDS), method.scores(llama, pairs, ("head",))
    assert torch.equal(both["head"].values, heads["head"].values)
    assert set(heads) == {"head"}


def test_with_everything_replaced_the_clean_run_becomes_the_corrupted_one(model: Model) -> None:
    """F(0) = f(corrupted) where both prompts end in the same token; else the last embedding still tells them apart."""
    for batch in tiny_pairs(model).batches():
        intervention = Intervention(model, batch, Request(DEFAULT_KINDS))
        corrupted = batch.metric(model.run(batch.corrupted), torch.arange(len(batch)))
        at_zero = intervention.full - intervention.patch_sites([intervention.sites])[0]
        same_end = batch.clean[:, -1] == batch.corrupted[:, -1]
        torch.testing.assert_close(at_zero[same_end], corrupted[same_end])
        assert ((at_zero - corrupted).abs()[~same_end] > 1e-3).all()


@ways
def test_attribution_patching_is_the_limit_of_patching_by_a_small_step(
    model: Model, direction: str, replacement: str
) -> None:
    """Replace by a + eps (r - a): the exact effect over eps converges to the first-order score, linearly in eps."""
    pairs = tiny_pairs(model, PAIRS[:1])
    first_order = scored(model, pairs, "attribution-patching", direction, replacement)
    (intervention,) = interventions(model, pairs, direction, replacement)
    worst = []
    for eps in (1e-1, 1e-2):  # no smaller: Hugging Face's norms compute in float32 even here
        near = interventions(model, pairs, direction, replacement)[0]
        for site in near.sites:
            near.replacement[site] = torch.lerp(intervention.live[site], intervention.replacement[site], eps)
        errors = [
            (near.patch({site: torch.arange(model.size(site.kind))})[site] / eps
             - first_order[site.kind].values[:, site.layer]).abs().max()
            for site in near.sites
        ]  # fmt: skip
        worst.append(max(errors).item())
    assert worst[1] < worst[0] / 5


@ways
def test_attribution_patching_is_exact_where_the_model_is_linear_in_the_component(
    direction: str, replacement: str
) -> None:
    model = linear_model()
    pairs = tiny_pairs(model, PAIRS[:2])  # single answers: the metric is linear in the logits too
    exact = scored(model, pairs, "activation-patching", direction, replacement)["head"].values
    linear = scored(model, pairs, "attribution-patching", direction, replacement)["head"].values
    assert exact[:, 1].abs().max() > 1e-2
    torch.testing.assert_close(linear[:, 1], exact[:, 1], atol=1e-6, rtol=1e-5)
    assert (linear[:, 0] - exact[:, 0]).abs().max() > 1e-3  # below it attention and ReLU bend the way


def test_input_path_is_the_same_in_both_directions_and_tends_to_attribution_patching_at_both_ends(llama: Model) -> None:
    pairs = tiny_pairs(llama)
    method = load_method("integrated-gradients", path="input", steps=8)
    noising = method.scores(llama, pairs, DEFAULT_KINDS, direction="noising")
    denoising = method.scores(llama, pairs, DEFAULT_KINDS, direction="denoising")
    for kind in DEFAULT_KINDS:
        torch.testing.assert_close(noising[kind].values, denoising[kind].values)
    at_zero = Quadrature((0.0,), (1.0,))
    for batch in pairs.batches():  # at its clean end the gradient is that of noising, at its corrupted end of denoising
        for direction, end in (("noising", AT_ONE), ("denoising", at_zero)):
            intervention = Intervention(llama, batch, Request(DEFAULT_KINDS, direction=direction))
            first_order = intervention.integrate([intervention.sites], AT_ONE)
            for site, values in Intervention(llama, batch, Request(DEFAULT_KINDS)).integrate_inputs(end).items():
                torch.testing.assert_close(values, first_order[site])


@ways
def test_a_component_that_does_not_change_scores_exactly_zero(direction: str, replacement: str) -> None:
    """A head whose value weights are zero writes nothing in either prompt; an MLP neuron shut by its gate likewise."""
    model = tiny_model("llama")
    attention, mlp = model.bridge.blocks[1].attn, model.bridge.blocks[2].mlp
    with torch.no_grad():
        attention.v.weight[:6] = 0  # the first of two value heads, which the query heads 0 and 1 share
        mlp.gate.weight[3] = 0
    pairs = tiny_pairs(model, BATCH)
    options = {"activation-patching": [{"neurons": 0}], "attribution-patching": [{}], "activation-difference": [{}]}
    options["integrated-gradients"] = [{"path": path, "steps": 2} for path in ("component", "site", "joint")]
    if replacement == "counterfactual":
        options["integrated-gradients"].append({"path": "input", "steps": 2})
    for name, variants in options.items():
        for chosen in variants:
            scores = scored(model, pairs, name, direction, replacement, **chosen)
            assert (scores["head"].values[:, 1, :2] == 0).all(), (name, chosen)
            assert (scores["neuron"].values[:, 2, 3] == 0).all(), (name, chosen)
            assert (scores["head"].values[:, 1, 2:] != 0).any(), (name, chosen)


def test_denoising_is_noising_with_the_prompts_exchanged_and_the_sign_flipped(llama: Model) -> None:
    """G with prompts (clean, corrupted) is -F with prompts (corrupted, clean): the two pictures are one."""
    from dataclasses import replace

    pairs = tiny_pairs(llama)
    swapped = replace(
        pairs, pairs=tuple(replace(pair, clean=pair.corrupted, corrupted=pair.clean) for pair in pairs.pairs)
    )
    for name in ("activation-patching", "attribution-patching", "integrated-gradients"):
        method = load_method(name)
        denoising = method.scores(llama, pairs, ("head",), direction="denoising")["head"].values
        noising = method.scores(llama, swapped, ("head",), direction="noising")["head"].values
        torch.testing.assert_close(denoising, -noising)


def test_gauss_legendre_is_exact_for_polynomials_and_sums_to_one() -> None:
    rule = Quadrature.gauss_legendre(4)
    assert sum(rule.weights) == pytest.approx(1)
    for power in range(8):
        found = sum(w * t**power for t, w in zip(rule.nodes, rule.weights, strict=True))
        assert found == pytest.approx(1 / (power + 1))
