"""The interval of a mean over tasks, from the interval of each."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

Numbers = Float[np.ndarray, " task"]


def mean_interval(values: Numbers, lows: Numbers, highs: Numbers, samples: Sequence[Hashable]) -> tuple[float, float]:
    """95% interval of the mean of estimates, from their own 95% intervals; NaN where one has none.

    On each side by itself, the distances to the limits of independent estimates add up as standard errors do (MOVER,
    Zou & Donner 2008, doi:10.1002/sim.3095). Those of one sample (`samples` tells) are added in full, as if they were
    off together: however they depend on each other, that isn't too narrow.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(samples))}
    of = [numbers[name] for name in samples]
    below, above = (
        float(np.linalg.norm(np.bincount(of, weights=side)) / len(of)) for side in (values - lows, highs - values)
    )
    return float(values.mean()) - below, float(values.mean()) + above
