"""GradDrop, two-sided attribution patching, conductance, HISP, direct logit attribution and write norm.

Each against the untouched Hugging Face model, with hooks of torch and nothing of the engine; and their identities.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.intervention import Intervention
from benchmark.engine.memory import Chunk
from benchmark.engine.method import Request
from benchmark.engine.model import Model
from benchmark.engine.routes import direct_slopes
from benchmark.engine.scores import Scores
from benchmark.errors import BenchmarkError
from benchmark.models.litmus import load_litmus
from benchmark.models.litmus.litmus import Litmus, slot, switches
from benchmark.models.litmus.planted import Circuit, Head
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import Metric, logit_diff
from benchmark.prompts.pairs import PairBatch, Pairs, make_pairs
from benchmark.running.plugins import load_method
from tests.engine import plain, zoo
from tests.tiny import PAIRS, hf_model, tiny_model, tiny_pairs, tokenizer

LAYERS, SIZES = 3, {"head": 4, "neuron": 20}
PLACES = [(kind, layer) for kind in SIZES for layer in range(LAYERS)]
BENT = ("llama", "neox", "gemma2")  # with grouped heads, with parallel blocks, with norms behind what blocks write
Found = dict[tuple[str, int], tuple[Tensor, Tensor]]


@cache
def both(architecture: str) -> tuple[Model, Any]:
    """A tiny model, and the same untouched."""
    return tiny_model(architecture), hf_model(architecture)


def plain_run(
    hf: Any,
    architecture: str,
    batch: PairBatch,
    tokens: Tensor,
    dropped: int | None = None,
    inputs: Tensor | None = None,
) -> Found:
    """Activation and gradient `[pos, component, dim]` of every head and neuron of one prompt, by torch alone.

    With the gradient of one layer's writes dropped; with other embeddings in place of the tokens' own.
    """
    found: dict[tuple[str, int], Tensor] = {}
    leaves: dict[tuple[str, int], Tensor] = {}

    def keep(value: Tensor, place: tuple[str, int]) -> Tensor:
        found[place] = value.detach()
        leaves[place] = torch.zeros_like(value, requires_grad=True)
        return value + leaves[place]

    with ExitStack() as stack:
        for place in PLACES:
            stack.enter_context(plain.at(hf, architecture, *place, partial(keep, place=place)))
        if dropped is not None:
            for kind in ("attention", "mlp"):
                stack.enter_context(plain.at(hf, architecture, kind, dropped, Tensor.detach))
        if inputs is not None:
            handle = hf.get_input_embeddings().register_forward_hook(lambda *_: inputs)
            stack.callback(handle.remove)
        value = batch.metric(hf(tokens, use_cache=False).logits[:, -1], torch.zeros(1, dtype=torch.long))
    gradients = torch.autograd.grad(value.sum(), list(leaves.values()), allow_unused=True)
    return {
        place: (found[place][0], torch.zeros_like(found[place][0]) if one is None else one[0])
        for place, one in zip(leaves, gradients, strict=True)
    }


def of_one(model: Model, number: int = 0, metric: Any = logit_diff) -> tuple[Pairs, PairBatch]:
    pairs = tiny_pairs(model, PAIRS[number : number + 1], metric)
    return pairs, next(pairs.batches())


def scored(name: str, model: Model, pairs: Pairs, *ways: str, **options: Any) -> dict[str, Scores]:
    return load_method(name, **options).scores(model, pairs, DEFAULT_KINDS, *ways)


def assert_scores(scores: dict[str, Scores], wanted: dict[tuple[str, int], Tensor]) -> None:
    """Of the first pair: `wanted` is `[component]`, by kind and layer."""
    for (kind, layer), values in wanted.items():
        assert values.abs().max() > 1e-3
        torch.testing.assert_close(scores[kind].values[0, layer], values.float(), atol=1e-5, rtol=1e-5)


# GradDrop


@pytest.mark.parametrize("architecture", BENT)
def test_grad_drop_is_the_mean_size_over_layers_whose_writes_are_detached(architecture: str) -> None:
    model, hf = both(architecture)
    pairs, batch = of_one(model)
    other = plain_run(hf, architecture, batch, batch.corrupted)
    wanted = {place: torch.zeros(SIZES[place[0]], dtype=torch.float64) for place in PLACES}
    for layer in range(LAYERS):
        for place, (activation, gradient) in plain_run(hf, architecture, batch, batch.clean, layer).items():
            wanted[place] += ((activation - other[place][0]) * gradient).sum((0, 2)).abs() / (LAYERS - 1)
    assert_scores(scored("grad-drop", model, pairs), wanted)


def test_in_the_last_layer_grad_drop_is_the_size_of_attribution_patching(llama: Model) -> None:
    pairs = tiny_pairs(llama, PAIRS[:2])
    for direction, replacement in (("noising", "zero"), ("denoising", "counterfactual")):
        drops = scored("grad-drop", llama, pairs, replacement, direction)
        slopes = scored("attribution-patching", llama, pairs, replacement, direction)
        for kind in DEFAULT_KINDS:
            torch.testing.assert_close(drops[kind].values[:, -1], slopes[kind].values[:, -1].abs(), atol=1e-6, rtol=0)
            assert (drops[kind].values[:, 0] - slopes[kind].values[:, 0].abs()).abs().max() > 1e-3


def test_grad_drop_counts_each_path_by_the_layers_that_it_leaves_alone() -> None:
    """Of two layers, it counts direct paths alone: in the chain -m0 + 3 m0 m1, and where both ways of m0 cancel."""
    chain, parallel = load_litmus("linear-chain"), load_litmus("linear-parallel")
    for relayed, wanted in ((3.0, [1.0, 3.0]), (1.0, [1.0, 1.0])):
        second = Head(1, 0, slot(2), [({"relay": 1.0}, {"yes": relayed})])
        litmus = replace(chain, heads=(chain.heads[0], second))
        model, pairs = litmus.model(), litmus.task.pairs(litmus.model(), limit=1)
        found = scored("grad-drop", model, pairs)["head"].values[0, :, 0]
        torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-5, rtol=0)
        slope = scored("attribution-patching", model, pairs)["head"].values[0, 0, 0]
        assert slope.item() == pytest.approx(relayed - 1, abs=1e-5)
    model = parallel.model()
    scores = scored("grad-drop", model, parallel.task.pairs(model, limit=1))
    for kind, effects in parallel.effects.items():
        for (layer, index), effect in effects.items():
            assert scores[kind].values[0, layer, index].item() == pytest.approx(abs(effect), abs=1e-5)


def test_grad_drop_leaves_what_a_forward_computes_bit_by_bit(llama: Model) -> None:
    seen: list[Tensor] = []

    def watched(logits: Tensor, answers: Any) -> Tensor:
        seen.append(logit_diff(logits, answers))
        return seen[-1]

    pairs, _ = of_one(llama, metric=Metric("watched", "logit_diff", watched, answers_only=True))
    values = []
    for name in ("attribution-patching", "grad-drop"):
        scored(name, llama, pairs)
        values.append(next(value.detach() for value in reversed(seen) if value.requires_grad))
    assert torch.equal(*values)


def test_grad_drop_of_one_layer_is_refused() -> None:
    circuit = Circuit({"a": {"f": 1.0}, "b": {}, "yes": {}, "no": {}}, {"yes": {"f": 1.0}}, n_layers=1)
    model = circuit.model("shallow")
    pairs = make_pairs(model, [PromptPair("a a", "b a", " yes", " no")], logit_diff)
    with pytest.raises(BenchmarkError, match="has one layer"):
        scored("grad-drop", model, pairs)


# two-sided


def test_two_sided_is_the_mean_of_both_ends_gradients() -> None:
    model, hf = both("gemma2")
    pairs, batch = of_one(model)
    clean, corrupted = (plain_run(hf, "gemma2", batch, tokens) for tokens in batch.both())
    wanted = {
        place: ((a - corrupted[place][0]) * (gradient + corrupted[place][1]) / 2).sum((0, 2))
        for place, (a, gradient) in clean.items()
    }
    for direction in ("noising", "denoising"):
        assert_scores(scored("two-sided", model, pairs, "counterfactual", direction), wanted)


def test_two_sided_is_exact_where_the_metric_is_quadratic_in_one_component() -> None:
    litmus = Litmus("one", "One head", "Head 0.0 adds 3.", "F = (3m)^2.", switches("on", "off"), {},
                    (Head(0, 0, slot(2), [({"on": 1.0}, {"yes": 3.0})]),))  # fmt: skip
    model = litmus.model()
    squared = Metric("squared", "logit_diff squared", lambda *given: logit_diff(*given).square())
    pairs = replace(litmus.task.pairs(model, limit=1), metric=squared)
    exact = scored("activation-patching", model, pairs)["head"].values
    assert exact.max().item() == pytest.approx(9)
    torch.testing.assert_close(scored("two-sided", model, pairs)["head"].values, exact, atol=1e-5, rtol=0)
    assert scored("attribution-patching", model, pairs)["head"].values.max().item() == pytest.approx(18)


# conductance


def test_conductance_is_the_trapezoid_sum_over_plain_runs() -> None:
    model, hf = both("gemma2")
    pairs, batch = of_one(model, 1)
    clean, corrupted = (hf.get_input_embeddings()(tokens) for tokens in batch.both())
    between = [torch.lerp(corrupted, clean, node / 3) for node in range(4)]
    runs = [plain_run(hf, "gemma2", batch, batch.clean, inputs=inputs) for inputs in between]
    wanted = {place: torch.zeros(SIZES[place[0]], dtype=torch.float64) for place in PLACES}
    for one, other in pairwise(runs):
        for place in PLACES:
            (x, g), (later, slope) = one[place], other[place]
            wanted[place] += ((g + slope) / 2 * (later - x)).sum((0, 2))
    for chunk in (None, Chunk(tokens=10)):  # in one forward, and in two
        assert_scores(load_method("conductance", steps=3).scores(model, pairs, DEFAULT_KINDS, chunk=chunk), wanted)


def test_conductances_of_a_residual_stream_sum_to_the_gap_at_every_layer(deep_llama: Model) -> None:
    pairs = tiny_pairs(deep_llama)
    errors = []
    for steps in (4, 16):
        method = load_method("conductance", steps=steps)
        found = method.scores(deep_llama, pairs, ("residual",), by_position=True)["residual"]
        summed = found.values.nansum((2, 3))
        assert summed.shape[1] == LAYERS + 1
        gap = (found.clean_metric - found.corrupted_metric).float()
        off = (summed - gap[:, None]).abs().amax(1)
        errors.append(off.max().item())
        assert found.completeness_error is not None
        torch.testing.assert_close(found.completeness_error.float(), off, atol=1e-5, rtol=0)
    assert errors[0] > 1e-3
    assert errors[1] < errors[0] / 8  # by 16, as the trapezoid rule errs
    assert scored("conductance", deep_llama, pairs)["head"].completeness_error is None  # no cut, no claim


def test_where_all_passes_one_site_its_conductances_sum_to_the_gap() -> None:
    for name, kind in (("distributed", "neuron"), ("copy-head", "head"), ("saturation", "head")):
        litmus = load_litmus(name)
        model = litmus.model()
        pairs = litmus.task.pairs(model, limit=1)
        found = scored("conductance", model, pairs, steps=64)[kind]
        [(layer, _)] = {(layer, 0) for layer, _ in litmus.effects[kind]}
        gap = found.clean_metric - found.corrupted_metric
        assert found.values[0, layer].sum().item() == pytest.approx(gap.item(), abs=0.05)


def test_in_saturation_conductance_gives_the_neuron_what_it_holds_back() -> None:
    """The head goes from 0 to 2, and the neuron takes 1 of it away."""
    litmus = load_litmus("saturation")
    model = litmus.model()
    found = scored("conductance", model, litmus.task.pairs(model, limit=1))["neuron"].values[0]
    wanted = torch.zeros_like(found)
    wanted[1, 0] = -1
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_conductance_is_input_path_ig_where_activations_move_in_a_line() -> None:
    parallel = load_litmus("linear-parallel")
    model = parallel.model()
    pairs = parallel.task.pairs(model, limit=2)
    along = scored("integrated-gradients", model, pairs, path="input", steps=2)
    for kind, scores in scored("conductance", model, pairs, steps=1).items():
        assert scores.values.abs().max() > 0.5
        torch.testing.assert_close(scores.values, along[kind].values, atol=1e-5, rtol=0)


# HISP


def test_hisp_is_the_mean_over_tokens_of_the_size_of_gradient_times_activation() -> None:
    """A size a token, not a size a pair, which would be that of attribution patching with zero replacement."""
    model, hf = both("llama")
    pairs, batch = of_one(model)
    products = {place: (a * g).sum(2) for place, (a, g) in plain_run(hf, "llama", batch, batch.clean).items()}
    assert_scores(scored("hisp", model, pairs), {place: p.abs().mean(0) for place, p in products.items()})
    of_pairs = {kind: replace(one, values=one.values.abs()) for kind, one in
                scored("attribution-patching", model, pairs, "zero").items()}  # fmt: skip
    assert_scores(of_pairs, {place: product.sum(0).abs() for place, product in products.items()})


def test_a_prepended_bos_counts_for_nothing_in_hisp() -> None:
    model, hf = tiny_model("gpt2", prepend_bos=True), hf_model("gpt2")
    pairs, batch = of_one(model)
    run = plain_run(hf, "gpt2", batch, batch.clean)
    assert_scores(
        scored("hisp", model, pairs), {place: (a * g).sum(2)[1:].abs().mean(0) for place, (a, g) in run.items()}
    )


# direct logit attribution


def by_weights(hf: Any, architecture: str, batch: PairBatch) -> tuple[dict[tuple[str, int], Tensor], Tensor, Tensor]:
    """From the weights: what a head or neuron adds `[component]`; what all else that is written adds, and the total.

    The total is `u . logits`, u the metric's slope at the logits before any cap.
    """
    with torch.no_grad():
        out = hf(batch.clean, output_hidden_states=True, use_cache=False)
    logits = out.logits[:, -1]
    cap = getattr(hf.config, "final_logit_softcapping", None)
    u = torch.zeros_like(logits)
    for sign, answers in ((1, batch.answers.correct[0]), (-1, batch.answers.incorrect[0])):
        answers = answers[answers >= 0]
        u[0, answers] += sign * logits[0, answers].softmax(-1)  # the slope of logsumexp
    raw = logits if cap is None else torch.atanh(logits / cap) * cap
    u = u if cap is None else u * (1 - (logits / cap).square())  # the slope of the cap
    final, blocks = {
        "gpt2": lambda: (hf.transformer.ln_f, hf.transformer.h), "gemma2": lambda: (hf.model.norm, hf.model.layers),
        "llama": lambda: (hf.model.norm, hf.model.layers),
    }[architecture]()  # fmt: skip
    kept: list[Tensor] = []
    handles = [final.register_forward_pre_hook(lambda module, given: kept.append(given[0][0, -1]))]
    for block in blocks:
        for name in ("post_attention_layernorm", "post_feedforward_layernorm"):
            if architecture == "gemma2":
                norm = getattr(block, name)
                handles.append(norm.register_forward_pre_hook(lambda module, given: kept.append(given[0][0, -1])))
    run = plain_run(hf, architecture, batch, batch.clean)
    for handle in handles:
        handle.remove()
    *behind, stream = kept

    def linear(norm: Any, value: Tensor, at: Tensor) -> Tensor:
        """The norm's linear part, its scale that of `at`."""
        if architecture == "gpt2":
            scale = (at.var(unbiased=False) + norm.eps).sqrt()
            return (value - value.mean(-1, keepdim=True)) / scale * norm.weight
        weight = 1 + norm.weight if architecture == "gemma2" else norm.weight
        eps = norm.eps if architecture == "gemma2" else norm.variance_epsilon
        return value / (at.square().mean() + eps).sqrt() * weight

    read = hf.get_output_embeddings().weight.T @ u[0]  # [d_model]
    found, everything = {}, torch.zeros(())
    for number, block in enumerate(blocks):
        for part, kind in enumerate(SIZES):
            at_last = run[kind, number][0][-1]  # [component, dim]
            if architecture == "gpt2":
                projection = (block.attn.c_proj, block.mlp.c_proj)[part]
                weight, bias = projection.weight, projection.bias
            else:
                projection = (block.self_attn.o_proj, block.mlp.down_proj)[part]
                weight, bias = projection.weight.T, torch.zeros(projection.weight.shape[0])
            written = torch.einsum("cd,cdm->cm", at_last, weight.reshape(*at_last.shape, -1))
            if architecture == "gemma2":
                norm = (block.post_attention_layernorm, block.post_feedforward_layernorm)[part]
                written = linear(norm, written, behind[2 * number + part])
            found[kind, number] = linear(final, written, stream) @ read
            everything = everything + linear(final, bias.double(), stream) @ read
    everything = everything + linear(final, out.hidden_states[0][0, -1], stream) @ read  # the embeddings
    if architecture == "gpt2":
        everything = everything + final.bias @ read
    return {place: values.detach() for place, values in found.items()}, everything.detach(), (u * raw).sum().detach()


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_direct_logit_attribution_is_what_the_weights_say_and_sums_to_the_logits(architecture: str) -> None:
    """Of single answers, of several, under a cap: everything that is written, with embeddings and biases, is there."""
    model, hf = both(architecture)
    for number in (0, 3):
        pairs, batch = of_one(model, number)
        wanted, rest, total = by_weights(hf, architecture, batch)
        scores = scored("direct-logit-attribution", model, pairs)
        assert_scores(scores, wanted)
        run = Intervention(model, batch, Request(DEFAULT_KINDS, "zero"))
        summed = sum(slopes.sum() for slopes in direct_slopes(run).values()) + rest  # in float64
        rounding = 1e-9 if architecture == "gpt2" else 1e-6  # Hugging Face's RMS norms compute in float32 even here
        torch.testing.assert_close(summed, total, atol=rounding, rtol=0)
        if number == 0 and architecture != "gemma2":
            assert scores["head"].clean_metric.item() == pytest.approx(total.item(), abs=1e-6)


