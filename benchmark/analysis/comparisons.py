"""Every two methods of a section compared on one kind of component: values, intervals, noise ceilings, nulls."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations, groupby
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from benchmark.analysis.sections import Scored, Section, reference_for, sections, slug
from benchmark.components import many, titled
from benchmark.statistics.agreement import SHORT_PANEL, STATISTICS, Statistic, default_k, primary_version
from benchmark.statistics.floors import Floor, layer_floor
from benchmark.statistics.inference import Comparison, Concordance, Halves, compare, concordance, halves
from benchmark.statistics.influence import DECIDES, Influence, influence
from benchmark.statistics.nulls import holm, permutation_tests
from benchmark.statistics.score_rows import Version
from benchmark.store.cell import Cell
from benchmark.store.folder import Results

T = TypeVar("T")
_OWN = ("half_self", "reliability")  # what a method's own noise is known by
_NULLS = ("p_free", "p_within_layer")  # each adjusted over the whole report
AGREEMENT_COLUMNS = (
    "model", "task", "metric", "component", "method_a", "direction_a", "replacement_a", "method_b", "direction_b",
    "replacement_b", "n_pairs", "statistic", "version", "primary", "k", "value", "low", "high", "chance",
    "n_components", "largest_share_a", "largest_share_b",
    "half_same", "half_disjoint", "half_self_a", "half_self_b", "reliability_a", "reliability_b",
    "ceiling", "disjoint", "disattenuated", "within_layer_95", "p_free", "p_free_holm", "p_within_layer",
    "p_within_layer_holm", "permutations", "note", "setting", "cell_a", "cell_b",
)  # fmt: skip


@dataclass(frozen=True)
class Comparisons:
    """All comparisons of one section and kind. `rows` has one row a statistic of two methods, `a` and `b` their places.

    `family` counts the p-values against each null in the whole report: they are adjusted over them.
    """

    section: Section
    kind: str
    methods: list[Scored]
    k: int
    halves: Halves
    rows: pd.DataFrame
    family: int

    def of(self, statistic: str, version: str) -> pd.DataFrame:
        """The rows of one statistic."""
        return self.rows[(self.rows.statistic == statistic) & (self.rows.version == version)]

    def between(self, a: Scored, b: Scored) -> pd.DataFrame:
        """The rows of two methods, in whichever order they were compared."""
        first, second = sorted((self.methods.index(a), self.methods.index(b)))
        return self.rows[(self.rows.a == first) & (self.rows.b == second)]

    @cached_property
    def against_reference(self) -> list[tuple[Scored, Scored, pd.DataFrame]]:
        """Each method but the references, its reference, and their rows."""
        return [(a, b, self.between(a, b)) for a, b in held(self.methods)]

    @cached_property
    def references(self) -> list[Scored]:
        """The references that some method is held against."""
        return list({reference.label: reference for _, reference, _ in self.against_reference}.values())

    @cached_property
    def deciding(self) -> list[tuple[Scored, Influence]]:
        """The methods whose mean scores one pair, or cluster, decides, where there would be intervals otherwise."""
        if self.halves.refusal:
            return []
        found = [(method, influence(method.scores, self.halves.cluster)) for method in self.methods]
        return [(method, one) for method, one in found if one.decides]

    @cached_property
    def against_whole(self) -> list[tuple[Scored, Scored, pd.DataFrame]]:
        """`against_reference` without verified samples: agreement with these isn't agreement over all components."""
        return [one for one in self.against_reference if not (one[0].sampled or one[1].sampled)]

    def floor(self, reference: Scored) -> list[Floor]:
        """How far the reference's scores follow from the mean score of each layer, taken on other pairs."""
        return layer_floor(
            reference.scores, reference.layers, self.halves, self.k, reference.signed, _panel_of(self.kind)
        )

    @cached_property
    def concordance(self) -> Concordance | None:
        """Kendall's W of all methods in units of the metric; None where there are fewer than three."""
        chosen = [method for method in self.methods if method.metric_units]
        if len(chosen) < 3:
            return None
        version: Version = "signed" if all(method.signed for method in chosen) else "by_size"
        return concordance([method.scores for method in chosen], self.halves, version)


