"""Each method's mean scores against those of its reference."""

from itertools import product

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from benchmark.analysis.sections import Scored, reference_for
from reports.writing.drawing import CHARACTER, LINE, across, colour, panels, wrapped

MOST_ACROSS = 4
LABELLED = 3  # the strongest components of either method
_SIZE, _GAP = (1.25, 1.25), 0.5
_DISTANCES = (4, 9, 15, 22)  # points between a component and its name, tried in this order
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def scatter(methods: list[Scored]) -> Figure:
    """One panel a method, one point a component; there must be a reference.

    The line y=x stands where both axes are amounts of the metric. An unsigned method is drawn by size on both axes.
    """
    compared = [(method, reference_for(method, methods)) for method in methods]
    pairs = [(method, reference) for method, reference in compared if reference and reference is not method]
    columns = across(len(pairs), MOST_ACROSS)
    lines = max(_axis_label(method, reference).count("\n") + 1 for method, reference in pairs)
    figure, axes = panels([method.label for method, _ in pairs], columns, _SIZE, _GAP, below=0.35 + (lines - 1) * LINE)
    for axis, (method, reference) in zip(axes, pairs, strict=True):
        _panel(axis, method, reference)
        _name_strongest(axis, method, reference)
    return figure


def _coordinates(method: Scored, reference: Scored) -> tuple[np.ndarray, np.ndarray]:
    x, y = reference.vector, method.vector
    return (x, y) if method.signed and reference.signed else (np.abs(x), np.abs(y))


def _panel(axis: Axes, method: Scored, reference: Scored) -> None:
    x, y = _coordinates(method, reference)
    axis.axhline(0, color="0.85", lw=0.6, zorder=0)
    axis.axvline(0, color="0.85", lw=0.6, zorder=0)
    sns.scatterplot(
        x=x, y=y, ax=axis, s=7, color=colour(0), alpha=0.6, linewidth=0, legend=False,
        rasterized=len(x) > 1000,
    )  # fmt: skip
    axis.margins(0.15)
    if method.metric_units and reference.metric_units:
        ends = [*axis.get_xlim(), *axis.get_ylim()]
        axis.set(xlim=(min(ends), max(ends)), ylim=(min(ends), max(ends)))
        axis.axline((0, 0), slope=1, color="0.4", lw=0.7, ls=(0, (4, 3)), zorder=0)
    score = "mean score" if method.signed and reference.signed else "|mean score|"
    axis.set_xlabel(_axis_label(method, reference))
    axis.set_ylabel(score + ("" if method.metric_units else ", own units"))
    axis.locator_params(nbins=4)
    sns.despine(ax=axis)


def _axis_label(method: Scored, reference: Scored) -> str:
    name, _, _ = reference.label.partition(":")  # its options stand in the tables: here they would run over
    label = name if method.signed and reference.signed else f"|{name}|"
    return wrapped(label, int((_SIZE[0] + _GAP) / CHARACTER) - 2)


def _name_strongest(axis: Axes, method: Scored, reference: Scored) -> None:
    """Name the strongest components of either method, each where no other name or named point is in the way."""
    x, y = _coordinates(method, reference)
    numbers = dict.fromkeys(reference.strongest(LABELLED) + method.strongest(LABELLED))
    named = [number for number in numbers if np.isfinite(x[number]) and np.isfinite(y[number])]
    radius = 2.5 * axis.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    points = axis.transData.transform(np.column_stack([x[named], y[named]]))
    taken = [Bbox.from_extents(px - radius, py - radius, px + radius, py + radius) for px, py in points]
    for number in named:
        box = _free_label(axis, reference.component(number), (x[number], y[number]), taken)
        if box is not None:
            taken.append(box)


def _free_label(axis: Axes, name: str, point: tuple[float, float], taken: list[Bbox]) -> Bbox | None:
    """Write a name at the nearest free place around its point, inside the panel; None where there is none."""
    frame = axis.get_window_extent()
    renderer = axis.get_figure(root=True).canvas.get_renderer()  # type: ignore[union-attr]
    for distance, (right, up) in product(_DISTANCES, _SIDES):
        text = axis.annotate(
            name, point, (distance * right, distance * up), textcoords="offset points", size=5.5,
            ha=("right", "center", "left")[right + 1], va=("top", "center", "bottom")[up + 1],
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 1},
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.5, "pad": 0.3},
        )  # fmt: skip
        text.update_positions(renderer)
        box = Text.get_window_extent(text, renderer)  # of the name alone, without its line
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        if inside and not any(box.overlaps(other) for other in taken):
            return box
        text.remove()
    return None
