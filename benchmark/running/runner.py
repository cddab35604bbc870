"""Carry out a plan: each cell is read if it is there, else attributed and stored; one that fails stops no other."""

import json
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from benchmark.engine.means import mean_activations
from benchmark.engine.memory import Chunk, peak_bytes, reset_peak
from benchmark.engine.method import Scores
from benchmark.engine.model import KINDS, Site
from benchmark.errors import BenchmarkError
from benchmark.running.plan import Asked, Plan, PlannedCell, asked_as_json, choose, make_plan
from benchmark.running.plugins import discover
from benchmark.running.provenance import environment
from benchmark.store.folder import DamagedCell, Results, cell_folder, read_cell, record_run, write_cell

Say = Callable[[str], None]


def run(model: str, out: str | Path, **options: Any) -> Results:
    """The grid model x task x method, stored in the folder `out`; options are the fields of `running.plan.Asked`.

    >>> results = run("smollm2-135m", "results/demo", tasks=("ioi",), pairs=2)  # doctest: +SKIP
    """
    plan = prepare(Asked(model=model, **options), Path(out))
    return execute(plan, Path(out), say=lambda message: None)


def prepare(asked: Asked, out: Path) -> Plan:
    """Find plugins, refuse what can't be done, load the model, draw the pairs. Nothing is written."""
    from benchmark.models.loading import load_model
    from benchmark.prompts.public_csv import with_dataset

    refuse_unwritable(out)
    registry = discover(asked.plugins)
    tasks, methods = choose(asked, registry)
    model = load_model(asked.model, device=asked.device, prepend_bos=asked.prepend_bos, revision=asked.revision)
    if asked.dataset is not None:
        tasks = [with_dataset(tasks, asked.dataset, asked.dataset_tokenizer, model.tokens)]
    return make_plan(asked, model, tasks, methods, _earlier_chunk(asked, out, model.device.type))


