"""Method x method heat maps: how far every two methods agree on one kind of component."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.store import Results
from reports.drawing import DIVERGING, TEXT_WIDTH, UNMEASURED, wrapped
from reports.sections import Scored
from reports.tables import between, value_of


def agreement_map(table: pd.DataFrame, results: Results, methods: list[Scored]) -> Figure:
    """Two panels, since one statistic misleads: Pearson of signed scores, top-k overlap by size.

    The first is led by the strongest components and their signs, and undefined (hatched) for an unsigned method; the
    second is defined for all. Both leave out Spearman, which over all components measures the noise tail.
    """
    rows = table[table.component == methods[0].kind]
    k = int(rows.k.dropna().max())
    side = min(TEXT_WIDTH / 2 - 0.9, 0.5 * len(methods))
    figure = Figure(figsize=(2 * side + 2.2, side + 0.7), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    signed = matrix(table, results, methods, "pearson", "signed")
    overlap = matrix(table, results, methods, "top_k_overlap", "by_size")
    _triangle(left, signed, "Pearson, signed scores", DIVERGING, -1)
    _triangle(right, overlap, f"overlap of the top {k} by size", "crest", 0)
    left.set_yticklabels([f"{wrapped(m.label, 24)}  {i}" for i, m in enumerate(methods, 1)], rotation=0)
    return figure


def matrix(
    table: pd.DataFrame, results: Results, methods: list[Scored], statistic: str, version: str
) -> np.ndarray:
    """One statistic of every two methods; NaN on the diagonal and where it is undefined."""
    values = np.full((len(methods), len(methods)), np.nan)
    for i, a in enumerate(methods):
        for j, b in enumerate(methods[:i]):
            values[i, j] = values[j, i] = value_of(between(table, results, a, b), statistic, version)
    return values


def _triangle(axes: Axes, values: np.ndarray, title: str, palette: str, low: float) -> None:
    count = len(values)
    hidden = np.triu(np.ones_like(values, dtype=bool)) | np.isnan(values)
    bar = {"shrink": 0.8, "aspect": 25, "pad": 0.02}
    sns.heatmap(
        values, mask=hidden, ax=axes, vmin=low, vmax=1, cmap=palette, annot=True, fmt=".2f", square=True,
        linewidths=0.8, linecolor="white", annot_kws={"size": 6}, cbar_kws=bar, xticklabels=range(1, count + 1),
    )  # fmt: skip
    for row in range(count):
        for column in range(row):
            if np.isnan(values[row, column]):
                axes.add_patch(_undefined(column, row))
                axes.text(column + 0.5, row + 0.5, "n/a", ha="center", va="center", size=5.5, color="0.35")
    axes.set_title(title)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", rotation=0)


def _undefined(column: int, row: int):  # type: ignore[no-untyped-def]
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, facecolor=UNMEASURED, edgecolor="white", linewidth=0.8)
