"""What agreement is worth: intervals over pairs of prompts, and the agreement that noise alone would allow.

The pairs are the sample, the components are not. All here comes from one set of splits of the pairs in two halves
(`halves`). Every statistic is taken of

- both methods on the same half (twice a split): its spread makes the interval;
- the two methods on opposite halves, where they share no noise;
- each method on opposite halves: its split-half self-agreement, the ceiling of what others can reach.

docs/statistics.md says what each estimates, and prints how often the interval covers it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int

from benchmark.statistics import correlation
from benchmark.statistics.agreement import (
    PRIMARY,
    STATISTICS,
    Agreement,
    Layer,
    Statistic,
    applicable,
    by_measured,
    default_statistics,
    panel,
)
from benchmark.statistics.halves import Halves, halves
from benchmark.statistics.influence import influence, refusal
from benchmark.statistics.nulls import noise_test
from benchmark.statistics.score_rows import ScoreRows, Version
from benchmark.statistics.tops import DEPTH, overlaps

__all__ = [
    "Comparison",
    "Concordance",
    "Halves",
    "OverlapBand",
    "compare",
    "concordance",
    "halves",
    "self_overlap_band",
]

Scores = Float[np.ndarray, "pair component"]
Draws = list[Float[np.ndarray, " split"]]
RELIABLE = 0.2  # a reliability below which dividing by it says nothing
NOISE = 0.05  # p of `noise_test` above which a method's scores are taken for noise


@dataclass(frozen=True)
class Comparison(Agreement):
    """The agreement of methods `a` and `b` with what the sample of pairs says of it; NaN where that is unknown.

    `low, high`: 95% interval for the agreement that studies of this many pairs find on average. `largest_share_*`: how
    much of each method's mean scores one cluster of pairs holds (`statistics.influence`). `half_*`: means over
    splits at half the pairs: both methods on the same half, on opposite halves, and each method against itself on
    opposite halves. The rest, for Pearson on signed scores alone, is stepped up to all pairs by Spearman-Brown: each
    method's reliability, the `ceiling` (root of their product), the agreement on `disjoint` pairs, and `disattenuated`,
    the agreement without noise (Spearman 1904, doi:10.2307/1412159); it may exceed 1 by chance.
    """

    a: int
    b: int
    low: float = np.nan
    high: float = np.nan
    largest_share_a: float = np.nan
    largest_share_b: float = np.nan
    half_same: float = np.nan
    half_disjoint: float = np.nan
    half_self_a: float = np.nan
    half_self_b: float = np.nan
    reliability_a: float = np.nan
    reliability_b: float = np.nan
    ceiling: float = np.nan
    disjoint: float = np.nan
    disattenuated: float = np.nan


def compare(
    scores: Sequence[Scores],
    signed: Sequence[bool],
    splits: Halves,
    k: int,
    layer: Layer | None = None,
    statistics: Sequence[Statistic] | None = None,
) -> list[Comparison]:
    """Every two methods by every statistic that both can be held to, on the mean over pairs and over the halves.

    A component that a method didn't measure on every pair (NaN) counts as unmeasured in its comparisons.
    """
    means = [values.mean(axis=0, dtype=np.float64) for values in scores]
    statistics = statistics or default_statistics(max(len(mean) for mean in means))
    found = []
    for measured, couples in by_measured(means, k).items():
        columns = np.array(measured)
        within = None if layer is None else layer[columns]
        kept = [values[:, columns].astype(np.float64) for values in scores]
        draws = _drawn(kept, couples, signed, splits, k, within, statistics) if columns.any() else {}
        shares = {m: influence(kept[m], splits.cluster) for m in {m for couple in couples for m in couple}}
        p_noise = {m: noise_test(kept[m], splits.cluster) for m in shares}
        for a, b in couples:
            for one in panel(means[a], means[b], k, signed[a], signed[b], layer, statistics):
                row = Comparison(
                    **vars(one), a=a, b=b, largest_share_a=shares[a].share, largest_share_b=shares[b].share
                )
                named = {"method_a": a, "method_b": b}
                reason = splits.refusal or refusal({name: shares[m] for name, m in named.items()})
                row = _with_noise(row, draws.get((a, b, one.statistic, one.version)), splits, reason)
                if (one.statistic, one.version) == (PRIMARY, "signed") and not np.isnan(row.low):
                    row = _stepped_up(row, [name for name, m in named.items() if p_noise[m] > NOISE])
                found.append(row)
    return sorted(found, key=lambda row: (row.a, row.b))


@dataclass
class _Drawn:
    """One statistic of two methods over the splits; `same` holds both halves of each."""

    same: Draws = field(default_factory=list)
    disjoint: Draws = field(default_factory=list)
    self_a: Draws = field(default_factory=list)
    self_b: Draws = field(default_factory=list)


def _drawn(
    scores: Sequence[Scores],
    couples: list[tuple[int, int]],
    signed: Sequence[bool],
    splits: Halves,
    k: int,
    layer: Layer | None,
    statistics: Sequence[Statistic],
) -> dict[tuple[int, int, str, Version], _Drawn]:
    found: dict[tuple[int, int, str, Version], _Drawn] = {}
    methods = sorted({method for couple in couples for method in couple})
    n = scores[0].shape[1]
    # All pairs of components are held as two bits each.
    for weights in splits.weights(max(n, n * n // 32 if any(s.pairwise for s in statistics) else 0)):
        means = {m: [half @ scores[m] for half in weights] for m in methods}
        for version in ("signed", "by_size"):
            views = {m: [ScoreRows.of(mean, version) for mean in means[m]] for m in methods}
            for s in (s for s in applicable(statistics, True, layer is not None) if s.version == version):
                able = [m for m in methods if signed[m] or not s.needs_signs]
                to_itself = {m: s.rows(views[m][0], views[m][1], k, layer) for m in able}
                for a, b in (couple for couple in couples if set(couple) <= set(able)):
                    (a1, a2), (b1, b2) = views[a], views[b]
                    drawn = found.setdefault((a, b, s.name, s.version), _Drawn())
                    drawn.same += [s.rows(a1, b1, k, layer), s.rows(a2, b2, k, layer)]
                    drawn.disjoint += [s.rows(a1, b2, k, layer), s.rows(a2, b1, k, layer)]
                    drawn.self_a.append(to_itself[a])
                    drawn.self_b.append(to_itself[b])
    return found


def _with_noise(row: Comparison, drawn: _Drawn | None, splits: Halves, reason: str) -> Comparison:
    if np.isnan(row.value):
        return row
    if drawn is None or splits.refusal:
        return _noted(row, reason)
    same, disjoint, self_a, self_b = (np.concatenate(draws) for draws in vars(drawn).values())
    lost = int(np.isnan(same).sum())
    if lost:
        return _noted(row, f"no interval: undefined in {lost} of {len(same)} half-samples")
    row = replace(
        row,
        half_same=float(same.mean()),
        half_disjoint=float(disjoint.mean()),
        half_self_a=float(self_a.mean()),
        half_self_b=float(self_b.mean()),
    )
    if reason:
        return _noted(row, reason)
    lowest = next(s.lowest for s in STATISTICS if s.name == row.statistic)
    low, high = splits.interval(row.value, same, lowest)
    return replace(row, low=low, high=high)


def _stepped_up(row: Comparison, noise: list[str]) -> Comparison:
    """Reliabilities and the agreement on disjoint pairs, from half the pairs to all of them.

    Spearman-Brown (Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x; Brown 1910,
    doi:10.1111/j.2044-8295.1910.tb00207.x): R = 2r / (1 + r). Twice the pairs leave the covariance of two methods as it
    is and shrink their variances by r/R each. `noise` names the methods whose scores are not told from noise: half the
    studies of pure noise have a positive self-agreement, and dividing by that gives anything.
    """
    reliability = [2 * r / (1 + r) if r > 0 else np.nan for r in (row.half_self_a, row.half_self_b)]
    row = replace(row, reliability_a=reliability[0], reliability_b=reliability[1])
    if noise:
        return _noted(row, f"no ceiling: the scores of {' and '.join(noise)} are not told from noise")
    if not all(r > RELIABLE for r in reliability):
        return _noted(row, f"no ceiling: a method's split-half reliability is not above {RELIABLE}")
    ceiling = float(np.sqrt(reliability[0] * reliability[1]))
    disattenuated = row.half_disjoint / float(np.sqrt(row.half_self_a * row.half_self_b))
    return replace(row, ceiling=ceiling, disjoint=disattenuated * ceiling, disattenuated=disattenuated)


def _noted(row: Comparison, note: str) -> Comparison:
    return replace(row, note="; ".join(filter(None, (row.note, note))))


@dataclass(frozen=True)
class Concordance:
    """Kendall's W of several methods with its 95% interval; independent methods reach `chance` = 1/n_methods."""

    version: Version
    w: float
    low: float
    high: float
    chance: float
    n_methods: int
    n_components: int
    note: str


