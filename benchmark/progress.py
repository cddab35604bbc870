"""Progress of long work: a bar in terminals and notebooks, nothing where nobody watches."""

import sys
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

QUICK = 2.0  # seconds within which work is done before a bar is worth showing


class Bar:
    """A progress bar that never runs past its length."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def advance(self, done: float) -> None:
        self.shown.update(min(done, self.shown.total - self.shown.n))

    def describe(self, text: str) -> None:
        self.shown.set_description(text)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.advance(self.shown.total)
        self.shown.close()


def bar(length: float, description: str = "", unit: str = "it", quick: float = QUICK, hidden: bool = False) -> Bar:
    """A bar of this length; it appears after `quick` seconds, in a terminal or a notebook."""
    disable = True if hidden or not length else None if not in_notebook() else False
    many = length > 1000
    return Bar(
        tqdm(total=length, desc=description, unit=unit, unit_scale=many, delay=quick, smoothing=0.05, disable=disable)
    )


def in_notebook() -> bool:
    """Whether a notebook shows what is written: its stderr is no terminal, and yet somebody watches."""
    shell = sys.modules.get("IPython")
    return bool(shell and shell.get_ipython() and "IPKernelApp" in shell.get_ipython().config)
