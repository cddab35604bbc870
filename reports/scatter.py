"""Each method's mean scores against those of its reference."""

from itertools import product

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from reports.drawing import panels, wrapped
from reports.sections import Scored, reference_for

MOST_ACROSS = 4
LABELLED = 3  # the strongest components of either method


def scatter(methods: list[Scored]) -> Figure | None:
    """One panel a method, one point a component; None where there is no reference.

    The line y=x stands where both axes are amounts of the metric. An unsigned method is drawn by size on both axes.
    """
    compared = [(method, reference_for(method, methods)) for method in methods]
    pairs = [(method, reference) for method, reference in compared if reference and reference is not method]
    if not pairs:
        return None
    across = min(len(pairs), MOST_ACROSS)
    figure, axes = panels(len(pairs), MOST_ACROSS, 2.05, width=1.75 * across)
    for axis, (method, reference) in zip(axes, pairs, strict=True):
        _panel(axis, method, reference)
    figure.get_layout_engine().execute(figure)  # labels are placed by pixels, so the panels must be in place
    for axis, (method, reference) in zip(axes, pairs, strict=True):
        _name_strongest(axis, method, reference)
    figure.set_layout_engine("none")
    return figure


def _coordinates(method: Scored, reference: Scored) -> tuple[np.ndarray, np.ndarray]:
    x, y = reference.vector, method.vector
    return (x, y) if method.signed and reference.signed else (np.abs(x), np.abs(y))


def _panel(axis: Axes, method: Scored, reference: Scored) -> None:
    x, y = _coordinates(method, reference)
    colour = sns.color_palette("colorblind")[0]
    sns.scatterplot(
        x=x, y=y, ax=axis, s=7, color=colour, alpha=0.6, linewidth=0, rasterized=len(x) > 1000, legend=False
    )
    by_size = not (method.signed and reference.signed)
    axis.axhline(0, color="0.85", lw=0.6, zorder=0)
    axis.axvline(0, color="0.85", lw=0.6, zorder=0)
    if method.metric_units and reference.metric_units:
        axis.axline((0, 0), slope=1, color="0.4", lw=0.7, ls=(0, (4, 3)), zorder=0)
    axis.margins(0.12)
    axis.set_title(wrapped(method.label, 28))
    unit = "" if method.metric_units else ", own units"
    axis.set_xlabel(wrapped(f"{'|' if by_size else ''}{reference.label}{'|' if by_size else ''}", 32))
    axis.set_ylabel(f"{'|mean score|' if by_size else 'mean score'}{unit}")
    axis.locator_params(nbins=4)
    sns.despine(ax=axis)


def _name_strongest(axis: Axes, method: Scored, reference: Scored) -> None:
    """Name the strongest components of either method, each where no other name or named point is in the way."""
    x, y = _coordinates(method, reference)
    numbers = list(dict.fromkeys(reference.strongest(LABELLED) + method.strongest(LABELLED)))
    numbers = [number for number in numbers if np.isfinite(x[number]) and np.isfinite(y[number])]
    renderer = axis.figure.canvas.get_renderer()  # type: ignore[attr-defined]
    points = axis.transData.transform(np.column_stack([x[numbers], y[numbers]]))
    radius = 2.5 * axis.figure.dpi / 72
    taken = [Bbox.from_extents(px - radius, py - radius, px + radius, py + radius) for px, py in points]
    frame = axis.get_window_extent()
    for number in numbers:
        best = None
        for distance, (dx, dy) in product((4, 9, 15, 22), ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))):
            text = axis.annotate(
                reference.component(number), (x[number], y[number]), (distance * dx, distance * dy),
                textcoords="offset points", size=5.5, ha=("right", "center", "left")[dx + 1],
                va=("top", "center", "bottom")[dy + 1],
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 1},
            )  # fmt: skip
            box = text.get_window_extent(renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                best = box
                break
            text.remove()
        if best is not None:
            taken.append(best)
