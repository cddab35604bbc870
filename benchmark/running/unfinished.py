"""A cell that is being computed: which parts of it are there, what is left to do, and how it is stored in the end."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.errors import BenchmarkError
from benchmark.running.behaviour import Behaviour
from benchmark.running.crew import Say
from benchmark.running.parts import divided, left
from benchmark.running.plan import Plan, PlannedCell
from benchmark.running.provenance import environment, package
from benchmark.running.work import Computed, Failed, Work
from benchmark.store.cell import Accuracy, AuditCounts, Cell, Filter, PairFacts, PartFacts, Provenance, Rows
from benchmark.store.folder import read_parts, remove_parts, write_cell, write_part
from benchmark.store.part import Part, joined
from benchmark.words import counted


class Unfinished:
    """A cell that isn't stored yet: the parts of it that are, and the work that is left."""

    def __init__(self, plan: Plan, cell: PlannedCell, out: Path, say: Say, debug: bool) -> None:
        self.plan, self.cell, self.out, self.say, self.debug = plan, cell, out, say, debug
        self.failed = False
        self.planned = {"chunk": plan.chunk._asdict(), "threads": plan.threads, "part_rows": plan.part_rows}
        self.parts = self._parts() if cell.work else []
        self.works: list[Work] = []
        if cell.work and cell.behaviour.pairs:
            work, pairs = replace(cell.work, chunk=plan.chunk, threads=plan.threads), cell.behaviour.pairs
            size = len(pairs)
            if plan.part_rows is not None and cell.rows > plan.part_rows:  # never of a method that runs nothing
                size = int(plan.part_rows / (cell.rows / len(pairs)))
            done = {pair for part in self.parts for pair in part.pair_ids}
            self.works = left(work, divided(pairs, max(1, size)), done)
        self.waiting = len(self.works)

    def _parts(self) -> list[Part]:
        """Those that this very package computed, as it is planned now: a cell has the bits of one undisturbed run."""
        read = read_parts(self.out, self.cell.key.digest, self.say)
        mine = [part for part in read if part.package == package()]
        if others := dict.fromkeys(part.package or "an earlier one" for part in read if part.package != package()):
            self.say(
                f"{counted(len(read) - len(mine), 'part')} of {self.name} came from another version of "
                f"attribution-bench ({'; '.join(others)}). This is {package()}: computed again."
            )
        alike = [part for part in mine if part.planned == self.planned]
        if unlike := len(mine) - len(alike):
            self.say(
                f"{counted(unlike, 'part')} of {self.name} came from a run that was asked for something else, with "
                "another chunk, number of threads or division into parts, which decide the last bits: computed again."
            )
        return alike

    @property
    def name(self) -> str:
        return f"{self.cell.key.task.name} x {self.cell.key.method.label}"

    def described(self, work: Work) -> str:
        """What a progress bar says beside this work."""
        there = len(self.parts)
        return self.name if work.places is None else f"{self.name}, part {there + 1} of {there + self.waiting}"

    def take(self, work: Work, outcome: Computed | Failed) -> None:
        """Store what came out: the cell where all is there, else a part of it; or that it failed."""
        if self.failed:
            return
        if isinstance(outcome, Failed):
            self._fail(outcome)
            return
        places = range(len(work.pair_ids)) if work.places is None else work.places
        part = Part(
            cell=self.cell.key.digest,
            pair_ids=tuple(work.pair_ids[place] for place in places),
            device=outcome.device,
            threads=outcome.threads,
            seconds=round(outcome.seconds, 3),
            chunk=outcome.chunk._asdict(),
            passes=Rows(**outcome.passes),
            whole_forwards=outcome.whole_forwards,
            shortcuts=outcome.shortcuts,
            peak_memory_bytes=outcome.peak_memory_bytes,
            package=work.package or "",
            planned=self.planned,
            arrays=outcome.arrays,
        )
        self.parts.append(part)
        self.waiting -= 1
        if self.waiting:
            write_part(self.out, part)
        else:
            self.finish()

    def finish(self) -> None:
        """Join the parts that are there into the cell; of one without pairs, say that it failed."""
        if self.cell.work is None:
            self._fail(Failed(self.cell.behaviour.error or "no pairs", ""))
            return
        try:
            arrays = joined(self.cell.key.pair_ids, self.parts)
        except BenchmarkError as error:
            remove_parts(self.out, self.cell.key.digest)
            self._fail(Failed(str(error), ""))
            return
        parts = sorted(self.parts, key=lambda part: self.cell.key.pair_ids.index(part.pair_ids[0]))
        first = parts[0]
        peaks = [part.peak_memory_bytes for part in parts if part.peak_memory_bytes is not None]
        shortcuts = sum((Counter(part.shortcuts) for part in parts), Counter[str]())
        resolution = self.cell.behaviour.resolution  # which is the plan's: the same for all cells of a task
        if resolution is not None:
            arrays["resolution"] = resolution.to(torch.float32).numpy()
        self._write(
            arrays=arrays,
            device=", ".join(dict.fromkeys(part.device for part in parts)),
            threads=first.threads,
            chunk=first.chunk,
            seconds=round(sum(part.seconds for part in parts), 3),
            passes=Rows(sum(part.passes.forward for part in parts), sum(part.passes.backward for part in parts)),
            whole_forwards=round(sum(part.whole_forwards for part in parts), 2),
            shortcuts=dict(sorted(shortcuts.items())),
            peak_memory_bytes=max(peaks, default=None),
            parts=tuple(
                PartFacts(len(part.pair_ids), part.device, part.threads, part.seconds, part.chunk)
                for part in parts
                if len(parts) > 1
            ),
        )
        remove_parts(self.out, self.cell.key.digest)

    def _fail(self, outcome: Failed) -> None:
        """Store that the cell failed; parts of it that are done are kept for another try."""
        self.failed = True
        self.say(f"FAILED {self.name}: {outcome.error}{outcome.where}")
        if self.debug:
            self.say(outcome.traceback)
        self._write(outcome)

    def _write(self, failed: Failed | None = None, arrays: dict[str, np.ndarray] | None = None, **counts: Any) -> None:
        cell, plan = self.cell, self.plan
        pairs = max(1, len(cell.key.pair_ids))
        provenance = Provenance(
            **{**environment(plan.model), "threads": plan.threads, **counts},
            declared_cost_per_pair=None if cell.cost is None else Rows(*(rows // pairs for rows in cell.cost)),
            quadrature=cell.method.quadrature,
            seed=plan.asked.seed,
            model_folder=plan.asked.model if Path(plan.asked.model).expanduser().is_dir() else None,
            passed=plan.asked.as_json(),
        )
        task = cell.behaviour.task
        stored = replace(
            _about(cell.behaviour, cell),
            task_title=task.title,
            citations={"task": task.citation, "method": cell.method.citation},
            provenance=provenance,
            arrays=arrays or {},
            error=failed.error if failed else None,
            traceback=failed.traceback if failed else None,
        )
        write_cell(self.out, stored)


def _about(found: Behaviour, cell: PlannedCell) -> Cell:
    """Which pairs, what the audit dropped, and whether the model does the task at all."""
    if found.pairs is None:
        return Cell(cell.key)
    audit = found.pairs.audit
    return Cell(
        cell.key,
        pairs=tuple(
            PairFacts(pair.prompt.id, pair.prompt.template, pair.prompt.cluster, len(pair.clean))
            for pair in found.pairs.pairs
        ),
        audit=AuditCounts(audit.rows, audit.kept, audit.dropped, audit.cut),
        accuracy=Accuracy(found.right, found.looked_at),
        filter=Filter(found.min_metric, found.left_out),
        caveats=found.caveats,
        dictionaries=found.dictionaries,
        pairs_file=cell.work.task.dataset or "" if cell.work else "",
    )
