"""From stored scores to stored circuits: orders ranked on one split, their sets measured on the other.

For every setting of a results folder, every choice of kinds and every way there is a game. Each source of orders
becomes a cell of its own, keyed by the scores that it rests on; what is stored already is not measured again. Within a
game each set is run once. What was measured of it is kept order by order until its cells are there, so that a killed
run loses one order at most.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from benchmark.analysis.sections import Section, sections
from benchmark.components import plural
from benchmark.engine.intervention import mean_share
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.faithfulness.games import Game, games
from benchmark.faithfulness.grounds import Ground, grounds
from benchmark.faithfulness.orders import greedy
from benchmark.faithfulness.sources import Pending, planned, sets_of
from benchmark.faithfulness.values import Known, Values
from benchmark.faithfulness.wanted import Wanted
from benchmark.progress import bar
from benchmark.running.bench import Bench
from benchmark.running.crew import Say
from benchmark.running.provenance import environment
from benchmark.store.cell import Provenance, Rows
from benchmark.store.circuit import Circuit, CircuitKey
from benchmark.store.folder import (
    Results,
    alone_in,
    read_values,
    remove_values,
    stored_circuit,
    write_circuit,
    write_values,
)


@dataclass(frozen=True)
class _Job:
    """What is asked of which folder; `force`: also of what is stored there."""

    results: Results
    wanted: Wanted
    say: Say
    force: bool


def circuits(results: Results | str | Path, **wanted: Any) -> Results:
    """Measure, on the split that they were not made on, the circuits that a folder's scores name; see `Wanted`.

    Returns the folder with its `circuits`. What is stored already stays. Raises BenchmarkError where nothing can be
    measured; what can't be measured beside the rest is a warning.

    >>> circuits("results/demo", ways=(Way("noising", "zero"),)).circuits  # doctest: +SKIP
    """
    folder = results.folder if isinstance(results, Results) else Path(results)
    return measure(Results(folder), Wanted(**wanted), Bench(), lambda words: warnings.warn(words, stacklevel=2))


def measure(results: Results, wanted: Wanted, bench: Bench, say: Say, force: bool = False) -> Results:
    """Measure and store what isn't stored, of the cells that `results` holds; the whole folder with its `circuits`."""
    wanted.refuse()
    job = _Job(results, wanted, _once(say), force)
    with alone_in(results.folder, say):
        measured = [any(_measure_section(job, section, bench)) for section in _chosen(results, wanted)]
    if not any(measured):
        raise BenchmarkError(
            f"No circuit of {results.folder} can be measured: what was said above is why. It takes a method that "
            "scored every component of a kind, and rows of the other split (a column `split` in a file of your own)."
        )
    return Results(results.folder)


def _once(say: Say) -> Say:
    """Says nothing twice: what holds of a kind holds on every task."""
    said: set[str] = set()

    def tell(words: str) -> None:
        if words not in said:
            said.add(words)
            say(words)

    return tell


def _chosen(results: Results, wanted: Wanted) -> list[Section]:
    """The sections of the tasks that are asked for; refuses names that the folder doesn't have."""
    found = sections(results)
    tasks = sorted({one.key.task.name for one in found})
    methods = [cell.key.method for cell in results.cells]
    labels = sorted({method.label for method in methods} | {method.name for method in methods})
    for option, names, there in (("--task", wanted.tasks, tasks), ("--methods", wanted.methods, labels)):
        for name in set(names) - {"all", *there}:
            raise BenchmarkError(
                f"{option} {name}: {results.folder} holds {', '.join(there) or 'none'}.{did_you_mean(name, there)}"
            )
    chosen = [one for one in found if {"all", one.key.task.name} & {*wanted.tasks}]
    kinds = {kind for one in chosen for kind in one.kinds}
    for kind in {kind for some in wanted.components for kind in some} - kinds:
        raise BenchmarkError(f"--components {kind}: {results.folder} holds scores of {', '.join(sorted(kinds))} only.")
    return chosen


def _measure_section(job: _Job, section: Section, bench: Bench) -> list[bool]:
    """Whether there is a circuit, for each game and way."""
    found = list(games(section, job.wanted, job.say))
    if not found:
        return []
    kinds = {kind for game in found for kind in game.kinds}
    return [
        _measure_game(job, ground, game)
        for ground in grounds(section, kinds, job.wanted, bench, job.say)
        for game in found
    ]


