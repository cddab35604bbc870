"""What a sample of components says about all of them: estimates with intervals, bounds, and shares above a size.

- *Estimated*: sums over components and over pairs of components, so means, second moments and tau-a, by Horvitz and
  Thompson (1952, doi:10.1080/01621459.1952.10483446) with the probabilities of single components and of pairs: without
  bias, whatever the effects. Pearson's r is a ratio of such estimates, so only consistent. Variances come from
  linearisation: each estimate's influence values (Deville 1999, Survey Methodology 25) are summed like any total, with
  the variance of a stratified sample; tau's are its first-order projection (Hoeffding 1948,
  doi:10.1214/aoms/1177730196). Four draws a stratum leave a bootstrap little to resample.
- *Bounded*: a top k, since a single unmeasured component may be larger than all others.
- *How many are missed*: at most what share of the unmeasured lies above a size, exactly valid (`most_above`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from benchmark.errors import BenchmarkError
from benchmark.statistics.agreement import undefined
from benchmark.statistics.sampling import CONFIDENCE, Measured, Sample, Vector
from benchmark.statistics.score_rows import ScoreRows, Version

_BLOCK = 256  # rows of the components-by-components table that are held at a time


@dataclass(frozen=True)
class Estimate:
    """A statistic over the whole population and its 95% interval; NaN where it is undefined for those measured."""

    statistic: str
    version: Version
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class TopK:
    """What the top k by size of the exact effects may have in common with another method's, as shares of k.

    `low` and `high` are certain: no effects of the unmeasured give less or more. `if_none_missed` is the overlap if no
    unmeasured component belongs to the exact top k.
    """

    k: int
    low: float
    high: float
    if_none_missed: float


@dataclass(frozen=True)
class Above:
    """With 95% confidence at most `share` (`count`) of the unmeasured components have an effect larger than `size`."""

    size: float
    found: int  # of those drawn at random
    drawn: int
    count: int
    share: float


def effect_sizes(sample: Sample) -> list[Estimate]:
    """Mean effect, mean size |effect| and mean squared effect of the population."""
    x = sample.effects[sample.measured]
    return [
        _mean(sample, "mean", "signed", x),
        _mean(sample, "mean", "by_size", np.abs(x)),
        _mean(sample, "mean_square", "by_size", x**2),
    ]


def agreement_estimates(sample: Sample, other: Vector, signed: bool = True) -> list[Estimate]:
    """Pearson and tau-a between the exact effects and another method's scores, over the population.

    `other` holds that method's scores of every component; `signed=False` leaves only the statistics by size.
    """
    if other.shape != sample.effects.shape or np.isnan(other).any():
        raise BenchmarkError("Agreement over the population needs the other method's score of every component.")
    x = sample.effects[sample.measured]
    versions: list[tuple[Version, Measured, Vector]] = [("signed", x, other)] if signed else []
    versions.append(("by_size", np.abs(x), np.abs(other)))
    return [
        Estimate(name, version, *(estimate(sample, a, b) if _defined(sample, a, b) else (np.nan,) * 3))
        for version, a, b in versions
        for name, estimate in (("pearson", _pearson), ("tau_a", _tau_a))
    ]


def _defined(sample: Sample, x: Measured, other: Vector) -> bool:
    return not undefined(x, other[sample.measured])


def _mean(sample: Sample, name: str, version: Version, x: Measured) -> Estimate:
    parts = x / len(sample.effects)
    value = float(sample.weights @ parts)
    low, high = sample.interval(value, parts)
    # what was measured is certain: no interval of a mean of sizes may promise less
    return Estimate(name, version, value, low if version == "signed" else max(low, float(parts.sum())), high)


def _pearson(sample: Sample, x: Measured, other: Vector) -> tuple[float, float, float]:
    """Pearson's r with weights, and its interval.

    Large scores of the other method that were not drawn leave no trace in the variance that the draw shows. But all
    its scores are known, and so is the variance of their estimated second moment: where that is larger than the draw
    shows, the interval grows by the difference, times what r was seen to change with that moment.
    """
    size, share, y = len(other), sample.weights / len(other), other[sample.measured]
    u, v = ((z - share @ z) / np.sqrt(share @ (z - share @ z) ** 2) for z in (x, y))
    r = float(np.clip(share @ (u * v), -1, 1))
    influence = (u * v - r * (u**2 + v**2) / 2) / size
    moment = ((other - other.mean()) / other.std()) ** 2 / size
    drawn = moment[sample.measured]
    shown = float(sample.covariances(drawn, drawn).sum())
    slope = float(sample.covariances(influence, drawn).sum()) / shown if shown else 0.0
    return _on_fisher_scale(sample, r, influence, slope**2 * max(0.0, sample.known_variance(moment) - shown))


def _tau_a(sample: Sample, x: Measured, other: Vector) -> tuple[float, float, float]:
    """Concordant minus discordant pairs of components, as a share of all pairs (Kendall 1938, doi:10.2307/2332226)."""
    size, weights, y = len(other), sample.weights, other[sample.measured]
    concordance = np.empty(len(x))  # of each component with all others
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, start + _BLOCK)
        signs = np.sign(x[rows, None] - x) * np.sign(y[rows, None] - y)
        together = np.where(sample.own[rows, None] == sample.own, sample.weights_given_another, weights)
        concordance[rows] = (signs * together).sum(1)
    tau = float(weights @ concordance) / (size * (size - 1))
    return _on_fisher_scale(sample, tau, 2 * concordance / (size * (size - 1)))


def _on_fisher_scale(
    sample: Sample, value: float, influence: Measured, further: float = 0.0
) -> tuple[float, float, float]:
    """The interval taken on the scale of atanh, where a correlation's is nearer to symmetric (Fisher 1921)."""
    if abs(value) >= 1 - 1e-12:
        return (value, np.nan, np.nan) if sample.unmeasured else (value, value, value)
    slope = 1 / (1 - value**2)
    low, high = sample.interval(float(np.arctanh(value)), influence * slope, further * slope**2)
    return value, float(np.tanh(low)), float(np.tanh(high))


