"""The table for a paper: methods down, tasks across, the primary statistic with its interval."""

import pandas as pd

from benchmark.analysis.comparisons import Comparisons, by_model_and_kind, is_decided, primary
from benchmark.components import plural
from reports.writing import captions
from reports.writing.blocks import Table, with_interval


def compact_tables(parts: list[Comparisons]) -> list[Table]:
    """One for each model and kind of component that is held against a reference over all its components."""
    whole = [part for part in parts if part.against_whole]
    groups = by_model_and_kind(whole, lambda part: part, "all")
    return [_compact(together, f"{stem}-compact") for _, stem, together in groups]


def _compact(parts: list[Comparisons], stem: str) -> Table:
    rows = [
        {"task": part.section.short, "method": method.label, "reference": reference.label}
        | {name: main[name] for name in ("version", "value", "low", "high", "n_components")}
        | {"decided": is_decided(main), "n_pairs": part.section.n_pairs}
        for part in parts
        for method, reference, found in part.against_whole
        for main in [primary(found)]
    ]
    data = pd.DataFrame(rows)
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        name = row["method"] + " (sizes)" * (row["version"] == "by_size")
        cells.setdefault(name, {})[row["task"]] = with_interval(row["value"], row["low"], row["high"])
    tasks = list(dict.fromkeys(data.task))
    shown = pd.DataFrame([{"method": name} | {task: by.get(task, "-") for task in tasks} for name, by in cells.items()])
    caption = (
        f"Agreement with {captions.distinct(data.reference)} on {plural(parts[0].kind)} of {parts[0].section.model}: "
        "Pearson of mean scores over the components; of their sizes where a method is unsigned."
    )
    return Table(stem, caption, captions.about(parts, captions.intervals(parts)), shown, data, compact=True)
