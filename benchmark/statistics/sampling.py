"""A sample of components that stands for all of them: how it is drawn, and what it can say about the rest.

The population is one finite list of effects: each component's mean exact score *over the pairs at hand*. Scores that
cost next to nothing (attribution patching) are known for every component. They choose the candidates, all of which are
measured, and sort the rest into strata of equal size, from each of which `PER_STRATUM` components are drawn at random.
Nothing is random but that draw: every interval is about what another draw would have found on the same pairs. Whether
other pairs would give other effects is another question.

`stratum` names a component's part: -1 outside the population, `CANDIDATE` measured for certain, 1, 2, ... drawn from.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from benchmark.errors import BenchmarkError

Vector = Float[np.ndarray, " component"]
Measured = Float[np.ndarray, " measured"]
OUTSIDE, CANDIDATE = -1, 0
PER_STRATUM = 4  # few, so that strata are fine; 2 would do for a variance, and 4 makes that variance less erratic
SMALLEST_BUDGET = 4 * PER_STRATUM
CONFIDENCE = 0.95


def stratify(scores: Float[np.ndarray, "layer index"], budget: int) -> Int[np.ndarray, "layer index"]:
    """The stratum of every component, from scores of all of them (NaN: outside the population).

    Half of the budget, and what the strata leave over, goes to the largest sizes. The rest is put in order of layer
    and, within a layer, of signed score, and cut into runs of equal length: so every layer gets its share of draws, and
    strata are as alike inside as the scores can tell. With no more components than the budget, all are candidates.
    """
    flat = scores.ravel()
    stratum = np.where(np.isnan(flat), OUTSIDE, CANDIDATE)
    population = np.flatnonzero(stratum == CANDIDATE)
    if len(population) > budget:
        strata = budget // 2 // PER_STRATUM
        by_size = population[np.argsort(-np.abs(flat[population]), kind="stable")]
        rest = by_size[budget - PER_STRATUM * strata :]
        layer = rest // scores.shape[1]
        snake = np.where(layer % 2, -1, 1) * flat[rest]  # a run that reaches into the next layer stays alike
        runs = np.array_split(rest[np.lexsort((snake, layer))], strata)
        for number, run in enumerate(runs, CANDIDATE + 1):
            stratum[run] = number
    return stratum.reshape(scores.shape).astype(np.int32)


def draw(stratum: Int[np.ndarray, "layer index"], seed: int) -> Float[np.ndarray, "layer index"]:
    """The probability with which each component came to be measured in one draw; 0 where it wasn't drawn."""
    flat = stratum.ravel()
    order = np.lexsort((np.random.default_rng(seed).random(len(flat)), flat))
    place = np.arange(len(flat)) - np.searchsorted(flat[order], flat[order])  # within the stratum, shuffled
    chosen = order[(flat[order] == CANDIDATE) | ((flat[order] > CANDIDATE) & (place < PER_STRATUM))]
    probability = np.zeros(len(flat), np.float32)
    probability[chosen] = np.bincount(flat[chosen])[flat[chosen]] / np.bincount(flat[flat >= 0])[flat[chosen]]
    return probability.reshape(stratum.shape)


@dataclass(frozen=True)
class Sample:
    """The effects of a population's components, NaN where unmeasured, and the stratum of each (none outside).

    Inside a stratum every subset of the number measured must have been equally likely.
    """

    effects: Vector
    stratum: Int[np.ndarray, " component"]

    def __post_init__(self) -> None:
        if (self.stratum < 0).any() or self.effects.shape != self.stratum.shape:
            raise BenchmarkError("A sample holds one effect and one stratum for each component of its population.")

    @cached_property
    def measured(self) -> Bool[np.ndarray, " component"]:
        return np.asarray(~np.isnan(self.effects))

    @cached_property
    def unmeasured(self) -> int:
        return int((~self.measured).sum())

    @cached_property
    def open(self) -> Bool[np.ndarray, " component"]:
        """Whether a component's stratum was measured in part only."""
        return np.asarray((self._drawn < self._sizes)[self.stratum])

    @cached_property
    def _sizes(self) -> Float[np.ndarray, " stratum"]:
        return np.asarray(np.bincount(self.stratum), float)

    @cached_property
    def _drawn(self) -> Float[np.ndarray, " stratum"]:
        return np.asarray(np.bincount(self.own, minlength=len(self._sizes)), float)

    @cached_property
    def own(self) -> Int[np.ndarray, " measured"]:
        """The stratum of each measured component."""
        return np.asarray(self.stratum[self.measured])

    @cached_property
    def weights(self) -> Measured:
        """How many components each measured one stands for: 1 / its probability. They sum to the population."""
        alone = int(((self._drawn < 2) & (self._drawn < self._sizes)).sum())
        if alone:
            raise BenchmarkError(
                f"{alone} strata have fewer than 2 measured components: nothing can be estimated from them. "
                "Measure more of each, or make the strata larger."
            )
        return np.asarray((self._sizes / np.maximum(self._drawn, 1))[self.own])

    @cached_property
    def weights_given_another(self) -> Measured:
        """1 / the probability of being measured, given that one more of the same stratum is."""
        return np.asarray(((self._sizes - 1) / np.maximum(self._drawn - 1, 1))[self.own])

    def covariances(self, a: Measured, b: Measured) -> Float[np.ndarray, " stratum"]:
        """Each stratum's part of the covariance of the estimated totals of `a` and `b`, as the draw itself shows it.

        `N_h^2 (1 - n_h/N_h) s_h / n_h`, s_h the covariance within the stratum. Cochran 1977, Sampling Techniques, 5.3.
        """
        return self._covariances(a, b, self.own, self._drawn)

    def known_variance(self, values: Vector) -> float:
        """The variance of an estimated total of values that are known for every component."""
        return float(self._covariances(values, values, self.stratum, self._sizes).sum())

    def interval(self, value: float, influence: Measured, further: float = 0.0) -> tuple[float, float]:
        """The 95% interval of an estimate with this influence (and a `further` variance), by Student's t.

        Its degrees of freedom are Satterthwaite's, so that a variance owed to few strata makes a wide interval
        (Cochran 1977, 5.4).
        """
        parts = self.covariances(influence, influence)
        if not parts.any():  # where all drawn are alike, the sample doesn't say how far the others may differ
            return (np.nan, np.nan) if self.unmeasured else (value, value)
        freedom = parts.sum() ** 2 / (parts**2 / np.maximum(self._drawn - 1, 1)).sum()
        half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(parts.sum() + further)
        return float(value - half), float(value + half)

    def _covariances(
        self,
        a: Float[np.ndarray, " some"],
        b: Float[np.ndarray, " some"],
        stratum: Int[np.ndarray, " some"],
        counts: Float[np.ndarray, " stratum"],
    ) -> Float[np.ndarray, " stratum"]:
        x, y = (z - (np.bincount(stratum, z, len(counts)) / np.maximum(counts, 1))[stratum] for z in (a, b))
        within = np.bincount(stratum, x * y, len(counts)) / np.maximum(counts - 1, 1)
        unmeasured = self._sizes - self._drawn
        return np.asarray(self._sizes * unmeasured * within / np.maximum(self._drawn, 1))
