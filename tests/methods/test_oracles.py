"""Each method against an implementation that shares nothing with ours, on every architecture."""

import pytest
import torch
from captum.attr import LayerIntegratedGradients
from torch import Tensor
from transformer_lens.patching import get_act_patch_attn_head_out_all_pos
from transformer_lens.tools.analysis.attribution_patching import attribution_patch

from benchmark.engine.model import DEFAULT_KINDS, Model, Site
from benchmark.prompts.metrics import logit_diff, prob_diff
from benchmark.prompts.pairs import PairBatch
from benchmark.running.plugins import load_method
from tests.tiny import PAIRS, tiny_model, tiny_pairs

HOOKS = {"head": "blocks.{}.attn.hook_z", "neuron": "blocks.{}.mlp.hook_post"}


def batches_of_one(model: Model, metric: object = logit_diff) -> list[PairBatch]:
    return [next(tiny_pairs(model, (pair,), metric).batches()) for pair in PAIRS[:3]]


def metric_of(batch: PairBatch, logits: Tensor) -> Tensor:
    return batch.metric(logits[:, -1], torch.zeros(len(logits), dtype=torch.long))


@pytest.mark.parametrize("metric", [logit_diff, prob_diff], ids=lambda metric: metric.name)
def test_activation_patching_of_heads_equals_transformer_lens(model: Model, metric: object) -> None:
    pairs = tiny_pairs(model, PAIRS[:3], metric)
    ours = load_method("activation-patching").scores(model, pairs, ("head",), direction="denoising")["head"].values
    for scores, batch in zip(ours, batches_of_one(model, metric), strict=True):
        _, cache = model.bridge.run_with_cache(batch.clean)
        corrupted = metric_of(batch, model.bridge(batch.corrupted))
        patched = get_act_patch_attn_head_out_all_pos(
            model.bridge, batch.corrupted, cache, lambda logits, batch=batch: metric_of(batch, logits)[0]
        )
        torch.testing.assert_close(scores, (patched - corrupted).float(), atol=1e-4, rtol=0)


def test_attribution_patching_of_heads_equals_transformer_lens(model: Model) -> None:
    pairs = tiny_pairs(model, PAIRS[:3])
    ours = load_method("attribution-patching").scores(model, pairs, ("head",), direction="denoising")["head"].values
    # theirs needs gradients to flow from the parameters on
    trainable = tiny_model(model.name, layers=model.n_layers).bridge
    trainable.requires_grad_(True)
    for scores, batch in zip(ours, batches_of_one(model), strict=True):
        theirs = attribution_patch(
            trainable, batch.clean, batch.corrupted, lambda logits, batch=batch: metric_of(batch, logits)[0]
        )
        summed = torch.zeros_like(scores)
        for node, score in theirs.node_scores.items():
            if node.kind == "attn_head_out":
                summed[node.layer, node.head] += float(score)
        torch.testing.assert_close(scores, summed, atol=1e-4, rtol=0)


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_activation_patching_of_neurons_equals_the_obvious_loop(model: Model, direction: str) -> None:
    pairs = tiny_pairs(model, PAIRS[:3])
    ours = load_method("activation-patching", neurons=0).scores(model, pairs, ("neuron",), direction=direction)
    for scores, batch in zip(ours["neuron"].values, batches_of_one(model), strict=True):
        base, other = (batch.clean, batch.corrupted) if direction == "noising" else (batch.corrupted, batch.clean)
        _, cache = model.bridge.run_with_cache(other)
        before = metric_of(batch, model.bridge(base))
        for layer in range(model.n_layers):
            hook = HOOKS["neuron"].format(layer)
            neurons = range(0, model.d_mlp, 7)

            def patch(value: Tensor, hook: object, other: Tensor = cache[hook], neurons: range = neurons) -> Tensor:
                """A row for each neuron."""
                value = value.clone()
                for row, neuron in zip(value, neurons, strict=True):
                    row[..., neuron] = other[0, ..., neuron]
                return value

            logits = model.bridge.run_with_hooks(base.expand(len(neurons), -1), fwd_hooks=[(hook, patch)])
            for neuron, patched in zip(neurons, logits, strict=True):
                after = metric_of(batch, patched[None])
                want = before - after if direction == "noising" else after - before
                assert scores[layer, neuron].item() == pytest.approx(want.item(), abs=1e-5)