def test_of_a_difference_it_is_the_scores_of_one_prompt_less_those_of_the_other_at_one_scale() -> None:
    model, hf = both("gpt2")
    pairs, batch = of_one(model)
    found = scored("direct-logit-attribution", model, pairs, of="difference")
    live = plain_run(hf, "gpt2", batch, batch.clean)
    other = plain_run(hf, "gpt2", batch, batch.corrupted)
    wanted, _, _ = by_weights(hf, "gpt2", batch)
    for (kind, layer), values in wanted.items():
        if kind == "neuron":  # of one number each: the share of it that changes
            a, b = live[kind, layer][0][-1, :, 0], other[kind, layer][0][-1, :, 0]
            torch.testing.assert_close(found[kind].values[0, layer], (values * (a - b) / a).float(), atol=1e-5, rtol=0)
    outputs = load_method("direct-logit-attribution", of="difference").scores(model, pairs, ("attention", "mlp"))
    for kind, whole in (("head", "attention"), ("neuron", "mlp")):  # biases don't change
        torch.testing.assert_close(found[kind].values.sum(2), outputs[whole].values[..., 0], atol=1e-5, rtol=0)
    with pytest.raises(BenchmarkError, match="restores nothing"):
        scored("direct-logit-attribution", model, pairs, "counterfactual", "denoising")


