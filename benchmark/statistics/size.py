"""Size: how large one method's scores are beside another's, which no correlation sees."""

import numpy as np
from jaxtyping import Float

from benchmark.statistics.halves import Halves

Scores = Float[np.ndarray, "pair component"]


def relative_size(scores: Scores, exact: Scores, halves: Halves | None = None) -> tuple[float, float, float]:
    """The root mean square of mean scores over that of exact ones, and its 95% interval over half-samples of the pairs.

    Over the components measured (not NaN) in both; NaN where all exact ones are 0, and where there are no halves for an
    interval. 1 says equally large, whatever the signs and the order.

    >>> relative_size(np.array([[3.0, 0.0, 4.0]]), np.array([[0.0, 10.0, 0.0]]))[0]
    0.5
    """
    kept = ~np.isnan(scores.mean(axis=0) + exact.mean(axis=0))
    one, other = scores[:, kept].astype(np.float64), exact[:, kept].astype(np.float64)

    def ratio(weights: Float[np.ndarray, "row pair"]) -> Float[np.ndarray, " row"]:
        sizes, true = (np.linalg.norm(weights @ values, axis=1) for values in (one, other))
        return np.asarray(np.divide(sizes, true, out=np.full_like(sizes, np.nan), where=true > 0))

    value = float(ratio(np.full((1, len(one)), 1 / len(one)))[0])
    if halves is None or halves.refusal:
        return value, np.nan, np.nan
    draws = np.concatenate([ratio(half) for each in halves.weights(int(kept.sum())) for half in each])
    return value, *halves.interval(value, draws, 0.0, np.inf)
