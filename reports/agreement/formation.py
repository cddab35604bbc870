"""How a circuit forms: agreement with the reference, and the strongest heads' effects, over training checkpoints."""

import re
from collections import defaultdict

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.comparisons import Comparisons, value_of
from benchmark.analysis.sections import Scored
from benchmark.components import many
from reports.writing.drawing import colour, panels

FEWEST = 3  # checkpoints that make a course
STRONGEST = 5
_CHECKPOINT = re.compile(r"(.+)@step-(\d+)$")
_PANELS = (
    ("pearson", "signed", "Pearson, signed scores"),
    ("top_k_overlap", "by_size", "overlap of the top {k} by size"),
)

Course = dict[int, Comparisons]  # by training step


def courses(parts: list[Comparisons]) -> dict[tuple[str, str, str], Course]:
    """One model's checkpoints, heads only, by (model, task, metric), where there are enough and a reference."""
    grouped: dict[tuple[str, str, str], Course] = defaultdict(dict)
    for part in parts:
        checkpoint = _CHECKPOINT.match(part.section.model)
        if checkpoint and not many(part.kind) and part.references:
            grouped[checkpoint[1], part.section.key.task.name, part.section.metric][int(checkpoint[2])] = part
    return {name: dict(sorted(course.items())) for name, course in grouped.items() if len(course) >= FEWEST}


def formation_data(course: Course) -> pd.DataFrame:
    """A row a panel, training step and line: two statistics of agreement, and the strongest components' effects."""
    rows = []
    for step, part in course.items():
        for statistic, version, panel in _PANELS:
            rows += [
                {"panel": panel.format(k=part.k), "step": step, "line": method.label}
                | {"value": value_of(found, statistic, version)}
                for method, _, found in part.against_reference
            ]
    effects = {step: part.references[0] for step, part in course.items()}
    panel = f"effect of the {STRONGEST} strongest heads, by activation patching"
    rows += [
        {"panel": panel, "step": step, "line": name, "value": value}
        for step, values in _strongest(effects).items()
        for name, value in values.items()
    ]
    return pd.DataFrame(rows)


def formation(data: pd.DataFrame, metric: str) -> Figure:
    """Three panels over the training step (logarithmic)."""
    grouped = list(data.groupby("panel", sort=False))
    most = data.groupby("panel").line.nunique().max()
    figure, axes = panels([str(name) for name, _ in grouped], 3, (1.75, 1.5), 0.55, below=0.5 + 0.12 * most)
    for axis, (_, rows) in zip(axes, grouped, strict=True):
        _lines(axis, rows)
    axes[-1].set_ylabel(f"mean score ({metric})")
    return figure


def _strongest(effects: dict[int, Scored]) -> dict[int, dict[str, float]]:
    """Mean scores of the components that are strongest at the last checkpoint, at every checkpoint."""
    final = effects[max(effects)]
    chosen = final.strongest(STRONGEST)
    return {
        step: {final.component(place): float(one.vector[place]) for place in chosen} for step, one in effects.items()
    }


def _lines(axis: Axes, rows: pd.DataFrame) -> None:
    frame = rows.pivot(index="step", columns="line", values="value")[list(dict.fromkeys(rows.line))]
    for number, name in enumerate(frame.columns):
        if frame[name].notna().any():
            dashes = (2 * number, (4, 2 * number)) if number else "solid"  # lines that lie on each other stay visible
            axis.plot(frame.index, frame[name], "o", ls=dashes, ms=2, lw=1, color=colour(number), label=name)
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
