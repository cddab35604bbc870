"""What a head, a neuron and a feature cost, from configs alone: `python -m tests.performance.budget`.

Prints the tables of docs/scale.md. Floating-point operations are those that the shortcuts can't avoid; bytes are what
`benchmark.engine.memory` reckons with; seconds are these operations over rates that were measured: of this CPU now, of
one H100 as docs/scale.md says. No weights are made.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import GPT2Config, LlamaConfig

from benchmark.engine.memory import needs
from benchmark.engine.model import Model
from benchmark.running.parts import part_rows
from benchmark.words import counted
from tests.performance.patching import matmul_rate
from tests.performance.schedule import list_schedule, part_seconds

H100 = 51.4e12  # float32 operations per second of one H100 in a matrix product
SHARES = {"head": 0.65, "neuron": 0.76, "feature": 0.65}  # of it, patching GPT-2's shape; of features it's a guess
ON_CPU = 0.5  # docs/speed.md: 46% to 97%
OVERHEAD = 0.006  # seconds a part beside its work, as tests.performance.workers measured it
MEASURED = {  # seconds of a pair on one H100: 8 pairs of 16 tokens, 8 of them shared; neurons of one of 32 layers
    "Llama 7B in bfloat16, measured: all heads": 1.85 / 8,
    "Llama 7B in bfloat16, measured: all neurons": 32 * 18.0 / 8,
}
LENGTH, SHARED, ANSWERS, FEATURES = 16, 0, 2, 16384
CONFIGS = {
    "GPT-2 small": GPT2Config(),
    "Llama 1B": LlamaConfig(  # the sizes of Llama 3.2 1B
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
    ),
    "Llama 8B": LlamaConfig(  # of Llama 3.1 8B
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """Of a decoder: widths, and of each part of a block the numbers in its matrices."""

    n_layers: int
    d_model: int
    n_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    queries: int
    keys: int  # and values each
    mlp: int
    embeddings: int

    @classmethod
    def of(cls, config: Any) -> "Sizes":
        d_model, heads = config.hidden_size, config.num_attention_heads
        d_head = getattr(config, "head_dim", None) or d_model // heads
        d_mlp = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * d_model
        gpt2 = config.model_type == "gpt2"
        positions = config.n_positions if gpt2 else 0
        tables = 1 if config.tie_word_embeddings else 2
        return cls(
            n_layers=config.num_hidden_layers, d_model=d_model, n_heads=heads, d_head=d_head, d_mlp=d_mlp,
            d_vocab=config.vocab_size, queries=d_model * heads * d_head,
            keys=d_model * d_head * (getattr(config, "num_key_value_heads", None) or heads),
            mlp=(2 if gpt2 else 3) * d_model * d_mlp, embeddings=(tables * config.vocab_size + positions) * d_model,
        )  # fmt: skip

    @property
    def attention(self) -> int:
        return 2 * (self.queries + self.keys)

    @property
    def weights(self) -> int:
        return self.n_layers * (self.attention + self.mlp) + self.embeddings

    def as_model(self, dtype: torch.dtype = torch.float32) -> Model:
        """What `engine.memory` asks of a model."""
        names = ("n_layers", "d_model", "n_heads", "d_head", "d_mlp", "d_vocab")
        model = Model.__new__(Model)
        vars(model).update({name: getattr(self, name) for name in names}, dtype=dtype, dictionaries={})
        return model


def patch_flops(sizes: Sizes, kind: str, layer: int, length: int, shared: int, answers: int) -> int:
    """Floating-point operations of patching one component on one pair, all shortcuts taken.

    `2 (own + above + answers d_model)`: two for each number of a matrix and position. Before the first difference, at
    `shared` positions, nothing is run. A head or neuron runs its own way out, and of its block what comes behind; a
    feature stands in the residual stream, and runs its whole block. Then come the blocks above, of the last one only
    the last position behind its keys and values.
    """
    last = sizes.n_layers - 1
    positions = 1 if layer == last and kind != "feature" else length - shared
    looked_at = 2 * sizes.n_heads * sizes.d_head * sum(range(length - positions + 1, length + 1))
    block = (sizes.attention + sizes.mlp) * positions + looked_at
    final = 2 * sizes.keys * positions + 2 * sizes.queries + sizes.mlp + 2 * sizes.n_heads * sizes.d_head * length
    own = {
        "head": (sizes.d_head * sizes.d_model + sizes.mlp) * positions,
        "neuron": sizes.d_model * positions,
        "feature": 2 * sizes.d_model * positions + (block if layer < last else final),  # it is read, and written
    }[kind]
    above = 0 if layer == last else (last - 1 - layer) * block + final
    return 2 * (own + above + answers * sizes.d_model)


def row_flops(sizes: Sizes, length: int) -> int:
    """Of one whole prompt, forward, the logits at its last position."""
    looked_at = 2 * sizes.n_heads * sizes.d_head * sum(range(1, length + 1))
    block = (sizes.attention + sizes.mlp) * length + looked_at
    return 2 * (sizes.n_layers * block + sizes.d_vocab * sizes.d_model)


def shown(number: float, unit: str) -> str:
    """
    >>> shown(1234, "B"), shown(0.00021, "s"), shown(1186, "s")
    ('1.2 kB', '210 us', '1190 s')
    """
    prefixes = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"))
    size, prefix = next(one for one in prefixes if number >= one[0] and (unit != "s" or one[0] <= 1))
    number /= size
    rounded = f"{number:.2g}" if number < 100 else f"{float(f'{number:.3g}'):.0f}"
    return f"{rounded} {prefix}{unit}"


def main() -> None:
    rate = matmul_rate(torch.device("cpu"))
    print(
        f"CPU: {rate / 1e9:.0f} GFLOP/s in float32 products on {torch.get_num_threads()} threads, of which patching is"
    )
    print(f"taken to reach {ON_CPU:.0%}; H100: {H100 / 1e12} TFLOP/s, {SHARES}. {LENGTH} tokens, {SHARED} shared.\n")
    print("| model | component | how many | operations each | this CPU, each | H100, each | H100, all of a pair |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for name, config in CONFIGS.items():
        sizes = Sizes.of(config)
        layers = range(sizes.n_layers)
        for kind, each in (("head", sizes.n_heads), ("neuron", sizes.d_mlp), ("feature", FEATURES)):
            every = [patch_flops(sizes, kind, layer, LENGTH, SHARED, ANSWERS) for layer in layers]
            mean, count = sum(every) / len(every), each * sizes.n_layers
            cpu, gpu = mean / rate / ON_CPU, mean / H100 / SHARES[kind]
            cells = (shown(mean, "FLOP"), shown(cpu, "s"), shown(gpu, "s"), shown(gpu * count, "s"))
            print(f"| {name} | {kind} | {count} | {' | '.join(cells)} |")
        all_at_once = 4 * row_flops(sizes, LENGTH)  # two prompts forward, one forward and back
        seconds = (all_at_once / rate / ON_CPU, all_at_once / H100 / SHARES["head"])
        columns = [shown(all_at_once, "FLOP"), *(shown(one, "s") for one in seconds)]
        print(f"| {name} | all, by attribution patching | - | {' | '.join(f'{one} a pair' for one in columns)} | |")
    scores_of = "scores of a pair: heads, neurons"
    print(f"\n| model | weights | a pair's activations | a token in a forward | with gradients | {scores_of} |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, config in CONFIGS.items():
        sizes = Sizes.of(config)
        plain, graded = (needs(sizes.as_model(), LENGTH, gradients) for gradients in (False, True))
        scores = [4 * sizes.n_layers * each for each in (sizes.n_heads, sizes.d_mlp)]
        columns = [shown(one, "B") for one in (4 * sizes.weights, plain.kept * LENGTH, plain.token, graded.token)]
        print(f"| {name} | {' | '.join(columns)} | {', '.join(shown(one, 'B') for one in scores)} |")
    print_schedules("Llama 8B", 1000, (1, 64))


def print_schedules(name: str, pairs: int, workers: tuple[int, ...]) -> None:
    """How long all components of a kind take over so many pairs on H100s, in parts of a minute and of ten seconds."""
    on = " | ".join(counted(count, "H100") for count in workers)
    print(f"\n| {pairs} pairs | `--part-seconds` | parts | {on} |\n|---|---:|---:|{'---:|' * len(workers)}")
    sizes = Sizes.of(CONFIGS[name])
    row = row_flops(sizes, LENGTH) / H100 / SHARES["head"]
    taken = dict(MEASURED)
    for kind, each in (("head", sizes.n_heads), ("neuron", sizes.d_mlp), ("feature", FEATURES)):
        operations = sum(patch_flops(sizes, kind, layer, LENGTH, SHARED, ANSWERS) for layer in range(sizes.n_layers))
        taken[f"{name}, reckoned: all {kind}s"] = operations * each / H100 / SHARES[kind]
    for what, pair in taken.items():
        for asked in (60, 10):
            rows = part_rows(asked, row, pairs * pair / row)
            parts = part_seconds(pair, pairs, pairs if rows is None else max(1, int(rows * row / pair)))
            times = " | ".join(hours(list_schedule(parts, count, OVERHEAD)) for count in workers)
            print(f"| {what} | {asked} | {len(parts)} | {times} |")


def hours(seconds: float) -> str:
    """
    >>> hours(77), hours(4622), hours(1.4e6)
    ('77 s', '77 min', '389 h')
    """
    size, unit = next(one for one in ((3600, "h"), (60, "min"), (1, "s")) if seconds >= 2 * one[0] or one[0] == 1)
    return f"{seconds / size:.3g} {unit}"


if __name__ == "__main__":
    main()
