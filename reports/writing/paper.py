r"""`paper.tex`: a small document with every table and figure of a report, to be copied from."""

from collections.abc import Mapping, Sequence

from reports.writing.blocks import Picture, Table
from reports.writing.latex import PACKAGES, said

_COLUMN = 3.4  # inches: a wider figure goes over both columns of a two-column class
_FLOATS = 8  # after so many LaTeX is told to put them out: it holds few back
_HEAD = r"""% Every table and figure of the report beside this file. In its folder:
%   pdflatex paper && bibtex paper && pdflatex paper && pdflatex paper
% Tables need the packages PACKAGES, figures graphicx. With \documentclass[twocolumn]{article} it compiles too.
\documentclass{article}
\usepackage{PACKAGES}
\begin{document}
"""


def paper(
    tables: Sequence[Table], pictures: Sequence[Picture], sizes: Mapping[str, tuple[float, float]], cites: bool
) -> str:
    """The document; `sizes` are the widths and heights of the pictures in inches, by stem.

    `cites`: `references.bib` holds something, and is listed at the end.
    """
    floats = [rf"\input{{tables/{table.stem}.tex}}" for table in tables]
    floats += [_figure(picture, *sizes[picture.stem]) for picture in pictures]
    lines = []
    for place, one in enumerate(floats, 1):
        lines += [one, *[r"\clearpage"] * (place % _FLOATS == 0)]
    if cites:
        lines += [r"\clearpage", r"\nocite{*}", r"\bibliographystyle{plain}", r"\bibliography{references}"]
    return _HEAD.replace("PACKAGES", ",".join(PACKAGES)) + "\n".join([*lines, r"\end{document}"]) + "\n"


def _figure(picture: Picture, width: float, height: float) -> str:
    """A float with the picture at its own size, or as large as the page allows."""
    environment = "figure*" if width > _COLUMN else "figure"
    caption, notes = said(picture)
    wide, high = _at_most(width, r"\linewidth"), _at_most(height, r"0.7\textheight")
    lines = [
        rf"\begin{{{environment}}}",
        r"\centering",
        rf"\includegraphics[width={wide},height={high},keepaspectratio]{{figures/{picture.stem}.pdf}}",
        rf"\caption{{{caption}}}",
        rf"\label{{fig:{picture.stem}}}",
        *notes,
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines)


def _at_most(inches: float, most: str) -> str:
    return rf"\ifdim{inches:.2f}in>{most} {most}\else {inches:.2f}in\fi"
