"""Seconds and memory of features on a GPT-2-shaped random model: `python -m tests.performance.features`.

By default 16 pairs, and one random dictionary of 32768 features on each layer's residual output. The model's and the
dictionaries' weights are in the memory that is told. Heads by the same method, in the same process, are beside it.
"""

import argparse
import time

import torch

from benchmark import load_method
from benchmark.engine.memory import fitting_chunk, peak_bytes, reset_peak
from benchmark.models.tiny import random_dictionary
from benchmark.prompts.pairs import make_pairs
from tests.performance.patching import gpt2_shape

BUDGET = 256  # features that are patched exactly
METHODS: dict[str, dict[str, int]] = {
    "attribution-patching": {}, "integrated-gradients": {"steps": 16}, "activation-patching": {},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--features", type=int, default=32768)
    parser.add_argument("--layers", type=int, default=12, help="how many layers have a dictionary")
    asked = parser.parse_args()
    model, some = gpt2_shape(8, "cpu")
    pairs = make_pairs(model, [some.pairs[n % len(some)].prompt for n in range(asked.pairs)], some.metric)
    whole = range(model.layers("residual"))[1 : 1 + asked.layers]
    made = {layer: random_dictionary(model.d_model, asked.features, layer).to(torch.zeros(1)) for layer in whole}
    model.attach("residual-feature", "residual", made)
    for spec, options in METHODS.items():
        for kind in ("head", "residual-feature"):
            budgeted = spec == "activation-patching" and kind != "head"
            method = load_method(spec, **options, **({"budget": BUDGET} if budgeted else {}))
            chunk = fitting_chunk(model, pairs.longest, gradients=True)
            reset_peak(model)
            started = time.perf_counter()
            scores = method.scores(model, pairs, (kind,), chunk=chunk, progress=lambda rows: None)[kind]
            seconds, peak = time.perf_counter() - started, (peak_bytes(model) or 0) / 2**30
            measured = f"{int(scores.measured.sum())} of {scores.measured.numel()} measured"
            print(f"{method.label:32s} {kind:18s} {seconds:7.1f} s  peak {peak:5.2f} GiB  {measured}", flush=True)


if __name__ == "__main__":
    main()
