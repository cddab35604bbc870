"""The crew of Ray's workers, on this machine or a cluster. Placement, restarts and the detection of deaths are Ray's.

A worker is an actor that holds the model. This process alone writes results, so that no disk need be shared; plugins,
files of pairs and local models must lie under the same path wherever a worker is.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import BenchmarkError, first_line
from benchmark.models.catalogue import built_in
from benchmark.running.crew import Teller
from benchmark.running.work import Bench, Computed, Failed, ModelSource, Work, attempt
from benchmark.words import counted

TRIES = 3  # of a piece of work whose worker died
PATIENCE = 120.0  # seconds after which it is said that no worker has begun


class Worker:
    """What an actor is made of."""

    def __init__(self) -> None:
        self.bench = Bench()

    def ready(self, source: ModelSource) -> None:
        """Load the model."""
        self.bench.model(source)

    def do(self, work: Work, metrics: Mapping[str, Tensor] | None) -> tuple[Computed | Failed, list[str]]:
        """What came out of a piece of work, and what was said meanwhile; `metrics` are those that the plan has."""
        said: list[str] = []
        self.bench.model(work.model)  # another one forgets what is kept
        if metrics is not None:
            self.bench.metrics[work.place] = metrics
        return attempt(work, self.bench, say=said.append), said


@dataclass
class Workers:
    """Actors that do pieces of work. One that dies is restarted where Ray finds room; others take what it was at."""

    ray: Any
    actors: list[Any]
    threads: int

    def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
        waiting, deaths = deque(range(len(works))), Counter[int]()
        free: list[Any] = []
        busy: dict[Any, tuple[Any, int | None]] = {}  # by what an actor will answer: the actor, and its piece of work
        sent = [_absolute(work) for work in works]
        if works:
            busy = {actor.ready.remote(sent[0].model): (actor, None) for actor in self.actors}
        while waiting or any(number is not None for _, number in busy.values()):
            while free and waiting:
                number = waiting.popleft()
                if teller.wanted(number):
                    teller.begins(number)
                    actor = free.pop()
                    busy[actor.do.remote(sent[number], teller.metrics(number))] = (actor, number)
            if not busy:
                if waiting:
                    raise BenchmarkError("No worker is left. What is finished is kept: the same command continues.")
                break
            answered, _ = self.ray.wait(list(busy), num_returns=1, timeout=PATIENCE)
            if not answered and all(number is None for _, number in busy.values()):
                teller.say(f"Waiting for {len(busy)} workers of {counted(self.threads, 'CPU')} each to begin ...")
            if not answered:
                continue
            [answer] = answered
            actor, at = busy.pop(answer)
            try:
                found = self.ray.get(answer)
            except self.ray.exceptions.RayTaskError as error:
                if at is None:
                    teller.say(f"A worker can't begin: {error.cause or error}")
                else:  # not in the work itself, whose errors are caught there
                    free.append(actor)
                    yield at, Failed(first_line(error), str(error))
                continue
            except self.ray.exceptions.RayError as death:
                if at is None:
                    teller.say(f"A worker is gone: {first_line(death)}")
                    continue
                deaths[at] += 1
                again = actor.ready.options(max_task_retries=-1).remote(sent[at].model)  # once it is restarted
                busy[again] = (actor, None)
                if deaths[at] < TRIES:
                    teller.say(f"A worker died; another takes its part. {first_line(death)}")
                    waiting.appendleft(at)
                else:
                    yield at, Failed(f"its worker died {TRIES} times, perhaps of too little memory", str(death))
                continue
            free.append(actor)
            if at is not None:
                outcome, said = found
                for words in said:
                    teller.say(words)
                yield at, outcome


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
        nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        count = count or gpus or len(nodes)
        threads = threads_of(count, nodes)
        if gpus and count > gpus:
            raise BenchmarkError(f"--workers {count}: there are {gpus} GPUs, one a worker. Ask for fewer.")
        actor = ray.remote(Worker).options(num_cpus=threads, num_gpus=1 if gpus else 0, max_restarts=-1)
        yield Workers(ray, [actor.remote() for _ in range(count)], threads)
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


def _absolute(work: Work) -> Work:
    """The work with files named from the root: a worker's current folder is another one."""

    def placed(name: str) -> str:
        path = Path(name).expanduser()
        return str(path.resolve()) if path.exists() else name

    name = work.model.name
    local = name not in built_in() and Path(name).expanduser().is_dir()
    source = replace(work.model, name=placed(name) if local else name)
    if source.dictionaries is not None:
        source = replace(source, dictionaries=placed(source.dictionaries))
    task = work.task if work.task.dataset is None else replace(work.task, dataset=placed(work.task.dataset))
    return replace(work, model=source, task=task, plugins=tuple(map(placed, work.plugins)))
