"""How far two methods agree: a panel of statistics on two vectors of mean scores, never a single one.

To add one: a function of two `ScoreRows` (and of k, and of the components' layers, where it needs them) in
`correlation` or `tops`, and a line in `STATISTICS` with its heading. Tables and `agreement.csv` follow; above 1024
components only `SHORT_PANEL` is computed.

Every statistic exists over signed scores or over sizes `|score|`, and says which. All of them lie in [-1, 1] or [0, 1],
are symmetric, give 1 for a method against itself, and don't change when a method's scores are multiplied by a positive
number. Where one is undefined it is NaN with a reason (`undefined`), never 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from benchmark.errors import BenchmarkError
from benchmark.statistics import correlation, tops
from benchmark.statistics.score_rows import ScoreRows, Version, constant

Vector = Float[np.ndarray, " component"]
Layer = Int[np.ndarray, " component"]  # the layer of each component
FEWEST = 3  # components below which no statistic says anything
FULL_PANEL = 1024  # components up to which the whole panel is the default


@dataclass(frozen=True)
class Statistic:
    """One statistic in one version. `version` says what components are ranked or correlated by."""

    name: str
    version: Version
    heading: str  # of its row or column in a report, which adds "by size"
    compute: Callable[..., Float[np.ndarray, " row"]]
    column: str = ""  # of the table that a run ends with; without it the statistic is not shown there
    top_k: bool = False
    needs_signs: bool = True
    needs_layers: bool = False
    lowest: float = 0.0  # the statistic's range is [lowest, 1]
    pairwise: bool = False  # compares every two components: time and memory grow with their number squared

    def rows(self, a: ScoreRows, b: ScoreRows, k: int, layer: Layer | None = None) -> Float[np.ndarray, " row"]:
        """The statistic of every row of `a` with that row of `b`; NaN where either is constant or k is too large."""
        n = a.values.shape[1]
        if n < FEWEST or (self.top_k and k > n):
            return np.full(len(a.values), np.nan)
        values = self.compute(a, b, *([k] if self.top_k else []), *([layer] if self.needs_layers else []))
        return np.where(a.constant | b.constant, np.nan, values)

    def value(self, a: Vector, b: Vector, k: int = 1, layer: Layer | None = None) -> float:
        """The statistic of two vectors without NaN."""
        one, other = (ScoreRows.of(x[None], self.version) for x in (a, b))
        return float(self.rows(one, other, k, layer)[0])

    def note(self, a: Vector, b: Vector, k: int = 1, layer: Layer | None = None) -> str:
        """Why the value is undefined, or how ties were settled; mostly empty."""
        if self.version == "by_size":
            a, b = np.abs(a), np.abs(b)
        reason = undefined(a, b, k if self.top_k else None)
        if not reason and self.needs_layers and np.isnan(self.value(a, b, k, layer)):
            return "scores of a method are constant within every layer"
        if reason or not self.top_k:
            return reason
        return "; ".join(note for name, x in (("method_a", a), ("method_b", b)) if (note := _top_note(name, x, k)))


def undefined(a: Vector, b: Vector, k: int | None = None) -> str:
    """Why no statistic of `a` and `b` (and of their top k) is defined; empty where it is."""
    if np.isnan(a).any() or np.isnan(b).any():
        return "some components are unmeasured"
    if len(a) < FEWEST:
        return f"fewer than {FEWEST} components measured in both"
    same = [name for name, x in (("method_a", a), ("method_b", b)) if constant(x[None].astype(np.float64))[0]]
    if same:
        return f"constant scores: {' and '.join(same)}"
    if k is not None and k > len(a):
        return f"k={k} exceeds the {len(a)} components measured in both"
    return ""


def _top_note(name: str, scores: Vector, k: int) -> str:
    places = ScoreRows.of(scores[None], "signed").places(k)
    if places.found[0] < k:
        return f"{name} scores only {places.found[0]} components above 0"
    shares = places.membership(k)
    return f"{name} has components tied at rank {k}" if ((shares > 0) & (shares < 1)).any() else ""


STATISTICS = (
    Statistic("pearson", "signed", "Pearson", correlation.pearson, "Pearson", lowest=-1.0),
    Statistic("pearson", "by_size", "Pearson", correlation.pearson, "Pearson by size", lowest=-1.0, needs_signs=False),
    Statistic("spearman", "signed", "Spearman", correlation.spearman, "Spearman", lowest=-1.0),
    Statistic("spearman", "by_size", "Spearman", correlation.spearman, lowest=-1.0, needs_signs=False),
    Statistic("kendall", "signed", "Kendall", correlation.kendall, "Kendall", lowest=-1.0, pairwise=True),
    Statistic("kendall", "by_size", "Kendall", correlation.kendall, lowest=-1.0, needs_signs=False, pairwise=True),
    Statistic(
        "pairwise_rank_agreement", "by_size", "pairwise rank agreement", correlation.pairwise_rank_agreement,
        needs_signs=False, pairwise=True,
    ),
    Statistic("rank_biased_overlap", "signed", "rank-biased overlap", tops.rank_biased_overlap),
    Statistic("rank_biased_overlap", "by_size", "rank-biased overlap", tops.rank_biased_overlap, needs_signs=False),
    Statistic("top_k_overlap", "signed", "top-k overlap", tops.top_k_overlap, top_k=True),
    Statistic(
        "top_k_overlap", "by_size", "top-k overlap", tops.top_k_overlap, "same top {k}", top_k=True, needs_signs=False
    ),
    Statistic(
        "rank_agreement_top_k", "by_size", "rank agreement in the top k", tops.rank_agreement_top_k, top_k=True,
        needs_signs=False,
    ),
    Statistic(
        "sign_agreement_top_k", "by_size", "sign agreement in the top k", tops.sign_agreement_top_k,
        "same sign in top {k}", top_k=True,
    ),
    Statistic(
        "signed_rank_agreement_top_k", "by_size", "signed rank agreement in the top k",
        tops.signed_rank_agreement_top_k, top_k=True,
    ),
    Statistic(
        "pearson_within_layer", "signed", "Pearson within layers", correlation.pearson_within_layer, lowest=-1.0,
        needs_layers=True,
    ),
    Statistic(
        "pearson_within_layer", "by_size", "Pearson within layers", correlation.pearson_within_layer, lowest=-1.0,
        needs_signs=False, needs_layers=True,
    ),
)  # fmt: skip
SHORT_PANEL = tuple(s for s in STATISTICS if s.name in ("pearson", "top_k_overlap", "sign_agreement_top_k"))
PRIMARY = "pearson"  # docs/statistics.md says why


def primary_version(signed_a: bool, signed_b: bool) -> Version:
    """The version of the primary statistic: signed scores, or sizes where either method has no signs."""
    return "signed" if signed_a and signed_b else "by_size"


@dataclass(frozen=True)
class Agreement:
    """One statistic of two methods; `k` where a top k is taken, `chance` where independent methods' mean is known."""

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