def concordance(scores: Sequence[Scores], splits: Halves, version: Version) -> Concordance:
    """Kendall's W of the mean scores, or of their sizes, over the components measured by all. Leave floors out."""
    means = np.stack([values.mean(axis=0, dtype=np.float64) for values in scores])
    measured = ~np.isnan(means).any(axis=0)
    n_methods, n = len(scores), int(measured.sum())
    note = "" if n_methods >= 2 and n >= 3 else "W takes two methods and three components measured by all"
    if not note and any(ScoreRows.of(mean[None, measured], version).constant[0] for mean in means):
        note = "a method's scores are constant"
    if note:
        return Concordance(version, np.nan, np.nan, np.nan, np.nan, n_methods, n, note)

    def w(rows: list[Float[np.ndarray, "row component"]]) -> Float[np.ndarray, " row"]:
        return correlation.concordance(np.stack([ScoreRows.of(row, version).values for row in rows]))

    value = float(w([mean[None, measured] for mean in means])[0])
    kept = [values[:, measured].astype(np.float64) for values in scores]
    draws = [w([half @ values for values in kept]) for weights in splits.weights(n) for half in weights]
    strongest = max((influence(one, splits.cluster) for one in kept), key=lambda one: np.nan_to_num(one.share))
    reason = splits.refusal or refusal({"one method": strongest})
    low, high = (np.nan, np.nan) if reason else splits.interval(value, np.concatenate(draws), 0.0)
    return Concordance(version, value, low, high, 1 / n_methods, n_methods, n, reason)


@dataclass(frozen=True)
class OverlapBand:
    """Top-k overlap by size of a method with itself on opposite halves: mean and central 95% of the splits."""

    k: Int[np.ndarray, " depth"]
    mean: Float[np.ndarray, " depth"]
    low: Float[np.ndarray, " depth"]
    high: Float[np.ndarray, " depth"]


def self_overlap_band(scores: Scores, splits: Halves, depth: int | None = None) -> OverlapBand:
    """How far a method's own top on half the pairs is its top on the other half; empty where halves are refused."""
    kept = scores[:, ~np.isnan(scores).any(axis=0)].astype(np.float64)
    depth = min(depth or DEPTH, DEPTH, kept.shape[1])
    curves = [
        overlaps(ScoreRows.of(first @ kept, "by_size"), ScoreRows.of(second @ kept, "by_size"), depth)
        for first, second in splits.weights(kept.shape[1])
    ]
    if not curves or not depth:
        return OverlapBand(*(np.array([], dtype=kind) for kind in (int, float, float, float)))
    drawn = np.concatenate(curves)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    return OverlapBand(np.arange(1, depth + 1), drawn.mean(axis=0), low, high)
