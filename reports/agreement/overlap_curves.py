"""How far two methods' tops agree, from the very first component to many: overlap, rank and sign agreement over k."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import Scored
from benchmark.statistics.inference import self_overlap_band
from benchmark.statistics.tops import overlap_curves
from reports.writing.curves import method_lines
from reports.writing.drawing import colour, legend_at_foot, panels

_MEASURES = {
    "overlap": "top-k overlap by size",
    "sign": "sign agreement in the top k",
    "rank": "rank agreement in the top k",
}
_SELF = "the reference on other pairs"
_DEEPEST = 200


def curves_data(part: Comparisons) -> pd.DataFrame:
    """A row a method, measure and k: value, chance and its central 95%; and the reference's overlap with itself."""
    frames = [pd.DataFrame()]
    for method, reference, _ in part.against_reference:
        both = ~np.isnan(method.vector) & ~np.isnan(reference.vector)
        curves = overlap_curves(method.vector[both], reference.vector[both], _depth(both))
        for measure in _MEASURES:
            if measure != "sign" or (method.signed and reference.signed):
                curve = getattr(curves, measure)
                columns = {"value": curve.value, "chance": curve.chance, "low": curve.low, "high": curve.high}
                frames.append(pd.DataFrame({"method": method.label, "measure": measure, "k": curves.k} | columns))
    frames += [_self_agreement(reference, part) for reference in part.references[:1] if not part.halves.refusal]
    return pd.concat(frames, ignore_index=True)


def _depth(both: np.ndarray) -> int:
    """All ranks of some hundred components; of thousands only the first."""
    return min(_DEEPEST, int(both.sum()))


def _self_agreement(reference: Scored, part: Comparisons) -> pd.DataFrame:
    both = ~np.isnan(reference.vector)
    band = self_overlap_band(reference.scores[:, both], part.halves, _depth(both))
    columns = {"value": band.mean, "low": band.low, "high": band.high}
    return pd.DataFrame({"method": _SELF, "measure": "overlap", "k": band.k} | columns)


def curves_figure(data: pd.DataFrame) -> Figure:
    """Three panels over k (logarithmic): lines a method, grey the central 95% of chance, shaded the self-agreement."""
    methods = [name for name in dict.fromkeys(data.method) if name != _SELF]
    figure, axes = panels(list(_MEASURES.values()), 3, (1.8, 1.4), 0.4)
    for axis, measure in zip(axes, _MEASURES, strict=True):
        rows = data[data.measure == measure]
        _chance(axis, rows[rows.method != _SELF])
        band = rows[rows.method == _SELF]
        if len(band):
            axis.fill_between(band.k, band.low, band.high, color=colour(0), alpha=0.18, lw=0, label=f"{_SELF}, 95%")
        for name, marker, shade in method_lines(methods):
            line = rows[rows.method == name]
            axis.plot(line.k, line.value, marker, color=shade, lw=1, ms=2.2, markevery=0.12, label=name)
        axis.set(xscale="log", xlim=(0.93, 1.07 * data.k.max()), ylim=(-0.03, 1.03), xlabel="k")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        sns.despine(ax=axis)
    handles, labels = axes[0].get_legend_handles_labels()
    legend_at_foot(figure, handles, labels)
    return figure


def _chance(axis: Axes, rows: pd.DataFrame) -> None:
    """Chance depends on the number of components alone, and for ties on the scores: the widest band of all methods."""
    if len(rows):
        at = rows.groupby("k")
        axis.fill_between(at.k.first(), at.low.min(), at.high.max(), color="0.85", lw=0, label="chance, 95%")
        axis.plot(at.k.first(), at.chance.mean(), color="0.5", lw=0.8, ls=(0, (4, 2)), label="chance, expected")
