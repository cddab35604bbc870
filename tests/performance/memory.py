"""How much memory patching takes: `python tests/performance/memory.py`.

Prints the process's peak above what it held before, for more and more pairs and for several budgets, on a random model
of GPT-2 small's shape (heads exactly, then integrated gradients of heads and neurons). Linux; no test.
"""

from benchmark.engine.memory import choose_chunk, peak_bytes, reset_peak
from benchmark.engine.replay import shortcuts
from benchmark.prompts.pairs import make_pairs
from benchmark.running.plugins import load_method
from tests.performance.patching import gpt2_shape

if __name__ == "__main__":
    model, pairs = gpt2_shape(8, "cpu")
    print(f"shortcuts: {', '.join(shortcuts(model))}")
    print("method                 kinds         budget  pairs  chunk                    peak above the start")
    for method, kinds in (
        (load_method("activation-patching"), ("head",)),
        (load_method("integrated-gradients", steps=2), ("head", "neuron")),
    ):
        for budget, counts in ((2**29, (4,)), (2**30, (4, 32, 64)), (2**32, (4, 32))):
            chunk = choose_chunk(model, 16, budget, gradients=len(kinds) == 2)
            words = f"{chunk.tokens} tokens, {chunk.pairs} pairs"
            for count in counts:
                many = make_pairs(model, [pairs.pairs[n % 4].prompt for n in range(count)], pairs.metric)
                reset_peak(model)
                before = peak_bytes(model) or 0
                method.scores(model, many, kinds, chunk=chunk)
                taken = ((peak_bytes(model) or 0) - before) // 2**20
                what = f"{method.name:<22} {'+'.join(kinds):<13} {budget // 2**20:>5} MiB {count:>4}"
                print(f"{what}  {words:<24} {taken:7} MiB")
