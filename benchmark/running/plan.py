"""From what was asked to the list of cells: everything is resolved and refused here, before any cell is computed."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from benchmark.engine.means import discovery_digest
from benchmark.engine.memory import Chunk, choose_chunk, free_bytes, parse_bytes
from benchmark.engine.method import Cost, Method, Request, metrics
from benchmark.engine.model import KINDS, Model
from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import DEFAULT_PAIRS
from benchmark.prompts.metrics import METRICS, Metric
from benchmark.prompts.pairs import Pairs
from benchmark.prompts.task import Task
from benchmark.running.plugins import Registry, plugin_digest
from benchmark.store.folder import sha256


@dataclass(frozen=True)
class Asked:
    """A run as its user asked for it."""

    model: str
    tasks: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = ("all",)
    components: tuple[str, ...] = KINDS
    pairs: int = DEFAULT_PAIRS
    replacement: str = "counterfactual"
    direction: str = "noising"
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


@dataclass(frozen=True)
class TaskPairs:
    """The pairs of one task that will be attributed, and the model's behaviour on those that were looked at."""

    task: Task
    dataset_digest: str
    pairs: Pairs | None
    right: int = 0
    looked_at: int = 0
    left_out: int = 0
    min_metric: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class PlannedCell:
    """The unit of work: one method identity on one task's pairs."""

    key: dict[str, Any]
    method: Method
    task_pairs: TaskPairs
    cost: Cost  # of all its pairs
    work: float  # whole rows, forward and backward


@dataclass(frozen=True)
class Plan:
    """A run as it will be carried out."""

    asked: Asked
    model: Model
    cells: tuple[PlannedCell, ...]
    chunk: Chunk
    tasks: tuple[TaskPairs, ...] = field(default=())

    def resolved(self) -> dict[str, Any]:
        """What `run.json` keeps of the plan."""
        return {
            "model": {"name": self.model.name, "digest": self.model.digest},
            "tasks": {p.task.name: list(p.pairs.ids) if p.pairs else [] for p in self.tasks},
            "methods": list(dict.fromkeys(cell.method.label for cell in self.cells)),
            "device": self.model.device.type,
            "chunk": self.chunk._asdict(),
            "cells": [sha256(cell.key)[:8] for cell in self.cells],
        }


def choose(asked: Asked, registry: Registry) -> tuple[list[Task], list[Method]]:
    """The tasks and methods by name, each checked against what was asked of it."""
    if not asked.components or set(asked.components) - set(KINDS):
        raise BenchmarkError(f"--components {','.join(asked.components)}: choose from {', '.join(KINDS)}.")
    if asked.metric not in ("default", *METRICS):
        raise BenchmarkError(f"There is no metric {asked.metric!r}; choose default, {', '.join(METRICS)}.")
    if asked.pairs < 1:
        raise BenchmarkError(f"--pairs {asked.pairs}: at least 1 pair is needed.")
    tasks = registry.chosen_tasks(asked.tasks)
    shown = [name for name, method in registry.methods.items() if not method.on_request]
    methods = [registry.method(spec) for spec in (shown if asked.methods == ("all",) else asked.methods)]
    for method in methods:
        method.check(asked.components, asked.replacement, asked.direction)
    twice = {method.label for method in methods if methods.count(method) > 1}
    if twice:
        raise BenchmarkError(f"--methods names {', '.join(sorted(twice))} twice.")
    if not methods:
        raise BenchmarkError("--methods names no method.")
    return tasks, methods


def make_plan(
    asked: Asked, model: Model, tasks: Sequence[Task], methods: Sequence[Method], chunk: Chunk | None = None
) -> Plan:
    """Draw, audit and filter every task's pairs, and lay out the cells."""
    budget = parse_bytes(asked.memory) if asked.memory else free_bytes(model.device) // 2
    chosen = [_task_pairs(asked, model, task) for task in tasks]
    empty = [task_pairs for task_pairs in chosen if task_pairs.pairs is None]
    if len(empty) == len(chosen):
        raise BenchmarkError("\n".join(str(task_pairs.error) for task_pairs in empty) or "No task was asked for.")
    cells = [_cell(asked, model, task_pairs, method) for task_pairs in chosen for method in methods]
    if chunk is None:
        length = max(len(pair.clean) for found in chosen if found.pairs for pair in found.pairs.pairs)
        chunk = choose_chunk(model, length, budget, gradients=any(cell.cost.backward for cell in cells))
    return Plan(asked, model, tuple(cells), chunk, tuple(chosen))


