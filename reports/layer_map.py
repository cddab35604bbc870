"""Where each method finds its components: layer x head maps, and for thousands of neurons bars by layer."""

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from reports.drawing import DIVERGING, TEXT_WIDTH, UNMEASURED, panels, wrapped
from reports.sections import Scored, Section

MOST_ACROSS = 6


def layer_map(section: Section, methods: list[Scored]) -> Figure:
    """Mean scores as layer x index, side by side on one scale centred at 0.

    Methods whose scores are no amounts of the metric have a scale of their own, and their titles say so.
    """
    n_layers, n_heads = methods[0].mean.shape
    across = min(len(methods), MOST_ACROSS)
    width = min(TEXT_WIDTH, 1.5 * across + 0.8)
    height = float(np.clip(0.75 * (width - 0.8) / across * n_layers / n_heads, 0.9, 4.5)) + 0.75
    figure, axes = panels(len(methods), MOST_ACROSS, height, width)
    common = max((_largest(m) for m in methods if m.metric_units), default=0.0)
    for axis, method in zip(axes, methods, strict=True):
        _map(axis, method, common if method.metric_units else _largest(method))
    for axis in axes[:: len(axes[0].figure.axes) and _across(len(methods))]:
        axis.set_ylabel("layer")
    if common:
        bar = figure.colorbar(
            ScalarMappable(Normalize(-common, common), sns.color_palette(DIVERGING, as_cmap=True)),
            ax=axes, shrink=min(1.0, 2.5 / height), aspect=25, pad=0.01,
        )  # fmt: skip
        bar.set_label(f"mean score ({section.key['task']['metric']})")
        bar.outline.set_visible(False)
    return figure


def layer_bars(methods: list[Scored]) -> Figure:
    """Each layer's share of the summed sizes `sum |mean score|`, a sample of components weighted to stand for all.

    Shares have no units, so every method, floors too, stands on one scale.
    """
    n_layers = len(methods[0].mean)
    figure, axes = panels(len(methods), MOST_ACROSS, float(np.clip(0.1 * n_layers, 1.0, 3.6)) + 0.8)
    shares = [_layer_shares(method) for method in methods]
    for axis, method, share in zip(axes, methods, shares, strict=True):
        axis.barh(range(n_layers), share, color=sns.color_palette("colorblind")[0], height=0.8, linewidth=0)
        axis.set(xlim=(0, 1.05 * max(s.max() for s in shares)), ylim=(n_layers - 0.5, -0.5))
        axis.set_title(wrapped(method.label))
        axis.xaxis.set_major_formatter("{x:.0%}")
        axis.locator_params(axis="x", nbins=3)
        sns.despine(ax=axis)
    for axis in axes[:: _across(len(methods))]:
        axis.set_ylabel("layer")
    figure.supxlabel("share of the summed |mean score|", size=7)
    return figure


def _layer_shares(method: Scored) -> np.ndarray:
    weights = method.cell.probability(method.kind)
    sizes = np.abs(method.mean) / np.where(weights > 0, weights, np.nan)
    sums = np.nansum(sizes, axis=1)
    return sums / sums.sum() if sums.sum() else sums


def _map(axis: Axes, method: Scored, limit: float) -> None:
    sns.heatmap(
        method.mean, ax=axis, vmin=-limit or -1, vmax=limit or 1, cmap=DIVERGING, cbar=False, square=True,
        mask=np.isnan(method.mean), rasterized=True,
    )  # fmt: skip
    n_layers, n_heads = method.mean.shape
    axis.set_facecolor(UNMEASURED)
    axis.set_xticks(np.arange(0, n_heads, 4 if n_heads > 6 else 1) + 0.5, range(0, n_heads, 4 if n_heads > 6 else 1))
    axis.set_yticks(np.arange(0, n_layers, 5 if n_layers > 8 else 1) + 0.5, range(0, n_layers, 5 if n_layers > 8 else 1))
    axis.tick_params(rotation=0)
    own = "" if method.metric_units else f"\nown scale, {'±' if method.signed else '0 to '}{limit:.2g}"
    axis.set_title(wrapped(method.label) + own)
    axis.set_xlabel(method.kind)
    for spine in axis.spines.values():
        spine.set_visible(True)


def _largest(method: Scored) -> float:
    return float(np.nanmax(np.abs(method.mean), initial=0.0))


def _across(count: int) -> int:
    return -(-count // -(-count // MOST_ACROSS))
