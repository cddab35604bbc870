"""Carry out a plan: each cell is read if it is there, else computed and stored; one that fails stops no other."""

import inspect
import os
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.components import COUNTERFACTUAL, DEFAULT_KINDS, DTYPES, MATMULS
from benchmark.engine.memory import Chunk, peak_bytes, reset_peak
from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import DEFAULT_PAIRS
from benchmark.progress import bar
from benchmark.running.behaviour import Behaviour
from benchmark.running.plan import Asked, Plan, PlannedCell, chosen_methods, make_plan
from benchmark.running.plugins import plugin_digest
from benchmark.running.provenance import environment
from benchmark.running.work import Bench, computed
from benchmark.store.cell import Accuracy, AuditCounts, Cell, Filter, PairFacts, Provenance, Rows
from benchmark.store.folder import DamagedCell, Results, alone_in, cell_folder, read_cell, record_run, write_cell

Say = Callable[[str], None]


def run(
    model: str,
    out: str | Path,
    *,
    tasks: tuple[str, ...] = ("all",),
    methods: tuple[str, ...] = ("default",),
    components: tuple[str, ...] = DEFAULT_KINDS,
    pairs: int = DEFAULT_PAIRS,
    replacement: str = COUNTERFACTUAL.replacement,
    direction: str = COUNTERFACTUAL.direction,
    metric: str = "default",
    split: str = "evaluation",
    seed: int = 0,
    min_metric: float | None = None,
    prepend_bos: bool | None = None,
    revision: str | None = None,
    device: str = "auto",
    memory: str | None = None,
    plugins: tuple[str, ...] = (),
    dataset: str | None = None,
    dataset_tokenizer: str | None = None,
    corrupted_column: str | None = None,
    title: str | None = None,
    dictionaries: str | Path | None = None,
    draws: int | None = None,
    dtype: str = DTYPES[0],
    matmul: str = MATMULS[0],
) -> Results:
    """Score every component by every method on every task, and store the cells in the folder `out`.

    A second call with the same arguments goes on where the first one stopped. `tasks`, `methods`: names, such as
    `("ioi",)` and `("integrated-gradients:steps=32",)`, or `("all",)`; `components`: kinds; `pairs`: pairs a task,
    drawn from `split` by `seed`; `min_metric`: the least clean metric, in its units; `metric`: a name, or `default`
    for each task's own; `memory`: such as `4GiB`, by default half of what is free; `plugins`: files with more tasks
    and methods; `dataset`: a CSV of pairs of your own, with `title` as its heading, the corrupted prompts in
    `corrupted_column`, and token ids, if it has any, of `dataset_tokenizer`; the rules of a task hold for it if
    `tasks` names one; `dictionaries`: a folder of sparse autoencoders whose features are scored, by default the
    model's own where it has some; `draws`: how many prompts a pair draws where the replacement is `resample`; `dtype`:
    float32, bfloat16 or float16; `matmul`: `tf32` lets a GPU round what enters products of float32 numbers. Raises
    BenchmarkError for what can't be done. A cell that fails is stored with its error.

    >>> results = run("smollm2-135m", "results/demo", tasks=("ioi",), pairs=2)  # doctest: +SKIP
    """
    texts = {"tasks": tasks, "methods": methods, "components": components, "plugins": plugins}
    for name, value in texts.items():
        if isinstance(value, str):
            raise BenchmarkError(f"{name} is {value!r}; give a tuple of names, such as ({value!r},).")
    asked = Asked(
        model, tuple(tasks), tuple(methods), tuple(components), pairs, replacement, direction, metric, split, seed,
        min_metric, prepend_bos, revision, device, memory, tuple(map(str, plugins)), dataset, dataset_tokenizer,
        corrupted_column, title, None if dictionaries is None else str(dictionaries), draws,
        dtype, matmul,
    )  # fmt: skip
    plan = prepare(asked, Path(out))
    for words in plan.cautions:
        warnings.warn(words, stacklevel=2)
    results = execute(plan, Path(out), say=lambda message: None)
    if failed := results.only([cell.key.digest[:8] for cell in plan.cells]).failures:
        warnings.warn(f"{len(failed)} of {len(plan.cells)} cells failed; `results.failures` says why.", stacklevel=2)
    return results


def prepare(asked: Asked, out: Path, bench: Bench | None = None) -> Plan:
    """Find plugins, refuse what can't be done, load the model, draw the pairs. Nothing is written.

    `bench` may hold what an earlier plan has loaded: the model of the next plan is often the same.
    """
    refuse_unwritable(out)
    bench = bench or Bench()
    methods, unable = chosen_methods(asked, bench.registry(asked.plugins))
    model = bench.model(asked.source)
    tasks = bench.tasks(asked.tasks, asked.rows_of(""), asked.plugins, model.tokens)
    return replace(
        make_plan(asked, bench, tasks, methods, _earlier_chunk(asked, out, model.device.type)), unable=unable
    )


