"""The crew of Ray's workers, on this machine or a cluster. Placement, restarts and the detection of deaths are Ray's.

A worker is an actor that holds the model. This process alone writes results, so that no disk need be shared; plugins,
files of pairs and local models must lie under the same path wherever a worker is.
"""

import logging
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmark.errors import BenchmarkError, first_line
from benchmark.models.catalogue import built_in
from benchmark.running.bench import Bench
from benchmark.running.crew import Teller
from benchmark.running.doing import attempt, planned_model
from benchmark.running.work import Computed, Failed, ModelSource, Work
from benchmark.words import counted

Found = TypeVar("Found")

TRIES = 3  # of a piece of work whose worker died
RELOADS = 50  # tries of loading the model again, each call to an actor that is still being restarted counted
PATIENCE = 120.0  # seconds after which it is said that no worker has begun


class Worker:
    """What an actor is made of."""

    def __init__(self) -> None:
        self.bench = Bench()

    def ready(self, work: Work) -> None:
        """Load the model. Raises where it, or this package, isn't that of the plan."""
        planned_model(work, self.bench)

    def answer(self, question: Callable[..., Found], *about: Any) -> Found:
        """What a function of `running.capacity` says of this process."""
        return question(self.bench, *about)

    def do(self, work: Work, metrics: Mapping[str, Tensor] | None) -> tuple[Computed | Failed, list[str]]:
        """What came out of a piece of work, and what was said meanwhile; `metrics` are those that the plan has."""
        said: list[str] = []
        self.bench.model(work.model)  # another one forgets what is kept
        if metrics is not None:
            self.bench.metrics[work.place] = metrics
        return attempt(work, self.bench, say=said.append), said


@dataclass
class Workers:
    """Actors that do pieces of work, each by so many threads. So many are `sharing` a machine's memory."""

    ray: Any
    actors: list[Any]
    threads: int
    sharing: int = 1

    def ask(self, question: Callable[..., Found], source: ModelSource, *about: Any) -> Found:
        """What the first of them says, who stands for all. `running.capacity` has what is asked."""
        answer = self.actors[0].answer.options(max_task_retries=TRIES).remote(question, _source(source), *about)
        while not self.ray.wait([answer], timeout=PATIENCE)[0]:
            warnings.warn(self._waiting(len(self.actors)), stacklevel=2)
        try:
            found: Found = self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BenchmarkError):
                raise error.cause from None
            raise BenchmarkError(
                f"The first worker can't say what fits into its memory ({first_line(error.cause or error)}). Install "
                "the same attribution-bench on every machine; where memory ran out, ask for fewer --workers."
            ) from error
        except self.ray.exceptions.RayError as death:
            raise BenchmarkError(
                f"A worker died when the run was planned ({first_line(death)}). Run the command again; with fewer "
                "--workers where memory ran out."
            ) from death
        return found

    def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
        """One that dies is restarted where Ray finds room; others take what it was at."""
        under_way = _UnderWay(self.ray, [_absolute(work) for work in works], teller, deque(range(len(works))))
        for actor in self.actors if works else []:
            under_way.load(actor)
        while under_way.waiting or under_way.any_at_work:
            under_way.hand_out()
            if not under_way.busy:
                if under_way.waiting:
                    raise BenchmarkError("No worker is left. What is finished is kept: the same command continues.")
                return
            answered, _ = self.ray.wait(list(under_way.busy), num_returns=1, timeout=PATIENCE)
            if not answered and not under_way.any_at_work:
                teller.say(self._waiting(len(under_way.busy)))
            for answer in answered:
                actor, number = under_way.busy.pop(answer)
                if number is None:
                    under_way.loaded(actor, answer)
                elif (outcome := under_way.done(actor, number, answer)) is not None:
                    yield number, outcome

    def _waiting(self, count: int) -> str:
        return f"Waiting for {counted(count, 'worker')} of {counted(self.threads, 'CPU')} each to begin ..."


