"""Pictures of a trace for a paper: a heat map layer x position, a map layer x head, a dot a neuron, a pattern."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.components import component_name, many, titled
from reports.writing.drawing import DIVERGING, UNMEASURED, canvas, place, style

if TYPE_CHECKING:
    from benchmark.tracing.trace import Map, Pattern, Trace

FAINT = 1e-4  # of the clean metric: below it, colours would show rounding
NAMED = 6  # outliers that a picture of neurons names
_CELL = 0.16  # inches


def figures(trace: "Trace") -> Iterator[tuple[str, Figure]]:
    """Every picture, with the stem of its file."""
    for one in trace.maps:
        yield stem_of(trace, one), drawn(trace, one)
    for pattern in trace.patterns:
        yield f"pattern-{pattern.name}", drawn_pattern(trace, pattern)
    for number, one in enumerate(trace.formation.values()):
        yield f"residual-checkpoint-{number}", drawn(trace, one, tuple(trace.formation)[number])


def stem_of(trace: "Trace", one: "Map") -> str:
    """What a map's files are called: by kind and direction, and by method where there are several."""
    parts = [one.kind, one.direction, *([one.method] if len(trace.methods) > 1 else [])]
    return "-".join(parts).replace(":", "-").replace("=", "-")


def drawn(trace: "Trace", one: "Map", where: str = "") -> Figure:
    """One kind's scores, in units of the metric."""
    with style():
        figure = _dots(trace, one) if many(one.kind) else _map(trace, one)
        title = f"{titled(one.kind)}, {one.direction}: {trace.metric}" + f" at {where}" * bool(where)
        figure.axes[0].set_title(title)
        return figure


def _map(trace: "Trace", one: "Map") -> Figure:
    """Layers from below to above; columns are tokens, or heads where scores are over all positions."""
    values = (
        one.values[:, 0] if one.by_position and one.values.shape[1] == 1 else one.values.reshape(len(one.values), -1)
    )
    labels = _columns(trace, one)
    rows, columns = values.shape
    width, height = max(1.4, _CELL * 1.5 * columns), max(1.2, _CELL * 0.75 * rows)
    figure = canvas(width + 1.35, height + 0.95)
    axes = place(figure, 0.5, 0.25, width, height)
    bar = place(figure, width + 0.62, 0.25, 0.09, height)
    _heat(axes, values, bar, f"effect on {trace.metric}", FAINT * abs(trace.clean_metric))
    axes.set_xticks(np.arange(columns) + 0.5, labels, rotation=90 if max(map(len, labels)) > 2 else 0)
    step = max(1, rows // 15)
    axes.set_yticks(np.arange(0, rows, step) + 0.5, [str(layer) for layer in range(0, rows, step)], rotation=0)
    axes.set(ylabel="layer", xlabel="" if one.by_position else one.kind)
    return figure


def _columns(trace: "Trace", one: "Map") -> list[str]:
    if not one.by_position:
        return [str(index) for index in range(one.values.shape[1])]
    tokens = [_plain(label) for label in trace.base(one.direction).labels]
    if one.values.shape[1] == 1:
        return tokens
    return [f"{token} {index}" for index in range(one.values.shape[1]) for token in tokens]


def _heat(axes: Axes, values: np.ndarray[Any, Any], bar: Axes, label: str, faint: float) -> None:
    most = max(float(np.nanmax(np.abs(values))), faint) or 1.0
    axes.set_facecolor(UNMEASURED)  # no partner in the other prompt
    sns.heatmap(
        values, ax=axes, cmap=DIVERGING, vmin=-most, vmax=most, cbar_ax=bar, cbar_kws={"label": label}, linewidths=0.2,
        linecolor="white",
    )  # fmt: skip
    axes.invert_yaxis()
    axes.tick_params(length=0)


def _dots(trace: "Trace", one: "Map") -> Figure:
    """A dot a neuron, layer by layer, with the outliers named. By position: the largest of each neuron."""
    frame = trace.frame(one.kind, one.direction, one.method)
    frame = frame.loc[frame.score.abs().groupby([frame.layer, frame["index"]]).idxmax()]
    layers = sorted(frame.layer.unique().tolist())
    width = max(2.6, 1.5 * len(layers))
    figure = canvas(width + 0.8, 2.7)
    axes = place(figure, 0.6, 0.25, width, 2.0)
    size = one.values.shape[1]
    across = frame.layer.map(layers.index) + 0.8 * (frame["index"] / size - 0.5)
    axes.plot(across, frame.score, ".", ms=2.5, color="#2b6ca3")
    axes.axhline(0, color="0.7", lw=0.6, zorder=0)
    outliers = frame.score.abs().nlargest(NAMED).index
    for row in outliers:
        name = component_name(one.kind, int(frame.layer[row]), int(frame["index"][row]), size)
        offset = 4 if frame.score[row] > 0 else -8
        axes.annotate(name, (across[row], frame.score[row]), xytext=(0, offset), textcoords="offset points", fontsize=6,
                      ha="center")  # fmt: skip
    axes.margins(y=0.15)
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set(xlabel="layer", ylabel=f"effect on {trace.metric}")
    sns.despine(ax=axes)
    return figure


def drawn_pattern(trace: "Trace", pattern: "Pattern") -> Figure:
    """Where a head looks: queries down, keys across; clean and corrupted side by side."""
    sides = [(trace.clean, pattern.clean), (trace.corrupted, pattern.corrupted)]
    both = [(prompt, values) for prompt, values in sides if prompt is not None and values is not None]
    with style():
        sizes = [max(1.3, _CELL * 1.2 * len(prompt)) for prompt, _ in both]
        figure = canvas(sum(sizes) + 0.95 * len(both) + 0.1, max(sizes) + 1.0)
        left = 0.8
        for (prompt, values), size, name in zip(both, sizes, ("clean", "corrupted"), strict=False):
            axes = place(figure, left, 0.25, size, size)
            hidden = np.triu(np.ones_like(values, dtype=bool), 1)
            sns.heatmap(values, ax=axes, mask=hidden, cmap="Blues", vmin=0, vmax=1, cbar=False)
            labels = [_plain(label) for label in prompt.labels]
            axes.set_xticks(np.arange(len(labels)) + 0.5, labels, rotation=90)
            axes.set_yticks(np.arange(len(labels)) + 0.5, labels, rotation=0)
            axes.tick_params(length=0)
            axes.set_title(f"{pattern.name}, {name}")
            left += size + 0.95
        return figure


def _plain(label: str) -> str:
    """A label that the font has, and that no picture takes for a formula."""
    return label.strip().replace("$", r"\$").encode("cp1252", "replace").decode("cp1252") or "␣"
