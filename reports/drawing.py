"""How every picture of a report looks and is saved: one style, PDF and PNG, the same bytes each time."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TEXT_WIDTH = 7.0  # inches: a page's text, two columns of a paper
UNMEASURED = "#d9d9d9"
DIVERGING = "vlag"  # blue-white-red, told apart by the colour-blind


@contextmanager
def style() -> Iterator[None]:
    """Fonts and lines for print; the caller's matplotlib settings come back afterwards."""
    sizes = {"font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "xtick.labelsize": 6, "ytick.labelsize": 6}
    lines = {"axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2}
    files = {"pdf.fonttype": 42, "savefig.dpi": 200, "hatch.linewidth": 0.5, "ytick.major.size": 2}
    with mpl.rc_context(), sns.axes_style("ticks", {"font.family": ["DejaVu Sans"]}):
        mpl.rcParams.update(sizes | lines | files)
        yield


def panels(count: int, most_across: int, height: float, width: float = TEXT_WIDTH) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows as even as can be, each `height` inches; the places left over stay empty."""
    down = ceil(count / most_across)
    across = ceil(count / down)
    figure = Figure(figsize=(width, height * down), layout="constrained")
    axes = np.atleast_1d(figure.subplots(down, across)).ravel()
    for empty in axes[count:]:
        empty.set_axis_off()
    return figure, list(axes[:count])


def save(figure: Figure, stem: Path) -> None:
    """Write `stem`.pdf and `stem`.png, without the time of writing."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(f"{stem}.pdf", metadata={"CreationDate": None})
    figure.savefig(f"{stem}.png")


def wrapped(label: str, width: int = 18) -> str:
    """A method label in lines of at most `width`, broken after hyphens, colons and spaces."""
    lines = [""]
    for word in re.findall(r"[^-:\s]+[-:\s]?", label):
        if lines[-1] and len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.strip().removesuffix(":") for line in lines)