@pytest.mark.parametrize("bend", [torch.tanh, torch.relu])
def test_what_is_no_norm_isnt_taken_for_one(bend: Callable[[Tensor], Tensor]) -> None:
    """It has a scale, as a norm does, and what it makes of x at a given scale is no linear map."""
    reference = hf_model("llama")
    norm = reference.model.norm
    straight = norm.forward
    norm.forward = lambda x: bend(straight(x))
    model = Model.from_hf(reference, tokenizer(), "bent", False)
    for method in ("direct-logit-attribution", "propagation"):
        with pytest.raises(BenchmarkError, match="a norm in the final norm of model 'bent' that isn't linear"):
            scored(method, model, of_one(model)[0])


def test_a_model_that_does_more_before_its_final_norm_is_refused() -> None:
    model = tiny_model("gpt2")
    pairs, _ = of_one(model)
    model.bridge.ln_final.register_forward_pre_hook(lambda module, given: (2 * given[0],))
    with pytest.raises(BenchmarkError, match="something stands between the last block and the final norm"):
        scored("direct-logit-attribution", model, pairs)


# write norm


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_write_norm_is_the_length_of_the_change_in_what_is_written(architecture: str) -> None:
    model, hf = both(architecture)
    pairs, batch = of_one(model)
    clean, corrupted = (plain_run(hf, architecture, batch, tokens) for tokens in batch.both())
    wanted = {}
    for kind, layer in PLACES:
        change = clean[kind, layer][0] - corrupted[kind, layer][0]
        if architecture == "gpt2":
            block = hf.transformer.h[layer]
            weight = (block.attn if kind == "head" else block.mlp).c_proj.weight
        else:
            block = hf.model.layers[layer]
            weight = (block.self_attn.o_proj if kind == "head" else block.mlp.down_proj).weight.T
        weight = weight.reshape(*change.shape[1:], -1)
        wanted[kind, layer] = torch.einsum("tcd,cdm->tcm", change, weight).norm(dim=-1).sum(0).detach()
    assert_scores(scored("write-norm", model, pairs), wanted)


