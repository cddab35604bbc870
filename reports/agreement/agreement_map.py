"""Method x method heat maps: how far every two methods agree on one kind of component."""

import re

import numpy as np
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from benchmark.analysis.comparisons import Comparisons
from reports.writing.drawing import CHARACTER, DIVERGING, TEXT_WIDTH, UNMEASURED, canvas, place, wrapped

ROOM_FOR_INTERVALS = 0.38  # inches that a cell needs


def agreement_map(part: Comparisons) -> Figure:
    """Two panels, since one statistic misleads: Pearson of signed scores, top-k overlap by size.

    The first is led by the strongest components and their signs, and undefined (grey) for an unsigned method; the
    second is defined for all. Both leave out Spearman, which over all components measures the noise tail.
    """
    methods = part.methods
    names = [_two_lines(method.label) for method in methods]
    margin = 0.2 + 0.9 * CHARACTER * max(len(line) for name in names for line in name.split("\n"))
    cell = _cell(part)
    side = cell * len(methods)
    pitch = max(side, 1.6) + 0.2
    beside = margin + 2 * pitch <= TEXT_WIDTH
    step = (pitch, 0.0) if beside else (0.0, side + 0.9)
    figure = canvas(margin + pitch + step[0], side + 0.85 + step[1])
    panels = (
        ("pearson", "signed", "Pearson, signed scores", DIVERGING, -1.0),
        ("top_k_overlap", "by_size", f"overlap of the top {part.k} by size", "Purples", 0.0),
    )
    for number, (statistic, version, title, palette, low) in enumerate(panels):
        left, top = margin + number * step[0], 0.25 + number * step[1]
        axis = place(figure, left, top, side, side)
        bar = place(figure, left, top + side + 0.3, min(side, 1.2), 0.06)
        values, lows, highs = (matrix(part, statistic, version, column) for column in ("value", "low", "high"))
        _triangle(axis, bar, values, palette, low)
        if shows_intervals(part):
            _intervals(axis, lows, highs)
        axis.set_title(title, loc="left")
        axis.set_yticklabels(names if not (beside and number) else [], rotation=0)
    return figure


def _cell(part: Comparisons) -> float:
    """The side of a cell in inches."""
    return float(np.clip(2.6 / len(part.methods), 0.25, 0.5))


def shows_intervals(part: Comparisons) -> bool:
    """Whether the cells have room for an interval under the value: up to six methods do."""
    return _cell(part) >= ROOM_FOR_INTERVALS


def matrix(
    part: Comparisons, statistic: str, version: str, column: str = "value"
) -> Float[np.ndarray, "method method"]:
    """One number of a statistic of every two methods; NaN on the diagonal and where it is undefined."""
    values = np.full((len(part.methods), len(part.methods)), np.nan)
    rows = (
        part.rows[(part.rows.statistic == statistic) & (part.rows.version == version)] if len(part.rows) else part.rows
    )
    for row in rows.to_dict("records"):
        values[row["a"], row["b"]] = values[row["b"], row["a"]] = row[column]
    return values


def _triangle(axis: Axes, bar: Axes, values: np.ndarray, palette: str, low: float) -> None:
    count = len(values)
    hidden = np.triu(np.ones_like(values, dtype=bool)) | np.isnan(values)
    words = np.array([[_short(value) for value in row] for row in values])
    sns.heatmap(
        values, mask=hidden, ax=axis, vmin=low, vmax=1, cmap=palette, annot=words, fmt="", linewidths=0.8,
        linecolor="white", annot_kws={"size": 6}, cbar_ax=bar, cbar_kws={"orientation": "horizontal"},
        xticklabels=list(range(1, count + 1)), yticklabels=[""] * count,
    )  # fmt: skip
    bar.set_xticks([low, (low + 1) / 2, 1])
    for row in range(count):
        axis.text(row + 0.5, row + 0.5, str(row + 1), ha="center", va="center", size=6, color="0.5")
        for column in range(row):
            if np.isnan(values[row, column]):
                axis.add_patch(Rectangle((column, row), 1, 1, facecolor=UNMEASURED, edgecolor="white", linewidth=0.8))
                axis.text(column + 0.5, row + 0.5, "n/a", ha="center", va="center", size=5.5, color="0.25")
    axis.tick_params(length=0, rotation=0)


def _intervals(axis: Axes, lows: np.ndarray, highs: np.ndarray) -> None:
    """The 95% interval under each value, in the value's colour."""
    shades = {text.get_position(): text.get_color() for text in axis.texts}
    for row, column in zip(*np.where(np.tril(~np.isnan(lows), -1)), strict=True):
        words = f"{_short(lows[row, column])} to {_short(highs[row, column])}"
        shade = shades[column + 0.5, row + 0.5]
        axis.text(column + 0.5, row + 0.78, words, ha="center", va="center", size=4, color=shade)


def _short(value: float) -> str:
    """Two decimals without a leading zero, as small cells need: `.97`, `-.02`, `1.0`."""
    text = f"{value:.2f}"
    if text in ("1.00", "-1.00"):
        return text[:-1]
    return "0" if text in ("0.00", "-0.00") else text.replace("0.", ".", 1)


def _two_lines(label: str) -> str:
    """Broken into two lines at most, as narrow as these allow without breaking a word."""
    longest = max(len(word) for word in re.split(r"[:\s]", label))
    return next(
        text for width in range(max(longest, 20), len(label) + 21) if (text := wrapped(label, width)).count("\n") < 2
    )
