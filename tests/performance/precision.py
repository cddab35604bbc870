"""How good scores in few bits are: `python tests/performance/precision.py [--device cuda] [--dtypes bfloat16,tf32]`.

A random model of GPT-2 small's shape. The truth are the scores in float64 of a model with the very weights that the
other has, and, beside it, with the weights before they were rounded to 16 bits. Prints, for heads and neurons: the
largest score, Pearson of the means, the resolution, how many scores lie above it, and how many of these have the right
sign. Run it by hand; it is no test.
"""

import argparse
import copy
import time

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.model import Model
from benchmark.engine.resolution import resolution
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import Pairs, make_pairs
from benchmark.running.plugins import load_method
from tests.tiny import WORDS, tokenizer


def weights(vocabulary: int, layers: int) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_layer=layers, bos_token_id=1, eos_token_id=1)).eval()


def taken_over(hf_model: GPT2LMHeadModel, matmul: str = "ieee") -> Model:
    model = Model.from_hf(hf_model, tokenizer(), "gpt2-shape", prepend_bos=False)
    model.matmul = matmul
    return model


def some_pairs(model: Model, count: int) -> Pairs:
    """Pairs of 12 random words, of which the first 6 are the same."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(count):
        clean = [WORDS[i] for i in torch.randint(len(WORDS) - 1, (12,), generator=generator)]
        other = [WORDS[WORDS.index(word) + 1] if place >= 6 else word for place, word in enumerate(clean)]
        rows.append(PromptPair(" ".join(clean), " ".join(other), " Mary", " John"))
    return make_pairs(model, rows, logit_diff)


def scored(model: Model, pairs: Pairs, method: str, **options: int) -> dict[str, Tensor]:
    found = load_method(method, **options).scores(model, pairs, DEFAULT_KINDS)
    return {kind: one.values.double().flatten(1) for kind, one in found.items()}


def right(got: Tensor, truth: Tensor, least: Tensor) -> str:
    """Of the scores above what is told from noise, how many have the right sign."""
    above = got.abs() > least
    same = (got.sign() == truth.sign())[above]
    return f"{above.double().mean():6.1%} above, {same.double().mean():6.1%} of {len(same)} right"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", default="float32,bfloat16,float16")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--neurons", type=int, default=16, help="neurons a layer that are patched [%(default)s]")
    parser.add_argument("--layers", type=int, default=12)
    asked = parser.parse_args()
    hf_model = weights(1000, asked.layers).to(asked.device)
    original = taken_over(copy.deepcopy(hf_model).double())
    pairs = some_pairs(original, asked.pairs)
    methods = {"activation-patching": {"neurons": asked.neurons}, "attribution-patching": {}}
    before = {name: scored(original, pairs, name, **options) for name, options in methods.items()}
    for dtype in asked.dtypes.split(","):
        matmul = "tf32" if dtype == "tf32" else "ieee"
        rounded = copy.deepcopy(hf_model).to(torch.float32 if dtype == "tf32" else getattr(torch, dtype))
        model, truth = taken_over(copy.deepcopy(rounded), matmul), taken_over(rounded.double())
        started = time.process_time()
        each = resolution(model, pairs, "noising")
        seconds = time.process_time() - started
        mean = each.square().sum().sqrt() / len(each)
        other = resolution(model, pairs, "noising", draws=128)
        size, better = (one.square().mean().sqrt() for one in (each, other))
        print(f"\n{dtype}: resolution {size:.2g} ({better:.2g} by 128 draws), of the mean {mean:.2g}")
        print(f" measured in {seconds:.1f} s of CPU")
        for name, options in methods.items():
            here, there = (scored(one, pairs, name, **options) for one in (model, truth))
            for kind in here:
                kept = ~here[kind].isnan().any(0)
                got, want, was = here[kind][:, kept], there[kind][:, kept], before[name][kind][:, kept]
                pearson = torch.corrcoef(torch.stack([got.mean(0), want.mean(0)]))[0, 1]
                error, gone = (got - want).square().mean().sqrt(), (got == 0).double().mean()
                print(f" {name}, {got.shape[1]} {kind}s: largest {want.abs().max():.2g}, Pearson {pearson:.5f}, "
                      f"error {error:.1e}, exactly 0 {gone:.1%}")  # fmt: skip
                print(f"   pairs {right(got, want, each[:, None])}; unrounded weights {right(got, was, each[:, None])}")
                print(f"   pairs by 128 draws {right(got, want, other[:, None])}")
                print(f"   means {right(got.mean(0), want.mean(0), mean)}; "
                      f"unrounded weights {right(got.mean(0), was.mean(0), mean)}", flush=True)  # fmt: skip
