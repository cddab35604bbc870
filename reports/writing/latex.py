r"""LaTeX tables, ready for `\input`, by pdfLaTeX or any other LaTeX. What a file needs stands in its first line.

A table as wide as it has to be is a `table*`, which goes over both columns of a two-column class and is an ordinary
table in any other one.
"""

import re
import unicodedata
from collections.abc import Iterable
from textwrap import wrap

import numpy as np
import pandas as pd

from reports.writing.blocks import Picture, Table, marked

PACKAGES = ("booktabs", "graphicx")
NEEDS = rf"% needs \usepackage{{{','.join(PACKAGES)}}}"
_HEADING = 14  # characters of a column's name from which it is broken into lines
_LONG = 50  # characters of a text cell from which its column is broken into lines
_COLUMN = 55  # characters of a table's row that fit into one of two columns
_LINES = 36  # of a table that fit onto a page beside caption and notes; a longer one goes on in a further float
_ACROSS = 3  # columns beside the first of a compact table; what is more stands below
_ROWS = 22  # of a compact table, of two lines each, that fit onto a page
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_SIGNS = {
    "−": r"\ensuremath{-}", "±": r"\ensuremath{\pm}", "×": r"\ensuremath{\times}", "·": r"\ensuremath{\cdot}",
    "≤": r"\ensuremath{\leq}", "≥": r"\ensuremath{\geq}", "≈": r"\ensuremath{\approx}", "≠": r"\ensuremath{\neq}",
    "→": r"\ensuremath{\rightarrow}", "←": r"\ensuremath{\leftarrow}", "∞": r"\ensuremath{\infty}",
    "–": "--", "—": "---", "…": r"\ldots{}", "‘": "`", "’": "'", "“": "``", "”": "''", "ß": r"\ss{}", "§": r"\S{}",
    "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}",
}  # fmt: skip
_SPECIAL = (
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\textasciigrave{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedblright{}"}
    | _SIGNS
)
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0304": "=", "\u0306": "u",
            "\u0307": ".", "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c"}  # fmt: skip


def escaped(text: object) -> str:
    r"""Text in which every character stands for itself; one that pdfLaTeX's fonts lack is named by its number.

    >>> escaped("50% of L2_H1"), escaped("−1, a--b, 目")
    ('50\\% of L2\\_H1', '\\ensuremath{-}1, a-{}-b, [U+76EE]')
    """
    apart = re.sub(r"([-',])(?=\1)", "\\1\0", str(text))  # two of these are one sign to LaTeX
    return "".join(map(_character, apart))


def _character(sign: str) -> str:
    if sign == "\0":
        return "{}"
    if sign in _SPECIAL:
        return _SPECIAL[sign]
    if sign.isspace() or unicodedata.category(sign) == "Cc":
        return " "
    if sign.isascii():
        return sign
    apart = unicodedata.normalize("NFD", sign)
    if len(apart) == 2 and apart[0].isascii() and apart[1] in _ACCENTS:
        return f"\\{_ACCENTS[apart[1]]}{{{apart[0]}}}"
    return f"[U+{ord(sign):04X}]"


def latex(table: Table) -> str:
    """A floating table with a short caption, a label, and below it the notes: whatever else is to be said.

    Shrunk only where it would be wider than the page or column.
    """
    if table.compact:
        return _compact(table)
    longest = [max((len(str(cell)) for cell in column), default=0) for _, column in table.shown.items()]
    long = [length > _LONG for length in longest]
    columns = "".join(
        "r" if numeric else r"p{0.5\linewidth}" if broken else "l"
        for numeric, broken in zip(table.numeric(), long, strict=True)
    )
    headings = [max(map(len, _broken(str(name), _HEADING))) for name in table.shown.columns]
    width = sum(min(_LONG, max(pair)) + 2 for pair in zip(longest, headings, strict=True))
    bodies = [_body(part, columns, long) for part in _pages(table.shown)]
    return _floats(table, [f"{_FITTED}\n{body}}}" for body in bodies], wide=width > _COLUMN)


