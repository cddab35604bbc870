"""Two results folders side by side, as data frames: what differs between the runs, and what comes of it.

The folders may hold other models, settings or versions. Settings are matched task by task and methods by their names,
as closely as both folders allow; what has no counterpart is named.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons, compared, primary
from benchmark.analysis.sections import Scored, Section
from benchmark.analysis.settings import different, facts
from benchmark.components import plural
from benchmark.errors import BenchmarkError
from benchmark.statistics.agreement import Statistic, primary_version, statistic, undefined
from benchmark.statistics.difference import difference
from benchmark.statistics.halves import halves
from benchmark.statistics.matched_baselines import Estimate
from benchmark.store.folder import Results

T = TypeVar("T")
_PEARSON = tuple(statistic("pearson", version) for version in ("signed", "by_size"))
_SIDES = ("a", "b")
OTHER_PAIRS = "no interval: not the same pairs"
COLUMNS = (
    "task", "component", "model_a", "model_b", "setting_a", "setting_b", "method", "method_a", "method_b",
    "direction_a", "direction_b", "replacement_a", "replacement_b", "n_pairs_a", "n_pairs_b", "n_shared",
    "reference_a", "reference_b", "version", "n_components_a", "n_components_b", "value_a", "low_a", "high_a",
    "value_b", "low_b", "high_b", "difference", "difference_low", "difference_high", "difference_note",
    "n_scores", "scores_over", "scores_version", "scores_pearson", "k", "scores_top_k", "largest_score",
    "largest_difference", "largest_pair_difference", "same_bits", "scores_note",
)  # fmt: skip


@dataclass(frozen=True)
class SideBySide:
    """Results A and B. `differing`: what, a, b; `same`: what doesn't differ; `methods`: a row a task, kind and method.

    In `methods`, `value_*` are the primary agreement with the side's own reference (NaN for references), `difference`
    is B - A on the shared pairs alone. `scores_*` and `largest_*` hold the mean scores of one method in A against its
    own in B, over the shared pairs (over each side's own where they share none); NaN, and `scores_note` says why, for
    models whose components don't correspond. `alone` says what only one folder holds.
    """

    a: Results
    b: Results
    differing: pd.DataFrame
    same: tuple[str, ...]
    methods: pd.DataFrame
    alone: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether all scores of both are the same to the bit, and no folder holds more than the other."""
        rows = self.methods
        whole = (rows.n_shared == rows.n_pairs_a) & (rows.n_shared == rows.n_pairs_b)
        return bool((rows.same_bits & whole).all()) and not self.alone


def side_by_side(a: Results, b: Results, top_k: int | None = None) -> SideBySide:
    """Compare two results folders. Raises BenchmarkError where they have no task, kind and method in common."""
    for results in (a, b):
        if not results.cells:
            raise BenchmarkError(
                f"{results.folder} holds no finished cell, so nothing can be compared. Run the command that wrote it "
                "again: it goes on."
            )
    left, right = (compared(results, top_k, tested=False, statistics=_PEARSON) for results in (a, b))
    alone: list[str] = []
    rows = []
    for one, other in _parts_in_common(left, right, (a, b), alone):
        rows += _rows(one, other, alone)
    if not rows:
        raise BenchmarkError(
            f"{a.folder} and {b.folder} have no method in common on the same task and kind of component: "
            f"A holds {_held(left)}; B holds {_held(right)}. Run one of them with methods and components of the "
            "other (--methods, --components)."
        )
    common = {(cell.task, cell.key.method.label) for cell in a.cells} & {
        (cell.task, cell.key.method.label) for cell in b.cells
    }
    found = [facts(results.cells, lambda cell: (cell.task, cell.key.method.label) in common) for results in (a, b)]
    differing = different(found[0], found[1])
    same = tuple(name for name in found[0] if name not in set(differing.what))
    return SideBySide(a, b, differing, same, pd.DataFrame(rows, columns=list(COLUMNS)), tuple(alone))


def _parts_in_common(
    a: list[Comparisons], b: list[Comparisons], folders: tuple[Results, Results], alone: list[str]
) -> Iterator[tuple[Comparisons, Comparisons]]:
    """The settings of both folders that hold the same task and kind, matched as closely as can be."""
    tasks = [list(dict.fromkeys(part.section.key.task.name for part in parts)) for parts in (a, b)]
    if not set(tasks[0]) & set(tasks[1]):
        held = "; ".join(f"{side} holds {', '.join(names)}" for side, names in zip("AB", tasks, strict=True))
        raise BenchmarkError(
            f"{folders[0].folder} and {folders[1].folder} have no task in common: {held}. Give folders of runs of the "
            "same task (--task)."
        )

    def of(*names: str) -> Callable[[Comparisons], Hashable]:
        return lambda part: (part.section.key.task.name, part.kind, *(_trait(part, name) for name in names))

    criteria = [of("setting", "dictionaries"), of("model", "metric", "pairs"), of("model", "metric"), of("model"), of()]
    pairs, left = matched(a, b, criteria)
    for side, rest in zip("AB", left, strict=True):
        if rest:
            alone.append(f"{side}: {', '.join(f'{plural(part.kind)} of {part.section.short}' for part in rest)}")
    yield from pairs


def _trait(part: Comparisons, name: str) -> Hashable:
    key = part.section.key
    traits = {
        "setting": key.setting, "dictionaries": part.section.read_by[part.kind], "model": key.model,
        "metric": key.task.metric, "pairs": len(key.pair_ids),
    }  # fmt: skip
    return traits[name]


def matched(
    a: Sequence[T], b: Sequence[T], criteria: Sequence[Callable[[T], Hashable]]
) -> tuple[list[tuple[T, T]], tuple[list[T], list[T]]]:
    """Couples of equals, and what is left of both: first by the strictest criterion, then by the next among the rest.

    A couple is made only where exactly one of each side is left that is equal by the criterion.

    >>> matched([1.0, 2.5], [2.4, 1.0], [lambda x: x, int])
    ([(1.0, 1.0), (2.5, 2.4)], ([], []))
    """
    left = list(a), list(b)
    found: list[tuple[int, T, T]] = []
    order = {id(one): place for place, one in enumerate(a)}
    for criterion in criteria:
        keys = [[criterion(one) for one in side] for side in left]
        sole = [key for key in dict.fromkeys(keys[0]) if keys[0].count(key) == keys[1].count(key) == 1]
        for key in sole:
            one, other = (side[each.index(key)] for side, each in zip(left, keys, strict=True))
            found.append((order[id(one)], one, other))
        left = tuple([one for one, key in zip(side, each, strict=True) if key not in sole]
                     for side, each in zip(left, keys, strict=True))  # type: ignore[assignment]  # fmt: skip
    return [(one, other) for _, one, other in sorted(found, key=lambda triple: triple[0])], left


def _rows(a: Comparisons, b: Comparisons, alone: list[str]) -> list[dict[str, Any]]:
    """A row for every method that both have."""

    def key(*names: str) -> Callable[[Scored], Hashable]:
        return lambda one: tuple(repr(getattr(one.cell.key.method, name)) for name in names)

    way = ("label", "direction", "replacement")
    criteria = [key(*way, "options", "seed", "draws"), key(*way, "seed"), key(*way), key(*way[:2]), key("label"),
                key("name")]  # fmt: skip
    couples, left = matched(a.methods, b.methods, criteria)
    for side, part, rest in zip("AB", (a, b), left, strict=True):
        if rest:
            labels = ", ".join(one.label for one in rest)
            alone.append(f"{side}: {labels} on {plural(part.kind)} of {part.section.short}")
    shared = _shared(a.section, b.section)
    return [
        _names(a, b, *couple, shared) | _agreement(a, b, *couple, shared) | _scores(a, b, *couple, shared)
        for couple in couples
    ]


Shared = tuple[list[int], list[int]]


def _shared(a: Section, b: Section) -> Shared:
    """The places, in both, of the pairs that are the same row of the same dataset."""
    if a.key.task.dataset_digest != b.key.task.dataset_digest:
        return [], []
    places = {name: place for place, name in enumerate(b.key.pair_ids)}
    both = [(place, places[name]) for place, name in enumerate(a.key.pair_ids) if name in places]
    return [one for one, _ in both], [other for _, other in both]


def _names(a: Comparisons, b: Comparisons, one: Scored, other: Scored, shared: Shared) -> dict[str, Any]:
    row: dict[str, Any] = {"task": a.section.key.task.name, "component": a.kind, "n_shared": len(shared[0])}
    alike = one.cell.identity[0] == other.cell.identity[0]
    row["method"] = max(one.label, other.label, key=len) if alike else f"{one.label} / {other.label}"
    for side, part, method in zip(_SIDES, (a, b), (one, other), strict=True):
        names = dict(zip(("method", "direction", "replacement"), method.cell.identity, strict=True))
        row |= {f"{name}_{side}": value for name, value in names.items()}
        row |= {f"model_{side}": part.section.model, f"setting_{side}": part.section.short}
        row |= {f"n_pairs_{side}": part.section.n_pairs}
    return row


def _agreement(a: Comparisons, b: Comparisons, one: Scored, other: Scored, shared: Shared) -> dict[str, Any]:
    """The primary agreement of the method with each side's reference, and the difference on the shared pairs."""
    row: dict[str, Any] = {}
    held = []
    for side, part, method in zip(_SIDES, (a, b), (one, other), strict=True):
        for candidate, reference, rows in part.against_whole:
            if candidate is method:
                main = primary(rows)
                held.append((part, method, reference, main["version"]))
                row |= {f"{name}_{side}": main[name] for name in ("value", "low", "high", "n_components")}
                row |= {f"reference_{side}": reference.label}
    if len(held) < 2:
        return row
    found = _difference(held, shared)
    return row | {
        "version": held[0][3], "difference": found.value, "difference_low": found.low, "difference_high": found.high,
        "difference_note": found.note,
    }  # fmt: skip


def _difference(held: list[tuple[Comparisons, Scored, Scored, str]], shared: Shared) -> Estimate:
    (a, _, _, version), (_, _, _, other) = held
    if version != other:
        return Estimate(np.nan, note="undefined: signed in one folder, sizes in the other")
    if not shared[0]:
        return Estimate(np.nan, note=OTHER_PAIRS)
    clusters, templates = ([names[place] for place in shared[0]] if names else None
                           for names in (a.section.clusters, a.section.templates))  # fmt: skip
    splits = halves(len(shared[0]), clusters, templates)
    sides = [
        (method.scores[places], reference.scores[places])
        for (_, method, reference, _), places in zip(held, shared, strict=True)
    ]
    names = [f"{one.label} ({side})" for side, (_, *both, _) in zip("AB", held, strict=True) for one in both]
    which = statistic("pearson", "signed" if version == "signed" else "by_size")
    found = difference(sides[0], sides[1], splits, which, names)
    if not all(method.per_pair or reference.per_pair for _, method, reference, _ in held):
        return Estimate(found.value, note="no interval: a method and its reference give every pair the same scores")
    return found


def _scores(a: Comparisons, b: Comparisons, one: Scored, other: Scored, shared: Shared) -> dict[str, Any]:
    """The method's mean scores in A against its own in B, component by component."""
    if why := _no_counterpart(a, b):
        return {"same_bits": False, "scores_note": why}
    over = shared if shared[0] else tuple(list(range(part.section.n_pairs)) for part in (a, b))
    x, y = (method.scores[places].astype(np.float64) for method, places in zip((one, other), over, strict=True))
    means = x.mean(axis=0), y.mean(axis=0)
    both = ~np.isnan(means[0]) & ~np.isnan(means[1])
    u, v = means[0][both], means[1][both]
    version, k = primary_version(one.signed, other.signed), min(a.k, b.k)
    pearson, tops = statistic("pearson", version), statistic("top_k_overlap", "by_size")

    def value(which: Statistic) -> float:
        return np.nan if undefined(u, v, k if which.top_k else None) else which.value(u, v, k)

    apart = float(np.abs(x - y)[:, both].max(initial=0)) if shared[0] else np.nan
    return {
        "n_scores": int(both.sum()), "scores_over": "shared pairs" if shared[0] else "each its own pairs",
        "scores_version": version, "scores_pearson": value(pearson), "k": k, "scores_top_k": value(tops),
        "largest_score": float(np.abs(u).max(initial=0)), "largest_difference": float(np.abs(u - v).max(initial=0)),
        "largest_pair_difference": apart, "same_bits": bool(shared[0]) and _same_bits(one, other, shared),
    }  # fmt: skip


def _no_counterpart(a: Comparisons, b: Comparisons) -> str:
    """Why the components of the two sides can't be compared one by one; empty where they can."""
    one, other = (part.section for part in (a, b))
    shapes = [part.methods[0].mean.shape for part in (a, b)]
    if one.key.model.digest != other.key.model.digest:
        said = " x ".join(map(str, shapes[0])), " x ".join(map(str, shapes[1]))
        sizes = f" ({said[0]} and {said[1]} {plural(a.kind)})" if shapes[0] != shapes[1] else ""
        return f"other weights{sizes}: a component of one model has no counterpart in the other"
    if one.read_by[a.kind] != other.read_by[b.kind] or shapes[0] != shapes[1]:
        return "features of other dictionaries: they have no counterpart"
    return ""


def _same_bits(one: Scored, other: Scored, shared: Shared) -> bool:
    """Whether the shared pairs have the same scores and metrics, bit by bit."""
    for name in (f"{one.kind}.values", "clean_metric", "corrupted_metric"):
        x, y = (np.asarray(each.cell.arrays[name])[places] for each, places in zip((one, other), shared, strict=True))
        if x.dtype != y.dtype or x.tobytes() != y.tobytes():
            return False
    return True


def _held(parts: list[Comparisons]) -> str:
    """`random, shapley on heads of ioi; ...`"""
    groups: dict[tuple[str, str], list[str]] = {}
    for part, method in ((one, method) for one in parts for method in one.methods):
        groups.setdefault((plural(part.kind), part.section.key.task.name), []).append(method.label)
    return ", and ".join(f"{', '.join(dict.fromkeys(labels))} on {kind} of {task}"
                         for (kind, task), labels in groups.items())  # fmt: skip
