"""What each method costs against how far it agrees with the reference: the table and the picture of `frontier_data`."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis.comparisons import Comparisons
from benchmark.components import titled
from reports.writing import captions
from reports.writing.blocks import Table, number
from reports.writing.drawing import TEXT_WIDTH, across, colour, legend_at_foot, marker, panels

MOST_ACROSS = 3


def frontier_table(data: pd.DataFrame, parts: list[Comparisons], stem: str) -> Table:
    """Who is on the frontier of cost and agreement with the reference, from `frontier_data`."""
    shown = pd.DataFrame(
        {
            "task": row.task,
            "method": row.method,
            f"{row.unit} a pair": number(row.passes - row.backward, ".1f"),
            "backward a pair": number(row.backward, ".1f"),
            "seconds a pair": number(row.seconds, ".2g"),
            "frontier by passes": _yes(row.on_frontier_by_passes, row.passes),
            "frontier by seconds": _yes(row.on_frontier_by_seconds, row.seconds),
        }
        for row in data.itertuples()
    )
    unknown = captions.distinct(data.method[data.passes.isna()])
    return Table(
        stem,
        f"{titled(parts[0].kind)}: cost, and who is on the frontier: no method is cheaper and agrees at least as well.",
        captions.about(parts, frontier_words(data)),
        shown,
        data,
        note=f"The cost of {unknown} is unknown." if unknown else "",
    )


def frontier_words(data: pd.DataFrame) -> str:
    """What a pass is in `frontier_data`, and of which methods the cost is not known."""
    words = {
        "whole forwards": "Passes are whole forwards and backward rows: a forward row that starts late or ends early, "
        "because the rest is known, counts as the part of a whole one that was computed.",
        "forward rows": "Passes are forward and backward rows of a batch, whatever part of a whole forward they took: "
        "some cells don't store that.",
    }[data.unit.iloc[0]]
    unknown = captions.distinct(data.method[data.passes.isna()])
    missing = f" The cost of {unknown} is unknown, so it is on no frontier and beats nobody." if unknown else ""
    return f"{words} A cell's cost counts for all kinds that it scored.{missing}"


def _yes(on_frontier: bool, cost: float) -> str:
    return "-" if np.isnan(cost) else "yes" if on_frontier else "no"


def cost_frontier(data: pd.DataFrame) -> Figure:
    """A panel a task: each method's passes a pair (logarithmic) and Pearson; a line joins the frontier."""
    tasks = list(data.groupby("task", sort=False))
    methods = list(dict.fromkeys(data.method))
    columns = across(len(tasks), MOST_ACROSS)
    size = (min(1.9, (TEXT_WIDTH - 0.62) / columns - 0.3), 1.2)
    figure, axes = panels([str(name) for name, _ in tasks], columns, size, 0.3)
    free = bool((data.passes < 1).any())  # floors that need no run of the model: they stand at the left edge
    costs = (-0.15 if free else data.passes.min() / 1.6, data.passes.max() * 1.6)
    lowest = min(0.0, data.value.min())
    for position, (axis, (_, group)) in enumerate(zip(axes, tasks, strict=True)):
        best = group[group.on_frontier_by_passes].sort_values("passes")
        axis.plot(best.passes, best.value, color="0.6", lw=0.8, drawstyle="steps-post", zorder=1)
        for row in group.itertuples():
            place = methods.index(row.method)
            axis.plot(row.passes, row.value, marker(place), color=colour(place), ms=3.6)
        axis.axhline(0, color="0.85", lw=0.6, zorder=0)
        axis.set(
            xscale="symlog" if free else "log",
            xlim=costs,
            ylim=(lowest - 0.06, 1.06),
            xlabel=f"{row.unit} + backward, a pair",
        )
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.set_ylabel("" if position % columns else "Pearson with the reference")
        sns.despine(ax=axis)
    handles = [
        Line2D([], [], lw=0, marker=marker(place), color=colour(place), ms=3.6, label=name)
        for place, name in enumerate(methods)
    ]
    legend_at_foot(figure, handles)
    return figure
