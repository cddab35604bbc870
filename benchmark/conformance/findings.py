"""What a check finds, and how checks are carried out: each by itself, with what all code shares put back."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from benchmark.errors import BenchmarkError

Outcome = Literal["passed", "failed", "not applicable"]
Subject = TypeVar("Subject")


class Violation(Exception):
    """A promise that doesn't hold."""


class NotApplicable(Exception):
    """Why a check says nothing about this plugin."""


class ConformanceError(BenchmarkError):
    """A plugin breaks promises; the message lists every check that failed."""


@dataclass(frozen=True)
class Finding:
    """What one check found about one plugin, named with its options; `reason` is empty where it passed."""

    check: str
    plugin: str
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.outcome:<14}  {self.check}" + (f": {self.reason}" if self.reason else "")


def expect(holds: bool, seen: str, expected: str, cause: str) -> None:
    """Raise Violation where a promise doesn't hold."""
    if not holds:
        raise Violation(f"{seen}; expected {expected}. Likely cause: {cause}.")


def name_of(check: Callable[..., None]) -> str:
    return check.__name__.replace("_", "-")


def softmaxes() -> dict[tuple[Any, str], Any]:
    """The functions that backward rules are put into for everybody, by where they stand."""
    return {(place, "softmax"): place.softmax for place in (torch, torch.nn.functional, torch.Tensor)}


@contextmanager
def restored() -> Iterator[None]:
    """Put softmax, the gradient mode and the shared generators back as they were."""
    functions = softmaxes()
    grad, torch_state, numpy_state = torch.is_grad_enabled(), torch.get_rng_state(), np.random.get_state()
    try:
        yield
    finally:
        for (place, name), function in functions.items():
            setattr(place, name, function)
        torch.set_grad_enabled(grad)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)


def carry_out(checks: Sequence[Callable[[Subject], None]], subject: Subject, plugin: str) -> Iterator[Finding]:
    """One finding a check. Whatever a plugin raises is a failed check."""
    for check in checks:
        outcome: Outcome = "passed"
        reason = ""
        with restored(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                check(subject)
            except NotApplicable as why:
                outcome, reason = "not applicable", str(why)
            except (Violation, BenchmarkError) as why:
                outcome, reason = "failed", str(why)
            except Exception as error:  # a plugin may raise anything
                outcome, reason = "failed", f"it raised {type(error).__name__}: {error}"
        yield Finding(name_of(check), plugin, outcome, reason)


def refuse_failures(findings: Sequence[Finding]) -> None:
    """Raise ConformanceError with every failed check, if any."""
    failed = [finding for finding in findings if finding.outcome == "failed"]
    if failed:
        lines = [f"  {finding.plugin}: {finding.check}: {finding.reason}" for finding in failed]
        raise ConformanceError("\n".join([f"{len(failed)} of {len(findings)} conformance checks failed:", *lines]))
