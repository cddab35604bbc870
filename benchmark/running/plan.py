"""From what was asked to the list of cells: everything is resolved and refused here, before any cell is computed."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from benchmark.components import (
    COUNTERFACTUAL,
    DEFAULT_KINDS,
    DTYPES,
    FEATURE_KINDS,
    KINDS,
    MATMULS,
    MEAN,
    PLACES_ONLY,
    SHORT_DTYPES,
)
from benchmark.engine.means import discovery_digest
from benchmark.engine.memory import Chunk
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request, may_go_backward
from benchmark.engine.resample import draws_of, resampled
from benchmark.engine.resolution import resolution
from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import DEFAULT_PAIRS
from benchmark.models.dictionaries import own
from benchmark.prompts.metrics import METRICS
from benchmark.prompts.pairs import Pairs
from benchmark.prompts.task import Task
from benchmark.running import capacity
from benchmark.running.behaviour import Behaviour, behaviour
from benchmark.running.bench import Bench
from benchmark.running.crew import Workplace
from benchmark.running.dictionaries import bad, worth
from benchmark.running.plugins import GROUPS, Registry, plugin_digest
from benchmark.running.provenance import package
from benchmark.running.work import ModelSource, Place, TaskSource, Work
from benchmark.store.cell import CellKey, MethodKey, ModelKey, TaskKey, Truth, sha256


@dataclass(frozen=True)
class Asked:
    """A run as its user asked for it."""

    model: str
    tasks: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = ("default",)
    components: tuple[str, ...] = DEFAULT_KINDS
    pairs: int = DEFAULT_PAIRS
    replacement: str = COUNTERFACTUAL.replacement
    direction: str = COUNTERFACTUAL.direction
    metric: str = "default"
    split: str = "evaluation"
    seed: int = 0
    min_metric: float | None = None
    prepend_bos: bool | None = None
    revision: str | None = None
    device: str = "auto"
    memory: str | None = None
    plugins: tuple[str, ...] = ()
    dataset: str | None = None
    dataset_tokenizer: str | None = None
    corrupted_column: str | None = None
    title: str | None = None
    dictionaries: str | None = None
    draws: int | None = None
    dtype: str = DTYPES[0]
    matmul: str = MATMULS[0]

    @property
    def source(self) -> ModelSource:
        """The model, with its own dictionaries where features are asked for and no others are given."""
        read = own(self.model, self.components, self.dictionaries)
        return ModelSource(self.model, self.device, self.prepend_bos, self.revision, read, self.dtype, self.matmul)

    def rows_of(self, task: str) -> TaskSource:
        """Where the rows of a task come from; of a user's file, whichever its name."""
        if self.dataset is None:
            return TaskSource(task, self.metric)
        like = "" if self.tasks == ("all",) else self.tasks[0]
        return TaskSource(like, self.metric, self.dataset, self.dataset_tokenizer, self.corrupted_column, self.title)

    def refuse_mixed(self) -> None:
        """Refuse what is for a file of pairs without one, and a file for several tasks."""
        if self.dataset is not None and len(set(self.tasks)) > 1:
            raise BenchmarkError(
                f"--dataset {self.dataset} holds pairs of one task: name one with --task, e.g. --task ioi, or none."
            )
        for name in ("dataset_tokenizer", "corrupted_column", "title"):
            if self.dataset is None and getattr(self, name) is not None:
                raise BenchmarkError(f"--{name.replace('_', '-')} is for a file of pairs: give it with --dataset FILE.")

    def as_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, passed: Mapping[str, Any]) -> "Asked":
        """What `as_json` gave, of this version or an older one."""
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in passed.items()
        }
        return cls(**given)


@dataclass(frozen=True)
class PlannedCell:
    """One method identity on one task's pairs: its key, what the model does there, and the work that is to be done.

    `work` is None where the task has no pairs; `behaviour.error` says why. `cost` is that of all pairs, at most, and
    None where the method declares none; `rows` are whole rows, forward and backward: the cell's share of the progress
    bar.
    """

    key: CellKey
    method: Method
    behaviour: Behaviour
    work: Work | None
    cost: Cost | None
    rows: float