def _measure_game(job: _Job, ground: Ground, game: Game) -> bool:
    """Measure and store, cell by cell, what isn't stored of a game; whether there is something to measure."""
    model, way = ground.model, ground.way
    if unable := [kind for kind in game.kinds if way.replacement not in model.kind(kind).replacements]:
        job.say(f"{game.name}: {plural(unable[0])} have no {way.replacement} replacement.")
        return False
    request = ground.request(game.kinds)
    game = game.on(model, ground.pairs, request)
    if len(game.players) < 2:
        job.say(f"{' and '.join(map(plural, game.kinds))} by themselves: {len(game.players)} takes part, and a circuit "
                "is a choice among several. Left out.")  # fmt: skip
        return False
    cells = list(planned(game, ground, job.wanted))
    todo = [one for one in cells if job.force or not stored_circuit(job.results.folder, one.key, job.say)]
    if not todo:
        return True
    count = len(game.players)
    sets = sum(one.sets + (one.orders is None) * count * (count + 1) // 2 for one in todo)
    batches = ground.pairs.batches(request.pairs_per_batch)
    whole = sum(len(batch) * mean_share(model, batch, request, [0]) for batch in batches)  # what is out begins early
    with bar(sets * whole, f"{game.name}, {way}", "pass") as shown:
        values = Values(model, ground.pairs, replace(request, progress=shown.advance), game.players)
        with _remembered(job, values, cells[0].key.game) as values:
            for one in todo:
                _measure(job, ground, values, one)
    return True


@contextmanager
def _remembered(job: _Job, values: Values, game: str) -> Iterator[Values]:
    """The same values, with what a killed run has measured; what is new is kept until all is done in this context."""
    folder = job.results.folder
    if job.force:
        remove_values(folder, game)
    pieces = read_values(folder, game, job.say)
    known = {row.tobytes(): value for piece in pieces for row, value in zip(piece["set"], piece["value"], strict=True)}

    def keep(new: Known) -> None:
        sets = np.stack([np.frombuffer(name, dtype=np.uint8) for name in new])
        write_values(folder, game, {"set": sets, "value": np.stack([*new.values()])})

    yield replace(values, known=known, keep=keep)
    remove_values(folder, game)


def _measure(job: _Job, ground: Ground, values: Values, one: Pending) -> None:
    """Measure the sets of a cell, order by order, and write it; of a search, find the order first."""
    if one.orders is not None:
        _write(job, ground, values, one.key, one.orders)
        return
    pairs, scored = ground.scored_pairs(), replace(ground.section.key.task, truth=None)
    key = replace(one.key, task=scored, pair_ids=pairs.ids, tokens=pairs.digest())
    with _remembered(job, replace(values, pairs=pairs, runs=[]), key.game) as there:
        order = greedy(len(values.players), lambda sets: there.of(sets).mean(axis=1))
        _write(job, ground, values, one.key, order[None])


def _write(
    job: _Job, ground: Ground, values: Values, key: CircuitKey, orders: Int[np.ndarray, "ranking component"]
) -> None:
    started, before = time.perf_counter(), values.model.passes.forward
    nothing = np.zeros((1, len(values.players)), dtype=bool)
    ends = {"nothing": values.of(nothing)[0], "everything": values.of(~nothing)[0]}
    each = np.stack([values.of(sets_of(key, order)) for order in orders])
    sizes = len(key.sizes)
    arrays = ends | {
        "players": values.players.where,
        "order": orders.astype(np.int32),
        "kept": each[:, :sizes],
        "corrupted": ground.found.metrics["corrupted"].double().cpu().numpy(),
    }
    if key.top:
        arrays |= {"rest": each[:, sizes : 2 * sizes], "without": each[:, 2 * sizes :]}
    spent = Provenance(
        **environment(values.model),
        seconds=round(time.perf_counter() - started, 3),
        passes=Rows(forward=values.model.passes.forward - before),
        chunk={"tokens": values.request.tokens_per_forward, "rows": values.request.rows_per_forward},
    )
    write_circuit(
        job.results.folder,
        Circuit(
            key,
            task_title=ground.task.title,
            pairs=ground.facts,
            scored_pairs=ground.section.n_pairs,
            provenance=spent,
            arrays=arrays,
        ),
    )
