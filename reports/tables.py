"""The numbers of a report as pandas tables."""

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.agreement import STATISTICS, default_k, panel
from benchmark.store import Cell, Results
from reports.sections import Scored, Section, reference_for, sections

CONVERGED = 0.05  # the largest mean completeness error, as a share of the gap, that goes without a warning
AGREEMENT_COLUMNS = (
    "model", "task", "metric", "component", "method_a", "direction_a", "replacement_a", "method_b", "direction_b",
    "replacement_b", "n_pairs", "statistic", "version", "k", "value", "chance", "n_components", "note", "setting",
    "cell_a", "cell_b",
)  # fmt: skip


def agreement_table(results: Results, top_k: int | None = None) -> pd.DataFrame:
    """Every statistic of every two methods on the mean scores, one a row, for each setting and kind of component."""
    rows: list[dict[str, Any]] = []
    for section in sections(results):
        for kind in section.kinds:
            methods = section.scored(kind)
            k = top_k or _common_k(methods)
            for a, b in combinations(methods, 2):
                rows += _agreement_rows(results, section, a, b, k)
    table = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    return table.astype({"k": "Int64"})


def _common_k(methods: list[Scored]) -> int:
    """One k for all methods of a table: by the smallest number of components that any of them measured."""
    return default_k(min(int((~np.isnan(method.vector)).sum()) for method in methods))


def _agreement_rows(results: Results, section: Section, a: Scored, b: Scored, k: int) -> list[dict[str, Any]]:
    key = section.key
    shared = {
        "model": key["model"]["name"],
        "task": key["task"]["name"],
        "metric": key["task"]["metric"],
        "component": a.kind,
        "n_pairs": section.n_pairs,
        "setting": a.cell.setting[:8],
    }
    for side, scored in (("a", a), ("b", b)):
        names = (f"method_{side}", f"direction_{side}", f"replacement_{side}")
        shared |= dict(zip(names, scored.cell.identity, strict=True))
        shared[f"cell_{side}"] = place(results, scored.cell)
    return [shared | asdict(one) for one in panel(a.vector, b.vector, k, a.signed, b.signed)]


def place(results: Results, cell: Cell) -> str:
    """A cell's folder inside its results folder: its name in every table."""
    return cell.folder.relative_to(results.folder).as_posix()


def between(table: pd.DataFrame, results: Results, a: Scored, b: Scored) -> pd.DataFrame:
    """The rows of the agreement table for two methods, in whichever order they were compared."""
    one, other = place(results, a.cell), place(results, b.cell)
    either = ((table.cell_a == one) & (table.cell_b == other)) | ((table.cell_a == other) & (table.cell_b == one))
    return table[either & (table.component == a.kind)]


def value_of(rows: pd.DataFrame, statistic: str, version: str) -> float:
    """One statistic's value; NaN where it isn't defined for the two methods."""
    found = rows.loc[(rows.statistic == statistic) & (rows.version == version), "value"]
    return float(found.iloc[0]) if len(found) else np.nan


def against_reference(table: pd.DataFrame, results: Results, methods: list[Scored]) -> pd.DataFrame:
    """Each method held against its reference: `method, against, n_components, k`, a column a statistic, `note`.

    Empty where the grid has no reference. Statistics' columns are named `statistic/version`.
    """
    rows = []
    for method in methods:
        reference = reference_for(method, methods)
        if reference is None or reference is method:
            continue
        found = between(table, results, method, reference)
        values = {f"{s.name}/{s.version}": value_of(found, s.name, s.version) for s in STATISTICS}
        rows.append(
            {"method": method.label, "against": reference.label, "n_components": found.n_components.iloc[0]}
            | {"k": found.k.max()}
            | values
            | {"note": "; ".join(sorted(set(found.note) - {""}))}
        )
    return pd.DataFrame(rows)


def accuracy_table(found: list[Section]) -> pd.DataFrame:
    """Share of pairs that the model gets right, with Wilson's 95% interval (Wilson 1927, doi:10.2307/2276774)."""
    rows = []
    for section in found:
        right, of = (section.noted("accuracy").get(name, 0) for name in ("right", "of"))
        low = high = share = np.nan
        if of:
            interval = stats.binomtest(right, of).proportion_ci(0.95, method="wilson")
            low, high, share = interval.low, interval.high, right / of
        filtered = section.noted("filter")
        rows.append(
            {"task": section.title, "right": right, "n": of, "accuracy": share, "low": low, "high": high}
            | {"min_metric": filtered.get("min_metric"), "left_out": filtered.get("left_out", 0)}
            | {"pairs": section.n_pairs}
        )
    return pd.DataFrame(rows)


def incomplete(section: Section) -> list[str]:
    """A warning for each method whose integral hasn't converged: its scores miss the sum that they must have."""
    found = {}
    for cell in section.cells:
        error = cell.arrays.get("completeness_error")
        share = np.nan if error is None or not section.gap else float(error.mean()) / abs(section.gap)
        if share > CONVERGED:
            label = section.label(cell)
            found[label] = (
                f"{label} has not converged: its completeness error is {share:.0%} of the gap; give it more steps."
            )
    return [found[label] for label in sorted(found)]


def strongest_table(section: Section, methods: list[Scored], count: int = 5) -> pd.DataFrame:
    """The strongest components of every method: rank, name, mean score, and share of the gap f(clean)-f(corrupted)."""
    return pd.DataFrame(
        {
            "method": method.label,
            "rank": rank,
            "component": method.component(number),
            "score": method.vector[number],
            "share": method.vector[number] / section.gap if method.metric_units and section.gap else np.nan,
        }
        for method in methods
        for rank, number in enumerate(method.strongest(count), 1)
    )


def cost_table(section: Section) -> pd.DataFrame:
    """What each cell took, and how far its scores are from complete where that is claimed."""
    rows = []
    for cell in sorted(section.cells, key=lambda cell: (section.label(cell), cell.kinds)):
        provenance = cell.info.get("provenance", {})
        passes, declared = (provenance.get(name) or {} for name in ("passes", "declared_cost_per_pair"))
        error = cell.arrays.get("completeness_error", np.array([]))
        rows.append(
            {
                "method": section.label(cell),
                "kinds": ", ".join(cell.kinds),
                "forward": passes.get("forward"),
                "backward": passes.get("backward"),
                "declared_forward": declared.get("forward"),
                "declared_backward": declared.get("backward"),
                "seconds": provenance.get("seconds"),
                "peak_bytes": provenance.get("peak_memory_bytes"),
                "completeness_mean": float(error.mean()) if error.size else np.nan,
                "completeness_max": float(error.max()) if error.size else np.nan,
            }
        )
    return pd.DataFrame(rows)
