"""Who interacts with whom: a matrix of couples."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reports.writing.drawing import DIVERGING, UNMEASURED, canvas, place, style

_CELL = 0.2  # inches


def matrix(values: pd.DataFrame, metric: str, least: float) -> Figure:
    """Mean interactions of every two components, named on both sides. Colours reach at least to `least`."""
    with style():
        side = max(1.2, _CELL * len(values))
        figure = canvas(side + 1.5, side + 0.75)
        axes, bar = place(figure, 0.65, 0.15, side, side), place(figure, side + 0.75, 0.15, 0.09, side)
        numbers = values.to_numpy()
        most = max(float(np.nanmax(np.abs(numbers))), least) or 1.0
        axes.set_facecolor(UNMEASURED)
        sns.heatmap(
            numbers, ax=axes, cmap=DIVERGING, vmin=-most, vmax=most, cbar_ax=bar, linewidths=0.3, linecolor="white",
            cbar_kws={"label": f"interaction on {metric}"},
        )  # fmt: skip
        places = np.arange(len(values)) + 0.5
        axes.set_xticks(places, list(values.columns), rotation=90)
        axes.set_yticks(places, list(values.index), rotation=0)
        axes.tick_params(length=0)
        return figure
