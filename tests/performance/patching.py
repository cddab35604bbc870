"""How fast patching is: `python -m tests.performance.patching [--device cuda] [--tokens 65536]`.

Prints, in one process and with equal threads, seconds, ratios to one whole forward a patch, the largest difference in
the metric, and the floating-point operations that the shortcuts can't avoid, as a share of the rate of a plain matrix
multiplication. `--quick` leaves out the slow ways that it is compared with and times itself only: the best of some
runs, and what each shortcut that runs a part at once is worth. With `--profile`, the operations by their share, and on
a GPU where a run waits for it (`--device cuda --quick --pairs 32 --profile` takes less than a minute on an H100). Run
it by hand on a quiet machine; it is no test.
"""

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from transformer_lens.patching import get_act_patch_attn_head_out_all_pos
from transformers import GPT2Config, GPT2LMHeadModel

from benchmark.engine import replay
from benchmark.engine.integrals import Quadrature
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model, Site
from benchmark.engine.replay import SHORTCUTS
from benchmark.engine.request import Request
from benchmark.models.loading import load_model
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import PairBatch, Pairs, make_pairs
from benchmark.running.plugins import load_task
from tests.tiny import WORDS, tokenizer

LOOP = 48  # neurons that the one-by-one loop is timed on
AT_ONCE = tuple(way for way in ("norm", "activation", "attention") if way in SHORTCUTS)


