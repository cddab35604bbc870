"""Which positions of two prompts of different lengths are held to be the same."""

from collections.abc import Sequence
from typing import Literal, get_args

from benchmark.errors import BenchmarkError

Align = Literal["end", "start", "edges"]
Partners = tuple[tuple[int, int], ...]


def partners(clean: Sequence[int], corrupted: Sequence[int], align: Align) -> Partners:
    """Pairs of positions, ascending: of the clean and of the corrupted prompt.

    `end` counts positions from the end, `start` from the beginning. `edges` takes the common beginning, and counts all
    behind it from the end: the common end, and as much of the middles as both have.

    >>> partners([1, 2, 3, 4, 9], [1, 7, 9], "edges")
    ((0, 0), (3, 1), (4, 2))
    """
    if align not in get_args(Align):
        raise BenchmarkError(f"align is {align!r}; choose {', '.join(get_args(Align))}.")
    both = min(len(clean), len(corrupted))
    same = 0
    if align == "start":
        same = both
    elif align == "edges":
        while same < both - 1 and clean[same] == corrupted[same]:
            same += 1
    behind = range(both - same, 0, -1)
    return (*((at, at) for at in range(same)), *((len(clean) - at, len(corrupted) - at) for at in behind))