@dataclass(frozen=True)
class Plan:
    """A run as it will be carried out. `bench` holds the model and the pairs that planning has loaded.

    `workplace` is where the work will be done, by a device of the type `device`. `fits` is the largest chunk there now;
    `chunk`, what is taken, is that of the plan's first start.

    `left_out` are the project's tasks, of all that it has, of which this model's tokenizer can carry no row, with the
    reasons; `unable` are methods, of a group that was asked for, that can't do what was asked, with the reasons. Nobody
    asked for either by name, so they are no failure.

    With `chunk`, `threads` and `part_rows` scores are the same to the last bit, whoever computes them on the same
    hardware: `part_rows` is how many whole rows make a part of a cell; None: each cell is one.
    """

    asked: Asked
    bench: Bench
    workplace: Workplace
    device: str
    cells: tuple[PlannedCell, ...]
    chunk: Chunk
    fits: Chunk
    behaviours: tuple[Behaviour, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    unable: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None
    part_rows: float | None = None
    begun: tuple[str, ...] = ()  # what it goes on with of an earlier start, where something else was asked for

    @property
    def model(self) -> Model:
        return self.bench.model(self.asked.source)

    @cached_property
    def row_seconds(self) -> float:
        """Seconds that a row of the first task takes through the whole model, as measured where the work is done."""
        tokens = next(next(one.pairs.batches(1)).clean for one in self.behaviours if one.pairs is not None)
        rows = sum(cell.rows for cell in self.cells)
        return self.workplace.ask(capacity.row_seconds, self.asked.source, tokens.cpu(), self.chunk, rows)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is to be known before: a reference in 16 bits, by name; and what an earlier start decided."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        named = dict.fromkeys(cell.method.label for cell in self.cells if cell.method.reference)
        short = (
            f"{', '.join(named)} is what other methods are held against, and it is computed in {dtype}: small effects "
            "are noise there. Take --dtype float32 for a reference."
        )
        return (*([short] if dtype in SHORT_DTYPES and named else []), *self.begun)

    def resolved(self) -> dict[str, Any]:
        """What `run.json` keeps of the plan."""
        return {
            "model": {"name": self.model.name, "digest": self.model.digest},
            "tasks": {one.task.name: list(one.pairs.ids) if one.pairs else [] for one in self.behaviours},
            "left_out": dict(self.left_out),
            "methods": list(dict.fromkeys(cell.method.label for cell in self.cells)),
            "device": self.device,
            "refused": {kind: why for kind, why in self.model.refusals.items() if kind in self.asked.components},
            "chunk": self.chunk._asdict(),
            "threads": self.threads,
            "part_rows": self.part_rows,
            "cells": [cell.key.digest[:8] for cell in self.cells],
            "names": {cell.key.digest[:8]: f"{cell.key.task.name} x {cell.method.label}" for cell in self.cells},
        }


def chosen_methods(asked: Asked, registry: Registry) -> tuple[list[Method], dict[str, str]]:
    """The methods by name, each checked against what was asked of it; refuses what no run can be asked.

    Of `default` and `all`, those that can't do it are left out: they come second, with the reason.
    """
    able = [kind for kind in KINDS if kind not in PLACES_ONLY]
    for kind in set(asked.components) & set(PLACES_ONLY):
        raise BenchmarkError(f"--components {kind}: {PLACES_ONLY[kind]}. Look at its places with `trace`.")
    if not asked.components or set(asked.components) - set(able):
        raise BenchmarkError(f"--components {','.join(asked.components)}: choose from {', '.join(able)}.")
    if asked.metric not in ("default", *METRICS):
        raise BenchmarkError(f"There is no metric {asked.metric!r}; choose default, {', '.join(METRICS)}.")
    if asked.pairs < 1:
        raise BenchmarkError(f"--pairs {asked.pairs}: at least 1 pair is needed.")
    asked.refuse_mixed()
    draws_of(asked.replacement, asked.draws)
    registry.chosen_tasks(asked.tasks)  # an unknown task is refused before any model is loaded
    methods: list[Method] = []
    unable: dict[str, str] = {}
    for name in asked.methods:
        for method in registry.chosen_methods([name]):
            try:
                method.check(asked.components, asked.replacement, asked.direction)
                methods.append(method)
            except BenchmarkError as reason:
                if name not in GROUPS:
                    raise
                unable[method.label] = str(reason)
    twice = {method.label for method in methods if methods.count(method) > 1}
    if twice:
        raise BenchmarkError(f"--methods names {', '.join(sorted(twice))} twice.")
    if not methods:
        raise BenchmarkError(next(iter(unable.values()), "--methods names no method."))
    return methods, unable


def make_plan(
    asked: Asked,
    bench: Bench,
    tasks: Sequence[Task],
    methods: Sequence[Method],
    workplace: Workplace,
    device: str,
    chunk: Chunk | None = None,
) -> Plan:
    """See what the model does on every task's pairs, and lay out the cells."""
    model = bench.model(asked.source)
    budget = capacity.budget(model, asked.memory)
    found = [
        behaviour(
            model, task, asked.rows_of(task.name).chosen_metric(task), asked.pairs, asked.split, asked.seed,
            asked.replacement, asked.min_metric, budget,
        )
        for task in tasks
    ]  # fmt: skip
    empty = [one for one in found if one.pairs is None]
    if len(empty) == len(found):
        raise BenchmarkError("\n".join(str(one.error) for one in empty) or "No task was asked for.")
    left_out = {one.task.name: one.not_carried for one in empty if asked.tasks == ("all",) and one.not_carried}
    found = [one for one in found if one.task.name not in left_out]
    kinds = tuple(kind for kind in model.kinds if kind in asked.components)
    model.refuse(asked.components if not kinds else [kind for kind in asked.components if kind in FEATURE_KINDS])
    if read := [kind for kind in kinds if kind in FEATURE_KINDS]:
        found = [_with_dictionaries(model, one, read) for one in found]
    request = Request(kinds, asked.replacement, asked.direction, asked.seed)
    costs = [method.cost(model, method.as_seen(request)) for method in methods]
    longest = max(one.pairs.longest for one in found if one.pairs)
    gradients = any(map(may_go_backward, costs))
    fits = workplace.ask(capacity.chunk, asked.source, asked.memory, workplace.sharing, longest, gradients)
    chunk = chunk or fits
    found = [_with_resolution(model, one, asked, bench, budget) for one in found]
    for one in found:
        if one.pairs is not None:
            place = Place(asked.source, asked.rows_of(one.task.name), one.pairs.ids)
            bench.pairs[place], bench.metrics[place] = one.pairs, one.metrics
    cells = [
        _cell(asked, model, one, method, request, cost, chunk)
        for one in found
        for method, cost in zip(methods, costs, strict=True)
    ]
    return Plan(asked, bench, workplace, device, tuple(cells), chunk, fits, tuple(found), left_out)


def _with_dictionaries(model: Model, found: Behaviour, kinds: Sequence[str]) -> Behaviour:
    """What the dictionaries of these kinds are worth on the task's pairs; a bad one is a caveat."""
    if found.pairs is None:
        return found
    facts = worth(model, found.pairs, kinds)
    return replace(found, dictionaries=facts, caveats=(*found.caveats, *filter(None, map(bad, facts))))


def _with_resolution(model: Model, found: Behaviour, asked: Asked, bench: Bench, budget: int) -> Behaviour:
    """The metric's resolution on the task's pairs, measured once for all methods."""
    if found.pairs is None:
        return found
    place = (asked.source, asked.rows_of(found.task.name), found.pairs.digest(), asked.direction)
    if place not in bench.resolutions:
        bench.resolutions[place] = resolution(model, found.pairs, asked.direction, budget=budget)
    return replace(found, resolution=bench.resolutions[place])


def _cell(
    asked: Asked, model: Model, found: Behaviour, method: Method, request: Request, cost: Cost | None, chunk: Chunk
) -> PlannedCell:
    pairs = found.pairs
    key = CellKey(
        model=ModelKey(model.name, model.digest, model.revision, model.tokens.prepend_bos),
        task=_task_key(asked, found),
        method=_method_key(asked, method),
        kinds=request.kinds,
        pair_ids=pairs.ids if pairs else (),
        tokens=pairs.digest() if pairs else None,
        means=_put_in_digest(asked, pairs) if pairs else None,
        dtype=str(model.dtype).removeprefix("torch."),
        processing=model.processing,
        dictionaries={kind: dictionaries_digest(model, kind) for kind in request.kinds if kind in FEATURE_KINDS},
        matmul=model.matmul,
    )
    if pairs is None:
        return PlannedCell(key, method, found, None, Cost(0, 0), 0.0)
    work = Work(
        model=asked.source,
        task=asked.rows_of(found.task.name),
        pair_ids=pairs.ids,
        tokens=key.tokens,
        method=method.name,
        options=tuple((option.name, getattr(method, option.name)) for option in fields(method)),
        kinds=request.kinds,
        direction=asked.direction,
        replacement=asked.replacement,
        seed=asked.seed,
        chunk=chunk,
        plugins=asked.plugins,
        draws=asked.draws,
        weights=model.digest,
        code=key.method.code,
        package=package(),
    )
    if (draws := draws_of(asked.replacement, asked.draws)) and method.needs_replacement:
        pairs = resampled(pairs, draws, asked.seed)
    rows = sum(method.work(model, batch, method.as_seen(request)) for batch in pairs.batches())
    of_all = None if cost is None else Cost(*(one * len(pairs) for one in cost))
    return PlannedCell(key, method, found, work, of_all, rows)


def _put_in_digest(asked: Asked, pairs: Pairs) -> str | None:
    """sha256 over the prompts besides the pairs' own whose activations are put in, where there are any."""
    if draws := draws_of(asked.replacement, asked.draws):
        return resampled(pairs, draws, asked.seed).digest()
    return discovery_digest(pairs) if asked.replacement == MEAN.replacement else None


def dictionaries_digest(model: Model, kind: str) -> str:
    """sha256 over the files of a kind's dictionaries and where each of them is read."""
    return sha256([[*model.whole(site), model.dictionaries[site].digest] for site in model.sites([kind])])


def _task_key(asked: Asked, found: Behaviour) -> TaskKey:
    task = found.task
    metric = task.metric.name if asked.metric == "default" else asked.metric
    truth = Truth(**task.truth.as_json()) if task.truth else None
    least = None if asked.min_metric is None else float(asked.min_metric)  # as JSON gives it back
    code = plugin_digest(task.source)
    return TaskKey(task.name, metric, found.dataset_digest, asked.split, least, code, truth)


def _method_key(asked: Asked, method: Method) -> MethodKey:
    return MethodKey(
        name=method.name, label=method.label, options=method.options, direction=asked.direction,
        replacement=asked.replacement, seed=asked.seed, signed=method.signed, reference=method.reference,
        metric_units=method.metric_units, code=plugin_digest(inspect.getsourcefile(type(method))),
        elsewhere=method.elsewhere, per_pair=method.per_pair, draws=draws_of(asked.replacement, asked.draws),
    )  # fmt: skip
