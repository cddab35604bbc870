"""What a plan asks of the process that will do its work: its device, how much fits there, and how fast it is."""

import time

import torch
from torch import Tensor

from benchmark.engine.memory import Chunk, choose_chunk, free, parse_bytes
from benchmark.engine.model import Model
from benchmark.running.bench import Bench
from benchmark.running.work import ModelSource


def device(bench: Bench, source: ModelSource) -> str:
    """`cpu` or `cuda`."""
    return str(bench.model(source).device.type)


def budget(model: Model, memory: str | None, sharing: int = 1) -> int:
    """Bytes for what a run holds besides the weights: what was said, else a fair part of half of what is free."""
    return parse_bytes(memory) if memory else free(model) // 2 // sharing


def chunk(bench: Bench, source: ModelSource, memory: str | None, sharing: int, length: int, gradients: bool) -> Chunk:
    """The largest chunk for prompts of this length, where so many processes share the memory."""
    model = bench.model(source)
    return choose_chunk(model, length, budget(model, memory, sharing), gradients)


@torch.no_grad()
def row_seconds(bench: Bench, source: ModelSource, tokens: Tensor, most: Chunk, rows: float) -> float:
    """Seconds that a whole row takes among many: of a full forward, or of as many rows as there are."""
    model = bench.model(source)
    tokens = tokens.to(model.device).repeat(int(max(1, min(most.tokens // tokens.shape[1], most.rows, rows))), 1)
    with model.uncounted():
        for _ in range(2):  # the first one warms up
            started = time.perf_counter()
            model.run(tokens).flatten()[0].item()  # which waits for a card to be done
    return (time.perf_counter() - started) / len(tokens)