def timed(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    started = time.perf_counter()
    result = run().cpu()
    return time.perf_counter() - started, result


def matmul_rate(device: torch.device, inner: int = 768, outer: int = 3072) -> float:
    """FLOP per second of a 512 x 768 x 3072 matrix multiplication, or one of other sizes; on a GPU of 65536 rows."""
    rows, times = (65536, 20) if device.type == "cuda" else (512, 50)
    left, right = torch.randn(rows, inner, device=device), torch.randn(inner, outer, device=device)
    best = 0.0
    for _ in range(5):
        seconds, _ = timed(lambda: torch.stack([(left @ right)[0, 0] for _ in range(times)]))
        best = max(best, times * 2 * rows * inner * outer / seconds)
    return best


def necessary_flops(model: Model, batch: PairBatch, site: Site) -> int:
    """Of patching every component of a site on every pair, with all shortcuts: matrix products and attention."""
    block = model.blocks[0]
    sizes = {
        name: part.weight.numel() for name, part in block.attention.named_children() if name in ("q", "k", "v", "o")
    }
    attention = sum(sizes.values())
    mlp = sum(part.weight.numel() for name, part in block.mlp.named_children() if name in ("in", "gate", "out"))
    d_model, last = model.unembedding()[0].shape[1], model.n_layers - 1
    length = batch.clean.shape[1]
    positions = 1 if site.layer == last else length - batch.first_difference()
    products = 2 * model.n_heads * model.d_head * sum(range(length - positions + 1, length + 1))  # scores and values
    own = model.d_head * d_model * positions + mlp * positions if site.kind == "head" else d_model * positions
    whole_blocks = max(0, last - 1 - site.layer)
    final = (sizes["k"] + sizes["v"]) * positions + sizes["q"] + sizes["o"] + mlp + 2 * sizes["o"] // d_model * length
    above = 0 if site.layer == last else whole_blocks * (attention * positions + mlp * positions + products) + final
    vocabulary = batch.vocabulary
    unembedding = d_model * (len(model.unembedding()[0]) if vocabulary is None else len(vocabulary))
    return 2 * (own + above + unembedding) * model.size(site.kind) * len(batch)


def patched(
    model: Model, batch: PairBatch, sites: list[Site], tokens: int, chosen: Tensor, ways: Collection[str] = SHORTCUTS
) -> Tensor:
    """Effects [pair, site, component] in the denoising direction."""
    replay.KNOWN[model] = dict.fromkeys(model.kinds, tuple(ways))
    kinds = (sites[0].kind,)
    request = Request(kinds, direction="denoising", tokens_per_forward=tokens, rows_per_forward=tokens)
    intervention = Intervention(model, batch, request)
    effects = torch.stack([*intervention.patch(dict.fromkeys(sites, chosen)).values()], dim=1)
    replay.KNOWN[model] = dict.fromkeys(model.kinds, tuple(SHORTCUTS))
    return effects


def transformer_lens(model: Model, batch: PairBatch) -> Tensor:
    """All heads by one whole forward a patch, a pair at a time (its metric is one number)."""
    effects = []
    for pair in range(len(batch)):
        rows = torch.tensor([pair])
        _, cache = model.bridge.run_with_cache(batch.clean[rows].to(model.device))
        before = batch.metric(model.bridge(batch.corrupted[rows].to(model.device))[:, -1], rows)

        def metric(logits: Tensor, rows: Tensor = rows) -> Tensor:
            return batch.metric(logits[:, -1], rows)[0]

        with torch.no_grad():
            corrupted = batch.corrupted[rows].to(model.device)
            after = get_act_patch_attn_head_out_all_pos(model.bridge, corrupted, cache, metric)
        effects.append(after - before)
    return torch.stack(effects)


def one_by_one(model: Model, batch: PairBatch, site: Site, chosen: Tensor) -> Tensor:
    """The same of some neurons: one whole forward a neuron, all pairs together."""
    clean = model.activations(batch.clean, [site])[1][site]
    rows = torch.arange(len(batch))
    before = batch.metric(model.run(batch.corrupted), rows)
    effects = []
    with torch.no_grad():
        for neuron in chosen.tolist():

            def restore(live: Tensor, neuron: int = neuron) -> Tensor:
                live[:, :, neuron] = clean[:, :, neuron]
                return live

            effects.append(batch.metric(model.bridge.run_with_hooks(batch.corrupted.to(model.device),
                           fwd_hooks=model.hooks({site: restore}))[:, -1], rows) - before)  # fmt: skip
    return torch.stack(effects, dim=1)[:, None]


def gpt2_shape(shared: int, device: str, pairs: int = 4) -> tuple[Model, Pairs]:
    """A random model of GPT-2 small's shape, and pairs of 16 tokens of which the first `shared` are the same."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50257, bos_token_id=1, eos_token_id=1)
    hf_model = GPT2LMHeadModel(config).eval().to(device)
    model = Model.from_hf(hf_model, tokenizer(), "gpt2-shape", prepend_bos=False)
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(pairs):
        clean = [WORDS[i] for i in torch.randint(len(WORDS) - 1, (16,), generator=generator)]
        other = [WORDS[WORDS.index(word) + 1] if place >= shared else word for place, word in enumerate(clean)]
        rows.append(PromptPair(" ".join(clean), " ".join(other), " Mary", " John"))
    return model, make_pairs(model, rows, logit_diff)


def report(name: str, seconds: float, slow: float, flops: float, rate: float, error: Tensor) -> None:
    share = f"   {flops / seconds / 1e9:6.0f} GFLOP/s, {flops / seconds / rate:4.0%} of the rate" if flops else ""
    print(f"  {name:<26} {seconds:8.2f} s   {slow / seconds:6.1f} x   difference {error.abs().max():.1e}{share}")


def compare(name: str, model: Model, pairs: Pairs, tokens: int) -> None:
    batches = list(pairs.batches())
    heads, sites = torch.arange(model.n_heads), model.sites(["head"])
    middle, neurons = Site("neuron", model.n_layers // 2), torch.arange(model.d_mlp)
    patched(model, next(replace(pairs, pairs=pairs.pairs[:1]).batches()), sites, tokens, heads)  # warm up
    rate, own = matmul_rate(model.device), matmul_rate(model.device, model.d_model, model.d_model)
    print(f"\n{name}: {len(pairs)} pairs, {torch.get_num_threads()} threads, {rate / 1e9:.0f} GFLOP/s in a matmul of")
    print(f" 512 x 768 x 3072 ({own / 1e9:.0f} GFLOP/s in one of 512 x {model.d_model} x {model.d_model})")
    flops = sum(necessary_flops(model, batch, site) for batch in batches for site in sites)
    slow, want = timed(lambda: torch.cat([transformer_lens(model, batch) for batch in batches]))
    print(f" {len(sites) * len(heads)} heads")
    report("transformer_lens", slow, slow, 0, rate, want - want)
    for way, ways in (("whole runs, many a forward", ()), ("shortcuts", tuple(SHORTCUTS))):
        run = lambda ways=ways: torch.cat([patched(model, b, sites, tokens, heads, ways) for b in batches])  # noqa: E731
        seconds, got = timed(run)
        report(way, seconds, slow, flops if ways else 0, rate, got - want)
    some = neurons[:LOOP]
    slow, want = timed(lambda: torch.cat([one_by_one(model, batch, middle, some) for batch in batches]))
    slow *= len(neurons) / LOOP
    print(f" {len(neurons)} neurons of layer {middle.layer} (the loop timed on {LOOP} of them)")
    report("one by one", slow, slow, 0, rate, want - want)
    flops = sum(necessary_flops(model, batch, middle) for batch in batches)
    seconds, got = timed(lambda: torch.cat([patched(model, b, [middle], tokens, neurons) for b in batches]))
    report("shortcuts", seconds, slow, flops, rate, got[:, :, :LOOP] - want)


def quick(name: str, model: Model, pairs: Pairs, tokens: int, profiled: bool, repeats: int = 4) -> None:
    """The best of some runs of all heads and of one layer's neurons, with all shortcuts and without some."""
    batches, middle = list(pairs.batches()), Site("neuron", model.n_layers // 2)
    rate = matmul_rate(model.device)
    print(f"\n{name}: {len(pairs)} pairs, {tokens} tokens a forward, {rate / 1e9:.0f} GFLOP/s in a large matmul")
    for what, sites, count in (
        (f"{model.n_layers * model.n_heads} heads", model.sites(["head"]), model.n_heads),
        (f"{model.d_mlp} neurons of layer {middle.layer}", [middle], model.d_mlp),
    ):
        flops = sum(necessary_flops(model, batch, site) for batch in batches for site in sites)

        def run(ways: Collection[str] = SHORTCUTS, sites: list[Site] = sites, count: int = count) -> Tensor:
            return torch.cat([patched(model, batch, sites, tokens, torch.arange(count), ways) for batch in batches])

        want = run().cpu()  # which warms up
        print(f" {what}")
        slow = 0.0
        for left_out in ((), *((way,) for way in AT_ONCE), AT_ONCE):
            ways = tuple(way for way in SHORTCUTS if way not in left_out)
            seconds, got = min((timed(lambda ways=ways: run(ways)) for _ in range(repeats)), key=lambda one: one[0])
            slow = slow or seconds
            report(
                f"without {', '.join(left_out)}" if left_out else "shortcuts", seconds, slow, flops, rate, got - want
            )
            if not AT_ONCE:
                break
        if profiled:
            shares(run, model.device)


def shares(run: Callable[[], Tensor], device: torch.device) -> None:
    """The operations of a run, by their share of all; on a GPU its kernels, and the lines that wait for it."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]) as found:
        run()
    taken = lambda event: event.self_device_time_total if on_gpu else event.self_cpu_time_total  # noqa: E731
    events = [event for event in found.key_averages() if not on_gpu or event.device_type == DeviceType.CUDA]
    total = sum(map(taken, events))
    print(f"  {'kernels' if on_gpu else 'operations'}: {total / 1e6:.3f} s")
    for event in sorted(events, key=taken, reverse=True)[:14]:
        print(f"  {taken(event) / total:6.1%} {event.count:6d} x {event.key[:100]}")
    if on_gpu:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            run()
            torch.cuda.set_sync_debug_mode("default")
        waits = Counter(
            f"{one.filename.rpartition('/')[2]}:{one.lineno}" for one in caught if "synchroniz" in str(one.message)
        )
        print(f"  it waits for the GPU {sum(waits.values())} times: {waits.most_common(12)}")


def integrated(model: Model, pairs: Pairs, tokens: int, ways: Collection[str]) -> Tensor:
    """Site-path integrated gradients, 16 steps, of heads and neurons."""
    replay.KNOWN[model] = dict.fromkeys(model.kinds, tuple(ways))
    scores = []
    for batch in pairs.batches():
        intervention = Intervention(model, batch, Request(("head", "neuron"), tokens_per_forward=tokens))
        rule = Quadrature.gauss_legendre(16)
        scores += [s.flatten() for s in intervention.integrate([[site] for site in intervention.sites], rule).values()]
    return torch.cat(scores)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, help="tokens a forward, and rows at most [512, on a GPU 65536]")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of GPT-2's shape [%(default)s]")
    parser.add_argument("--repeats", type=int, default=4, help="runs of which --quick takes the best [%(default)s]")
    parser.add_argument("--quick", action="store_true", help="only GPT-2's shape, and nothing that is slow")
    parser.add_argument("--smollm2", action="store_true", help="with --quick: SmolLM2 on IOI too")
    parser.add_argument(
        "--profile", action="store_true", help="show where the time goes: of --quick, or of patching SmolLM2's heads"
    )
    asked = parser.parse_args()
    asked.tokens = asked.tokens or (65536 if asked.device.startswith("cuda") else 512)
    if asked.quick:
        for shared in (0, 8):
            shape = gpt2_shape(shared, asked.device, asked.pairs)
            title = f"GPT-2 small's shape, {shared} of 16 tokens shared"
            quick(title, *shape, asked.tokens, asked.profile and not shared, asked.repeats)
        if asked.smollm2:
            smollm2 = load_model("smollm2-135m", device=asked.device)
            ioi = load_task("ioi").pairs(smollm2, limit=2)
            quick("SmolLM2-135M on IOI", smollm2, ioi, asked.tokens, asked.profile, asked.repeats)
        sys.exit()
    if not asked.profile:
        for shared in (0, 8):
            compare(
                f"GPT-2 small's shape, {shared} of 16 tokens shared",
                *gpt2_shape(shared, asked.device, asked.pairs),
                asked.tokens,
            )
    smollm2 = load_model("smollm2-135m", device=asked.device)
    ioi = load_task("ioi").pairs(smollm2, limit=2)
    if asked.profile:
        for ways in ((), tuple(SHORTCUTS)):
            with profile(activities=[ProfilerActivity.CPU]) as profiled:
                for batch in ioi.batches():
                    patched(smollm2, batch, smollm2.sites(["head"]), asked.tokens, torch.arange(smollm2.n_heads), ways)
            print("whole runs" if not ways else "shortcuts")
            print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=40))
    else:
        compare("SmolLM2-135M on IOI", smollm2, ioi, asked.tokens)
        slow, want = timed(lambda: integrated(smollm2, ioi, asked.tokens, ()))
        seconds, got = timed(lambda: integrated(smollm2, ioi, asked.tokens, SHORTCUTS))
        print(" integrated gradients, site path, 16 steps, heads and neurons")
        report("whole runs, many a forward", slow, slow, 0, 1, want - want)
        report("shortcuts", seconds, slow, 0, 1, got - want)
        print(f"  largest score {want.abs().max():.2f}")
