"""How long parts take on several workers, by list scheduling."""

import heapq
from collections.abc import Sequence


def list_schedule(seconds: Sequence[float], workers: int, overhead: float = 0.0) -> float:
    """When the last part is done, if each goes to the worker that is free first, in this order."""
    free = [0.0] * workers
    for one in seconds:
        heapq.heappush(free, heapq.heappop(free) + one + overhead)
    return max(free)


def part_seconds(pair: float, pairs: int, at_once: int) -> list[float]:
    """Seconds of each part, where a pair takes so many and so many pairs of one length make a part."""
    return [pair * min(at_once, pairs - start) for start in range(0, pairs, at_once)]