def by_model_and_kind(
    found: Iterable[T], part: Callable[[T], Comparisons], name: str
) -> list[tuple[str, str, list[T]]]:
    """What stands side by side in a report: a heading, a stem for file names from `name` on, and the group itself."""
    found = list(found)
    several = len({part(one).section.model for one in found}) > 1

    def key(one: T) -> tuple[str, str]:
        return part(one).kind, part(one).section.model

    return [
        (f"{titled(kind)} of {model}", slug(*[model] * several, name, kind), list(group))
        for (kind, model), group in groupby(sorted(found, key=key), key=key)
    ]


def held(methods: list[Scored]) -> list[tuple[Scored, Scored]]:
    """Every method that has a reference, with it."""
    found = [(method, reference_for(method, methods)) for method in methods]
    return [(method, reference) for method, reference in found if reference is not None and reference is not method]


def value_of(rows: pd.DataFrame, statistic: str, version: str, column: str = "value") -> float:
    """One number of one statistic of two methods; NaN where it isn't defined for them."""
    found = rows.loc[(rows.statistic == statistic) & (rows.version == version), column]
    return float(found.iloc[0]) if len(found) else np.nan


def is_decided(row: Mapping[str, Any]) -> bool:
    """Whether one pair, or cluster, decides the scores of either of the two methods of a row."""
    return bool(np.fmax(row["largest_share_a"], row["largest_share_b"]) > DECIDES)


def at_floor(row: Mapping[str, Any], name: str) -> bool:
    """Whether a p-value is the least that so many permutations can give: none of them reached the value."""
    return bool(row[name] * (1 + row["permutations"]) < 1.5)


def primary(rows: pd.DataFrame) -> dict[str, Any]:
    """The row of the primary statistic of two methods."""
    return dict(rows[rows.primary].iloc[0])


def compared(
    results: Results, top_k: int | None = None, tested: bool = True, statistics: tuple[Statistic, ...] = STATISTICS
) -> list[Comparisons]:
    """Compare every two methods of every section and kind, in the order of the sections.

    `tested` adds permutation tests of the primary statistic for each method and its reference, adjusted over all of
    these in the folder (Holm).
    """
    found = [(section, kind, section.scored(kind)) for section in sections(results) for kind in section.kinds]
    family = sum(len(_tested(methods)) for _, _, methods in found)
    parts = [_compared(results, *one, top_k, family, tested, statistics) for one in found]
    if tested and parts:
        counted = _adjust([part.rows for part in parts])
        parts = [replace(part, family=counted) for part in parts]
    return parts


def agreement_table(parts: list[Comparisons]) -> pd.DataFrame:
    """Every statistic of every two methods, one a row: `agreement.csv`."""
    frames = [part.rows for part in parts if len(part.rows)]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return table.reindex(columns=list(AGREEMENT_COLUMNS)).astype({"k": "Int64", "permutations": "Int64"})


def _compared(
    results: Results, section: Section, kind: str, methods: list[Scored], top_k: int | None, family: int,
    tested: bool, statistics: tuple[Statistic, ...],
) -> Comparisons:  # fmt: skip
    k = top_k or _common_k(methods)
    split = halves(section.n_pairs, section.clusters, section.templates)
    signed = [method.signed for method in methods]
    panel = [statistic for statistic in _panel_of(kind) if statistic in statistics]
    found = compare([method.scores for method in methods], signed, split, k, methods[0].layers, tuple(panel))
    found = [_without_noise(one, methods) for one in found]
    names = [_names(results, method) for method in methods]
    shared = _shared(section, kind)
    rows = pd.DataFrame(
        [shared | names[one.a]["a"] | names[one.b]["b"] | asdict(one) for one in found],
        columns=None if found else ["a", "b", *AGREEMENT_COLUMNS],
    )
    if found:
        versions = {(i, j): primary_version(signed[i], signed[j]) for i, j in combinations(range(len(methods)), 2)}
        of_pair = [versions[i, j] for i, j in zip(rows.a, rows.b, strict=True)]
        rows["primary"] = (rows.statistic == "pearson") & (rows.version == of_pair)
        if tested and held(methods):
            rows = rows.merge(_tests(methods, signed, family), on=["a", "b", "primary"], how="left")
    return Comparisons(section, kind, methods, k, split, rows, family)


