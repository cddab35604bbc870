"""Do two methods agree because their baselines match, and why do first order and integrals part from exact patching?

The grid of the experiment is activation patching and integrated gradients, each with every baseline. All intervals
come from the same half-samples of the pairs (`statistics.halves`), so that a difference of two agreements is one number
with its own spread, not a gap between two intervals. docs/baselines.md says how to read the result.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from jaxtyping import Float

from benchmark.components import BASELINES
from benchmark.statistics.agreement import Statistic
from benchmark.statistics.halves import Halves
from benchmark.statistics.influence import influence, refusal
from benchmark.statistics.score_rows import ScoreRows

ROUNDING = 1e-5  # of the largest score: what a score may depend on batch size and order
Grid = Float[np.ndarray, "method baseline pair component"]  # activation patching first, integrated gradients second
Scores = Float[np.ndarray, "pair component"]
Couple = tuple[int, int]  # two of the six cells, numbered method by method

_METHODS = ("activation patching", "integrated gradients")
_SIZE = len(BASELINES)
_COUPLES = list(combinations(range(2 * _SIZE), 2))
_MATCHED: list[Couple] = [(b, _SIZE + b) for b in range(_SIZE)]
_UNMATCHED: list[Couple] = [(a, _SIZE + b) for a, b in product(range(_SIZE), repeat=2) if a != b]
_WITHIN: list[list[Couple]] = [
    [(start + a, start + b) for a, b in combinations(range(_SIZE), 2)] for start in (0, _SIZE)
]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval over pairs; NaN where there is none, and `note` says why."""

    value: float
    low: float = np.nan
    high: float = np.nan
    note: str = ""


def _mean(couples: Sequence[Couple]) -> Float[np.ndarray, " couple"]:
    """The weights that turn the agreements of all couples into the mean of these."""
    return np.array([(couple in couples) / len(couples) for couple in _COUPLES], dtype=np.float64)


def _matching(a: int, b: int) -> Float[np.ndarray, " couple"]:
    """The effect of matching as two baselines alone show it."""
    return np.asarray(_mean([_MATCHED[a], _MATCHED[b]]) - _mean([(a, _SIZE + b), (b, _SIZE + a)]))


CONTRASTS = {
    "matched": _mean(_MATCHED),
    "unmatched": _mean(_UNMATCHED),
    "matching": _mean(_MATCHED) - _mean(_UNMATCHED),
    **{
        f"matching, {BASELINES[a]} and {BASELINES[b]}": _matching(a, b)
        for a, b in combinations(range(_SIZE), 2)
    },
    "within activation patching": _mean(_WITHIN[0]),
    "within integrated gradients": _mean(_WITHIN[1]),
    "same method": _mean(_WITHIN[0] + _WITHIN[1]),
    "method": _mean(_WITHIN[0] + _WITHIN[1]) - _mean(_UNMATCHED),
    "matching less method": _mean(_MATCHED) - _mean(_WITHIN[0] + _WITHIN[1]),
}  # fmt: skip


def contrasts(grid: Grid, splits: Halves, statistic: Statistic, k: int) -> dict[str, Estimate]:
    """Means and differences of the agreements of the six cells, by the names of `CONTRASTS`.

    Over the components that all six measured. `matched`: mean agreement of the two methods with the same baseline (3
    couples); `unmatched`: with different baselines (6 couples); `matching`: their difference. Every cell takes part in
    both means with the same weight, so what an odd baseline takes from all its agreements cancels. It is the mean of
    the three `matching, A and B`, which see two baselines each: half of (AA + BB - AB - BA). `within ...`, `same
    method`: one method with different baselines; `method` = same method - unmatched; `matching less method` = matched -
    same method: above 0 where another method with the same baseline is nearer than the same method with another one.
    """
    six = grid.reshape(-1, *grid.shape[2:])
    six = six[:, :, ~np.isnan(six).any(axis=(0, 1))].astype(np.float64)
    names = [f"{method} ({baseline})" for method, baseline in product(_METHODS, BASELINES)]
    reason = no_interval(names, six, splits)
    value = _agreements(six.mean(axis=1)[:, None], statistic, k)[0]
    draws = [
        _agreements(np.stack([half @ one for one in six]), statistic, k)
        for weights in splits.weights(six.shape[2])
        for half in weights
    ]
    found = {}
    for name, weights in CONTRASTS.items():
        reach = 1 - statistic.lowest
        bounds = (-reach, reach) if weights.min() < 0 else (statistic.lowest, 1.0)
        found[name] = estimated(
            _weighted(value, weights), [_weighted(draw, weights) for draw in draws], splits, *bounds, reason
        )
    return found


def _agreements(
    means: Float[np.ndarray, "cell row component"], statistic: Statistic, k: int
) -> Float[np.ndarray, "row couple"]:
    rows = [ScoreRows.of(one, statistic.version) for one in means]
    return np.stack([statistic.rows(rows[a], rows[b], k) for a, b in _COUPLES], axis=1)


