"""The mean score of each component over the pairs, with its interval."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from benchmark.statistics.halves import LEVEL, Halves

Scores = Float[np.ndarray, "pair component"]
Means = Float[np.ndarray, " component"]


def mean_scores(scores: Scores, splits: Halves) -> tuple[Means, Means, Means]:
    """Mean, and the ends of its 95% interval, which are NaN where there are too few pairs or clusters for one.

    `mean -+ t sqrt(C/(C-1) sum_c (sum of c's deviations)^2) / n`, t of Student's distribution with C - 1 degrees of
    freedom for C clusters: pairs of one cluster are no independent draws (Cameron & Miller 2015,
    doi:10.3368/jhr.50.2.317). Each interval stands by itself: those of components chosen for their size are about
    components that chance has helped.
    """
    scores = scores.astype(np.float64)
    mean = scores.mean(axis=0)
    if splits.refusal:
        unknown = np.full_like(mean, np.nan)
        return mean, unknown, unknown
    count = splits.n_clusters
    deviations = np.zeros((count, scores.shape[1]))
    np.add.at(deviations, splits.cluster, scores - mean)
    error = np.sqrt(count / (count - 1) * (deviations**2).sum(axis=0)) / len(scores)
    reach = stats.t.ppf((1 + LEVEL) / 2, count - 1) * error
    return mean, mean - reach, mean + reach
