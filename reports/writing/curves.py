"""Curves over a logarithmic axis: a line a method, and where there are several tasks, a panel for each."""

from collections.abc import Callable, Iterator

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.writing.drawing import TEXT_WIDTH, across, colour, legend_at_foot, panels

MOST_ACROSS = 3
GAP = 0.38  # inches between panels: room for the numbers of an axis


def curves_by_task(
    curves: pd.DataFrame, around: Callable[[Axes, str], None], labels: tuple[str, str], first: int = 1
) -> Figure:
    """A panel a task of `curves`, which has the columns task, method, x and y; `labels` are those of the axes.

    `around` draws what stands behind the lines of a task's panel; `first` is 0 where the reference is one of the lines.
    """
    tasks, methods = list(dict.fromkeys(curves.task)), list(dict.fromkeys(curves.method))
    columns = across(len(tasks), MOST_ACROSS)
    size = (min(1.9, (TEXT_WIDTH - 0.62) / columns - GAP), 1.4)
    figure, axes = panels(tasks, columns, size, GAP)
    for position, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
        around(axis, task)
        for method, marker, shade in method_lines(methods, first):
            line = curves[(curves.task == task) & (curves.method == method)]
            axis.plot(line.x, line.y, marker, color=shade, lw=1, ms=2.2, markevery=0.12, label=method)
        axis.set(xscale="log", xlabel=labels[0])
        axis.set_ylabel("" if position % columns else labels[1])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        sns.despine(ax=axis)
    handles, names = axes[0].get_legend_handles_labels()
    legend_at_foot(figure, handles, names)
    return figure


def method_lines(methods: list[str], first: int = 1) -> Iterator[tuple[str, str, tuple[float, float, float]]]:
    """Each method's marker with its line, and its colour; `first` is 0 where the reference is among them."""
    markers = ("o-", "s--", "D-.", "^:", "v-", "P--", "X-.")
    for number, name in enumerate(methods, first):
        yield name, markers[(number - 1) % len(markers)], colour(number)
