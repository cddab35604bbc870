"""The interval of a mean over tasks, from the interval of each."""

from collections.abc import Hashable, Sequence

import numpy as np


def mean_interval(
    values: Sequence[float], lows: Sequence[float], highs: Sequence[float], samples: Sequence[Hashable]
) -> tuple[float, float]:
    """95% interval of the mean of estimates, from their own 95% intervals; NaN where one has none.

    On each side by itself, the distances to the limits of independent estimates add up as standard errors do (MOVER,
    Zou & Donner 2008, doi:10.1002/sim.3095). Those of one sample (`samples` tells) are added in full, as if they were
    off together: however they depend on each other, that isn't too narrow.
    """
    value, low, high = np.asarray(values), np.asarray(lows), np.asarray(highs)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(samples))}
    of = [numbers[name] for name in samples]
    below, above = (
        float(np.linalg.norm(np.bincount(of, weights=side)) / len(value)) for side in (value - low, high - value)
    )
    return float(value.mean()) - below, float(value.mean()) + above