def _weighted(agreements: Float[np.ndarray, "... couple"], weights: Float[np.ndarray, " couple"]) -> np.ndarray:
    """The weighted sum over the couples that have a weight, whatever the others are."""
    used = weights != 0
    return np.asarray(agreements[..., used] @ weights[used])


@dataclass(frozen=True)
class Parting:
    """Why methods part from activation patching with one baseline, over `n_components`.

    With C = attribution patching - activation patching and I = integrated gradients on the site path - activation
    patching, both of mean scores over the pairs: `size` is the root mean square of activation patching's mean scores
    over components, in units of the metric; `curvature`, `interactions`, `difference` those of C, I and C - I, as
    shares of `size`. `excess` = interactions - curvature. Attribution patching - integrated gradients = C - I, so over
    components Var(C - I) = Var(C) + Var(I) - 2 Cov(C, I): the three `*_share` divide its terms by it and sum to 1, and
    `correlation` is that of C and I.
    """

    size: Estimate
    curvature: Estimate
    interactions: Estimate
    difference: Estimate
    excess: Estimate
    curvature_share: Estimate
    interactions_share: Estimate
    covariance_share: Estimate
    correlation: Estimate
    n_components: int


_RANGES = {
    "excess": (-np.inf, np.inf),
    "curvature_share": (0.0, np.inf),
    "interactions_share": (0.0, np.inf),
    "covariance_share": (-np.inf, np.inf),
    "correlation": (-1.0, 1.0),
}


def parting(exact: Scores, first_order: Scores, integrated: Scores, splits: Halves) -> Parting:
    """C and I of one baseline, from activation patching, attribution patching and integrated gradients (site path).

    Component-path integrated gradients equal activation patching, so C is curvature along a component's own axis, and I
    is what the other components of the site add when all move together. Over the components that all three measured.
    A share or correlation of what is no larger than rounding is NaN.
    """
    three = np.stack([exact, first_order, integrated])
    three = three[:, :, ~np.isnan(three).any(axis=(0, 1))].astype(np.float64)
    reason = no_interval((_METHODS[0], "attribution patching", _METHODS[1]), three, splits)
    found = _quantities(three.mean(axis=1)[:, None])
    draws = [_quantities(half @ three) for weights in splits.weights(three.shape[2]) for half in weights]
    estimates = {
        name: estimated(value[0], [draw[name] for draw in draws], splits, *_RANGES.get(name, (0.0, np.inf)), reason)
        for name, value in found.items()
    }
    return Parting(**estimates, n_components=three.shape[2])


def _quantities(means: Float[np.ndarray, "method row component"]) -> dict[str, Float[np.ndarray, " row"]]:
    exact, first_order, integrated = means
    c, i = first_order - exact, integrated - exact
    rounding = ROUNDING * np.abs(exact).max(axis=1, initial=0.0)
    spread_c, spread_i, spread = (x.std(axis=1) for x in (c, i, c - i))
    covariance = ((c - c.mean(axis=1, keepdims=True)) * (i - i.mean(axis=1, keepdims=True))).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        size, *parts = (np.sqrt((x**2).mean(axis=1)) for x in (exact, c, i, c - i))
        curvature, interactions, difference = (np.where(size > 0, part / size, np.nan) for part in parts)
        shares = [
            np.where(spread > rounding, x / spread**2, np.nan) for x in (spread_c**2, spread_i**2, -2 * covariance)
        ]
        correlation = np.where(
            np.minimum(spread_c, spread_i) > rounding, np.clip(covariance / (spread_c * spread_i), -1, 1), np.nan
        )
    return {
        "size": size, "curvature": curvature, "interactions": interactions, "difference": difference,
        "excess": interactions - curvature, "curvature_share": shares[0], "interactions_share": shares[1],
        "covariance_share": shares[2], "correlation": correlation,
    }  # fmt: skip


def no_interval(names: Sequence[str], scores: Iterable[Float[np.ndarray, "pair _"]], splits: Halves) -> str:
    """Why nothing of these methods has an interval; empty where it has."""
    if splits.refusal:
        return splits.refusal
    return refusal({name: influence(one, splits.cluster) for name, one in zip(names, scores, strict=True)})


def estimated(
    value: Float[np.ndarray, ""] | float,
    draws: Sequence[np.ndarray],
    splits: Halves,
    lowest: float,
    highest: float,
    reason: str,
) -> Estimate:
    value = float(value)
    if np.isnan(value):
        return Estimate(value, note="undefined: constant scores, too few components, or no more than rounding")
    if reason:
        return Estimate(value, note=reason)
    drawn = np.concatenate([np.ravel(draw) for draw in draws])
    if lost := int(np.isnan(drawn).sum()):
        return Estimate(value, note=f"no interval: undefined in {lost} of {len(drawn)} half-samples")
    return Estimate(value, *splits.interval(value, drawn, lowest, highest))
