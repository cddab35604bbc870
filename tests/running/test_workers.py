"""What is done when one of Ray's workers dies or fails, with actors that are played. `test_cluster` has real ones."""

import doctest
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmark.engine.memory import Chunk
from benchmark.errors import BenchmarkError
from benchmark.running import capacity, cluster
from benchmark.running.cluster import TRIES, Workers
from benchmark.running.crew import Teller
from benchmark.running.work import Computed, Failed, ModelSource, TaskSource, Work

Answer = Callable[[], Any]
WORKS = [
    Work(ModelSource("pocket"), TaskSource("ioi"), ("a",), None, name, (), ("head",), "noising", "zero", 0, Chunk())
    for name in "xyz"
]


class Died(Exception):
    """As a RayError."""


class Broke(Died):
    """As a RayTaskError: in the actor's code."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Played:
    """An actor, or Ray itself. `at_work` says what comes of a piece of work: an error to raise, or None."""

    exceptions = SimpleNamespace(RayError=Died, RayTaskError=Broke)

    def __init__(self, at_work: Callable[[Work], Exception | None], loads: Exception | None = None) -> None:
        self.at_work, self.loads, self.loaded = at_work, loads, 0

    def _answers(self, made: Callable[..., Any]) -> Any:
        method = SimpleNamespace(remote=lambda *given: lambda: made(*given))
        method.options = lambda **options: method
        return method

    @property
    def ready(self) -> Any:
        return self._answers(lambda source: self._load())

    @property
    def do(self) -> Any:
        return self._answers(lambda work, metrics: self._do(work))

    @property
    def answer(self) -> Any:
        return self._answers(lambda question, *about: self._load())

    def _load(self) -> None:
        self.loaded += 1
        if self.loads:
            raise self.loads

    def _do(self, work: Work) -> tuple[Computed, list[str]]:
        if error := self.at_work(work):
            raise error
        return Computed({"head.values": np.zeros(1)}, {}, 0.0, {}, work.chunk), [f"{work.method} is done"]

    @staticmethod
    def wait(answers: Sequence[Answer], **options: Any) -> tuple[list[Answer], list[Answer]]:
        return list(answers[:1]), list(answers[1:])

    @staticmethod
    def get(answer: Answer) -> Any:
        return answer()


def carried_out(*actors: Played) -> tuple[dict[int, str], list[str], list[int]]:
    """What came out by number (an error, or nothing), what was said, and which pieces were begun, in order."""
    said: list[str] = []
    begun: list[int] = []
    teller = Teller(lambda number: True, begun.append, lambda number, rows: None, said.append)
    outcomes = Workers(Played(lambda work: None), list(actors), 1).carry_out(WORKS, teller)
    found = {number: one.error if isinstance(one, Failed) else "" for number, one in outcomes}
    return found, said, begun


def failing(name: str, error: Exception, times: int = 99) -> Callable[[Work], Exception | None]:
    left = [error] * times
    return lambda work: left.pop() if work.method == name and left else None


def test_work_whose_worker_dies_is_begun_again_and_what_is_done_is_not() -> None:
    actor = Played(failing("y", Died("killed"), times=TRIES - 1))
    found, said, begun = carried_out(actor)
    assert found == {0: "", 1: "", 2: ""}
    assert begun == [0, 1, 2, *[1] * (TRIES - 1)]  # last
    assert said.count("A worker died; its part is done again. killed") == TRIES - 1
    assert actor.loaded == TRIES  # whoever is restarted loads its model before it is given work


def test_work_whose_worker_always_dies_fails_and_the_rest_is_done() -> None:
    found, _, begun = carried_out(Played(failing("y", Died("killed"))), Played(failing("y", Died("killed"))))
    assert found == {0: "", 1: f"its worker died {TRIES} times, perhaps of too little memory", 2: ""}
    assert begun.count(1) == TRIES


def test_work_that_breaks_its_worker_fails_at_once() -> None:
    found, _, begun = carried_out(Played(failing("y", Broke(ValueError("can't be unpickled")))))
    assert found == {0: "", 1: "can't be unpickled", 2: ""}
    assert begun == [0, 1, 2]


def test_who_cannot_load_the_model_gets_no_work() -> None:
    useless = Played(lambda work: Died("never asked"), loads=Died("no room"))
    other = Played(lambda work: ValueError("never asked"), loads=Broke(BenchmarkError("it is 0.1 here")))
    found, said, _ = carried_out(useless, other, Played(lambda work: None))
    assert found == {0: "", 1: "", 2: ""}
    assert said[:2] == ["A worker is gone: no room", "A worker can't begin: it is 0.1 here"]
    with pytest.raises(BenchmarkError, match="No worker is left"):
        carried_out(useless)


def test_what_a_worker_refuses_to_say_is_said_here() -> None:
    here = Played(lambda work: None)
    for error, words in (
        (Broke(BenchmarkError("too small")), "too small"),
        (Died("gone"), r"was planned \(gone\)"),
        (Broke(KeyError("no such module")), "no such module.* Install the same"),
    ):
        with pytest.raises(BenchmarkError, match=words):
            Workers(here, [Played(lambda work: None, loads=error)], 1).ask(capacity.device, ModelSource("pocket"))


def test_the_examples_of_what_workers_share_hold() -> None:
    found = doctest.testmod(cluster)
    assert found.attempted >= 2
    assert not found.failed