def panel(
    a: Vector,
    b: Vector,
    k: int,
    signed_a: bool = True,
    signed_b: bool = True,
    layer: Layer | None = None,
    statistics: Sequence[Statistic] | None = None,
) -> list[Agreement]:
    """Every statistic that is defined for the two kinds of method, over the components measured (not NaN) in both.

    Where either method is unsigned, the statistics that need signs are left out; without `layer`, those within layers.
    By default all of `STATISTICS`, or above 1024 components `SHORT_PANEL`.

    >>> [found] = [one for one in panel(np.array([3.0, 2, 1, 0]), np.array([3.0, 1, 2, 0]), k=2)
    ...            if (one.statistic, one.version) == ("top_k_overlap", "signed")]
    >>> found.value, found.chance
    (0.5, 0.5)
    """
    check(a, b, k)
    both = ~np.isnan(a) & ~np.isnan(b)
    x, y, n = a[both].astype(np.float64), b[both].astype(np.float64), int(both.sum())
    within = None if layer is None else layer[both]
    views = {version: (ScoreRows.of(x[None], version), ScoreRows.of(y[None], version)) for version in _VERSIONS}
    return [
        Agreement(
            statistic=s.name,
            version=s.version,
            value=float(s.rows(*views[s.version], k, within)[0]) if n else np.nan,
            n_components=n,
            k=k if s.top_k else None,
            chance=chance(s, n, k),
            note=s.note(x, y, k, within),
        )
        for s in applicable(statistics or default_statistics(n), signed_a and signed_b, layer is not None)
    ]


_VERSIONS: tuple[Version, Version] = ("signed", "by_size")


def default_statistics(n_components: int) -> tuple[Statistic, ...]:
    """All statistics for heads; the short panel for thousands of neurons, whose order is mostly noise."""
    return STATISTICS if n_components <= FULL_PANEL else SHORT_PANEL


def applicable(statistics: Sequence[Statistic], signed: bool, layers: bool) -> tuple[Statistic, ...]:
    """Those that two methods can be held to: `signed` where both have signs, `layers` where layers are known."""
    return tuple(s for s in statistics if (signed or not s.needs_signs) and (layers or not s.needs_layers))


def chance(statistic: Statistic, n: int, k: int) -> float:
    """What independent methods that rank all n components reach on average; NaN where that depends on their scores.

    Two tops by size can't be expected to share signs, so k/n is no chance level for sign agreement.
    """
    if statistic.name == "top_k_overlap" and k <= n:
        return k / n
    return 1 / n if statistic.name == "rank_agreement_top_k" and k <= n else np.nan


def check(a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."], k: int) -> None:
    """Refuse what no statistic can be of."""
    if a.shape[-1] != b.shape[-1] or a.ndim != b.ndim:
        raise BenchmarkError(f"Agreement compares scores of the same components, not {a.shape} with {b.shape}.")
    if k < 1:
        raise BenchmarkError(f"The top k needs k of at least 1, not {k}.")
    if np.isinf(a).any() or np.isinf(b).any():
        raise BenchmarkError("Agreement of infinite scores is undefined: mend the method that gave them.")


def by_measured(
    means: Sequence[Vector] | Float[np.ndarray, "method component"], k: int = 1
) -> dict[tuple[bool, ...], list[tuple[int, int]]]:
    """Every two methods, by the components that both measured: what is compared over the same ones goes together."""
    groups: dict[tuple[bool, ...], list[tuple[int, int]]] = {}
    for a, b in combinations(range(len(means)), 2):
        check(means[a], means[b], k)
        both = ~np.isnan(means[a]) & ~np.isnan(means[b])
        groups.setdefault(tuple(both.tolist()), []).append((a, b))
    return groups


def statistic(name: str, version: Version) -> Statistic:
    """The statistic of that name in that version."""
    return next(s for s in STATISTICS if (s.name, s.version) == (name, version))


def pearson(a: Vector, b: Vector) -> float:
    """The primary statistic of two signed vectors.

    >>> round(pearson(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 6.0])), 3)
    0.945
    """
    return np.nan if undefined(a, b) else statistic(PRIMARY, "signed").value(a, b)