@dataclass
class _UnderWay:
    """Which pieces of work wait, who is free, and who is `busy`: by an answer, the actor and its piece (None: loading).

    `deaths` are those of a piece's workers.
    """

    ray: Any
    works: Sequence[Work]
    teller: Teller
    waiting: deque[int]
    free: list[Any] = field(default_factory=list)
    busy: dict[Any, tuple[Any, int | None]] = field(default_factory=dict)
    deaths: Counter[int] = field(default_factory=Counter)

    @property
    def any_at_work(self) -> bool:
        return any(number is not None for _, number in self.busy.values())

    def load(self, actor: Any, **options: Any) -> None:
        """Its model, which is that of all the work."""
        self.busy[actor.ready.options(**options).remote(self.works[0])] = (actor, None)

    def hand_out(self) -> None:
        """A piece to each who is free, as long as there are some."""
        while self.free and self.waiting:
            number = self.waiting.popleft()
            if self.teller.wanted(number):
                self.teller.begins(number)
                actor = self.free.pop()
                self.busy[actor.do.remote(self.works[number], self.teller.metrics(number))] = (actor, number)

    def loaded(self, actor: Any, answer: Any) -> None:
        """It is free now; or it is gone: who can't load the model at first won't later."""
        try:
            self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:
            self.teller.say(f"A worker can't begin: {error.cause or error}")
        except self.ray.exceptions.RayError as death:
            self.teller.say(f"A worker is gone: {first_line(death)}")
        else:
            self.free.append(actor)

    def done(self, actor: Any, number: int, answer: Any) -> Computed | Failed | None:
        """What came out of a piece; None where its worker died, so that another takes it."""
        try:
            outcome, said = self.ray.get(answer)
        except self.ray.exceptions.RayTaskError as error:  # not in the work itself, whose errors are caught there
            self.free.append(actor)
            return Failed(first_line(error), str(error))
        except self.ray.exceptions.RayError as death:
            self.load(actor, max_task_retries=RELOADS)  # once it is restarted
            self.deaths[number] += 1
            if self.deaths[number] == TRIES:
                return Failed(f"its worker died {TRIES} times, perhaps of too little memory", str(death))
            self.teller.say(f"A worker died; its part is done again. {first_line(death)}")
            self.waiting.append(number)  # last: one that kills whoever does it mustn't kill them all before the others
            return None
        self.free.append(actor)
        for words in said:
            self.teller.say(words)
        return outcome  # type: ignore[no-any-return]


@contextmanager
def workers(count: int | None, address: str | None = None, device: str = "auto") -> Iterator[Workers]:
    """So many workers, of this machine or of the cluster at an address; by default as many as it has GPUs, or machines.

    The CPUs are shared among them; where there are GPUs, each worker has one, unless the device is another. Raises
    BenchmarkError where Ray isn't installed or the cluster isn't there.
    """
    try:
        import ray
    except ImportError as error:
        raise BenchmarkError(
            "Several workers need Ray: `pip install 'attribution-bench[ray]'`, or leave --workers and --ray out."
        ) from error
    if count is not None and count < 1:
        raise BenchmarkError(f"--workers {count}: at least 1 worker is needed.")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # else they yield to whatever runs beside them
    begun = not ray.is_initialized()
    if begun:
        cpus = None if address else max(count or 1, torch.get_num_threads())
        try:
            ray.init(
                address, num_cpus=cpus, include_dashboard=None if address else False, log_to_driver=False,
                logging_level=logging.ERROR,
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise BenchmarkError(
                f"No Ray cluster answers at {address!r} ({first_line(error)}): give the address that `ray start "
                "--head` prints."
            ) from error
    try:
        there = ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if device in ("auto", "cuda") else 0
        of_nodes = [node["Resources"].get("CPU") for node in ray.nodes() if node["Alive"]]
        nodes = [int(cpus) for cpus in of_nodes if cpus]
        count = count or gpus or max(1, len(nodes))
        threads = threads_of(count, nodes)
        if gpus and count > gpus:
            raise BenchmarkError(f"--workers {count}: there are {gpus} GPUs, one a worker. Ask for fewer.")
        actor = ray.remote(Worker).options(num_cpus=threads, num_gpus=1 if gpus else 0, max_restarts=-1)
        sharing = 1 if gpus else sharing_of(count, nodes, threads)
        yield Workers(ray, [actor.remote() for _ in range(count)], threads, sharing)
    finally:
        if begun:
            ray.shutdown()


def threads_of(workers: int, nodes: Sequence[int]) -> int:
    """The most CPUs that each of so many workers can have on machines with these many; 1 where they are fewer.

    >>> threads_of(1, [8, 8]), threads_of(3, [8, 8]), threads_of(2, [4, 28]), threads_of(5, [2])
    (8, 4, 14, 1)
    """
    able = (each for each in range(max(nodes, default=1), 1, -1) if sum(node // each for node in nodes) >= workers)
    return next(able, 1)


def sharing_of(workers: int, nodes: Sequence[int], threads: int) -> int:
    """How many of so many workers, each of so many threads, may come to lie on one machine.

    >>> sharing_of(4, [8], 2), sharing_of(8, [4, 28], 4), sharing_of(2, [8, 8], 8), sharing_of(5, [2], 1)
    (4, 7, 1, 5)
    """
    overfull = workers > sum(node // threads for node in nodes)
    return workers if overfull else min(workers, max(node // threads for node in nodes))


def _absolute(work: Work) -> Work:
    """The work with files named from the root: a worker's current folder is another one."""
    task = work.task if work.task.dataset is None else replace(work.task, dataset=_placed(work.task.dataset))
    return replace(work, model=_source(work.model), task=task, plugins=tuple(map(_placed, work.plugins)))


def _source(model: ModelSource) -> ModelSource:
    local = model.name not in built_in() and Path(model.name).expanduser().is_dir()
    dictionaries = None if model.dictionaries is None else _placed(model.dictionaries)
    return replace(model, name=_placed(model.name) if local else model.name, dictionaries=dictionaries)


def _placed(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name
