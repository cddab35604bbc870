"""Path effects as text, as CSV and as a heat map sender x receiver."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from reports.writing.blocks import with_interval
from reports.writing.drawing import CHARACTER, DIVERGING, LINE, canvas, place, save, style, wrapped

SHOWN = 20  # paths in a table
DRAWN = 40  # senders in a picture
_CELL = 0.22  # inches


def lines(means: pd.DataFrame) -> str:
    """The paths with the largest mean effects as a table, and how many there are."""
    order = means.effect.abs().sort_values(ascending=False, kind="stable").index[:SHOWN]
    top = means.loc[order]
    shown = top[["sender", "receiver"]].assign(
        effect=[with_interval(*row, "z.4f") for row in zip(top.effect, top.low, top.high, strict=True)]
    )
    rest = f"\n({SHOWN} of {len(means)} paths: the largest mean effects)" if len(means) > SHOWN else ""
    return f"{shown.to_string(index=False)}{rest}"


def write_paths(effects: pd.DataFrame, means: pd.DataFrame, title: str, unit: str, out: Path) -> Path:
    """Write `paths.csv` (means), `pairs.csv` (a row a pair) and `paths.pdf` and `.png`; gives the first one's place."""
    out.mkdir(parents=True, exist_ok=True)
    means.to_csv(out / "paths.csv", index=False, lineterminator="\n")
    effects.to_csv(out / "pairs.csv", index=False, lineterminator="\n")
    save(drawn(means, title, unit), out / "paths")
    return out / "paths.csv"


def drawn(means: pd.DataFrame, title: str, unit: str) -> Figure:
    """Mean effects, senders down and receivers across; of many senders, those with the largest effects."""
    table = means.pivot(index="sender", columns="receiver", values="effect")
    senders = table.abs().max(axis=1).nlargest(DRAWN).index
    table = table.loc[sorted(senders, key=_place), sorted(table.columns, key=_place)]
    rows, columns = table.shape
    width, height = max(1.2, 1.6 * _CELL * columns), max(0.8, _CELL * rows)
    title = wrapped(title, int((width + 0.6) / CHARACTER))
    above = 0.15 + LINE * (1 + title.count("\n"))
    with style():
        figure = canvas(width + 1.6, above + height + 0.7)
        axes, bar = place(figure, 0.6, above, width, height), place(figure, width + 0.75, above, 0.09, height)
        most = float(np.abs(table.to_numpy()).max()) or 1.0
        sns.heatmap(
            table, ax=axes, cmap=DIVERGING, vmin=-most, vmax=most, cbar_ax=bar,
            cbar_kws={"label": f"effect on {unit}"}, linewidths=0.2, linecolor="white", xticklabels=True,
            yticklabels=True,
        )  # fmt: skip
        axes.tick_params(length=0)
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="y", rotation=0)
        axes.set(xlabel="receiver", ylabel="sender", title=title)
        return figure


def _place(name: str) -> tuple[float, str, int]:
    """Layer, letter and number of a component's name; `logits` come last."""
    found = re.fullmatch(r"L(\d+)(\D+)(\d*)", name)
    return (float(found[1]), found[2], int(found[3] or 0)) if found else (np.inf, name, 0)