@pytest.mark.parametrize("replacement", ["zero", "mean"])
@pytest.mark.parametrize("prepend_bos", [False, True])
def test_zero_and_mean_replacement_equal_the_obvious_loop_and_spare_the_bos(
    replacement: str, prepend_bos: bool
) -> None:
    model = tiny_model("gpt2", prepend_bos=prepend_bos)
    pairs = tiny_pairs(model)
    ours = load_method("activation-patching").scores(model, pairs, ("head",), replacement)["head"].values
    caches = [model.bridge.run_with_cache(x)[1] for b in pairs.batches(1) for x in (b.clean, b.corrupted)]
    by_index = {batch.index[0]: (batch, metric_of(batch, model.bridge(batch.clean))) for batch in pairs.batches(1)}
    for layer in range(model.n_layers):
        hook = HOOKS["head"].format(layer)
        mean = torch.cat([cache[hook][0, prepend_bos:] for cache in caches]).mean(0)  # every position of every prompt
        for head in range(model.n_heads):

            def patch(value: Tensor, hook: object, head: int = head, mean: Tensor = mean) -> Tensor:
                value = value.clone()
                value[:, int(prepend_bos) :, head] = 0 if replacement == "zero" else mean[head]
                return value

            for place, (batch, before) in by_index.items():
                after = metric_of(batch, model.bridge.run_with_hooks(batch.clean, fwd_hooks=[(hook, patch)]))
                assert ours[place, layer, head].item() == pytest.approx((before - after).item(), abs=1e-5)


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_site_path_ig_equals_captum(model: Model, direction: str) -> None:
    """Both kinds, several pairs in a batch, against a call of captum that is written out here."""
    pairs = tiny_pairs(model, PAIRS[:3:2])
    ours, plugin = (
        load_method(name, steps=6).scores(model, pairs, DEFAULT_KINDS, direction=direction)
        for name in ("integrated-gradients", "captum-integrated-gradients")
    )
    for kind in DEFAULT_KINDS:
        torch.testing.assert_close(plugin[kind].values, ours[kind].values, atol=1e-5, rtol=0)
    for place, batch in enumerate(batches_of_one(model)[::2]):
        base, other = (batch.clean, batch.corrupted) if direction == "noising" else (batch.corrupted, batch.clean)
        for kind in DEFAULT_KINDS:
            lig = LayerIntegratedGradients(
                lambda tokens, batch=batch: metric_of(batch, model.bridge(tokens)),
                model.bridge.hook_dict[HOOKS[kind].format(1)],
            )
            theirs = lig.attribute(base, baselines=other, n_steps=6)
            shaped = theirs.reshape(base.shape[1], model.size(kind), -1).sum((0, 2))
            sign = 1 if direction == "noising" else -1
            torch.testing.assert_close(ours[kind].values[place, 1], sign * shaped.float(), atol=1e-4, rtol=0)


def test_activation_difference_is_the_norm_of_the_change(llama: Model) -> None:
    pairs = tiny_pairs(llama)
    scores = load_method("activation-difference").scores(llama, pairs, DEFAULT_KINDS)
    for batch in pairs.batches():
        for kind in DEFAULT_KINDS:
            site = Site(kind, 1)
            clean, corrupted = (llama.activations(x, [site])[1][site] for x in (batch.clean, batch.corrupted))
            want = (clean - corrupted).square().sum((1, 3)).sqrt().float()
            torch.testing.assert_close(scores[kind].values[list(batch.index), 1], want)
