"""The picture of the litmus: methods in rows, planted models in columns, each cell marked by its verdict."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from reports.writing.drawing import CHARACTER, TEXT_WIDTH, panels, widen

VERDICTS = {
    "exact": "=",
    "finds": "+",
    "wrong size": "~",
    "wrong sign": "!",
    "misses": "x",
    "not judged": "-",
    "failed": "E",
}
_COLOURS = {
    "exact": "#2b6ca3", "finds": "#9cc4de", "wrong size": "#f6e3a1", "wrong sign": "#f0a35e", "misses": "#b8433e",
    "not judged": "#d9d9d9", "failed": "#8c8c8c",
}  # fmt: skip


def litmus_map(data: pd.DataFrame) -> Figure:
    """Method x litmus, a panel a setting, each cell coloured and marked by its verdict."""
    settings = list(dict.fromkeys(data.setting))
    methods, columns = list(dict.fromkeys(data.method)), list(dict.fromkeys(data.litmus))
    left = 0.15 + CHARACTER * max(map(len, methods))
    cell = min(0.3, max(0.15, (TEXT_WIDTH - left - 0.1) / len(columns)))
    size = (cell * len(columns), 0.19 * len(methods))
    figure, axes = panels(settings, 1, size, 0.2, left=left, below=0.05)
    widen(figure, 0.0, 0.95)
    for axis, setting in zip(axes, settings, strict=True):
        _verdicts(axis, data[data.setting == setting], methods, columns)
    axes[-1].set_xticklabels(columns, rotation=40, ha="right")
    axes[-1].tick_params(axis="x", length=2)
    return figure


def _verdicts(axis: Axes, rows: pd.DataFrame, methods: list[str], columns: list[str]) -> None:
    numbers = {verdict: place for place, verdict in enumerate(VERDICTS)}
    wide = rows.pivot(index="method", columns="litmus", values="verdict").reindex(index=methods, columns=columns)
    values = wide.map(lambda verdict: numbers.get(verdict, np.nan)).to_numpy(dtype=float)
    marks = wide.map(lambda verdict: VERDICTS.get(verdict, "")).to_numpy()
    sns.heatmap(
        values, ax=axis, cmap=ListedColormap([_COLOURS[verdict] for verdict in VERDICTS]), vmin=0, vmax=len(VERDICTS),
        cbar=False, linewidths=0.5, linecolor="white", annot=marks, fmt="",
        annot_kws={"fontsize": 6},
    )  # fmt: skip
    axis.set_title(axis.get_title(), loc="left")
    axis.set_title("")
    axis.set_xticks(np.arange(len(columns)) + 0.5, [""] * len(columns))
    axis.set_yticks(np.arange(len(methods)) + 0.5, methods, rotation=0)
    axis.tick_params(length=0)
