"""How many exact patches each method's order takes to find the true top: the table and picture of `finding_data`."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.finding import measured_all
from benchmark.components import plural, titled
from reports.agreement.overlap_curves import method_lines
from reports.writing import captions
from reports.writing.blocks import Table, number
from reports.writing.drawing import TEXT_WIDTH, across, legend_at_foot, panels

MOST_ACROSS = 3
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
    tasks = list(curves.groupby("task", sort=False))
    methods = list(dict.fromkeys(curves.method))
    columns = across(len(tasks), MOST_ACROSS)
    size = (min(1.9, (TEXT_WIDTH - 0.62) / columns - 0.3), 1.4)
    figure, axes = panels([str(name) for name, _ in tasks], columns, size, 0.3)
    for position, (axis, (name, group)) in enumerate(zip(axes, tasks, strict=True)):
        _grey(axis, group[group.method == group.method.iloc[0]])
        for method, marker, shade in method_lines(methods):
            line = group[group.method == method]
            axis.plot(line.k, line.patches, marker, color=shade, lw=1, ms=2.2, markevery=0.12, label=method)
        axis.axvline(k[str(name)], color="0.8", lw=0.6, ls=":", zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="true top k")
        axis.set_ylabel("" if position % columns else "exact patches to find it")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
        axis.minorticks_off()
        sns.despine(ax=axis)
    handles, labels = axes[0].get_legend_handles_labels()
    legend_at_foot(figure, handles, labels)
    return figure


def _grey(axis: Axes, rows: pd.DataFrame) -> None:
    axis.fill_between(rows.k, rows.chance_low, rows.chance_high, color="0.88", lw=0, label="random order, 95%")
    axis.plot(rows.k, rows.chance, color="0.5", lw=0.8, ls=(0, (4, 2)), label="random order, expected")
    axis.plot(rows.k, rows.k, color="0.1", lw=0.8, ls=(0, (1, 1)), label="perfect")
