"""Planted models in a results folder: which methods find what is known to be there, and the folder without them."""

from collections import Counter
from typing import Any

import pandas as pd

from benchmark.analysis.sections import Scored, Section, sections
from benchmark.components import WAYS
from benchmark.statistics.detection import Detection, detect
from benchmark.store.cell import Cell
from benchmark.store.folder import Results

_SETTINGS = tuple(f"{way.direction}, {way.replacement}" for way in WAYS)


def untold(results: Results) -> Results:
    """The same folder without the cells of planted models: agreement is for models of which nothing is known."""
    rest = Results(results.folder)
    rest.all_cells = [cell for cell in results.all_cells if cell.truth is None]
    return rest


def detections(results: Results) -> pd.DataFrame:
    """A row for every method identity on every planted model; first the models on which fewest methods miss."""
    rows = []
    for section in sections(results):
        if (known := section.cells[0].truth) is None:
            continue
        names = _names(section)
        for variant, methods in _identities(section).items():
            cell = methods[0].cell
            own = cell.identity[2] == "counterfactual" and section.metric == known.metric
            found = detect(
                {method.kind: method.mean for method in methods}, known.effects, section.gap, methods[0].metric_units,
                methods[0].signed, effects_apply=own,
            )  # fmt: skip
            order = (methods[0].reference, methods[0].metric_units, methods[0].signed).count(False)
            rows.append(_row(cell, section.short, names[variant], found.verdict, order) | found._asdict())
    rows += [_row(cell, cell.task, cell.identity[0], "failed", 9) for cell in results.failures if cell.truth]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table = table.drop_duplicates(["litmus", "method", "setting"])
    table = table.reindex(columns=[*table.columns.difference(Detection._fields, sort=False), *Detection._fields])
    table["misses"] = (table.verdict == "misses").groupby(table.litmus).transform("sum")
    table["place"] = table.setting.map({name: place for place, name in enumerate(_SETTINGS)})
    table = table.sort_values(["place", "misses", "litmus", "order", "method"], kind="stable", ignore_index=True)
    return table.drop(columns=["place", "misses", "order"])


def _row(cell: Cell, litmus: str, method: str, verdict: str, order: int) -> dict[str, Any]:
    setting = ", ".join(cell.identity[1:])
    name = litmus.removeprefix("litmus/")
    return {"litmus": name, "method": method, "setting": setting, "verdict": verdict, "order": order}


def _identities(section: Section) -> dict[str, list[Scored]]:
    """The scores of all kinds of component, by the `variant` of their cells."""
    found: dict[str, list[Scored]] = {}
    for kind in section.kinds:
        for method in section.scored(kind):
            found.setdefault(method.cell.variant, []).append(method)
    return found


def _names(section: Section) -> dict[str, str]:
    """The method's label for every variant, with its seed where only that tells it from another."""
    cells = {cell.variant: cell for cell in section.cells}
    twins = Counter(cell.identity for cell in cells.values())
    return {
        variant: cell.identity[0]
        + (f" (seed {cell.key.method.seed}, {variant[:4]})" if twins[cell.identity] > 1 else "")
        for variant, cell in cells.items()
    }