def _task_pairs(asked: Asked, model: Model, task: Task) -> TaskPairs:
    metric: Metric = task.metric if asked.metric == "default" else METRICS[asked.metric]
    digest = task.digest()
    try:
        limit = asked.pairs if asked.min_metric is None else None
        pairs = task.pairs(model, limit=limit, split=asked.split, seed=asked.seed, metric=metric)
        pairs.refuse_replacement(asked.replacement)
    except BenchmarkError as error:
        return TaskPairs(task, digest, None, error=str(error))
    except Exception as error:  # a check of somebody's plugin: the other tasks go on
        return TaskPairs(task, digest, None, error=f"Task {task.name!r} failed: {type(error).__name__}: {error}")
    step = min(32, asked.pairs)
    keep: list[int] = []
    looked_at = right = 0
    while looked_at < len(pairs) and len(keep) < asked.pairs:
        places = range(looked_at, min(looked_at + step, len(pairs)))
        clean, corrupted = _metrics(model, pairs.take(places))
        looked_at += len(places)
        right += int(((clean > 0) & ~(clean <= corrupted)).sum())
        passing = clean >= (-torch.inf if asked.min_metric is None else asked.min_metric)
        keep += [place for place, passes in zip(places, passing.tolist(), strict=True) if passes]
    if not keep:
        reason = f"none of the {looked_at} {asked.split} pairs of task {task.name!r} has a metric of {asked.min_metric}"
        return TaskPairs(task, digest, None, error=f"--min-metric: {reason} or more; lower it or choose another task.")
    left_out = looked_at - len(keep)
    chosen = pairs.take(keep[: asked.pairs])
    return TaskPairs(task, digest, chosen, right, looked_at, left_out, asked.min_metric)


def _metrics(model: Model, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    clean, corrupted = torch.empty(len(pairs)), torch.empty(len(pairs))
    for batch in pairs.batches():
        values = metrics(model, batch)
        clean[list(batch.index)] = values["clean"].float().cpu()
        corrupted[list(batch.index)] = values["corrupted"].float().cpu()
    return clean, corrupted


def _cell(asked: Asked, model: Model, task_pairs: TaskPairs, method: Method) -> PlannedCell:
    pairs = task_pairs.pairs
    kinds = [kind for kind in KINDS if kind in asked.components]
    metric = task_pairs.task.metric.name if asked.metric == "default" else asked.metric
    key = {
        "model": {
            "name": model.name, "revision": model.revision, "digest": model.digest,
            "prepend_bos": model.tokens.prepend_bos,
        },
        "dtype": str(model.dtype).removeprefix("torch."),
        "processing": "none",
        "task": {
            "name": task_pairs.task.name, "metric": metric, "dataset_digest": task_pairs.dataset_digest,
            "split": asked.split, "min_metric": asked.min_metric, "code": plugin_digest(task_pairs.task.source),
            **({"truth": task_pairs.task.truth.as_json()} if task_pairs.task.truth else {}),
        },
        "pair_ids": list(pairs.ids) if pairs else [],
        "tokens": pairs.digest() if pairs else None,
        "means": discovery_digest(pairs) if pairs and asked.replacement == "mean" else None,
        "method": {
            "name": method.name, "label": method.label, "options": method.options, "direction": asked.direction,
            "replacement": asked.replacement, "seed": asked.seed, "signed": method.signed,
            "reference": method.reference, "metric_units": method.metric_units,
            "code": plugin_digest(inspect.getsourcefile(type(method))),
        },
        "kinds": kinds,
    }  # fmt: skip
    request = Request(tuple(kinds), asked.replacement, asked.direction, asked.seed)
    one = method.cost(model, request)
    count = len(pairs) if pairs else 0
    work = sum(method.work(model, batch, request) for batch in pairs.batches()) if pairs else 0.0
    return PlannedCell(key, method, task_pairs, Cost(one.forward * count, one.backward * count), work)


def asked_as_json(asked: Asked) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(asked).items()}
