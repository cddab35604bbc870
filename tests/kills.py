"""Kill runs at random moments and see that nothing is lost: `python -m tests.kills [--kills 100] [--seed 0]`, by hand.

A run in parts, of two tasks and three methods on pocket, is killed with SIGKILL, begun again in the same folder, killed
again, and so on until it ends; then a new folder is begun. Before each start what is stored is read: no pair of it may
be scored again. A finished folder must hold the bits of an undisturbed run.
"""

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmark.running import crew
from benchmark.running.plan import Asked
from benchmark.running.runner import execute, prepare
from benchmark.running.work import Bench, Computed, Failed, Work, attempt
from benchmark.store.folder import Results, read_parts

Pair = tuple[str, str, str]  # task, method, id

ASKED = Asked("pocket", ("ioi", "sva"), ("activation-patching", "attribution-patching", "grad-drop"), ("head",), 4)


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


def carried_out(asked: Asked, out: Path, log: Path) -> None:
    """The run, a pair a part, with a line in the log for each pair whose scoring began."""

    def logged(work: Work, bench: Bench, *tell: Callable[..., None]) -> Computed | Failed:
        places = range(len(work.pair_ids)) if work.places is None else work.places
        with log.open("a") as file:
            file.writelines(f"{work.task.name} {work.method} {work.pair_ids[place]}\n" for place in places)
        return attempt(work, bench, *tell)

    crew.attempt = logged
    execute(prepare(asked, out, part_seconds=0), out, say=lambda words: None, brief=True)


def begun(log: Path) -> set[Pair]:
    lines = log.read_text().splitlines() if log.is_file() else []
    return {(task, method, pair) for task, method, pair in (line.split(" ", 2) for line in lines)}


def bits(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("cells/**/*.safetensors"))}


def kill(asked: Asked, kills: int, seed: int, place: Path, say: Callable[[str], None] = print) -> int:
    """Kill so many runs; gives how many folders came to be finished. Raises AssertionError where something is lost."""
    fork = multiprocessing.get_context("fork")
    started = time.perf_counter()
    carried_out(asked, place / "whole", place / "whole.log")
    seconds, want = time.perf_counter() - started, bits(place / "whole")
    draw, killed, folders = random.Random(seed), 0, 0
    while killed < kills:
        out, log = place / f"killed-{folders}", place / "begun.log"
        while True:
            stored = scored(out)
            log.unlink(missing_ok=True)
            child = fork.Process(target=carried_out, args=(asked, out, log))
            child.start()
            child.join(draw.uniform(0, 1.2 * seconds) if killed < kills else None)
            ended = child.exitcode is not None
            child.kill()
            child.join()
            again = begun(log) & stored
            assert not again, f"stored already, and scored again: {sorted(again)[:3]}"
            assert stored <= scored(out), "what was stored is gone"
            if ended:
                assert child.exitcode == 0, f"the run ended with {child.exitcode}"
                break
            killed += 1
            say(f"killed {killed}: {len(scored(out))} pairs are stored, {len(begun(log))} were begun")
        assert bits(out) == want, "the bits differ from those of an undisturbed run"
        assert not list((out / "parts").glob("*")), "parts are left"
        folders += 1
    say(f"{killed} kills, {folders} finished folders, each with the bits of the undisturbed run ({seconds:.1f} s)")
    return folders


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # a forked process has no threads of its parent
    os.environ["TQDM_DISABLE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        kill(ASKED, given.kills, given.seed, Path(folder))
    sys.exit()
