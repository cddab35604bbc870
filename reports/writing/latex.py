r"""LaTeX tables, ready for `\input`: they need the packages `booktabs` and `graphicx`."""

from textwrap import wrap

from reports.writing.blocks import Table, marked

_HEADING = 14  # characters of a column's name from which it is broken into lines
_LONG = 50  # characters of a text cell from which its column is broken into lines
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_SPECIAL = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"\ensuremath{\pm}"}
    | {"×": r"\ensuremath{\times}", "\n": " "}
)


def escaped(text: object) -> str:
    r"""Text in which every character stands for itself.

    >>> escaped("50% of L2_H1")
    '50\\% of L2\\_H1'
    """
    return str(text).translate(_SPECIAL)


def latex(table: Table) -> str:
    """A floating table with caption and label, shrunk only where it would be wider than the column."""
    style = table.shown.style.hide(axis="index").format(escaped).format_index(_heading, axis=1)
    longest = [max((len(str(cell)) for cell in column), default=0) for _, column in table.shown.items()]
    columns = [
        "r" if numeric else r"p{0.5\linewidth}" if length > _LONG else "l"
        for numeric, length in zip(table.numeric(), longest, strict=True)
    ]
    body = style.to_latex(hrules=True, column_format="".join(columns)).rstrip()
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_inline(table.caption)} {_inline(table.facts)}}}",
        rf"\label{{tab:{table.stem}}}",
        _FITTED,
        body + "}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _heading(text: str) -> str:
    """A column's name, in lines where it is long."""
    lines = [escaped(line) for line in wrap(text, _HEADING, break_long_words=False)]
    stacked = r" \\ ".join(lines)
    return stacked if len(lines) == 1 else rf"\shortstack{{{stacked}}}"


def _inline(text: str) -> str:
    commands = {"plain": "{}", "strong": r"\textbf{{{}}}", "code": r"\texttt{{{}}}"}
    return "".join(commands[mark].format(escaped(words)) for mark, words in marked(text))
