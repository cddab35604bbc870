"""How every picture of a report looks, where its panels stand, and how it is saved: the same bytes each time.

Panels are placed in inches. An automatic layout would move them with the length of a label, and take seconds.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reports.writing.fonts import fonts

TEXT_WIDTH = 7.0  # inches: a page's text, two columns of a paper
UNMEASURED = "#c8c8c8"
DIVERGING = "RdBu_r"  # told apart by the colour-blind; red is positive
MARKERS = "osD^vPX*<"  # beside colours, for prints in grey; not as many as these, so that both together differ
CHARACTER = 0.052  # inches that a character of a title takes
LINE = 0.125  # inches that a line of a title takes


@contextmanager
def style() -> Iterator[None]:
    """Fonts and lines for print; the caller's matplotlib settings come back afterwards."""
    wanted: dict[str, Any] = {
        "font.family": fonts(), "font.size": 7, "axes.titlesize": 6.5, "axes.labelsize": 7,
        "axes.linewidth": 0.6, "axes.labelpad": 2, "axes.titlepad": 4, "xtick.labelsize": 6, "ytick.labelsize": 6,
        "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2, "ytick.major.size": 2,
        "xtick.major.pad": 2, "ytick.major.pad": 2, "pdf.fonttype": 42, "savefig.dpi": 200, "svg.hashsalt": "report",
    }  # fmt: skip
    with mpl.rc_context(rc=sns.axes_style("ticks") | wanted):
        yield


def colour(number: int) -> tuple[float, float, float]:
    """One of ten colours that the colour-blind tell apart."""
    palette = sns.color_palette("colorblind")
    red, green, blue = palette[number % len(palette)]
    return red, green, blue


def marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def across(count: int, most: int) -> int:
    """How many of `count` panels stand side by side, when rows are as even as can be."""
    return ceil(count / ceil(count / most))


def canvas(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at so many inches from the left and the top edge."""
    full_width, full_height = figure.get_size_inches()
    low = full_height - top - height
    return figure.add_axes((left / full_width, low / full_height, width / full_width, height / full_height))


def panels(
    titles: list[str], columns: int, size: tuple[float, float], gap: float, right: float = 0.1, below: float = 0.35,
    left: float = 0.52,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure of titled panels of one size (inches), `gap` apart, with room for labels around."""
    width, height = size
    titles = [wrapped(title, int((width + gap - 0.1) / CHARACTER)) for title in titles]
    above = LINE * (1 + max(title.count("\n") for title in titles)) + 0.1
    rows = ceil(len(titles) / columns)
    figure = canvas(left + columns * (width + gap) - gap + right, rows * (above + height + below))
    axes = []
    for number, title in enumerate(titles):
        row, column = divmod(number, columns)
        axis = place(figure, left + column * (width + gap), row * (above + height + below) + above, width, height)
        axis.set_title(title)
        axes.append(axis)
    return figure, axes


def legend_at_foot(figure: Figure, handles: Sequence[Any], labels: Sequence[str] | None = None) -> None:
    """A legend below all panels, in as many columns as have room; the figure grows by its height, and never cuts it."""
    names = [str(handle.get_label()) for handle in handles] if labels is None else list(labels)
    width = float(figure.get_size_inches()[0])
    fit, most, columns = 1, len(names), len(names)
    while True:  # more columns are wider
        legend = figure.legend(handles, names, loc="lower center", ncols=columns, frameon=False, fontsize=6,
                               borderaxespad=0.2)  # fmt: skip
        box = legend.get_window_extent()
        fits = columns == 1 or box.width <= (width - 0.1) * figure.dpi
        fit, most = (columns, most) if fits else (fit, columns - 1)
        if fits and fit == most:
            break
        legend.remove()
        columns = (fit + most + 1) // 2
    widen(figure, box.width / figure.dpi + 0.1 - width, box.height / figure.dpi + 0.05)


def widen(figure: Figure, right: float = 0.0, below: float = 0.0, left: float = 0.0, above: float = 0.0) -> None:
    """Room of so many inches, if above 0, at each edge; panels keep their size."""
    width, height = figure.get_size_inches()
    right, below, left, above = (max(0.0, room) for room in (right, below, left, above))
    boxes = [axis.get_position() for axis in figure.axes]
    wide, tall = width + left + right, height + below + above
    figure.set_size_inches(wide, tall)
    for axis, box in zip(figure.axes, boxes, strict=True):
        corner = ((box.x0 * width + left) / wide, (box.y0 * height + below) / tall)
        axis.set_position((*corner, box.width * width / wide, box.height * height / tall))


def contain(figure: Figure) -> None:
    """Room for all that would be cut at an edge: a long title over the last panel, a label beside the first."""
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    if min(box.x0, box.y0, width - box.x1, height - box.y1) < 0:
        widen(figure, box.x1 - width + 0.03, 0.03 - box.y0, 0.03 - box.x0, box.y1 - height + 0.03)


def save(figure: Figure, stem: Path) -> None:
    """Write `stem`.pdf, .png and .svg, without the time of writing."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    contain(figure)
    figure.savefig(f"{stem}.pdf", metadata={"CreationDate": None})
    figure.savefig(f"{stem}.png")
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    stem.with_name(f"{stem.name}.svg").write_text(_lean(text.getvalue()), encoding="utf-8")


def _lean(svg: str) -> str:
    """Without comments, and with paths to a hundredth of a point, which no eye can tell."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' d="[^"]*"', lambda path: re.sub(r"-?\d+\.\d{3,}", _rounded, path[0]), svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def wrapped(text: str, width: int) -> str:
    """Text in lines of at most `width`: broken at spaces and colons, at hyphens only within a longer word."""
    return "\n".join(line for part in text.split("\n") for line in _lines(part, width))


def _lines(text: str, width: int) -> list[str]:
    lines = [""]
    for word in re.findall(r"[^:\s]+[:\s]*", text):
        pieces = [word] if len(word.rstrip(": ")) <= width else re.findall(r"[^-]+-?", word)
        for piece in pieces:
            if lines[-1] and len((lines[-1] + piece).rstrip(": ")) > width:
                lines.append("")
            lines[-1] += piece
    return [line.rstrip(": ") for line in lines]
