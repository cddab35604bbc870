"""Correlations of two methods' scores over all components: of values, of ranks, of the order of every two of them.

Each function compares two `ScoreRows` row by row; `statistics.agreement` says where the result is undefined.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from benchmark.statistics.score_rows import ScoreRows

Row = Float[np.ndarray, " row"]
Each = Float[np.ndarray, "row component"]


def pearson(a: ScoreRows, b: ScoreRows) -> Row:
    """Linear correlation: `sum (a-mean a)(b-mean b) / (|a-mean a| |b-mean b|)`. Led by the largest scores.

    Pearson 1895, doi:10.1098/rspl.1895.0041.
    """
    return _cosine(a.deviations, b.deviations)


def spearman(a: ScoreRows, b: ScoreRows) -> Row:
    """Pearson correlation of the ranks, tied scores given their mean rank. Led by the many small scores.

    Spearman 1904, doi:10.2307/1412159.
    """
    return _cosine(a.rank_deviations, b.rank_deviations)


def pearson_within_layer(a: ScoreRows, b: ScoreRows, layer: Int[np.ndarray, " component"]) -> Row:
    """Pearson correlation after the mean of its layer is taken from every score: the pooled within-group correlation.

    What agreement is left when both methods know how much each layer matters. NaN where a method's scores differ
    between layers only. Pedhazur 1997, Multiple Regression in Behavioral Research, chapter 16.
    """
    return _cosine(a.deviations_within(layer), b.deviations_within(layer))


def kendall(a: ScoreRows, b: ScoreRows) -> Row:
    """Kendall's tau-b: `(C - D) / sqrt((C+D+Ta) (C+D+Tb))` over every two components.

    C counts how often both methods order two components alike, D how often oppositely, Ta and Tb how often the two are
    tied in one method only. Kendall 1945, doi:10.1093/biomet/33.3.239.
    """
    alike, oppositely = _orders(a, b)
    return _clipped(alike - oppositely, np.sqrt(a.untied) * np.sqrt(b.untied))


def pairwise_rank_agreement(a: ScoreRows, b: ScoreRows) -> Row:
    """How often both methods order two components alike, as a share; (tau_a + 1) / 2 without ties.

    Two that are tied count 1 in both methods, 1/2 in one only. Krishna et al. 2022, arXiv:2202.01602.
    """
    alike, oppositely = _orders(a, b)
    n = a.values.shape[1]
    tied_in_one = a.untied + b.untied - 2 * (alike + oppositely)
    tied_in_both = n * (n - 1) / 2 - alike - oppositely - tied_in_one
    return np.asarray((alike + tied_in_both + tied_in_one / 2) / (n * (n - 1) / 2))


def concordance(rows: Float[np.ndarray, "method row component"]) -> Row:
    """Kendall's W of all methods: the variance of the components' rank sums as a share of the largest possible.

    `W = 12 S / (m^2 (n^3 - n) - m T)` for m methods and n components, S the squared deviations of the rank sums and T
    the sum of t^3 - t over every group of t tied components. Kendall & Babington Smith 1939,
    doi:10.1214/aoms/1177732186; with ties Kendall 1948, Rank Correlation Methods, chapter 6.
    """
    m, _, n = rows.shape
    ranks = stats.rankdata(rows, axis=2)
    # A group of t tied components takes t^3 - t from 12 times the squared deviations of n untied ranks.
    tied = (n**3 - n) - 12 * ((ranks - (n + 1) / 2) ** 2).sum(axis=2)
    sums = ranks.sum(axis=0)
    deviations = ((sums - m * (n + 1) / 2) ** 2).sum(axis=1)
    return _clipped(12 * deviations, m**2 * (n**3 - n) - m * tied.sum(axis=0))


def _cosine(a: Each, b: Each) -> Row:
    return np.asarray(np.clip(np.einsum("rc,rc->r", a, b), -1, 1))


def _orders(a: ScoreRows, b: ScoreRows) -> tuple[Row, Row]:
    """How often both methods order two components alike, and how often oppositely."""
    (above_a, below_a), (above_b, below_b) = a.comparisons, b.comparisons
    alike = np.bitwise_count((above_a & above_b) | (below_a & below_b))
    oppositely = np.bitwise_count((above_a & below_b) | (below_a & above_b))
    # Every two components are met twice, once from either side.
    return alike.sum(axis=(1, 2), dtype=np.float64) / 2, oppositely.sum(axis=(1, 2), dtype=np.float64) / 2


def _clipped(above: Row, below: Row) -> Row:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip(above / below, -1, 1))
