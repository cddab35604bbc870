"""Progress of long work: a bar in terminals and notebooks, a line now and then in a log, nothing where it is quick."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from tqdm.auto import tqdm

QUICK = 2.0  # seconds within which work is done before a bar is worth showing
EVERY = 30.0  # seconds from line to line of a log


@runtime_checkable
class Progress(Protocol):
    """What is told of work that is done; used as a context."""

    def advance(self, done: float | int = 1.0) -> None: ...

    def describe(self, text: str) -> None: ...

    def __enter__(self) -> "Progress": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Bar:
    """A progress bar that never runs past its length."""

    def __init__(self, shown: Any) -> None:
        self.shown = shown

    def advance(self, done: float | int = 1.0) -> None:
        length = self.shown.total
        self.shown.update(done if length is None else min(done, length - self.shown.n))

    def describe(self, text: str) -> None:
        self.shown.set_description(text)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None and self.shown.total is not None:
            self.advance(self.shown.total)
        self.shown.close()


class Lines:
    """A line every half minute, for a log file: what is done, of how much, since when and for how long."""

    def __init__(self, length: float | int | None, text: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.length, self.text, self.clock = length, text, clock
        self.done = 0.0
        self.started = self.said = clock()

    def advance(self, done: float | int = 1.0) -> None:
        self.done += done if self.length is None else min(done, self.length - self.done)
        if self.clock() - self.said >= EVERY:
            self.said = self.clock()
            tqdm.write(self.line(self.said - self.started), file=sys.stderr)

    def describe(self, text: str) -> None:
        self.text = text

    def line(self, elapsed: float) -> str:
        """`what: done/total, elapsed, left`; what is left isn't known without a total, nor once that is reached."""
        said = f"{self.text}: {self.done:.0f}"
        if self.length is None:
            return f"{said}, {_time(elapsed)} elapsed"
        said = f"{said}/{self.length:.0f}, {_time(elapsed)} elapsed"
        if self.done >= self.length:
            return said
        left = _time(elapsed * (self.length - self.done) / self.done) if self.done else "?"
        return f"{said}, about {left} left"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def bar(
    length: float | int | None,
    description: str = "",
    unit: str = "it",
    quick: float = QUICK,
    hidden: bool = False,
    leave: bool = True,
) -> Progress:
    """Progress of work of this length, None where it isn't known: a bar after `quick` seconds, or lines in a log.

    `leave`: whether the finished bar stays.
    """
    nothing = hidden or length == 0
    if not nothing and not in_notebook() and not sys.stderr.isatty():
        return Lines(length, description or unit)
    many = length is not None and length > 1000
    whole = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} [{elapsed}<{remaining}, {rate_fmt}]"
    return Bar(
        tqdm(
            total=length, desc=description, unit=unit, unit_scale=many, delay=quick, smoothing=0.05, leave=leave,
            disable=nothing, bar_format=None if many or length is None else whole,
        )
    )  # fmt: skip


def in_notebook() -> bool:
    """Whether a notebook shows what is written: its stderr is no terminal, and yet somebody watches."""
    shell = sys.modules.get("IPython")
    return bool(shell and shell.get_ipython() and "IPKernelApp" in shell.get_ipython().config)


def _time(seconds: float) -> str:
    return str(tqdm.format_interval(seconds))
