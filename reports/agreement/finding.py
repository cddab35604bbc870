"""How many exact patches each method's order takes to find the true top: the table and picture of `finding_data`."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.finding import measured_all
from benchmark.components import plural, titled
from reports.writing import captions
from reports.writing.blocks import Table, number
from reports.writing.curves import curves_by_task

_ORDER = (
    "Components are patched from the largest |mean score| on, tied ones in random order, those without a score last; "
    "the true top is that of the exact scores of these pairs. With v patches until the true top j is found, cost is "
    "the geometric mean of v/j over j, weights 1/j. Own cost: the method's passes over those of an average exact patch."
)


def not_known(parts: list[Comparisons]) -> str:
    """Of which references the true top is not known, since they measured a part only; empty for most."""
    lacking = {one.label: one for part in parts for one in part.references if not measured_all(one)}
    if not lacking:
        return ""
    kind = parts[0].kind
    how = " (`neurons=0`)" if kind == "neuron" else ""
    return (
        f"How many exact patches it takes to find the strongest {plural(kind)} is not known where "
        f"{captions.distinct(lacking)} measured a part of them: it takes exact scores of all{how}."
    )


def finding_table(costs: pd.DataFrame, parts: list[Comparisons], stem: str) -> Table:
    """The relative cost of each method's order beside that of a random one."""
    k = captions.distinct(costs.k, " or ")
    shown = pd.DataFrame(
        {
            "task": row.task,
            "method": row.method,
            "cost to find": number(row.cost),
            "by chance": number(row.chance),
            "patches to the strongest": number(row.first, ".1f"),
            f"patches to all {k}": number(row.all, ".1f"),
            "own cost, in patches": number(row.own, ".1f"),
        }
        for row in costs.itertuples()
    )
    return Table(
        stem,
        f"{titled(parts[0].kind)}: exact patches, in a method's order, that find the true top {k} of "
        f"{captions.distinct(costs.reference)}. Cost 1 is perfect, 2 takes twice the patches.",
        captions.about(parts, _ORDER, *captions.one_pair_decides(parts)),
        shown,
        costs,
    )


def finding_curves(curves: pd.DataFrame, k: dict[str, int]) -> Figure:
    """A panel a task: v over the true top, both logarithmic; grey a random order, dashed a perfect one."""

    def around(axis: Axes, task: str) -> None:
        group = curves[curves.task == task]
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        _grey(axis, group[group.method == group.method.iloc[0]])
        axis.axvline(k[task], color="0.8", lw=0.6, ls=":", zorder=0)

    lines = curves.rename(columns={"k": "x", "patches": "y"})
    return curves_by_task(lines, around, ("true top k", "exact patches to find it"))


def _grey(axis: Axes, rows: pd.DataFrame) -> None:
    axis.fill_between(rows.k, rows.chance_low, rows.chance_high, color="0.88", lw=0, label="random order, 95%")
    axis.plot(rows.k, rows.chance, color="0.5", lw=0.8, ls=(0, (4, 2)), label="random order, expected")
    axis.plot(rows.k, rows.k, color="0.1", lw=0.8, ls=(0, (1, 1)), label="perfect")
