"""How far two methods agree: a panel of statistics on two vectors of mean scores, never a single one.

Every statistic exists over signed scores or over sizes `|score|`, and says which. All of them lie in [-1, 1] or [0, 1],
are symmetric, give 1 for a method against itself, and don't change when a method's scores are multiplied by a positive
number. Where one is undefined it is NaN with a reason (`undefined`), never 0.

Ties at rank k are settled by sharing: the components tied there split the places that are left among them evenly. That
is symmetric and doesn't depend on how components are numbered. A component that scores 0 (or, signed, less) is in no
top k: else two methods that find one component each, and not the same one, would agree on what fills up their tops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

from benchmark.errors import BenchmarkError

Vector = Float[np.ndarray, " component"]
Version = Literal["signed", "by_size"]
FEWEST = 3  # components below which no statistic says anything
_SAME = 1e-13  # a range below this share of the largest value is rounding: scipy's bound for "nearly constant"


def undefined(a: Vector, b: Vector, k: int | None = None) -> str:
    """Why no statistic of `a` and `b` (and of their top k) is defined; empty where it is."""
    if np.isnan(a).any() or np.isnan(b).any():
        return "some components are unmeasured"
    if len(a) < FEWEST:
        return f"fewer than {FEWEST} components measured in both"
    constant = [name for name, x in (("method_a", a), ("method_b", b)) if np.ptp(x) <= _SAME * np.abs(x).max()]
    if constant:
        return f"constant scores: {' and '.join(constant)}"
    if k is not None and k > len(a):
        return f"k={k} exceeds the {len(a)} components measured in both"
    return ""


def pearson(a: Vector, b: Vector) -> float:
    """Linear correlation: `sum (a-mean a)(b-mean b) / (|a-mean a| |b-mean b|)`. Led by the largest scores.

    Pearson 1895, doi:10.1098/rspl.1895.0041.

    >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 6.0])).__round__(3)
    0.945
    """
    if undefined(a, b):
        return np.nan
    # Scaling first keeps squares of tiny or huge scores inside the range of floats.
    x, y = (v / np.abs(v).max() for v in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip((x / np.linalg.norm(x)) @ (y / np.linalg.norm(y)), -1, 1))


def spearman(a: Vector, b: Vector) -> float:
    """Pearson correlation of the ranks, tied scores given their mean rank. Led by the many small scores.

    Spearman 1904, doi:10.2307/1412159.

    >>> spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 9.0, 4.0])).__round__(3)
    0.8
    """
    return np.nan if undefined(a, b) else pearson(stats.rankdata(a), stats.rankdata(b))


def kendall(a: Vector, b: Vector) -> float:
    """Kendall's tau-b: `(C - D) / sqrt((C+D+Ta) (C+D+Tb))` over all pairs of components.

    C and D count the pairs of components that both methods order alike and oppositely, Ta and Tb those tied in one
    method only. Kendall 1945, doi:10.1093/biomet/33.3.239.

    >>> kendall(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 9.0, 4.0])).__round__(3)
    0.667
    """
    if undefined(a, b):
        return np.nan
    return float(np.clip(stats.kendalltau(a, b, method="asymptotic", variant="b").statistic, -1, 1))


def top_k_membership(scores: Vector, k: int) -> Vector:
    """How far each component belongs to the k highest above 0: 1, 0, or an even share of the places left to ties at k.

    They sum to k, or to the number of scores above 0 where that is smaller.

    >>> top_k_membership(np.array([5.0, 2.0, 2.0, 0.0]), k=2)
    array([1. , 0.5, 0.5, 0. ])
    """
    found = scores > 0
    k = min(k, int(found.sum()))
    if k == 0:
        return np.zeros(len(scores))
    threshold = np.partition(scores[found], -k)[-k]
    above, tied = found & (scores > threshold), found & (scores == threshold)
    return np.asarray(above + tied * ((k - above.sum()) / tied.sum()))


def top_k_overlap(a: Vector, b: Vector, k: int) -> float:
    """Share of the k highest scores that both methods have in common: `|top_k(a) & top_k(b)| / k`.

    The feature agreement of Krishna et al. 2022, arXiv:2202.01602. With ties, memberships are shares and the common
    part is their minimum. Where both methods score fewer than k components above 0, the larger of these numbers
    stands for k. Independent methods without ties and zeros reach k/n on average.

    >>> top_k_overlap(np.array([5.0, 4.0, 1.0, 0.0]), np.array([5.0, 0.0, 4.0, 1.0]), k=2)
    0.5
    """
    if undefined(a, b, k):
        return np.nan
    members = top_k_membership(a, k), top_k_membership(b, k)
    largest = max(top.sum() for top in members)
    return float(np.minimum(*members).sum() / largest) if largest else np.nan


def sign_agreement_top_k(a: Vector, b: Vector, k: int) -> float:
    """Share of k of the components in both methods' top k *by size* that have the same sign.

    Krishna et al. 2022, arXiv:2202.01602. Never above `top_k_overlap` by size; ties and zeros as there.

    >>> sign_agreement_top_k(np.array([-5.0, 4.0, 1.0, 0.0]), np.array([5.0, 4.0, 1.0, 0.0]), k=2)
    0.5
    """
    if undefined(np.abs(a), np.abs(b), k):
        return np.nan
    members = top_k_membership(np.abs(a), k), top_k_membership(np.abs(b), k)
    return float(np.minimum(*members)[np.sign(a) == np.sign(b)].sum() / max(top.sum() for top in members))


@dataclass(frozen=True)
class Statistic:
    """One statistic in one version. `version` says what components are ranked or correlated by."""

    name: str
    version: Version
    compute: Callable[..., float]
    top_k: bool = False
    needs_signs: bool = True

    def value(self, a: Vector, b: Vector, k: int) -> float:
        if not self.needs_signs:
            a, b = np.abs(a), np.abs(b)
        return self.compute(a, b, k) if self.top_k else self.compute(a, b)

    def note(self, a: Vector, b: Vector, k: int) -> str:
        """Why the value is undefined, or how ties were settled; mostly empty."""
        if self.version == "by_size":
            a, b = np.abs(a), np.abs(b)
        reason = undefined(a, b, k if self.top_k else None)
        if reason or not self.top_k:
            return reason
        return "; ".join(note for name, x in (("method_a", a), ("method_b", b)) if (note := _top_note(name, x, k)))


def _top_note(name: str, scores: Vector, k: int) -> str:
    found = np.count_nonzero(scores > 0)
    if found < k:
        return f"{name} scores only {found} components above 0"
    shares = top_k_membership(scores, k)
    return f"{name} has components tied at rank {k}" if ((shares > 0) & (shares < 1)).any() else ""


STATISTICS = (
    Statistic("pearson", "signed", pearson),
    Statistic("pearson", "by_size", pearson, needs_signs=False),
    Statistic("spearman", "signed", spearman),
    Statistic("spearman", "by_size", spearman, needs_signs=False),
    Statistic("kendall", "signed", kendall),
    Statistic("kendall", "by_size", kendall, needs_signs=False),
    Statistic("top_k_overlap", "signed", top_k_overlap, top_k=True),
    Statistic("top_k_overlap", "by_size", top_k_overlap, top_k=True, needs_signs=False),
    Statistic("sign_agreement_top_k", "by_size", sign_agreement_top_k, top_k=True),
)


@dataclass(frozen=True)
class Agreement:
    """One statistic of two methods; `k` where a top k is taken, `chance` where independent methods overlap by k/n."""

    statistic: str
    version: Version
    value: float
    n_components: int
    k: int | None
    chance: float
    note: str


def default_k(n_components: int) -> int:
    """A twentieth of the components, but at least 5 and at most 100, and never more than half of them.

    >>> [default_k(n) for n in (6, 32, 144, 270, 46080)]
    [3, 5, 7, 13, 100]
    """
    return max(1, min(100, max(5, n_components // 20), n_components // 2))


def panel(a: Vector, b: Vector, k: int, signed_a: bool = True, signed_b: bool = True) -> list[Agreement]:
    """Every statistic that is defined for the two kinds of method, over the components measured (not NaN) in both.

    Where either method is unsigned, the statistics that need signs are left out.
    """
    if a.shape != b.shape or a.ndim != 1:
        raise BenchmarkError(f"Agreement compares two vectors of one length, not {a.shape} and {b.shape}.")
    if k < 1:
        raise BenchmarkError(f"The top k needs k of at least 1, not {k}.")
    if np.isinf(a).any() or np.isinf(b).any():
        raise BenchmarkError("Agreement of infinite scores is undefined: mend the method that gave them.")
    both = ~np.isnan(a) & ~np.isnan(b)
    x, y, n = a[both].astype(np.float64), b[both].astype(np.float64), int(both.sum())
    return [
        Agreement(
            statistic=s.name,
            version=s.version,
            value=s.value(x, y, k),
            n_components=n,
            k=k if s.top_k else None,
            # Two tops by size can't be expected to share signs, so k/n is no chance level for sign agreement.
            chance=k / n if s.name == "top_k_overlap" and k <= n else np.nan,
            note=s.note(x, y, k),
        )
        for s in STATISTICS
        if (signed_a and signed_b) or not s.needs_signs
    ]
