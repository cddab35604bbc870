"""Does a method agree better with its reference in one run than in another? Both runs scored the same pairs.

Both agreements are taken of the same half-samples of the pairs, so that their difference is one number with its own
spread: what the pairs do to both runs alike cancels.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from benchmark.statistics.agreement import Statistic
from benchmark.statistics.halves import Halves
from benchmark.statistics.matched_baselines import Estimate, estimated, no_interval
from benchmark.statistics.score_rows import ScoreRows

NAMES = ("method (A)", "reference (A)", "method (B)", "reference (B)")
Side = tuple[Float[np.ndarray, "pair _"], Float[np.ndarray, "pair _"]]  # a method and its reference


def difference(
    a: Side, b: Side, splits: Halves, statistic: Statistic, names: Sequence[str] = NAMES, k: int = 1
) -> Estimate:
    """Agreement of the two methods of `b` less that of the two of `a`, and its 95% interval over pairs.

    Row i of all four is the same pair. The components of `a` and of `b` may be others, as those of two models are: each
    agreement is over the components that both methods of its side measured on every pair. `names` are said of all four
    where there is no interval.
    """
    sides = [_measured(*side) for side in (a, b)]
    reason = no_interval(names, [scores for side in sides for scores in side], splits)
    first, second = (_agreement([one.mean(axis=0)[None] for one in side], statistic, k) for side in sides)
    draws = [
        np.subtract(*(_agreement([half @ one for one in side], statistic, k) for side in reversed(sides)))
        for weights in splits.weights(max(side[0].shape[1] for side in sides))
        for half in weights
    ]
    reach = 1 - statistic.lowest
    return estimated(float(second[0] - first[0]), draws, splits, -reach, reach, reason)


def _measured(*side: Float[np.ndarray, "pair component"]) -> list[Float[np.ndarray, "pair _"]]:
    kept = ~(np.isnan(side[0]) | np.isnan(side[1])).any(axis=0)
    return [one[:, kept].astype(np.float64) for one in side]


def _agreement(
    means: list[Float[np.ndarray, "row component"]], statistic: Statistic, k: int
) -> Float[np.ndarray, " row"]:
    one, other = (ScoreRows.of(mean, statistic.version) for mean in means)
    return statistic.rows(one, other, k)
