"""Cost to find: how many exact patches, taken in a method's order, until the truly strongest components are patched.

A method that is to save exact patches is asked for an order, and not for a number: v_k is how many components it takes,
from the strongest by its scores on, until the k with the largest exact effects are among them. A perfect order has
v_k = k.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import special, stats

from benchmark.errors import BenchmarkError

Vector = Float[np.ndarray, " component"]
Depth = Float[np.ndarray, " depth"]
DEEPEST = 200  # how far curves are followed
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Finding:
    """v_k at k = 1 ... depth, in components patched, over the orders that a method's ties leave open.

    `patches` is its expectation, `low` and `high` its central 95%, `log_ratio` the expectation of log(v_k / k).
    """

    k: Int[np.ndarray, " depth"]
    patches: Depth
    low: Depth
    high: Depth
    log_ratio: Depth

    def cost(self, k: int) -> float:
        """Geometric mean of v_j / j over j = 1 ... k with weights 1/j: 1 is perfect, 2 takes twice the patches.

        The relative cost with inverse ranks as weights of Kramar et al. 2024, arXiv:2403.00745. Where fewer than k
        components have an effect, over those; NaN where none has.
        """
        if not len(self.k):
            return np.nan
        return float(np.exp(np.average(self.log_ratio[:k], weights=1 / self.k[:k])))


def cost_to_find(scores: Vector, exact: Vector, depth: int = DEEPEST) -> Finding:
    """v_k of the order by |scores|, where `exact` holds the exact effect of every component.

    Components with tied scores are patched in random order, those without a score (NaN) last. Where exact effects are
    tied at rank k, any of the tied that make up the number will do; components without an effect are in no top. Raises
    BenchmarkError where an exact effect is missing: the true top is unknown then.

    >>> cost_to_find(np.array([0.9, 0.5, 0.7, 0.1]), np.array([4.0, -3.0, 2.0, 1.0])).patches.tolist()
    [1.0, 3.0, 3.0, 4.0]
    """
    if np.isnan(exact).any():
        raise BenchmarkError(
            f"Cost to find needs the exact effect of every component: {np.isnan(exact).sum()} of {len(exact)} weren't "
            "measured."
        )
    truth = np.abs(exact)
    _, group = np.unique(-np.where(np.isnan(scores), -1.0, np.abs(scores)), return_inverse=True)
    sizes = np.bincount(group)
    before = np.cumsum(sizes) - sizes
    ranked = -np.sort(-truth)
    depth = min(depth, int((truth > 0).sum()))
    found = [_distribution(group, sizes, before, truth, float(ranked[k - 1]), k) for k in range(1, depth + 1)]
    expected = [[chances @ number, chances @ np.log(number / k)] for k, (number, chances) in enumerate(found, 1)]
    ends = [[number[np.searchsorted(chances.cumsum(), tail)] for tail in _TAILS] for number, chances in found]
    columns = np.array([one + other for one, other in zip(expected, ends, strict=True)]).reshape(-1, 4)
    patches, log_ratio, low, high = columns.T
    return Finding(np.arange(1, depth + 1), patches, low, high, log_ratio)


def random_order(exact: Vector, depth: int = DEEPEST) -> Finding:
    """What an order that knows nothing takes: v_k is k (n + 1)/(k + 1) on average where no exact effects are tied.

    >>> random_order(np.arange(1.0, 8)).patches[:3].round(2).tolist()
    [4.0, 5.33, 6.0]
    """
    return cost_to_find(np.zeros_like(exact), exact, depth)


def _distribution(
    group: Int[np.ndarray, " component"], sizes: Int[np.ndarray, " group"], before: Int[np.ndarray, " group"],
    truth: Vector, kth: float, k: int,
) -> tuple[Int[np.ndarray, " number"], Float[np.ndarray, " number"]]:  # fmt: skip
    """The numbers that v_k can be and their chances; groups of tied components are numbered in the method's order."""
    above, tied = group[truth > kth], np.sort(group[truth == kth])
    wanted = k - len(above)
    last = int(max(above.max(initial=0), tied[wanted - 1]))
    needed, rivals = int((above == last).sum()), int((tied == last).sum())
    still = wanted - int((tied < last).sum())
    if still == rivals:  # all of the tied are needed
        needed, rivals, still = needed + rivals, 0, 0
    number = np.arange(1, sizes[last] + 1)
    chances = np.diff(_by_then(number, int(sizes[last]), needed, rivals, still), prepend=0.0)
    return before[last] + number, chances / chances.sum()


def _by_then(
    number: Int[np.ndarray, " number"], size: int, needed: int, rivals: int, still: int
) -> Float[np.ndarray, " number"]:
    """Chance that the first `number` of `size` in random order hold all `needed` and `still` of the `rivals`."""
    held = number >= needed
    rest = np.where(held, number - needed, 0)
    ways = special.gammaln(number + 1) - special.gammaln(rest + 1)
    all_needed = np.where(held, np.exp(ways - special.gammaln(size + 1) + special.gammaln(size - needed + 1)), 0.0)
    if still <= 0:
        return np.asarray(all_needed)
    return np.asarray(all_needed * stats.hypergeom.sf(still - 1, size - needed, rivals, rest))
