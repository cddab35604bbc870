"""Kill runs at random moments and see that nothing is lost, by hand:

    python -m tests.kills [--kills 100] [--seed 0]                  a run in one process
    python -m tests.kills --workers 2 --kill worker [--kills 25]    one of Ray's workers, while the run goes on
    python -m tests.kills --workers 2 --kill driver [--kills 25]    the process that writes, and half the time its Ray

A run in parts, of two tasks on pocket, is killed with SIGKILL, begun again in the same folder, killed again, and so on
until it ends; then a new folder is begun. Before each start what is stored is read: no pair of it may be begun again,
nor one that is stored meanwhile; and no more may be begun in vain than what the killed were at. Where a part's worker
was killed three times, its cell fails, and the run is begun again. A finished folder must hold the bits of a run of
one process that nobody disturbed.

Everything that Ray starts is a descendant of this script, to which Linux gives orphans too: no other process is killed.
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import torch

from benchmark.running.crew import Crew, InThisProcess, Teller
from benchmark.running.plan import Asked
from benchmark.running.runner import crew_of, execute, prepare
from benchmark.running.work import Computed, Failed, Work
from benchmark.store.folder import Results, read_parts

Pair = tuple[str, str, str]  # task, method, id
Say = Callable[[str], None]

ASKED = Asked("pocket", ("ioi", "sva"), ("activation-patching", "attribution-patching", "grad-drop"), ("head",), 4)
LONGER = replace(ASKED, methods=("activation-patching:neurons=0", "grad-drop"), components=("head", "neuron"), pairs=16)
WORKER = "ray::Worker"  # so Ray calls the process of an actor, with the method that it is at
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h
ALONE = 20.0  # seconds that Ray has to end by itself, once its driver is dead


def scored(out: Path) -> set[Pair]:
    """Every pair that is stored in a folder, in a cell or a part of one."""
    if not (out / "run.json").is_file():
        return set()
    results = Results(out)
    found = {(cell.task, cell.key.method.label, pair) for cell in results.cells for pair in cell.key.pair_ids}
    names = {name: words for run in results.runs for name, words in run["resolved"]["names"].items()}
    for folder in (out / "parts").glob("*"):
        task, _, method = names[folder.name].partition(" x ")
        for cell in {json.loads(path.read_text())["cell"] for path in folder.glob("[!.]*/cell.json")}:
            found |= {(task, method, pair) for part in read_parts(out, cell, print) for pair in part.pair_ids}
    return found


@dataclass
class Logged:
    """A crew, with a line in the log for each pair that is begun, and one when it is stored."""

    crew: Crew
    log: Path
    labels: dict[tuple[str, tuple[tuple[str, object], ...]], str]

    def note(self, what: str, work: Work) -> None:
        places = range(len(work.pair_ids)) if work.places is None else work.places
        label = self.labels[work.method, work.options]
        with self.log.open("a") as file:
            file.writelines(f"{what} {work.task.name} {label} {work.pair_ids[place]}\n" for place in places)

    def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
        def begins(number: int) -> None:
            self.note("begun", works[number])
            teller.begins(number)

        for number, outcome in self.crew.carry_out(works, replace(teller, begins=begins)):
            yield number, outcome
            if isinstance(outcome, Computed):
                self.note("stored", works[number])
            else:
                assert outcome.error.startswith("its worker died"), outcome


def carried_out(asked: Asked, out: Path, log: Path, workers: int | None = None) -> None:
    """The run, a pair a part, by one thread each."""
    with crew_of(workers, None, "cpu") as crew:
        plan = prepare(asked, out, part_seconds=0.0, threads=1, workplace=crew)
        labels = {(cell.work.method, cell.work.options): cell.method.label for cell in plan.cells if cell.work}
        logged = Logged(crew or InThisProcess(plan.bench), log, labels)
        execute(plan, out, say=lambda words: None, brief=True, crew=logged)


@dataclass
class Log:
    """What a run wrote: pairs that were begun and stored, and those that were begun although they were stored."""

    begun: list[Pair]
    stored: set[Pair]
    again: set[Pair]

    @classmethod
    def read(cls, path: Path, before: set[Pair]) -> "Log":
        found = cls([], set(), set())
        for line in path.read_text().splitlines() if path.is_file() else []:
            what, task, method, pair = line.split(" ", 3)
            one = (task, method, pair)
            if what == "stored":
                found.stored.add(one)
            else:
                found.begun.append(one)
                found.again |= {one} & (before | found.stored)
        return found


def bits(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("cells/**/*.safetensors"))}


class Victims:
    """Whom to kill of a run. Each gives how many it has killed; none where the run had ended before."""

    def __init__(self, draw: random.Random, seconds: float, workers: int | None) -> None:
        self.draw, self.seconds = draw, seconds
        self.outlived: Counter[str] = Counter()
        self.at_once = workers or 1  # pieces that are under way
        self.idle = 0  # workers that were killed and weren't at work, as far as was seen

    def process(self, child: BaseProcess, log: Path, most: int) -> int:
        """At any moment, also before the first part is begun."""
        child.join(self.draw.uniform(0, 1.2 * self.seconds))
        alive = child.exitcode is None
        child.kill()
        return int(alive)

    def driver(self, child: BaseProcess, log: Path, most: int) -> int:
        """While parts are under way: alone, after which Ray must end by itself, or with all that it has started."""
        self._parts_are_begun(child, log)
        child.join(self.draw.uniform(0, self.seconds / 3))
        if child.exitcode is not None:
            return 0
        alone, beside = self.draw.random() < 0.5, descendants(child.pid)
        child.kill()
        child.join()
        if alone:
            _, left = psutil.wait_procs(beside, timeout=ALONE)
            self.outlived.update(one.name() for one in left if one.is_running())
        end(beside)
        return 1

    def worker(self, child: BaseProcess, log: Path, most: int) -> int:
        """One after the other, until the run has ended. Those that were at work count; some others are killed too."""
        killed = 0
        self._parts_are_begun(child, log)
        while killed < most:
            child.join(self.draw.uniform(0, self.seconds / 3))
            if child.exitcode is not None:
                break
            there = [one for one in descendants(child.pid) if called(one).startswith(WORKER)]
            at_work = [one for one in there if called(one).startswith(f"{WORKER}.do")]
            if there and self.draw.random() < 0.2:
                self.draw.choice(there).kill()
                self.idle += 1
            elif at_work:
                self.draw.choice(at_work).kill()
                killed += 1
        child.join()
        return killed

    def _parts_are_begun(self, child: BaseProcess, log: Path) -> None:
        while child.exitcode is None and not log.is_file():
            child.join(0.05)


def descendants(of: int | None = None) -> list[psutil.Process]:
    try:
        return list(psutil.Process(of).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def called(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def end(processes: Sequence[psutil.Process]) -> None:
    """Kill what is left of them: a process that was reused under the same number isn't one of them."""
    for one in processes:
        if one.is_running():
            one.kill()
    _, left = psutil.wait_procs(processes, timeout=ALONE)
    assert not left, f"they can't be killed: {left}"


