"""How much faster exact patching is than one whole forward a patch: `python tests/performance/patching.py`.

Prints, in one process and with equal threads, seconds and ratios to transformer_lens for all heads of some pairs, and
the largest difference in the metric. Run it by hand on a quiet machine; it is no test.
"""

import time
from dataclasses import replace

import torch
from torch import Tensor
from transformer_lens.patching import get_act_patch_attn_head_out_all_pos
from transformers import GPT2Config, GPT2LMHeadModel

from benchmark.dataset import PromptPair
from benchmark.intervention import Intervention
from benchmark.loading import load_model
from benchmark.method import Request
from benchmark.metrics import logit_diff
from benchmark.model import Model
from benchmark.pairs import PairBatch, Pairs, make_pairs
from benchmark.plugins import load_task
from tests.tiny import WORDS, tokenizer

REQUEST = Request(("head",), direction="denoising")


def ours(model: Model, batch: PairBatch, resumed: bool = True) -> Tensor:
    """Effects [pair, layer, head]; `resumed=False` runs every patch through the whole model."""
    intervention = Intervention(model, batch, REQUEST)
    if not resumed:
        intervention.prefix = 0
        intervention.model = WholeRuns(model)
    heads = torch.arange(model.n_heads)
    return torch.stack([intervention.patch_components(site, heads) for site in intervention.sites], dim=1)


class WholeRuns:
    """A model that never resumes."""

    def __init__(self, model: Model) -> None:
        self.model, self.device, self.dtype = model, model.device, model.dtype

    def resume(self, trace, rows, layer, prefix, edits, embedding=None):  # type: ignore[no-untyped-def]
        return self.model.run(trace.tokens[rows], edits)


def transformer_lens(model: Model, batch: PairBatch) -> Tensor:
    """The same by one whole forward a patch, a pair at a time (its metric is one number)."""
    effects = []
    for pair in range(len(batch)):
        rows = torch.tensor([pair])
        _, cache = model.bridge.run_with_cache(batch.clean[rows])
        before = batch.metric(model.bridge(batch.corrupted[rows])[:, -1], rows)

        def metric(logits: Tensor, rows: Tensor = rows) -> Tensor:
            return batch.metric(logits[:, -1], rows)[0]

        with torch.no_grad():
            patched = get_act_patch_attn_head_out_all_pos(model.bridge, batch.corrupted[rows], cache, metric)
        effects.append(patched - before)
    return torch.stack(effects)


def gpt2_shape(shared: int) -> tuple[Model, Pairs]:
    """A random model of GPT-2 small's shape, and 4 pairs of 16 tokens of which the first `shared` are the same."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50257, bos_token_id=1, eos_token_id=1)
    model = Model.from_hf(GPT2LMHeadModel(config).eval(), tokenizer(), "gpt2-shape", prepend_bos=False)
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(4):
        clean = [WORDS[i] for i in torch.randint(len(WORDS) - 1, (16,), generator=generator)]
        other = [WORDS[WORDS.index(word) + 1] if place >= shared else word for place, word in enumerate(clean)]
        rows.append(PromptPair(" ".join(clean), " ".join(other), " Mary", " John"))
    return model, make_pairs(model, rows, logit_diff)


def compare(name: str, model: Model, pairs: Pairs) -> None:
    batches = list(pairs.batches())
    ours(model, next(replace(pairs, pairs=pairs.pairs[:1]).batches()))  # warm up
    seconds, results = {}, {}
    for way, run in (
        ("transformer_lens", transformer_lens),
        ("batched, whole runs", lambda model, batch: ours(model, batch, resumed=False)),
        ("resumed", ours),
    ):
        started = time.perf_counter()
        results[way] = torch.cat([run(model, batch) for batch in batches])
        seconds[way] = time.perf_counter() - started
    reference = results["transformer_lens"].reshape(results["resumed"].shape)
    print(f"\n{name}: {len(pairs)} pairs, {model.n_layers * model.n_heads} heads, {torch.get_num_threads()} threads")
    for way, taken in seconds.items():
        error = (results[way].reshape(reference.shape) - reference).abs().max()
        ratio = seconds["transformer_lens"] / taken
        print(f"  {way:<20} {taken:7.1f} s   {ratio:5.1f} x   largest difference {error:.1e}")


if __name__ == "__main__":
    for shared in (0, 8):
        compare(f"GPT-2 small's shape, {shared} of 16 tokens shared", *gpt2_shape(shared))
    smollm2 = load_model("smollm2-135m", device="cpu")
    compare("SmolLM2-135M on IOI", smollm2, load_task("ioi").pairs(smollm2, limit=2))