def top_k_bounds(sample: Sample, other: Vector, k: int) -> TopK:
    """Certain bounds of the top-k overlap by size (`statistics.agreement.top_k_overlap`), given those measured.

    Highest where every unmeasured component of the other's top k is in the exact top k too, lowest where unmeasured
    ones from outside it fill the exact top k. Ties of the other method across rank k make them wider than need be.
    """
    members, measured = _membership(other, k), sample.measured
    sizes, shared = np.abs(sample.effects[measured]), members[measured]
    unseen = members[~measured]

    def common(places: int) -> float:
        """What the other's top has in common with that many of the largest measured."""
        return float(np.minimum(shared, _membership(sizes, places)).sum()) if places > 0 else 0.0

    at_least = max(members.sum(), min(k, np.count_nonzero(sizes)))  # the larger of both tops, as far as it is known
    return TopK(
        k=k,
        low=common(k - int(np.count_nonzero(unseen < 1))) / k,
        high=float((unseen.sum() + common(math.ceil(k - unseen.sum()))) / at_least) if at_least else np.nan,
        if_none_missed=common(k) / at_least if at_least else np.nan,
    )


def _membership(scores: Float[np.ndarray, " some"], k: int) -> Float[np.ndarray, " some"]:
    """How far each component belongs to the k largest sizes: 1, 0, or its share of the places left to ties."""
    places = ScoreRows.of(scores[None], "by_size").places(k)
    members = np.zeros(len(scores))
    members[places.columns] = places.membership(k)[0]
    return members


def shares_above(sample: Sample, sizes: Sequence[float]) -> list[Above]:
    """For each size, how many of the unmeasured may have a larger |effect|; each bound by itself holds with 95%.

    The sizes must not be chosen by what was drawn at random; those of candidates' effects are fine.
    """
    drawn = sample.open & sample.measured
    fraction = float((1 / sample.weights[drawn[sample.measured]]).min()) if drawn.any() else 1.0
    found = []
    for size in sizes:
        above = int((np.abs(sample.effects[drawn]) > size).sum())
        count = most_above(above, int(drawn.sum()), int(sample.open.sum()), fraction) - above
        found.append(Above(size, above, int(drawn.sum()), count, count / max(1, sample.unmeasured)))
    return found


def most_above(found: int, drawn: int, total: int, fraction: float) -> int:
    """The largest number of marked components among `total` that finding `found` of them in `drawn` leaves possible.

    Each stratum's number of marked ones in the draw is hypergeometric, hence a sum of independent Bernoulli variables,
    at most as many as it draws and at most as many as it has marked (Vatutin & Mikhailov 1982,
    doi:10.1137/1127095). So the number found, `T`, is a sum of at most `min(drawn, marked)` of them, with a mean of at
    least `fraction * marked`, where `fraction` is the smallest share drawn of any stratum. For a mean of at least
    `found + 1`, `P(T <= found)` is at most its binomial value (Hoeffding 1956, doi:10.1214/aoms/1177728178, theorem 4),
    wherever the marked ones lie. A number of marked ones is refuted where that is at most 5%: the interval of Clopper
    and Pearson (1934), made valid for strata and for draws without replacement.
    """
    marked = np.arange(found, total - drawn + found + 1)
    trials = np.maximum(1, np.minimum(drawn, marked))
    refuted = stats.binom.cdf(found, trials, np.minimum(1, fraction * marked / trials)) <= 1 - CONFIDENCE
    return int(marked[~(refuted & (fraction * marked >= found + 1))].max())
