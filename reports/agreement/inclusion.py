"""How often each component is in a method's top k when the pairs are drawn anew: table and picture."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from benchmark.analysis.comparisons import Comparisons
from benchmark.components import titled
from benchmark.statistics.inclusion import CORE, NOISE
from reports.run_tables import sampled
from reports.writing import captions
from reports.writing.blocks import Table
from reports.writing.curves import method_lines
from reports.writing.drawing import CHARACTER, TEXT_WIDTH, canvas, legend_at_foot, panels, place

MOST_NAMED = 8  # components of one label that a row of the table names
MOST_DRAWN = 24  # columns of the map


def facts(part: Comparisons) -> str:
    """How the pairs were drawn, and which methods can't be drawn anew."""
    draws = 2 * len(part.halves.first)
    words = (
        f"Over {draws} half-samples of the pairs (whole clusters together, templates as strata). Core: in the top in "
        f"{CORE:.0%} of them or more; noise: in fewer than {NOISE:.0%}; contingent: between."
    )
    return captions.about([part], words, *captions.one_pair_decides([part]), sampled(part.methods).strip())


def inclusion_table(data: pd.DataFrame, part: Comparisons, stem: str) -> Table:
    """A row a method: what is in its top whatever the pairs, and what depends on them."""
    rows = []
    for method, group in data.groupby("method", sort=False):
        core, contingent = (group[group.label == one] for one in ("core", "contingent"))
        rows.append(
            {"method": str(method), f"core, of {part.k}": str(len(core)), "which": _named(core.component)}
            | {"contingent": _named(f"{row.component} {row.frequency:.2f}" for row in contingent.itertuples())}
        )
    return Table(
        stem,
        f"{titled(part.kind)}: which are in the top {part.k} by size whatever the pairs (core), which depend on them.",
        facts(part),
        pd.DataFrame(rows),
        data,
    )


def _named(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - MOST_NAMED} more" * (len(listed) > MOST_NAMED)
    return ", ".join(listed[:MOST_NAMED]) + more or "-"


def drawn_components(data: pd.DataFrame) -> list[str]:
    """The columns of the map: what is no noise to some method, in the order of the first method's frequencies."""
    return list(dict.fromkeys(data[data.label != "noise"].component))


def inclusion_map(data: pd.DataFrame) -> Figure:
    """A row a method, a column a component: the share of draws in which it is in the top; a frame marks the core."""
    methods, components = list(dict.fromkeys(data.method)), drawn_components(data)
    share = data.pivot(index="method", columns="component", values="frequency").reindex(methods, columns=components)
    left = 0.15 + CHARACTER * max(map(len, methods))
    foot = 0.15 + 0.06 * max(map(len, components))
    cell = min(0.3, (TEXT_WIDTH - left - 0.1) / len(components))
    width, height = cell * len(components), 0.2 * len(methods)
    figure = canvas(left + width + 0.1, 0.08 + height + foot)
    axis = place(figure, left, 0.08, width, height)
    values = share.fillna(0.0).to_numpy()
    axis.imshow(values, cmap="Blues", vmin=0, vmax=1.8, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if value >= NOISE:
            text = "1" if value == 1 else f"{value:.2f}".lstrip("0")
            weight = "bold" if value >= CORE else "normal"
            axis.text(column, row, text, ha="center", va="center", fontsize=5, weight=weight)
    axis.set_xticks(range(len(components)), components, rotation=90)
    axis.set_yticks(range(len(methods)), methods)
    axis.tick_params(length=0)
    return figure


def inclusion_curves(data: pd.DataFrame, k: int) -> Figure:
    """A line a method: the frequencies from the highest down, where there are too many components to name."""
    methods = list(dict.fromkeys(data.method))
    figure, (axis,) = panels([""], 1, (3.2, 1.4), 0.3)
    for method, marker, shade in method_lines(methods, first=0):
        frequency = np.sort(data.frequency[data.method == method])[::-1]
        axis.plot(np.arange(1, len(frequency) + 1), frequency, marker, color=shade, lw=1, ms=2.2, markevery=0.12,
                  label=method)  # fmt: skip
    for threshold in (CORE, NOISE):
        axis.axhline(threshold, color="0.8", lw=0.6, ls=":", zorder=0)
    axis.axvline(k, color="0.8", lw=0.6, zorder=0)
    axis.set(xlim=(0, None), ylim=(-0.03, 1.03), xlabel="components, the most frequent first", ylabel="in the top")
    sns.despine(ax=axis)
    legend_at_foot(figure, *axis.get_legend_handles_labels())
    return figure
