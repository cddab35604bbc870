"""What the effects of two components, apart and together, say of both: who is a backup, and who an AND partner."""

from collections.abc import Iterable
from typing import Literal

Reading = Literal["backup", "AND partner", "either suffices", "mixed", ""]
WORDS: dict[bool, tuple[Reading, Reading]] = {  # noising or not: where the effects grow, and where they shrink
    True: ("backup", "AND partner"),
    False: ("AND partner", "either suffices"),
}


def reading(
    effects: Iterable[tuple[float, float]], change: float, low: float, high: float, least: float, noising: bool
) -> Reading:
    """A word for what happens to effects, each given as before and after something else was patched too.

    Noising takes away: a `backup` is one whose effect is larger (in size) once the other is out, an `AND partner` one
    whose effect is smaller: both inputs of a gate, or two links of a chain. Denoising restores: an `AND partner` does
    more once the other is back, and where it does less `either suffices`: two inputs of a gate, or links of a chain.
    `mixed` where one effect grows and another shrinks; no word where the `change` is smaller than `least`, or its
    interval holds 0, or there is none.

    >>> reading([(0.0, 1.0), (0.0, 1.0)], -1.0, -1.2, -0.8, 0.01, noising=True)  # either is enough
    'backup'
    >>> reading([(1.0, 0.0), (1.0, 0.0)], 1.0, 0.8, 1.2, 0.01, noising=True)  # both are needed
    'AND partner'
    """
    if abs(change) < least or not (low > 0 or high < 0):
        return ""
    grows = {abs(after) > abs(before) for before, after in effects}
    if len(grows) > 1:
        return "mixed"
    return WORDS[noising][not grows.pop()]