def _without_noise(one: Comparison, methods: list[Scored]) -> Comparison:
    """Without what resampling can't know of a method whose scores are the same for every pair."""
    fixed = [side for side, place in (("a", one.a), ("b", one.b)) if not methods[place].per_pair]
    if not fixed:
        return one
    unknown = ["ceiling", "disjoint", "disattenuated", *(f"{what}_{side}" for what in _OWN for side in fixed)]
    changes: dict[str, Any] = dict.fromkeys(unknown + ["low", "high"] * (len(fixed) == 2), np.nan)
    return replace(one, **changes)


def _panel_of(kind: str) -> tuple[Statistic, ...]:
    """All statistics; few for a kind with thousands of components, whose intervals would take minutes."""
    return SHORT_PANEL if many(kind) else STATISTICS


def _common_k(methods: list[Scored]) -> int:
    """One k for all methods of a table: by the smallest number of components that any of them measured."""
    return default_k(min(int((~np.isnan(method.vector)).sum()) for method in methods))


def _tested(methods: list[Scored]) -> list[tuple[Scored, Scored]]:
    """What is tested: every method against its reference, but for verified samples, whose p would be of those alone."""
    return [pair for pair in held(methods) if not any(method.sampled for method in pair)]


def _tests(methods: list[Scored], signed: list[bool], family: int) -> pd.DataFrame:
    """Permutation tests of every method against its reference, on the components that the reference measured."""
    means = np.stack([method.vector for method in methods])
    places = [(methods.index(method), methods.index(reference)) for method, reference in _tested(methods)]
    found = []
    for reference in dict.fromkeys(reference for _, reference in places):
        kept = ~np.isnan(means[reference])
        wanted = {(min(pair), max(pair)) for pair in places if pair[1] == reference}
        tests = permutation_tests(means[:, kept], signed, methods[0].layers[kept], family=family)
        found += [asdict(test) for test in tests if (test.a, test.b) in wanted]
    columns = {"a": int, "b": int, **dict.fromkeys([*_NULLS, "within_layer_95", "permutations"], float)}
    return pd.DataFrame(found, columns=list(columns)).astype(columns).assign(primary=True)


def _adjust(frames: list[pd.DataFrame]) -> int:
    """Add the p-values adjusted over all tested comparisons of all frames; how many p-values there are a null."""
    tested = [frame for frame in frames if "permutations" in frame]
    places = [(frame, place) for frame in tested for place in frame.index[frame.permutations.notna()]]
    for name in _NULLS:
        for frame in tested:
            frame[f"{name}_holm"] = np.nan
        adjusted = holm([float(frame.at[place, name]) for frame, place in places])
        for (frame, place), p in zip(places, adjusted, strict=True):
            frame.at[place, f"{name}_holm"] = p
    return sum(not np.isnan(frame.at[place, _NULLS[0]]) for frame, place in places)


def _shared(section: Section, kind: str) -> dict[str, Any]:
    key = section.key
    return {
        "model": key.model.name,
        "task": key.task.name,
        "metric": key.task.metric,
        "component": kind,
        "n_pairs": section.n_pairs,
        "setting": section.cells[0].setting[:8],
    }


def _names(results: Results, scored: Scored) -> dict[str, dict[str, str]]:
    """What a row says of a method that stands on side `a` or `b`."""
    facts = dict(zip(("method", "direction", "replacement"), scored.cell.identity, strict=True))
    facts["cell"] = place(results, scored.cell)
    return {side: {f"{fact}_{side}": value for fact, value in facts.items()} for side in "ab"}


def place(results: Results, cell: Cell) -> str:
    """A cell's folder inside its results folder: its name in every table."""
    return str(cell.folder.relative_to(results.folder).as_posix())
