"""How faithful circuits are, size by size: a panel a task, a line a method, the band of random circuits in grey."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.agreement.overlap_curves import method_lines
from reports.writing.drawing import TEXT_WIDTH, across, legend_at_foot, panels

MOST_ACROSS = 3
_HIGHEST = 2.0  # phi beyond which a curve would flatten the others


def faithfulness_curves(curves: pd.DataFrame) -> Figure:
    """`curves` of one kind and way: phi over the number of components kept, logarithmic, the empty circuit left out."""
    curves = curves[curves["size"] > 0]
    tasks = list(curves.groupby("case", sort=False))
    named = curves[curves.sort.isin(("scores", "greedy"))]
    methods = list(dict.fromkeys(named.source))
    columns = across(len(tasks), MOST_ACROSS)
    size = (min(1.9, (TEXT_WIDTH - 0.62) / columns - 0.3), 1.4)
    figure, axes = panels([str(name) for name, _ in tasks], columns, size, 0.3)
    for position, (axis, (_, group)) in enumerate(zip(axes, tasks, strict=True)):
        _by_chance(axis, group)
        for method, marker, shade in method_lines(methods):
            line = group[(group.source == method) & group.sort.isin(("scores", "greedy"))]
            axis.plot(line["size"], line.phi, marker, color=shade, lw=1, ms=2.2, markevery=0.15, label=method)
        axis.axhline(1, color="0.8", lw=0.6, zorder=0)
        axis.axhline(0, color="0.8", lw=0.6, zorder=0)
        axis.set(xscale="log", xlabel="components kept")
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, -_HIGHEST), min(high, _HIGHEST))
        axis.set_ylabel("" if position % columns else "faithfulness")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        sns.despine(ax=axis)
    handles, labels = axes[0].get_legend_handles_labels()
    legend_at_foot(figure, handles, labels)
    return figure


def _by_chance(axis: Axes, group: pd.DataFrame) -> None:
    random, matched = group[group.sort == "random"], group[group.sort == "matched"]
    axis.fill_between(random["size"], random.low, random.high, color="0.88", lw=0, label="random, 90%")
    axis.plot(random["size"], random.phi, color="0.6", lw=0.8, ls=(0, (4, 2)), label="random, mean")
    axis.plot(matched["size"], matched.phi, color="0.4", lw=0.8, ls=(0, (1, 1)), label="random in layers and signs")
