"""A share of pairs with its interval: how often a model is right."""

from scipy import stats

CHANCE = 0.5  # of two answers, to prefer the right one


def wilson(right: int, of: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson 1927, doi:10.2307/2276774); `of` is at least 1."""
    interval = stats.binomtest(right, of).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)
