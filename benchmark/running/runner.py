"""Carry out a plan: each cell is read if it is there, else computed, in parts where it is long, and stored.

One that fails stops no other.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmark.components import COUNTERFACTUAL, DEFAULT_KINDS, DTYPES, MATMULS
from benchmark.engine.memory import Chunk
from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import DEFAULT_PAIRS
from benchmark.progress import bar
from benchmark.running import PART_SECONDS, capacity
from benchmark.running.bench import Bench
from benchmark.running.crew import Crew, InThisProcess, Say, Teller, Workplace
from benchmark.running.parts import part_rows
from benchmark.running.plan import Asked, Plan, PlannedCell, chosen_methods, make_plan
from benchmark.running.unfinished import Unfinished
from benchmark.store.folder import (
    DamagedCell,
    Results,
    alone_in,
    cell_folder,
    read_cell,
    record_run,
    remove_parts,
)
from benchmark.words import counted

if TYPE_CHECKING:
    from benchmark.running.cluster import Workers


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
    workers: int | None = None,
    ray: str | None = None,
    part_seconds: float = PART_SECONDS,
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
    model's own where it has some; `draws`: how many prompts a pair draws where the replacement is `resample`;
    `workers`: processes that share the work, by Ray, on this machine or on the cluster at the address `ray`;
    `part_seconds`: about how much work a killed run may lose; `dtype`: float32, bfloat16 or float16; `matmul`: `tf32`
    lets a GPU round what enters products of float32 numbers. Raises BenchmarkError for what can't be done. A cell that
    fails is stored with its error.

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
    with crew_of(workers, ray, device) as crew:
        plan = prepare(asked, Path(out), part_seconds=part_seconds, workplace=crew)
        for words in plan.cautions:
            warnings.warn(words, stacklevel=2)
        results = execute(plan, Path(out), say=lambda message: None, crew=crew)
    if failed := results.only([cell.key.digest[:8] for cell in plan.cells]).failures:
        warnings.warn(f"{len(failed)} of {len(plan.cells)} cells failed; `results.failures` says why.", stacklevel=2)
    return results


@contextmanager
def crew_of(workers: int | None, ray: str | None, device: str) -> Iterator["Workers | None"]:
    """Ray's workers where some are asked for; else None: this process does the work."""
    if workers is None and ray is None:
        yield None
        return
    from benchmark.running import cluster

    with cluster.workers(workers, ray, device) as crew:
        yield crew


def prepare(
    asked: Asked,
    out: Path,
    bench: Bench | None = None,
    part_seconds: float = PART_SECONDS,
    threads: int | None = None,
    force: bool = False,
    workplace: Workplace | None = None,
) -> Plan:
    """Find plugins, refuse what can't be done, load the model, draw the pairs. Nothing is written.

    `bench` may hold what an earlier plan has loaded: the model of the next plan is often the same. Cells that take
    longer than `part_seconds` come in parts of about that. `threads` of the CPU compute a part, by default as many as
    there are. What fits into a forward and how long it takes is asked where the work will be done, by default here. A
    plan that was begun in this folder goes on with what decides its last bits, unless `force` begins anew.
    """
    refuse_unwritable(out)
    bench = bench or Bench()
    methods, unable = chosen_methods(asked, bench.registry(asked.plugins))
    model = bench.model(asked.source)
    tasks = bench.tasks(asked.tasks, asked.rows_of(""), asked.plugins, model.tokens)
    here = workplace is None
    workplace = workplace or InThisProcess(bench)
    its_device = workplace.ask(capacity.device, asked.source)
    begun = {} if force else _begun(asked, out, its_device)
    chunk = Chunk(**begun["chunk"]) if begun else None
    plan = make_plan(asked, bench, tasks, methods, workplace, its_device, chunk)
    asked_for = threads or workplace.threads or torch.get_num_threads()
    threads = begun.get("threads") or asked_for
    if "part_rows" in begun:
        rows = begun["part_rows"]
    else:
        longest, at_most = max(cell.rows for cell in plan.cells), max(one.row_seconds for one in plan.behaviours)
        short = here and longest * at_most <= part_seconds  # so that nothing need be measured
        rows = None if short else part_rows(part_seconds, plan.row_seconds, longest)
    kept = [] if threads == asked_for else [
        f"This run was begun with {counted(threads, 'thread')}, which decides its last bits, and goes on so; now "
        f"{asked_for} would be taken. Begin anew with --force, or in another folder."
    ]  # fmt: skip
    if workplace.sharing > 1 and plan.chunk.tokens > plan.fits.tokens:
        kept.append(
            f"This run was begun with {plan.chunk.tokens} tokens in a forward, which decides its last bits, and goes "
            f"on so; for {workplace.sharing} workers that share a machine's memory {plan.fits.tokens} would be taken. "
            "Where memory runs out, take fewer --workers, or begin anew with --force."
        )
    return replace(plan, unable=unable, threads=threads, part_rows=rows, begun=tuple(kept))


