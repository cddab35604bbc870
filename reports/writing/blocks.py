"""What a report is made of: a list of these blocks is its content, and each renderer writes all of them.

Text carries two marks, `**strong**` and `` `code` ``; everything else in it stands for itself.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Heading:
    text: str
    level: int  # 1 the report, 2 a task, 3 a kind of component


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """How a page shows a cell beyond its text: `tone` from -1 to 1 is its colour, `hover` what a pointer tells."""

    tone: float = 0.0
    strong: bool = False
    hover: str = ""


@dataclass(frozen=True)
class Table:
    """`shown` holds the text of every cell, `data` the same numbers unrounded: `tables/<stem>.csv`.

    `caption` says what is shown, in two lines at most. `note` is what a reader must know of this table alone. `facts`,
    how it came to be, go where a table stands by itself: into LaTeX and JSON; a page says them once, under "Methods".
    A table with `looks`, by row and column, is a map: its cells hold a number, an interval and marks. `compact`: in
    LaTeX it is to fit one of two columns.
    """

    stem: str
    caption: str
    facts: str
    shown: pd.DataFrame
    data: pd.DataFrame
    note: str = ""
    looks: Mapping[tuple[int, int], Look] = field(default_factory=dict)
    compact: bool = False

    def numeric(self) -> list[bool]:
        """For each column whether it holds numbers only, and so stands to the right."""
        return [all(re.match(r"-$|(<= )?[-+]?\d", str(cell)) for cell in column) for _, column in self.shown.items()]


@dataclass(frozen=True)
class Picture:
    """A figure that is drawn only when the report is written, and the numbers that it shows."""

    stem: str
    caption: str
    facts: str
    draw: Callable[[], Figure]
    data: pd.DataFrame
    note: str = ""


@dataclass(frozen=True)
class Fold:
    """Blocks that a page shows only when somebody opens them."""

    title: str
    blocks: tuple["Block", ...]
    level: int = 3
    stem: str = ""  # what links name it by


Leaf = Heading | Paragraph | Bullets | Table | Picture
Block = Leaf | Fold


def flat(blocks: Iterable[Block]) -> Iterator[Leaf]:
    """All blocks in order, those of a fold behind its title."""
    for block in blocks:
        if isinstance(block, Fold):
            yield Heading(block.title, block.level)
            yield from flat(block.blocks)
        else:
            yield block


def number(value: Any, form: str = "z.2f") -> str:
    """A number in the given form; a dash where there is none.

    >>> number(-0.001), number(float("nan"))
    ('0.00', '-')
    """
    return "-" if value is None or pd.isna(value) else format(value, form)


def with_interval(value: float, low: float, high: float, form: str = "z.2f") -> str:
    """`0.95 [0.91, 0.98]`, or the number alone where it has no interval."""
    text = number(value, form)
    return text if pd.isna(low) or pd.isna(high) else f"{text} [{number(low, form)}, {number(high, form)}]"


def marked(text: str) -> Iterator[tuple[str, str]]:
    """The pieces of a text with their marks: `plain`, `strong` or `code`.

    >>> list(marked("n is **small**, see `cells/`"))
    [('plain', 'n is '), ('strong', 'small'), ('plain', ', see '), ('code', 'cells/')]
    """
    for strong, code, plain in re.findall(r"\*\*(.+?)\*\*|`(.+?)`|((?:(?!\*\*|`).)+|\*\*|`)", text, re.DOTALL):
        mark = "strong" if strong else "code" if code else "plain"
        yield mark, strong or code or plain
