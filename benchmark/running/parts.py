"""Long cells in parts: how many pairs make one, and which are still to be done."""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

import torch

from benchmark.engine.memory import Chunk
from benchmark.engine.model import Model
from benchmark.prompts.pairs import Pairs
from benchmark.running.work import Work

PART_SECONDS = 60.0  # of work that a killed run may lose
_TOKENS = {"cpu": 512}  # in the forward that is timed, at most
_TOKENS_OF_A_CARD = 8192


def part_rows(model: Model, pairs: Pairs, chunk: Chunk, threads: int, seconds: float, longest: float) -> float | None:
    """How many whole rows through the model take so many seconds; None where `longest`, a cell's, take no longer."""
    if seconds <= 0:
        return 0.0
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        tokens = next(pairs.batches(1)).clean
        alone = _seconds(model, tokens)  # a row by itself takes longer than one among many
        if longest * alone <= seconds:
            return None
        most = min(chunk.tokens, _TOKENS.get(model.device.type, _TOKENS_OF_A_CARD))
        rows = max(1, min(most // tokens.shape[1], chunk.rows))
        found = seconds * rows / min(_seconds(model, tokens.repeat(rows, 1)) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    return None if longest <= found else float(f"{found:.2g}")


@torch.no_grad()
def _seconds(model: Model, tokens: torch.Tensor) -> float:
    with model.uncounted():
        started = time.perf_counter()
        model.run(tokens).flatten()[0].item()  # which waits for a card to be done
    return time.perf_counter() - started


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
