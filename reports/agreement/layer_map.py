"""Where each method finds its components: layer x head maps, and for thousands of neurons bars by layer."""

import numpy as np
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from benchmark.analysis.sections import Scored, Section
from benchmark.components import plural
from reports.writing.drawing import DIVERGING, TEXT_WIDTH, UNMEASURED, across, colour, panels, place

MOST_ACROSS = 5
BLANK = 0.05  # of the common scale: what is smaller shows no colour
_GAP = 0.3


def layer_map(section: Section, methods: list[Scored]) -> Figure:
    """Mean scores as layer x index, side by side on one scale centred at 0.

    Methods whose scores are no amounts of the metric have a scale of their own, and their titles say so. One that the
    common scale leaves blank is drawn a second time, on its own.
    """
    n_layers, n_heads = methods[0].mean.shape
    common = max((_largest(method) for method in methods if method.metric_units), default=0.0)
    drawn = []
    for method in methods:
        own, limit = f"\nown scale, {'±' if method.signed else '0 to '}{_largest(method):.2g}", _largest(method)
        if not method.metric_units:
            drawn.append((method, limit, own))
        elif 0 < limit < BLANK * common:
            drawn += [(method, common, f"\nblank here: at most {limit:.1g}"), (method, limit, own)]
        else:
            drawn.append((method, common, ""))
    columns = across(len(drawn), MOST_ACROSS)
    widest = min(1.8, (TEXT_WIDTH - 1.1) / columns - _GAP)
    cell = min(widest / n_heads, 3.2 / n_layers)
    titles = [method.label + words for method, _, words in drawn]
    size = (cell * n_heads, cell * n_layers)
    gap = max(_GAP, 1.2 - size[0])  # titles need the width, where heads are few
    figure, axes = panels(titles, columns, size, gap, right=0.9)
    for number, (axis, (method, limit, _)) in enumerate(zip(axes, drawn, strict=True)):
        _map(axis, method, limit)
        axis.set_ylabel("" if number % columns else "layer")
    if common:
        _colour_bar(figure, axes[columns - 1], common, f"mean score\n({section.metric})")
    return figure


def layer_bars(methods: list[Scored]) -> Figure:
    """Each layer's share of the summed sizes `sum |mean score|`, a sample of components weighted to stand for all.

    Shares have no units, so every method, floors too, stands on one scale.
    """
    n_layers = len(methods[0].mean)
    columns = across(len(methods), MOST_ACROSS)
    size = (min(1.6, (TEXT_WIDTH - 0.6) / columns - _GAP), float(np.clip(0.07 * n_layers, 0.8, 2.6)))
    figure, axes = panels([method.label + _sampled(method) for method in methods], columns, size, _GAP)
    shares = [layer_shares(method) for method in methods]
    longest = max(share.max() for share in shares) or 1.0
    for number, (axis, share) in enumerate(zip(axes, shares, strict=True)):
        axis.barh(range(n_layers), share, color=colour(0), height=0.8, linewidth=0)
        axis.set(xlim=(0, 1.05 * longest), ylim=(n_layers - 0.5, -0.5), xlabel="share of summed |mean|")
        axis.locator_params(axis="x", nbins=3)
        axis.xaxis.set_major_formatter("{x:.0%}")
        axis.set_ylabel("" if number % columns else "layer")
        sns.despine(ax=axis)
    return figure


def layer_shares(method: Scored) -> Float[np.ndarray, " layer"]:
    weights = method.cell.probability(method.kind)
    sizes = np.abs(method.mean) / np.where(weights > 0, weights, np.nan)
    sums = np.nansum(sizes, axis=1, dtype=np.float64)
    return np.asarray(sums / (sums.sum() or 1.0))


def _map(axis: Axes, method: Scored, limit: float) -> None:
    measured = np.ma.masked_invalid(method.mean)
    axis.pcolormesh(measured, vmin=-limit or -1, vmax=limit or 1, cmap=DIVERGING, rasterized=True)
    axis.invert_yaxis()
    axis.set_facecolor(UNMEASURED)
    columns, rows = (np.arange(0, n, 1 if n < 7 else 4 if n < 20 else 5) for n in method.mean.shape[::-1])
    axis.set_xticks(columns + 0.5, [str(column) for column in columns])
    axis.set_yticks(rows + 0.5, [str(row) for row in rows])
    axis.tick_params(rotation=0)
    axis.set_xlabel(method.kind)
    for spine in axis.spines.values():
        spine.set_visible(True)


def _sampled(method: Scored) -> str:
    share = 1 - np.isnan(method.mean).mean()
    return "" if share == 1 else f"\nfrom {share:.0%} of {plural(method.kind)}"


def _colour_bar(figure: Figure, beside: Axes, limit: float, label: str) -> None:
    box, (width, height) = beside.get_position(), figure.get_size_inches()
    tall = min(2.0, box.height * height)
    axis = place(figure, box.x1 * width + 0.15, (1 - box.y1) * height, 0.09, tall)
    mappable = ScalarMappable(Normalize(-limit, limit), sns.color_palette(DIVERGING, as_cmap=True))
    bar = figure.colorbar(mappable, cax=axis, label=label)
    bar.outline.set_visible(False)


def _largest(method: Scored) -> float:
    return float(np.nanmax(np.abs(method.mean), initial=0.0))
