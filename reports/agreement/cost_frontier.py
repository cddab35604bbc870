"""Agreement with the reference against what it costs, one panel a task; the frontier is joined by a line."""

from math import ceil

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.writing.drawing import MARKERS, TEXT_WIDTH, across, colour, panels

MOST_ACROSS = 3


def cost_frontier(data: pd.DataFrame) -> Figure:
    """Points a method: passes a pair (logarithmic) and Pearson with the reference; `frontier_table.frontier_data`."""
    tasks = list(data.groupby("task", sort=False))
    methods = list(dict.fromkeys(data.method))
    columns = across(len(tasks), MOST_ACROSS)
    size = (min(1.9, (TEXT_WIDTH - 0.62) / columns - 0.3), 1.2)
    foot = 0.13 * ceil(len(methods) / 3) + 0.1
    figure, axes = panels([str(name) for name, _ in tasks], columns, size, 0.3, foot=foot)
    free = bool((data.passes < 1).any())  # floors that need no run of the model: they stand at the left edge
    costs = (-0.15 if free else data.passes.min() / 1.6, data.passes.max() * 1.6)
    lowest = min(0.0, float(np.nanmin(data[["value", "low"]].to_numpy())))
    for number, (axis, (_, group)) in enumerate(zip(axes, tasks, strict=True)):
        best = group[group.on_frontier_by_passes].sort_values("passes")
        axis.plot(best.passes, best.value, color="0.6", lw=0.8, drawstyle="steps-post", zorder=1)
        for row in group.itertuples():
            place = methods.index(row.method)
            axis.plot([row.passes] * 2, [row.low, row.high], color=colour(place), lw=0.8)
            axis.plot(row.passes, row.value, MARKERS[place % len(MARKERS)], color=colour(place), ms=3.6)
        axis.axhline(0, color="0.85", lw=0.6, zorder=0)
        axis.set(
            xscale="symlog" if free else "log",
            xlim=costs,
            ylim=(lowest - 0.06, 1.06),
            xlabel=f"{row.unit} + backward, a pair",
        )
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.set_ylabel("" if number % columns else "Pearson with the reference")
        sns.despine(ax=axis)
    handles = [
        Line2D([], [], lw=0, marker=MARKERS[place % len(MARKERS)], color=colour(place), ms=3.6, label=name)
        for place, name in enumerate(methods)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=6, borderaxespad=0.2)
    return figure