def execute(plan: Plan, out: Path, say: Say, force: bool = False, debug: bool = False, brief: bool = False) -> Results:
    """Compute the cells that aren't stored yet (all of them with `force`).

    With a progress bar over the whole plan and word of what is stored, unless `brief`: it is one of many.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(
            f"The output folder {out} can't be made ({error.strerror}). Give another: --out FOLDER."
        ) from error
    record_run(out, {"asked": asked_as_json(plan.asked), "resolved": plan.resolved()})
    todo = [cell for cell in plan.cells if force or not _stored(out, cell, say)]
    if len(todo) < len(plan.cells) and not brief:
        say(f"{len(plan.cells) - len(todo)} of {len(plan.cells)} cells are stored already in {out}.")
    means = _Means(plan)
    length, hidden = sum(cell.work for cell in todo), True if brief else None
    with tqdm(total=length, unit="pass", unit_scale=True, smoothing=0.05, disable=hidden) as bar:
        for cell in todo:
            bar.set_description(f"{cell.key['task']['name']} x {cell.key['method']['label']}")
            progress = _CellProgress(bar, cell)
            plan = replace(plan, chunk=_compute(plan, cell, out, say, progress.advance, means, debug))
            progress.finish()
    return Results(out)


@dataclass
class _Means:
    """The mean activations of the task in hand, taken once for all its cells."""

    plan: Plan
    task: str = ""
    found: dict[Site, Tensor] = field(default_factory=dict)

    def of(self, cell: PlannedCell) -> dict[Site, Tensor]:
        pairs = cell.task_pairs.pairs
        if self.plan.asked.replacement == "mean" and pairs is not None and self.task != pairs.task:
            self.task, self.found = pairs.task, mean_activations(self.plan.model, pairs, KINDS)
        return self.found


def _compute(
    plan: Plan, cell: PlannedCell, out: Path, say: Say, progress: Callable[[float], None], means: _Means, debug: bool
) -> Chunk:
    """Compute and store a cell; gives the chunk that it came to, which is smaller where memory ran out."""
    folder = cell_folder(out, cell.key)
    task = cell.task_pairs.task
    citations = {"task": task.citation, "method": cell.method.citation}
    info = {"key": cell.key, "task_title": task.title, "citations": citations, **_behaviour(cell)}
    reset_peak(plan.model)
    started = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    counted: dict[str, Any] = {}
    try:
        if cell.task_pairs.pairs is None:
            raise BenchmarkError(cell.task_pairs.error or "no pairs")
        scores = cell.method.scores(
            plan.model, cell.task_pairs.pairs, cell.key["kinds"], plan.asked.replacement, plan.asked.direction,
            plan.asked.seed, plan.chunk, progress, means.of(cell), say,
        )  # fmt: skip
        arrays = _arrays(scores)
        provenance = next(iter(scores.values())).provenance
        counted = {name: provenance[name] for name in ("passes", "whole_forwards", "shortcuts", "chunk")}
    except Exception as error:  # whatever a plugin does, the other cells go on; the exit code says so
        info["error"] = str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"
        info["traceback"] = traceback.format_exc()
        say(f"FAILED {cell.key['task']['name']} x {cell.key['method']['label']}: {info['error']}")
        if debug:
            say(info["traceback"])
    pairs = max(1, len(cell.key["pair_ids"]))
    info["provenance"] = {
        **environment(plan.model),
        "seconds": round(time.perf_counter() - started, 3),
        **counted,
        "declared_cost_per_pair": {"forward": cell.cost.forward // pairs, "backward": cell.cost.backward // pairs},
        "peak_memory_bytes": peak_bytes(plan.model),
        "seed": plan.asked.seed,
        "quadrature": cell.method.quadrature,
        "passed": asked_as_json(plan.asked),
    }
    write_cell(folder, info, arrays)
    return Chunk(**counted["chunk"]) if counted else plan.chunk


def _behaviour(cell: PlannedCell) -> dict[str, Any]:
    """Which pairs, what the audit dropped, and whether the model does the task at all."""
    task_pairs = cell.task_pairs
    if task_pairs.pairs is None:
        return {}
    audit = task_pairs.pairs.audit
    return {
        "pairs": [
            {"id": p.prompt.id, "template": p.prompt.template, "cluster": p.prompt.cluster, "length": len(p.clean)}
            for p in task_pairs.pairs.pairs
        ],
        "audit": {"rows": audit.rows, "kept": audit.kept, "dropped": audit.dropped},
        "accuracy": {"right": task_pairs.right, "of": task_pairs.looked_at},
        "filter": {"min_metric": task_pairs.min_metric, "left_out": task_pairs.left_out},
    }


def _arrays(scores: dict[str, Scores]) -> dict[str, np.ndarray]:
    arrays = {}
    for kind, one in scores.items():
        arrays[f"{kind}.values"] = one.values.numpy()
        arrays[f"{kind}.probability"] = one.design.probability.numpy()
        if one.design.stratum is not None:
            arrays[f"{kind}.stratum"] = one.design.stratum.numpy()
    arrays["clean_metric"] = one.clean_metric.float().numpy()
    arrays["corrupted_metric"] = one.corrupted_metric.float().numpy()
    if one.completeness_error is not None:
        arrays["completeness_error"] = one.completeness_error.float().numpy()
    return arrays


def _stored(out: Path, cell: PlannedCell, say: Say) -> bool:
    """Whether a whole, successful cell with this very key lies in the folder."""
    folder = cell_folder(out, cell.key)
    if not folder.exists():
        return False
    try:
        stored = read_cell(folder)
    except DamagedCell as damage:
        say(f"{damage}: it is computed again.")
        return False
    return stored.error is None and stored.info["key"] == json.loads(json.dumps(cell.key))


def _earlier_chunk(asked: Asked, out: Path, device: str) -> Chunk | None:
    """The chunk size that this very plan used before, so that a resumed run gives the same bits."""
    if not (out / "run.json").is_file():
        return None
    asked_before = (run for run in Results(out).runs if run["asked"] == asked_as_json(asked))
    runs = [run for run in asked_before if run["resolved"]["device"] == device]
    return Chunk(**runs[-1]["resolved"]["chunk"]) if runs else None


def refuse_unwritable(out: Path) -> None:
    """Say before any work, and without making it, that the folder can't be written."""
    place = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "may not be written to" if place.is_dir() else "is no folder"
        raise BenchmarkError(f"The output folder {out} can't be made: {place} {reason}. Give another: --out FOLDER.")


@dataclass
class _CellProgress:
    """Advances the bar over the plan by what a cell did, and never past the cell's share."""

    bar: Any
    cell: PlannedCell
    done: float = 0.0

    def advance(self, passes: float) -> None:
        passes = min(passes, self.cell.work - self.done)
        self.done += passes
        self.bar.update(passes)

    def finish(self) -> None:
        self.advance(self.cell.work)