def execute(plan: Plan, out: Path, say: Say, force: bool = False, debug: bool = False, brief: bool = False) -> Results:
    """Compute the cells that aren't stored yet (all of them with `force`).

    With a progress bar over the whole plan and word of what is stored, unless `brief`: it is one of many. Where another
    run is writing into the folder, it is waited for.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchmarkError(
            f"The output folder {out} can't be made ({error.strerror}). Give another: --out FOLDER."
        ) from error
    with alone_in(out, say):
        record_run(out, {"asked": plan.asked.as_json(), "resolved": plan.resolved()})
        _compute_all(plan, out, say, force, debug, brief)
    return Results(out)


def _compute_all(plan: Plan, out: Path, say: Say, force: bool, debug: bool, brief: bool) -> None:
    """Compute and store what isn't stored, cell by cell."""
    todo = [cell for cell in plan.cells if force or not _stored(out, cell, say)]
    if len(todo) < len(plan.cells) and not brief:
        say(f"{len(plan.cells) - len(todo)} of {len(plan.cells)} cells are stored already in {out}.")
    chunk = plan.chunk
    with bar(sum(cell.rows for cell in todo), unit="pass", quick=0.0, hidden=brief) as shown:
        for cell in todo:
            shown.describe(f"{cell.key.task.name} x {cell.key.method.label}")
            left = cell.rows

            def advance(rows: float) -> None:
                """Never past the cell's own share."""
                nonlocal left
                rows = min(rows, left)
                left -= rows
                shown.advance(rows)

            chunk = _compute(plan, cell, chunk, out, say, advance, debug)
            advance(left)


def _compute(
    plan: Plan, cell: PlannedCell, chunk: Chunk, out: Path, say: Say, progress: Callable[[float], None], debug: bool
) -> Chunk:
    """Compute and store a cell; gives the chunk that it came to, which is smaller where memory ran out."""
    task, pairs = cell.behaviour.task, max(1, len(cell.key.pair_ids))
    stored = replace(
        _about(cell.behaviour, cell),
        task_title=task.title,
        citations={"task": task.citation, "method": cell.method.citation},
    )
    reset_peak(plan.model)
    started = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    counted: dict[str, Any] = {}
    try:
        if cell.work is None:
            raise BenchmarkError(cell.behaviour.error or "no pairs")
        done = computed(replace(cell.work, chunk=chunk), plan.bench, progress, say)
        arrays, chunk = done.arrays | _resolution(cell.behaviour), done.chunk
        counted = {"passes": Rows(**done.passes), "whole_forwards": done.whole_forwards, "shortcuts": done.shortcuts}
        counted["chunk"] = chunk._asdict()
    except Exception as error:  # whatever a plugin does, the other cells go on; the exit code says so
        said = str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"
        stored = replace(stored, error=said, traceback=traceback.format_exc())
        say(f"FAILED {cell.key.task.name} x {cell.key.method.label}: {said}{_where(error, cell)}")
        if debug:
            say(str(stored.traceback))
    provenance = Provenance(
        **environment(plan.model),
        **counted,
        seconds=round(time.perf_counter() - started, 3),
        declared_cost_per_pair=None if cell.cost is None else Rows(*(rows // pairs for rows in cell.cost)),
        peak_memory_bytes=peak_bytes(plan.model),
        quadrature=cell.method.quadrature,
        seed=plan.asked.seed,
        model_folder=plan.asked.model if Path(plan.asked.model).expanduser().is_dir() else None,
        passed=plan.asked.as_json(),
    )
    write_cell(out, replace(stored, provenance=provenance, arrays=arrays))
    return chunk


def _resolution(found: Behaviour) -> dict[str, np.ndarray]:
    return {} if found.resolution is None else {"resolution": found.resolution.to(torch.float32).numpy()}


def _where(error: Exception, cell: PlannedCell) -> str:
    """The plugin's file, and the line in it where the error came up, if the method is a plugin's."""
    file = inspect.getsourcefile(type(cell.method))
    if not file or plugin_digest(file) is None:
        return ""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f" ({file}" + "".join(f", line {line}" for line in lines[-1:]) + ")"


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
    return stored.error is None and stored.key.digest == cell.key.digest


def _earlier_chunk(asked: Asked, out: Path, device: str) -> Chunk | None:
    """The chunk size that this very plan used before, so that a resumed run gives the same bits."""
    if not (out / "run.json").is_file():
        return None
    defaults = Asked(asked.model).as_json()  # of options that there weren't yet
    asked_before = (run for run in Results(out).runs if defaults | run["asked"] == asked.as_json())
    runs = [run for run in asked_before if run["resolved"]["device"] == device]
    return Chunk(**runs[-1]["resolved"]["chunk"]) if runs else None


def refuse_unwritable(out: Path) -> None:
    """Say before any work, and without making it, that the folder can't be written."""
    place = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "may not be written to" if place.is_dir() else "is no folder"
        raise BenchmarkError(f"The output folder {out} can't be made: {place} {reason}. Give another: --out FOLDER.")
