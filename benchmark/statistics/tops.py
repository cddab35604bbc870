"""How far two methods' highest components agree: at one k, weighted over all k, and as curves over k.

Ties are settled by sharing: components tied with one another hold their places in equal shares, and what two methods
have in common of a place or of a top is the smaller of the two shares. That is symmetric, doesn't depend on how
components are numbered, and gives 1 for a method against itself. A component that scores 0 (or, signed, less) is in no
top: else two methods that find one component each, and not the same one, would agree on what fills up their tops.
Where a method finds fewer than k components, the larger of the two numbers found (at most k) stands for k.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmark.statistics.score_rows import ABSENT, Places, ScoreRows

PERSISTENCE = 0.9  # the p of rank-biased overlap: the first ten ranks carry 86% of the weight
DEPTH = 200  # how deep tops are followed: p^200 < 1e-9
Row = Float[np.ndarray, " row"]
Curves = Float[np.ndarray, "row depth"]
Entries = Int[np.ndarray, "row entry"]


def top_k_overlap(a: ScoreRows, b: ScoreRows, k: int) -> Row:
    """Share of the k highest scores that both methods have in common: `|top_k(a) & top_k(b)| / k`.

    The feature agreement of Krishna et al. 2022, arXiv:2202.01602. Independent methods reach k/n on average.
    """
    return _at_k(a, b, k, same_place=False, same_sign=False)


def rank_agreement_top_k(a: ScoreRows, b: ScoreRows, k: int) -> Row:
    """Share of the k highest places that both methods give to the same component: never above `top_k_overlap`.

    Krishna et al. 2022, arXiv:2202.01602. Independent methods reach 1/n on average.
    """
    return _at_k(a, b, k, same_place=True, same_sign=False)


def sign_agreement_top_k(a: ScoreRows, b: ScoreRows, k: int) -> Row:
    """Share of k of the components in both methods' top k that have the same sign: never above `top_k_overlap`.

    Krishna et al. 2022, arXiv:2202.01602.
    """
    return _at_k(a, b, k, same_place=False, same_sign=True)


def signed_rank_agreement_top_k(a: ScoreRows, b: ScoreRows, k: int) -> Row:
    """Share of the k highest places given to the same component with the same sign.

    Krishna et al. 2022, arXiv:2202.01602. Never above rank agreement, nor above sign agreement.
    """
    return _at_k(a, b, k, same_place=True, same_sign=True)


def rank_biased_overlap(a: ScoreRows, b: ScoreRows) -> Row:
    """Mean of the top-k overlap over all k with weights `(1-p) p^(k-1)`, p = 0.9; beyond the last k it stays as it is.

    Extrapolated RBO, Webber, Moffat & Zobel 2010, doi:10.1145/1852102.1852106 (equation 30); ties as in this file.
    """
    depth = min(DEPTH, a.values.shape[1])
    weights = (1 - PERSISTENCE) * PERSISTENCE ** np.arange(depth)
    weights[-1] += PERSISTENCE**depth
    return np.asarray(overlaps(a, b, depth) @ weights)


def overlaps(a: ScoreRows, b: ScoreRows, depth: int) -> Curves:
    """Top-k overlap at k = 1 ... depth."""
    one, other, entries = _shared(a, b, depth)
    return _shares(common(*entries, depth), one, other)


@dataclass(frozen=True)
class Curve:
    """One statistic at every k, and what independent methods reach: their mean and their central 95%."""

    value: Float[np.ndarray, " depth"]
    chance: Float[np.ndarray, " depth"]
    low: Float[np.ndarray, " depth"]
    high: Float[np.ndarray, " depth"]


@dataclass(frozen=True)
class OverlapCurves:
    """Top-k overlap, rank and sign agreement by size at k = 1 ... depth."""

    k: Int[np.ndarray, " depth"]
    overlap: Curve
    rank: Curve
    sign: Curve


def overlap_curves(
    a: Float[np.ndarray, " component"],
    b: Float[np.ndarray, " component"],
    depth: int | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> OverlapCurves:
    """The three statistics by size of two vectors of mean scores over k; NaN (unmeasured) in either leaves it out.

    The chance level is that of the two methods' own scores, ties, zeros and signs included, when one method's are
    dealt out to the components anew: `draws` deals. For overlap this is the hypergeometric distribution of the number
    of common components. Undefined k (no component found) are NaN. `depth` is at most, and by default, the number of
    components or 200, whichever is smaller.
    """
    measured = ~np.isnan(a) & ~np.isnan(b)
    n = int(measured.sum())
    depth = min(depth or DEPTH, DEPTH, n)
    by_size = [ScoreRows.of(x[None, measured], "by_size") for x in (a, b)]
    one, other, entries = _shared(by_size[0], by_size[1], depth)
    dealt = _deal(one, other, n, draws, np.random.default_rng(seed))
    curves = []
    for same_place, same_sign in ((False, False), (True, False), (False, True)):
        value = _shares(common(*entries, depth, same_place, same_sign), one, other)[0]
        chance = _shares(common(*dealt, depth, same_place, same_sign), one, other)
        low, high = np.quantile(chance, (0.025, 0.975), axis=0)
        curves.append(Curve(value, chance.mean(axis=0), low, high))
    return OverlapCurves(np.arange(1, depth + 1), *curves)


@dataclass(frozen=True)
class Entrants:
    """Components of one method's top side by side with those of another's: entry i is the same component in both."""

    start: Entries
    size: Entries
    signs: Entries

    @classmethod
    def of(cls, places: Places, chosen: Int[np.ndarray, " entry"]) -> "Entrants":
        return cls(places.start[:, chosen], places.size[:, chosen], places.signs[:, chosen])


def common(a: Entrants, b: Entrants, depth: int, same_place: bool = False, same_sign: bool = False) -> Curves:
    """What both tops have in common at every k up to `depth`, in components."""
    first, last = np.minimum(a.start, b.start), np.maximum(a.start, b.start)
    alone = (a.size == 1) & (b.size == 1)
    counted = last < depth
    if same_sign:
        counted &= a.signs == b.signs
    enters = counted & alone & (first == last) if same_place else counted & alone
    row, entry = np.nonzero(enters)
    n_rows = len(a.start)
    per_place = np.bincount(row * depth + last[row, entry], minlength=n_rows * depth).reshape(n_rows, depth)
    curves = per_place.cumsum(axis=1).astype(np.float64)
    row, entry = np.nonzero(counted & ~alone)
    if len(row):
        np.add.at(curves, row, _tied(a, b, row, entry, depth, same_place))
    return curves


def _tied(
    a: Entrants, b: Entrants, row: Int[np.ndarray, " tie"], entry: Int[np.ndarray, " tie"], depth: int, same_place: bool
) -> Float[np.ndarray, "tie depth"]:
    k = np.arange(1, depth + 1)
    shares = []
    for side in (a, b):
        start, size = side.start[row, entry, None], side.size[row, entry, None]
        share = np.clip(k - start, 0, size) / size
        shares.append(np.diff(share, axis=1, prepend=0) if same_place else share)
    least = np.minimum(*shares)
    return np.asarray(least.cumsum(axis=1) if same_place else least)


def _at_k(a: ScoreRows, b: ScoreRows, k: int, same_place: bool, same_sign: bool) -> Row:
    """One point of the curve, without the curve."""
    one, other, (x, y) = _shared(a, b, max(k, min(DEPTH, a.values.shape[1])))
    if same_place:
        places = np.minimum(np.minimum(x.start + x.size, y.start + y.size), k) - np.maximum(x.start, y.start)
        shared = np.clip(places, 0, None) / np.maximum(x.size, y.size)
    else:
        shared = np.minimum(*(np.clip(k - side.start, 0, side.size) / side.size for side in (x, y)))
    if same_sign:
        shared = shared * (x.signs == y.signs)
    with np.errstate(invalid="ignore"):
        return np.asarray(shared.sum(axis=1) / np.maximum(one.counted(k), other.counted(k)))


def _shared(a: ScoreRows, b: ScoreRows, depth: int) -> tuple[Places, Places, tuple[Entrants, Entrants]]:
    one, other = a.places(depth), b.places(depth)
    _, mine, theirs = np.intersect1d(one.columns, other.columns, assume_unique=True, return_indices=True)
    return one, other, (Entrants.of(one, mine), Entrants.of(other, theirs))


def _shares(counts: Curves, one: Places, other: Places) -> Curves:
    k = np.arange(1, counts.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(counts / np.maximum(one.counted(k), other.counted(k)))


def _deal(one: Places, other: Places, n: int, draws: int, rng: np.random.Generator) -> tuple[Entrants, Entrants]:
    """Two tops of n components that fall on one another at random: only the components in both are drawn."""
    sizes = [len(places.columns) for places in (one, other)]
    width = min(sizes)
    in_both = rng.hypergeometric(sizes[0], n - sizes[0], sizes[1], size=draws) if width else np.zeros(draws, dtype=int)
    outside: Bool[np.ndarray, "row entry"] = np.arange(width) >= in_both[:, None]
    sides = []
    for places, size in zip((one, other), sizes, strict=True):
        drawn = rng.permuted(np.tile(np.arange(size), (draws, 1)), axis=1)[:, :width]
        start, tied, signs = (part[0][drawn] for part in (places.start, places.size, places.signs))
        sides.append(Entrants(np.where(outside, ABSENT, start), tied, signs))
    return sides[0], sides[1]
