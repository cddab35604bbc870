"""Several workers, on this machine: `python -m tests.performance.workers [--model smollm2-135m] [--pairs 8]`, by hand.

1. The same plan by 1 and by 2 workers of one thread: the same bits; seconds from the first part begun to the last one
   stored; and what list scheduling says for both, from the parts' own seconds as one worker took them, and from what
   Ray takes beside them a part, as pieces of work that run nothing took.
2. A cluster of two nodes, one of which is killed in the middle.

`python -m tests.kills` kills workers and drivers.
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmark.running import cluster
from benchmark.running.crew import Crew, Teller
from benchmark.running.plan import Asked
from benchmark.running.runner import execute, prepare
from benchmark.running.work import Computed, Failed, Work
from benchmark.store.folder import Results
from tests.kills import bits
from tests.performance.schedule import list_schedule


@dataclass
class Timed:
    """A crew, with the moment at which its first piece began, and what each piece took by its own clock."""

    crew: Crew
    began: float = 0.0
    seconds: list[float] = field(default_factory=list)
    stop_after: int = -1
    then: object = None

    def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
        def begins(number: int) -> None:
            self.began = self.began or time.perf_counter()
            teller.begins(number)

        watched = Teller(teller.wanted, begins, teller.progress, teller.say)
        for number, outcome in self.crew.carry_out(works, watched):
            assert isinstance(outcome, Computed), outcome
            self.seconds.append(outcome.seconds)
            yield number, outcome
            if len(self.seconds) == self.stop_after:
                self.then()  # type: ignore[operator]


def by_workers(
    asked: Asked, out: Path, count: int, part_seconds: float, like: Path | None = None
) -> tuple[float, list[float]]:
    """Wall seconds from the first part begun to the last one stored, and the seconds of each part.

    With the chunk and the parts of the run `like` it, where there is one: they decide the last bits, and are measured.
    """
    if like:
        out.mkdir()
        shutil.copy(like / "run.json", out)
    with cluster.workers(count, device="cpu") as crew:
        timed = Timed(crew)
        plan = prepare(asked, out, part_seconds=part_seconds, threads=1, workplace=crew)
        execute(plan, out, print, crew=timed, brief=True)
        return time.perf_counter() - timed.began, timed.seconds


def beside(asked: Asked, out: Path) -> float:
    """Seconds that one worker takes for a piece of work that runs nothing."""
    with cluster.workers(1, device="cpu") as crew:
        plan = prepare(replace(asked, methods=("random",)), out, threads=1, workplace=crew)
        work = plan.cells[0].work
        assert work is not None
        quiet = Teller(wanted=lambda _: True, begins=lambda _: None, progress=lambda *_: None, say=print)
        pieces = [replace(work, places=(place,)) for place in range(len(work.pair_ids))]
        list(crew.carry_out(pieces, quiet))  # which makes the pairs ready
        timed = Timed(crew)
        found = len(list(timed.carry_out(10 * pieces, quiet)))
        return (time.perf_counter() - timed.began) / found


def node_killed(asked: Asked, out: Path, part_seconds: float) -> None:
    import ray
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")
    both = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = both.add_node(num_cpus=1)
    ray.init(both.address, log_to_driver=False)
    try:
        with cluster.workers(2, device="cpu") as crew:
            timed = Timed(crew, stop_after=3, then=lambda: both.remove_node(other, allow_graceful=False))
            plan = prepare(asked, out, part_seconds=part_seconds, threads=1, workplace=crew)
            results = execute(plan, out, print, crew=timed, brief=True)
            assert not results.failures
    finally:
        ray.shutdown()
        both.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--part-seconds", type=float, default=2.0)
    parser.add_argument("--only-times", action="store_true")
    given = parser.parse_args()
    methods = ("activation-patching", "attribution-patching")
    asked = Asked(given.model, ("ioi", "sva"), methods, ("head",), given.pairs, device="cpu")
    place = Path(tempfile.mkdtemp())
    try:
        one, parts = by_workers(asked, place / "one", 1, given.part_seconds)
        two, _ = by_workers(asked, place / "two", 2, given.part_seconds, like=place / "one")
        assert bits(place / "one") == bits(place / "two"), "the bits differ"
        overhead = beside(asked, place / "nothing")
        print(f"{len(parts)} parts of {min(parts):.2f} to {max(parts):.2f} s; {overhead * 1000:.0f} ms a part beside")
        for count, seconds in ((1, one), (2, two)):
            said = list_schedule(parts, count, overhead)
            print(f"{count} workers: {seconds:.1f} s; the formula says {said:.1f} s ({said / seconds - 1:+.0%})")
        print(f"two take {two / one:.2f} of the time of one; the bits are the same")
        if given.only_times:
            return
        (place / "node").mkdir()
        shutil.copy(place / "one" / "run.json", place / "node")
        node_killed(asked, place / "node", given.part_seconds)
        assert bits(place / "one") == bits(place / "node"), "the bits differ"
        deaths = [cell.provenance.seconds for cell in Results(place / "node").cells]
        print(f"a node was killed after three parts: {len(deaths)} cells, the same bits")
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
