"""Splits of a sample of prompt pairs in two: what intervals, reliabilities and noise ceilings are made from.

A half of a sample, drawn without replacement, differs from the whole by as much as the whole differs from the
population: the variance of its mean about the whole's is (2/n - 1/n) s^2 = s^2/n. And two halves share no pair.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from benchmark.errors import BenchmarkError
from benchmark.words import counted

FEWEST_PAIRS, FEWEST_CLUSTERS = 16, 8  # below these an interval is not worth printing
LEVEL = 0.95
_BLOCK = 2**21  # numbers of 8 bytes that a block of splits may hold a method and version
Weights = Float[np.ndarray, "split pair"]


@dataclass(frozen=True)
class Halves:
    """Splits of the pairs in two; none, and why, where there are too few to split. `cluster` numbers each pair's."""

    first: Bool[np.ndarray, "split pair"]
    cluster: Int[np.ndarray, " pair"]
    refusal: str = ""

    @property
    def n_clusters(self) -> int:
        return int(self.cluster.max(initial=-1)) + 1

    def weights(self, held: int) -> Iterator[tuple[Weights, Weights]]:
        """What turns scores [pair, component] into means [split, component] of the first and of the second halves.

        In blocks of splits, such that a block's numbers fit in memory when every split holds `held` of them.
        """
        step = max(1, _BLOCK // max(1, held))
        for start in range(0, len(self.first), step):
            first = self.first[start : start + step]
            second = ~first
            yield first / first.sum(axis=1, keepdims=True), second / second.sum(axis=1, keepdims=True)

    def interval(
        self, value: float, draws: Float[np.ndarray, " draw"], lowest: float, highest: float = 1.0, family: int = 1
    ) -> tuple[float, float]:
        """95% interval about the statistic of all pairs, as wide as its spread over half-samples says.

        With a `family` of intervals, all of them hold together in 95% (Bonferroni).

        `value -+ t sd(draws)`, t of Student's distribution with one degree of freedom less than there are clusters,
        cut at the statistic's range. Quantiles of the draws themselves would be off: half the pairs have more noise,
        so that the draws lie around another value than the statistic of all pairs.
        """
        reach = stats.t.ppf(1 - (1 - LEVEL) / 2 / family, self.n_clusters - 1) * float(np.std(draws))
        return float(max(lowest, value - reach)), float(min(highest, value + reach))


def halves(
    n_pairs: int,
    clusters: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
    splits: int = 100,
    seed: int = 0,
) -> Halves:
    """Random splits in two. Pairs of one cluster stay together; each template's clusters are divided evenly.

    `clusters` and `templates` name those of each pair; an empty cluster name makes the pair its own cluster. A cluster
    belongs to the template of most of its pairs. Fewer than 16 pairs or 8 clusters are refused.
    """
    names = [name or f"\0{place}" for place, name in enumerate(clusters or [""] * n_pairs)]
    templates = templates or [""] * n_pairs
    if len(names) != n_pairs or len(templates) != n_pairs:
        raise BenchmarkError(f"{n_pairs} pairs need {n_pairs} clusters and templates: {len(names)}, {len(templates)}.")
    ids = {name: number for number, name in enumerate(dict.fromkeys(names))}
    cluster = np.array([ids[name] for name in names], dtype=int)
    if n_pairs < FEWEST_PAIRS or len(ids) < FEWEST_CLUSTERS:
        there = f"{counted(n_pairs, 'pair')} in {counted(len(ids), 'cluster')}"
        few = f"no interval: {there}, and it takes {FEWEST_PAIRS} in {FEWEST_CLUSTERS}"
        return Halves(np.zeros((0, n_pairs), dtype=bool), cluster, few)
    stratum = np.array([_mode([t for t, c in zip(templates, cluster, strict=True) if c == i]) for i in ids.values()])
    rng = np.random.default_rng(seed)
    return Halves(np.stack([_split(stratum, rng)[cluster] for _ in range(splits)]), cluster)


def _mode(names: list[str]) -> str:
    return Counter(names).most_common(1)[0][0]


def _split(stratum: np.ndarray, rng: np.random.Generator) -> Bool[np.ndarray, " cluster"]:
    """Every other cluster, walking through the strata in a random order and through each at random."""
    strata, number = np.unique(stratum, return_inverse=True)
    order = np.lexsort((rng.random(len(stratum)), rng.permutation(len(strata))[number]))
    first = np.zeros(len(stratum), dtype=bool)
    first[order[rng.integers(2) :: 2]] = True
    return first
