"""Which pictures a report has, and their captions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from benchmark.store import Results
from reports.agreement_map import agreement_map
from reports.drawing import save, style
from reports.formation import courses, formation
from reports.layer_map import layer_bars, layer_map
from reports.scatter import scatter
from reports.sections import Scored, Section

_ENDINGS = ("agreement", "maps", "layers", "scatter", "formation")


@dataclass(frozen=True)
class Picture:
    stem: str  # the file's name without its ending
    caption: str


def draw_section(
    section: Section, table: pd.DataFrame, results: Results, folder: Path, progress: Callable[[str], None]
) -> dict[str, list[Picture]]:
    """Draw every picture of one section into `folder`, as PDF and PNG; by kind of component, in reading order."""
    drawn: dict[str, list[Picture]] = {}
    for kind in section.kinds:
        methods = section.scored(kind)
        drawn[kind] = []
        for ending, caption, draw in _plan(section, kind, methods, table, results):
            picture = Picture(f"{section.slug}-{kind}-{ending}", caption)
            progress(picture.stem)
            with style():
                figure = draw()
                if figure is not None:
                    save(figure, folder / picture.stem)
                    drawn[kind].append(picture)
    return drawn


def _plan(
    section: Section, kind: str, methods: list[Scored], table: pd.DataFrame, results: Results
) -> list[tuple[str, str, Callable[[], Figure | None]]]:
    plan: list[tuple[str, str, Callable[[], Figure | None]]] = []
    rows = table[(table.setting == methods[0].cell.setting[:8]) & (table.component == kind)]
    if len(methods) > 1:
        caption = f"Agreement of every two methods on {kind}s: Pearson of signed scores, top-k overlap by size."
        plan.append(("agreement", caption, lambda: agreement_map(rows, results, methods)))
    if kind == "head":
        caption = "Mean score of every head, on one scale; methods in units of their own say so in their titles."
        plan.append(("maps", caption, lambda: layer_map(section, methods)))
    else:
        caption = f"How each method's summed sizes of {kind} scores are spread over the layers."
        plan.append(("layers", caption, lambda: layer_bars(methods)))
    caption = f"Mean {kind} scores against the reference, the strongest named; dashed: y = x."
    plan.append(("scatter", caption, lambda: scatter(methods)))
    return plan


def draw_formation(found: list[Section], table: pd.DataFrame, results: Results, folder: Path) -> list[Picture]:
    """One picture for each task that was run on several training checkpoints of a model."""
    drawn = []
    for (model, task, metric), course in courses(found).items():
        caption = (
            f"{model} on {task} over training: agreement of each method with activation patching on heads, and the "
            f"mean effect ({metric}) of the heads that are strongest at the end."
        )
        picture = Picture(f"{model}-{task}-formation", caption)
        with style():
            save(formation(course, table, results), folder / picture.stem)
        drawn.append(picture)
    return drawn


def remove_old(folder: Path) -> None:
    """Take away an earlier report's pictures, so that none of a cell that is gone stays beside the new ones."""
    for ending in _ENDINGS:
        for path in [*folder.glob(f"*-{ending}.pdf"), *folder.glob(f"*-{ending}.png")]:
            path.unlink()
