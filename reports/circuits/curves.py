"""How faithful circuits are, size by size: a panel a task, a line a method, bands of random orders behind them."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.circuits import BY_CHANCE
from reports.writing.curves import curves_by_task

MATCHED = (0.85, 0.72, 0.4, 0.35)  # the band of random orders with layers and signs kept, over the grey one
_HIGHEST = 2.0  # phi beyond which a curve would flatten the others


def faithfulness_curves(curves: pd.DataFrame) -> Figure:
    """`curves` of one kind and way: phi over the number of components kept, logarithmic, the empty circuit left out."""
    curves = curves[curves["size"] > 0].rename(columns={"size": "x", "phi": "y"})
    curves = curves.assign(task=curves.case, method=curves.source)
    named = curves[~curves.sort.isin(BY_CHANCE)]
    figure = curves_by_task(
        named,
        lambda axis, task: _by_chance(axis, curves[curves.task == task]),
        ("components kept", "faithfulness"),
        first=0 if named.reference.any() else 1,
    )
    for axis in figure.axes:
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, -_HIGHEST), min(high, _HIGHEST))
    return figure


def _by_chance(axis: Axes, group: pd.DataFrame) -> None:
    """Of several seeds the first."""
    by_sort = [group[group.sort == sort] for sort in BY_CHANCE]
    random, matched = (rows[rows.source == rows.source.min()] for rows in by_sort)
    name, kept = BY_CHANCE.values()
    axis.fill_between(random.x, random.low, random.high, color="0.88", lw=0, label=f"{name}, 90%")
    axis.plot(random.x, random.y, color="0.6", lw=0.8, ls=(0, (4, 2)), label=f"{name}, mean")
    if len(matched):
        axis.fill_between(matched.x, matched.low, matched.high, color=MATCHED, lw=0, label=f"{kept}, 90%")
        axis.plot(matched.x, matched.y, color="0.4", lw=0.8, ls=(0, (1, 1)), label=f"{kept}, mean")
    for height in (0, 1):
        axis.axhline(height, color="0.8", lw=0.6, zorder=0)