def test_write_norm_doesnt_depend_on_how_a_neuron_is_scaled_against_its_output(deep_llama: Model) -> None:
    scaled = tiny_model("llama")
    with torch.no_grad():
        scaled.bridge.blocks[1].mlp.original_component.up_proj.weight[3] *= 4
        scaled.bridge.blocks[1].mlp.original_component.down_proj.weight[:, 3] /= 4
    for name, factor in (("write-norm", 1), ("activation-difference", 4)):
        before, after = (
            scored(name, model, tiny_pairs(model, PAIRS[:1]))["neuron"].values[0, 1, 3]
            for model in (deep_llama, scaled)
        )
        torch.testing.assert_close(after, factor * before, atol=0, rtol=1e-4)


def test_a_model_in_which_something_else_writes_to_the_stream_is_refused() -> None:
    hybrid = zoo.ZOO["attention and a state space side by side"]
    model = Model.from_hf(zoo.hf_model(hybrid), tokenizer(), "hybrid", prepend_bos=False)
    pairs = make_pairs(model, [zoo.PAIR], logit_diff)
    for name in ("grad-drop", "direct-logit-attribution"):
        with pytest.raises(BenchmarkError, match="something writes to the residual stream beside attention and MLPs"):
            load_method(name).scores(model, pairs, ("head",))
