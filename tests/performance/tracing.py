"""How fast a trace is: `python -m tests.performance.tracing`.

Prints, in one process and with equal threads: the residual stream, attention and MLP outputs of one IOI pair of
SmolLM2-135M at every layer and position against transformer_lens, with the largest difference; all neurons of layer 15
at every position from the first difference on, as a share of the rate of a matrix multiplication; and a whole trace of
two prompts of different lengths. Run it by hand on a quiet machine; it is no test.
"""

import time

import torch
from torch import Tensor
from transformer_lens import patching

from benchmark import PromptPair, load_method, trace
from benchmark.engine.model import Model
from benchmark.engine.replay import shortcuts
from benchmark.models.loading import load_model
from benchmark.prompts.pairs import PairBatch, Pairs
from benchmark.running.plugins import load_task
from tests.performance.patching import matmul_rate, timed

KINDS = {"residual": "resid_pre", "attention": "attn_out", "mlp": "mlp_out"}
LAYER = 15


def transformer_lens(model: Model, batch: PairBatch, name: str) -> Tensor:
    """Effects `[layer, pos]` of denoising one pair, one whole forward a place."""
    rows = torch.tensor([0])
    _, cache = model.bridge.run_with_cache(batch.clean)
    before = batch.metric(model.bridge(batch.corrupted)[:, -1], rows)[0]
    with torch.no_grad():
        patch = getattr(patching, f"get_act_patch_{name}")
        return patch(model.bridge, batch.corrupted, cache, lambda logits: batch.metric(logits[:, -1], rows)[0]) - before


def ours(model: Model, pairs: Pairs, kind: str) -> Tensor:
    method = load_method("activation-patching")
    scores = method.scores(model, pairs, (kind,), direction="denoising", by_position=True)[kind]
    return scores.values[0, : model.n_layers, 0]


def neurons(model: Model, pairs: Pairs) -> Tensor:
    method = load_method("activation-patching", neurons=0, layers=str(LAYER))
    return method.scores(model, pairs, ("neuron",), direction="denoising", by_position=True)["neuron"].values[0, LAYER]


def necessary_flops(model: Model, batch: PairBatch) -> int:
    """Of every neuron of the layer at every position from the first difference on: matrix products and attention.

    A row at position p computes the positions from p on, in the layers above; in the last one all keys and values of
    these, and the rest at the last position alone.
    """
    block, length = model.blocks[0], batch.clean.shape[1]
    sizes = {
        name: part.weight.numel() for name, part in block.attention.named_children() if name in ("q", "k", "v", "o")
    }
    mlp = sum(part.weight.numel() for name, part in block.mlp.named_children() if name in ("in", "gate", "out"))
    whole = model.n_layers - 2 - LAYER
    total = 0
    for position in range(batch.first_difference(), length):
        rest = length - position
        products = 2 * model.n_heads * model.d_head * sum(range(position + 1, length + 1))
        above = whole * ((sum(sizes.values()) + mlp) * rest + products)
        final = (sizes["k"] + sizes["v"]) * rest + sizes["q"] + sizes["o"] + mlp
        total += 2 * (above + final + model.d_model * rest * 2) * model.d_mlp
    return total


if __name__ == "__main__":
    smollm2 = load_model("smollm2-135m")
    ioi = load_task("ioi").pairs(smollm2, limit=1)
    [batch] = ioi.batches()
    first = batch.first_difference()
    print(f"{torch.get_num_threads()} threads; IOI pair of {batch.clean.shape[1]} tokens, different from {first} on")
    shortcuts(smollm2, (*KINDS, "neuron"))  # known from here on
    own = matmul_rate(smollm2.device, smollm2.d_model, smollm2.d_mlp)
    rate, flops = matmul_rate(smollm2.device), necessary_flops(smollm2, batch)
    seconds, found = timed(lambda: neurons(smollm2, ioi))
    changed = int((found != 0).sum())
    print(f"  {smollm2.d_mlp} neurons of layer {LAYER} at {batch.clean.shape[1] - first} positions ({changed} places): "
          f"{seconds:.1f} s, {flops / seconds / 1e9:.0f} GFLOP/s, {flops / seconds / rate:.0%} of the rate of "
          f"{rate / 1e9:.0f} (512 x 768 x 3072), {flops / seconds / own:.0%} of {own / 1e9:.0f} "
          f"(512 x {smollm2.d_model} x {smollm2.d_mlp})")  # fmt: skip
    pair = PromptPair("The Colosseum is in", "The Champs Elysees is in", " Rome", " Paris")
    started = time.perf_counter()
    traced = trace(smollm2, pair, align="edges")
    print(f"  trace of the Colosseum, both directions, align edges: {time.perf_counter() - started:.1f} s")
    started = time.perf_counter()
    traced.save("traces/colosseum")
    print(f"  its page and pictures: {time.perf_counter() - started:.1f} s")
    totals = [0.0, 0.0]
    for kind, name in KINDS.items():
        slow, want = timed(lambda name=name: transformer_lens(smollm2, batch, name))
        quick, got = timed(lambda kind=kind: ours(smollm2, ioi, kind))
        totals = [totals[0] + slow, totals[1] + quick]
        error = (got - want).abs().max()
        print(f"  {kind:<10} transformer_lens {slow:6.2f} s, here {quick:5.2f} s, {slow / quick:5.1f} x, "
              f"difference {error:.1e}, largest {want.abs().max():.2f}")  # fmt: skip
    print(f"  together   transformer_lens {totals[0]:6.2f} s, here {totals[1]:5.2f} s, {totals[0] / totals[1]:5.1f} x")
