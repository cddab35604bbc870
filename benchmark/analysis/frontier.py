"""Agreement against cost: who is on the Pareto frontier."""

from collections.abc import Sequence

import numpy as np


def on_frontier(cost: Sequence[float | int], agreement: Sequence[float | int]) -> list[bool]:
    """Which methods no other beats: none costs no more and agrees at least as far, and is better in one of the two.

    A method whose cost or agreement is unknown (NaN) is not on the frontier and beats nobody.

    >>> on_frontier([1, 2, 3, 2], [0.5, 0.9, 0.9, 0.4])
    [True, True, False, False]
    """
    points = np.array([cost, agreement], dtype=np.float64).T
    known = ~np.isnan(points).any(axis=1)
    cheap, good = points[:, 0], points[:, 1]
    beats = (cheap[:, None] <= cheap) & (good[:, None] >= good) & ((cheap[:, None] < cheap) | (good[:, None] > good))
    beaten = np.asarray(beats.any(axis=0))
    return [bool(one) for one in known & ~beaten]