def _compact(table: Table) -> str:
    """A table for one column: a row's name and a few numbers, the interval of each below it.

    What a cell holds in brackets, and what a row's name says after a colon or in brackets, goes into a second line.
    Columns beyond the third go on below.
    """
    first, *others = table.shown.columns
    size = -(-len(others) // max(1, -(-len(others) // _ACROSS)))
    columns = [others[start : start + size] for start in range(0, len(others), size or 1)]
    panels = [
        table.shown[[first, *some]].iloc[start : start + _ROWS]
        for some in columns
        for start in range(0, len(table.shown), _ROWS)
    ]
    pages: list[list[pd.DataFrame]] = []
    for panel in panels:
        if not pages or sum(map(len, pages[-1])) + len(panel) > _ROWS:
            pages.append([])
        pages[-1].append(panel)
    bodies = []
    for page in pages:
        inside = "\n\\midrule\n".join("\n".join(_panel(panel)) for panel in page)
        tabular = rf"\begin{{tabular}}{{l{'r' * size}}}"
        bodies.append("\n".join([_FITTED, tabular, r"\toprule", inside, r"\bottomrule", r"\end{tabular}}"]))
    return _floats(table, [rf"\setlength{{\tabcolsep}}{{3pt}}{body}" for body in bodies], wide=False)


def _panel(shown: pd.DataFrame) -> list[str]:
    """The lines of some columns of a compact table."""
    lines = [_row([_heading(name, 9, "r") for name in shown.columns]), r"\midrule"]
    for row in shown.astype(str).itertuples(index=False):
        upper, lower = zip(*map(_split, row), strict=True)
        small = [rf"{{\tiny {_cell(text)}}}" if text else "" for text in lower]
        if any(small[1:]):
            lines += [_row(map(_cell, upper)) + "[-1pt]", _row(small) + "[1pt]"]
        else:
            lines.append(_row([f"{_cell(upper[0])} {small[0]}".rstrip(), *map(_cell, upper[1:])]))
    return lines


def _split(text: str) -> tuple[str, str]:
    """`0.98` and `[0.96, 0.99]`, `integrated-gradients` and `path=joint`."""
    found = re.match(r"(.+?)(?::| (?=[(\[]))(.*)", text)
    return (found[1], found[2]) if found else (text, "")


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _body(shown: pd.DataFrame, columns: str, long: list[bool]) -> str:
    """A tabular of these rows; `long` says in which columns a cell is a paragraph."""
    if not columns:
        return r"\begin{tabular}{l}none\end{tabular}"
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _row(map(_heading, shown.columns)), r"\midrule"]
    for row in shown.itertuples(index=False):
        lines.append(_row(_paragraph(cell) if one else _cell(cell) for cell, one in zip(row, long, strict=True)))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _paragraph(text: object) -> str:
    """A cell in lines, which may end inside of long words such as web addresses too."""
    words = [
        re.sub(r"([/:.,=_-]|\w{24})(?=.)", "\\1\0", word) if len(word) > _LONG // 3 else word
        for word in str(text).split(" ")
    ]
    pieces = [r"\allowbreak{}".join(map(_cell, word.split("\0"))) for word in words]
    return rf"{{\raggedright {' '.join(pieces)}\par}}"


def _pages(shown: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows in parts of about one height that fit onto a page; mostly all in one."""
    heights = [max((-(-len(str(cell)) // _LONG) for cell in row), default=1) for row in shown.itertuples(index=False)]
    height = sum(heights) / max(1, -(-sum(heights) // _LINES))
    ends = np.cumsum(heights) - 1
    return [part for _, part in shown.groupby(ends // height, sort=False)] if len(shown) else [shown]


def _floats(table: Table, bodies: list[str], wide: bool) -> str:
    """A float a body: the first with the label, the last with the notes, all with the caption and one number."""
    environment = "table*" if wide else "table"
    caption, notes = said(table)
    lines = [NEEDS]
    for place, body in enumerate(bodies):
        first, last = not place, place == len(bodies) - 1
        lines += [
            rf"\begin{{{environment}}}",
            *[r"\addtocounter{table}{-1}"] * (not first),
            r"\centering",
            rf"\caption{{{caption}{' (continued)' * (not first)}}}",
            *[rf"\label{{tab:{table.stem}}}"] * first,
            rf"\smallskip\footnotesize{body}",
            *notes * last,
            rf"\end{{{environment}}}",
        ]
    return "\n".join(lines) + "\n"


def said(block: Table | Picture) -> tuple[str, list[str]]:
    """The short caption, and the line with a block of notes, where there are any."""
    caption, notes = _short(block.caption)
    notes = f"{notes} {block.facts}".strip()
    line = rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize\raggedright {_inline(notes)}}}"
    return _inline(caption), [line] * bool(notes)


def _short(caption: str) -> tuple[str, str]:
    """The first clause of a caption, and what follows it; no mark and no bracket is cut in two."""
    for found in re.finditer(r"[.:;] (?=\S)", caption):
        said = caption[: found.start()]
        if said.count("`") % 2 == said.count("**") % 2 == 0 and said.count("(") == said.count(")"):
            rest = caption[found.end() :]
            return f"{said}.", rest[0].upper() + rest[1:]
    return caption, ""


def _heading(text: str, characters: int = _HEADING, side: str = "c") -> str:
    """A column's name, in lines where it is long."""
    lines = list(map(_cell, _broken(text, characters)))
    stacked = r" \\ ".join(lines)
    return stacked if len(lines) == 1 else rf"\shortstack[{side}]{{{stacked}}}"


def _broken(text: str, characters: int) -> list[str]:
    return wrap(text, characters, break_long_words=False) or [""]


def _cell(text: object) -> str:
    r"""A cell's text, a number's hyphen as a minus; a bracket or star at its start is no option of the `\\` before."""
    words = re.sub(r"(?<![\w-])-(?=\d)", r"\\ensuremath{-}", escaped(text))
    return f"{{}}{words}" if words.lstrip().startswith(("[", "*")) else words


def _inline(text: str) -> str:
    commands = {"plain": "{}", "strong": r"\textbf{{{}}}", "code": r"\texttt{{{}}}"}
    return "".join(commands[mark].format(escaped(words)) for mark, words in marked(text))