def kill(
    asked: Asked,
    kills: int,
    seed: int,
    place: Path,
    say: Say = print,
    workers: int | None = None,
    whom: str = "process",
) -> int:
    """Kill so many runs; gives how many folders came to be finished. Raises AssertionError where something is lost."""
    fork = multiprocessing.get_context("fork")
    started = time.perf_counter()
    carried_out(asked, place / "whole", place / "whole.log")
    seconds, want = time.perf_counter() - started, bits(place / "whole")
    victims, killed, folders, lost = Victims(random.Random(seed), seconds, workers), 0, 0, 0
    before = {one.pid for one in descendants()}
    while killed < kills:
        out, log = place / f"killed-{folders}", place / "begun.log"
        while True:
            stored = scored(out)
            log.unlink(missing_ok=True)
            child = fork.Process(target=carried_out, args=(asked, out, log, workers))
            child.start()
            now = getattr(victims, whom)(child, log, kills - killed) if killed < kills else 0
            child.join()
            found, there = Log.read(log, stored), scored(out)
            assert not found.again, f"stored already, and begun again: {sorted(found.again)[:3]}"
            assert stored | found.stored <= there, "what was stored is gone"
            vain = len(found.begun) - len(there - stored)
            pieces = now + victims.idle if whom == "worker" else now * victims.at_once
            cells = len(Results(out).failures) if (out / "run.json").is_file() else 0  # the other piece of each
            assert vain <= pieces + cells, f"{vain} pairs were begun in vain by {now} kills"
            victims.idle = 0
            killed, lost = killed + now, lost + vain
            if now:
                say(f"killed {killed}: {len(there)} pairs are stored, {len(found.begun)} were begun")
            if whom != "process":
                end([one for one in descendants() if one.pid not in before])
            assert child.exitcode in (0, -signal.SIGKILL), f"the run ended with {child.exitcode}"
            if child.exitcode == 0 and not Results(out).failures:
                break
        assert bits(out) == want, "the bits differ from those of an undisturbed run"
        assert not list((out / "parts").glob("*")), "parts are left"
        folders += 1
    say(
        f"{killed} kills, {lost} pairs begun in vain, {folders} finished folders, each with the bits of the "
        f"undisturbed run ({seconds:.1f} s)"
    )
    if victims.outlived:
        say(f"outlived a driver that died alone, and had to be killed: {dict(victims.outlived)}")
    return folders


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="of Ray")
    parser.add_argument("--kill", choices=("worker", "driver"), help="of a run by Ray's workers")
    given = parser.parse_args()
    if (given.workers is None) != (given.kill is None):
        parser.error("--workers and --kill go together")
    torch.set_num_threads(1)  # a forked process has no threads of its parent
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        if given.workers:
            ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
            os.environ["RAY_TMPDIR"] = folder
        kill(
            LONGER if given.workers else ASKED, given.kills, given.seed, Path(folder), workers=given.workers,
            whom=given.kill or "process",
        )  # fmt: skip
    sys.exit()
