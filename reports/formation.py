"""How a circuit forms: agreement with the reference, and the strongest heads' effects, over training checkpoints."""

import re
from collections import defaultdict

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.store import Results
from reports.drawing import panels
from reports.sections import Scored, Section
from reports.tables import against_reference

FEWEST = 3  # checkpoints that make a course
STRONGEST = 5
_CHECKPOINT = re.compile(r"(.+)@step-(\d+)$")
_PANELS = (("pearson/signed", "Pearson, signed scores"), ("top_k_overlap/by_size", "overlap of the top {k} by size"))

Course = dict[int, Section]  # by training step


def courses(found: list[Section], kind: str = "head") -> dict[tuple[str, str, str], Course]:
    """Sections of one model's checkpoints by (model, task, metric), where there are enough and a reference."""
    grouped: dict[tuple[str, str, str], Course] = defaultdict(dict)
    for section in found:
        key = section.key
        checkpoint = _CHECKPOINT.match(key["model"]["name"])
        if checkpoint and kind in section.kinds and any(method.reference for method in section.scored(kind)):
            grouped[checkpoint[1], key["task"]["name"], key["task"]["metric"]][int(checkpoint[2])] = section
    return {name: dict(sorted(course.items())) for name, course in grouped.items() if len(course) >= FEWEST}


def formation(course: Course, table: pd.DataFrame, results: Results, kind: str = "head") -> Figure:
    """Three panels over the training step (logarithmic): two statistics of agreement, and the strongest components."""
    methods = {step: section.scored(kind) for step, section in course.items()}
    agreement = {step: against_reference(table, results, scored) for step, scored in methods.items()}
    k = max(int(rows.k.max()) for rows in agreement.values())
    titles = [title.format(k=k) for _, title in _PANELS]
    last = list(course.values())[-1]
    titles.append(f"effect of the {STRONGEST} strongest {kind}s, by activation patching")
    most = max(STRONGEST, *(len(scored) for scored in methods.values()))
    figure, axes = panels(titles, 3, (1.75, 1.5), 0.55, right=0.1, below=0.5 + 0.12 * most)
    for axis, (statistic, _) in zip(axes, _PANELS, strict=False):
        _lines(axis, {s: dict(zip(rows.method, rows[statistic], strict=True)) for s, rows in agreement.items()})
    effects = {step: next(method for method in scored if method.reference) for step, scored in methods.items()}
    _lines(axes[2], _strongest(effects))
    axes[2].set_ylabel(f"mean score ({last.key['task']['metric']})")
    return figure


def _strongest(effects: dict[int, Scored]) -> dict[int, dict[str, float]]:
    """Mean scores of the components that are strongest at the last checkpoint, at every checkpoint."""
    final = effects[max(effects)]
    chosen = final.strongest(STRONGEST)
    return {
        step: {final.component(place): float(one.vector[place]) for place in chosen} for step, one in effects.items()
    }


def _lines(axis: Axes, values: dict[int, dict[str, float]]) -> None:
    frame = pd.DataFrame(values).T.sort_index()
    for number, name in enumerate(frame.columns):
        if frame[name].notna().any():
            colour = sns.color_palette("colorblind")[number]
            dashes = (2 * number, (4, 2 * number)) if number else "solid"  # lines that lie on each other stay visible
            axis.plot(
                frame.index, frame[name], "o", linestyle=dashes, markersize=2, linewidth=1, color=colour, label=name
            )
    axis.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    axis.set_xscale("symlog", linthresh=1)
    first, last = frame.index[0], frame.index[-1]
    axis.set_xlim(first, last * 1.1)
    powers = [10**exponent for exponent in range(9)]
    axis.set_xticks([step for step in (0, *powers) if first <= step <= last])
    axis.xaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.set_xlabel("training step")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), frameon=False, fontsize=5.5, handlelength=1.2)
