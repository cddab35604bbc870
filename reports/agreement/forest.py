"""Agreement with the reference, its interval, and the ceiling that noise sets to it: one panel a task."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis.comparisons import Comparisons, is_decided, primary
from reports.writing.drawing import CHARACTER, TEXT_WIDTH, across, colour, legend_at_foot, panels

MOST_ACROSS = 3


def forest_data(parts: list[Comparisons]) -> pd.DataFrame:
    """A row a method and section: the primary statistic, its interval, agreement on different pairs, the ceiling."""
    names = ("version", "value", "low", "high", "disjoint", "ceiling")
    return pd.DataFrame(
        {"task": part.section.short, "method": method.label}
        | {name: primary(found)[name] for name in names}
        | {"decided": is_decided(primary(found)) and not part.halves.refusal}
        for part in parts
        for method, _, found in part.against_whole
    )


def forest(data: pd.DataFrame) -> Figure:
    """Dots with intervals, a cross where one pair decides, a hollow dot for different pairs, a bar at the ceiling."""
    tasks = list(data.groupby("task", sort=False))
    methods = list(dict.fromkeys(data.method))
    columns = across(len(tasks), MOST_ACROSS)
    left = 0.15 + CHARACTER * max(map(len, methods))
    size = (min(1.9, (TEXT_WIDTH - left - 0.1) / columns - 0.15), 0.17 * len(methods) + 0.1)
    figure, axes = panels([str(name) for name, _ in tasks], columns, size, 0.15, left=left)
    drawn = data[["value", "low", "high", "disjoint", "ceiling"]].to_numpy(dtype=float)
    lowest, highest = min(0.0, float(np.nanmin(drawn))), max(1.0, float(np.nanmax(drawn)))
    for number, (axis, (_, group)) in enumerate(zip(axes, tasks, strict=True)):
        for row in group.itertuples():
            place = methods.index(row.method)
            axis.plot([row.low, row.high], [place, place], color=colour(0), lw=1.2, solid_capstyle="butt")
            axis.plot(row.disjoint, place, "o", mfc="white", mec=colour(0), mew=0.8, ms=3.6)
            axis.plot(row.value, place, **_marker(row.decided))
            axis.plot(row.ceiling, place, "|", color="0.1", ms=7, mew=1)
        axis.axvline(0, color="0.8", lw=0.6, zorder=0)
        axis.set(
            xlim=(lowest - 0.05, highest + 0.05), ylim=(len(methods) - 0.5, -0.5), xlabel="Pearson with the reference"
        )
        axis.set_yticks(range(len(methods)), methods if number % columns == 0 else [""] * len(methods))
        axis.tick_params(axis="y", length=0)
        sns.despine(ax=axis, left=True)
    _legend(figure, bool(data.decided.any()))
    return figure


def _marker(decided: bool) -> dict[str, Any]:
    return (
        {"marker": "x", "color": colour(1), "ms": 4, "mew": 1.2}
        if decided
        else {"marker": "o", "color": colour(0), "ms": 3}
    )


def _legend(figure: Figure, decided: bool) -> None:
    handles = [
        Line2D([], [], color=colour(0), marker="o", ms=3, lw=1.2, label="same pairs, 95% interval"),
        Line2D([], [], color=colour(0), marker="o", mfc="white", mew=0.8, ms=3.6, lw=0, label="different pairs"),
        Line2D([], [], color="0.1", marker="|", ms=7, lw=0, label="noise ceiling"),
    ]
    if decided:
        handles.insert(1, Line2D([], [], lw=0, label="one pair decides: no interval", **_marker(True)))
    legend_at_foot(figure, handles)
