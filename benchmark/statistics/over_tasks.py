"""The interval of a mean over tasks, from the interval of each."""

from collections.abc import Sequence

import numpy as np


def mean_interval(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> tuple[float, float]:
    """95% interval of the mean of independent estimates, from their own 95% intervals; NaN where one has none.

    On each side by itself, the distances to the limits add up as standard errors do (MOVER, Zou & Donner 2008,
    doi:10.1002/sim.3095). Estimates from the same pairs of prompts aren't independent: there it is too narrow.
    """
    value, low, high = np.asarray(values), np.asarray(lows), np.asarray(highs)
    below, above = (float(np.linalg.norm(side)) / len(value) for side in (value - low, high - value))
    return float(value.mean()) - below, float(value.mean()) + above
