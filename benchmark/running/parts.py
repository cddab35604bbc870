"""Long cells in parts: how many pairs make one, and which are still to be done."""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

import torch

from benchmark.engine.memory import Chunk
from benchmark.engine.model import Model
from benchmark.prompts.pairs import Pairs
from benchmark.running.work import Work


@torch.no_grad()
def row_seconds(model: Model, pairs: Pairs, chunk: Chunk, rows: float) -> float:
    """Seconds that a whole row takes among many: of a full forward, or of as many rows as there are."""
    tokens = next(pairs.batches(1)).clean
    tokens = tokens.repeat(int(max(1, min(chunk.tokens // tokens.shape[1], chunk.rows, rows))), 1)
    with model.uncounted():
        for _ in range(2):  # the first one warms up
            started = time.perf_counter()
            model.run(tokens).flatten()[0].item()  # which waits for a card to be done
    return (time.perf_counter() - started) / len(tokens)


def part_rows(seconds: float, row_seconds: float, longest: float) -> float | None:
    """How many whole rows make a part of so many seconds; None where `longest`, those of a cell, take no longer."""
    rows = max(0.0, seconds) / row_seconds
    return None if longest <= rows else float(f"{rows:.2g}")


def divided(pairs: Pairs, size: int) -> list[tuple[int, ...]]:
    """The places of the pairs in each part: all, where `size` is enough for them; else as many of one length."""
    if size >= len(pairs):
        return [tuple(range(len(pairs)))]
    return [batch.index for batch in pairs.batches(size)]


def left(work: Work, parts: Iterable[tuple[int, ...]], done: Collection[str]) -> list[Work]:
    """The work of each part, without the pairs that are done."""
    todo = (tuple(place for place in part if work.pair_ids[place] not in done) for part in parts)
    whole = len(work.pair_ids)
    return [replace(work, places=None if len(places) == whole else places) for places in todo if places]