def execute(
    plan: Plan,
    out: Path,
    say: Say,
    force: bool = False,
    debug: bool = False,
    brief: bool = False,
    crew: Crew | None = None,
) -> Results:
    """Compute the cells that aren't stored yet (all of them with `force`), by this process or another crew.

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
        _compute_all(plan, out, say, force, debug, brief, crew or InThisProcess(plan.bench))
    return Results(out)


def _compute_all(plan: Plan, out: Path, say: Say, force: bool, debug: bool, brief: bool, crew: Crew) -> None:
    """Compute and store what isn't stored, part by part."""
    todo: list[Unfinished] = []
    for cell in plan.cells:
        stored = not force and _stored(out, cell, say)
        if force or stored:
            remove_parts(out, cell.key.digest)
        if not stored:
            todo.append(Unfinished(plan, cell, out, say, debug))
    if len(todo) < len(plan.cells) and not brief:
        say(f"{len(plan.cells) - len(todo)} of {len(plan.cells)} cells are stored already in {out}.")
    there = sum(len(one.parts) for one in todo)
    if there and not brief:
        say(f"{counted(there, 'part')} of {counted(sum(bool(one.parts) for one in todo), 'unfinished cell')} "
            f"{'is' if there == 1 else 'are'} stored already.")  # fmt: skip
    pieces = [(one, work) for one in todo for work in one.works]
    shares = [one.cell.rows * len(work.places or work.pair_ids) / len(work.pair_ids) for one, work in pieces]
    with bar(sum(shares), unit="pass", quick=0.0, hidden=brief) as shown:

        def advance(number: int, rows: float) -> None:
            """Never past the piece's own share."""
            rows = min(rows, shares[number])
            shares[number] -= rows
            shown.advance(rows)

        teller = Teller(
            wanted=lambda number: not pieces[number][0].failed,
            begins=lambda number: shown.describe(pieces[number][0].described(pieces[number][1])),
            progress=advance,
            say=say,
            metrics=lambda number: plan.bench.metrics.get(pieces[number][1].place),
        )
        for one in todo:
            if not one.works:
                one.finish()
        for number, outcome in crew.carry_out([work for _, work in pieces], teller):
            pieces[number][0].take(pieces[number][1], outcome)
            advance(number, shares[number])


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


def _begun(asked: Asked, out: Path, device: str) -> dict[str, Any]:
    """What this very plan was resolved to before on such a device, so that a resumed run gives the same bits."""
    if not (out / "run.json").is_file():
        return {}
    defaults = Asked(asked.model).as_json()  # of options that there weren't yet
    asked_before = (run for run in Results(out).runs if defaults | run["asked"] == asked.as_json())
    runs: list[dict[str, Any]] = [run["resolved"] for run in asked_before if run["resolved"]["device"] == device]
    return runs[-1] if runs else {}


def refuse_unwritable(out: Path) -> None:
    """Say before any work, and without making it, that the folder can't be written."""
    place = next(parent for parent in (out, *out.absolute().parents) if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "may not be written to" if place.is_dir() else "is no folder"
        raise BenchmarkError(f"The output folder {out} can't be made: {place} {reason}. Give another: --out FOLDER.")
