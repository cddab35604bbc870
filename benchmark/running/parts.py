"""Long cells in parts: how many pairs make one, and which are still to be done."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from benchmark.prompts.pairs import Pairs
from benchmark.running.work import Work


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
