"""Variances of a few numbers each, drawn towards what they have in common."""

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import chi2

Variances = Float[np.ndarray, " group"]
_LEAST, _MOST = 1e-6, 1e6  # half the numbers that the common variance counts for
_RARE = 1e-3  # how often a variance comes out so low that it isn't put down to chance


def moderated(variances: Variances, numbers: int) -> Variances:
    """Each group's variance, of so many numbers about a known mean, averaged with the one that all have in common.

    The less the variances differ beyond chance, the more numbers the common one counts for; where they don't, all are
    the same. Empirical Bayes: Smyth 2004, doi:10.2202/1544-6115.1027. None is raised above what so few numbers could
    come from, one time in a thousand: a group that is quiet by nature stays so. A variance of 0, or one that isn't
    finite, stays and says nothing of the others.
    """
    found = variances.astype(float)
    some = (found > 0) & np.isfinite(found)
    if some.sum() < 2:
        return found
    half, own = numbers / 2, found[some]
    logs = np.log(own) - digamma(half) + np.log(half)
    beyond = float(logs.var(ddof=1) - polygamma(1, half))  # chance alone has trigamma(numbers / 2)
    if beyond <= polygamma(1, _MOST):
        found[some] = own.mean()
    else:
        more = brentq(lambda x: polygamma(1, x) - beyond, _LEAST, _MOST)  # trigamma(1e-6) is beyond any logarithms'
        common = np.exp(logs.mean() + digamma(more) - np.log(more))
        found[some] = (more * common + half * own) / (more + half)
    found[some] = np.minimum(found[some], own * numbers / chi2.ppf(_RARE, numbers))
    return found
