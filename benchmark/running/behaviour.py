"""What the model does on a task, before anything is attributed: metrics, accuracy, and the pairs that pass a filter."""

import time
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.components import COUNTERFACTUAL, RESAMPLE
from benchmark.engine.memory import whole_prompts
from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.prompts.metrics import Metric, logit_diff
from benchmark.prompts.pairs import NothingCarried, Pairs
from benchmark.prompts.task import Task
from benchmark.running.caveats import caveats
from benchmark.store.cell import DictionaryFacts

AT_ONCE = 32  # pairs that are looked at together


@dataclass(frozen=True)
class Behaviour:
    """The pairs of one task that will be attributed, with the metrics `clean` and `corrupted` `[pair]` on them.

    `right` of `looked_at` pairs have a clean metric above 0 and above the corrupted one; `left_out` of them had less
    than `min_metric`. `error` says why there are no pairs, `caveats` what a reader should know of them. `not_carried`
    holds the audit's reasons where the model's tokenizer can carry no row of a task of the project, `dictionaries` what
    those are worth here whose features are asked for, `resolution` what is noise of the number format. `row_seconds` is
    what a prompt took, the first ones with all that is done but once.
    """

    task: Task
    dataset_digest: str
    pairs: Pairs | None
    metrics: dict[str, Float[Tensor, " pair"]] = field(default_factory=dict, compare=False)
    right: int = 0
    looked_at: int = 0
    left_out: int = 0
    min_metric: float | None = None
    error: str | None = None
    caveats: tuple[str, ...] = ()
    not_carried: str = ""
    dictionaries: tuple[DictionaryFacts, ...] = ()
    row_seconds: float = field(default=0.0, compare=False)
    resolution: Float[Tensor, " pair"] | None = field(default=None, compare=False)


def behaviour(
    model: Model,
    task: Task,
    metric: Metric,
    limit: int,
    split: str,
    seed: int,
    replacement: str,
    min_metric: float | None = None,
    budget: int | None = None,
) -> Behaviour:
    """Draw and audit up to `limit` pairs, run the model on them, and leave out those below `min_metric`.

    `budget` is how many bytes that may take, by default half of what is free. What goes wrong with a task is said in
    `error`: the other tasks of a run go on.
    """
    digest = task.digest()
    try:
        most, paired = limit if min_metric is None else None, replacement == COUNTERFACTUAL.replacement
        pairs = task.pairs(model, limit=most, split=split, seed=seed, metric=metric, paired=paired)
        if replacement != RESAMPLE.replacement:
            pairs.refuse_replacement(replacement)
    except BenchmarkError as error:
        reasons = error.reasons if isinstance(error, NothingCarried) and not task.file else ""
        return Behaviour(task, digest, None, error=str(error), not_carried=reasons)
    except Exception as error:  # a check of somebody's plugin
        return Behaviour(task, digest, None, error=f"{_named(task)} failed: {type(error).__name__}: {error}")
    at_once = whole_prompts(model, pairs.longest, budget)
    found: dict[str, list[Tensor]] = {"clean": [], "corrupted": []}
    keep: list[int] = []
    looked_at, started = 0, time.perf_counter()
    while looked_at < len(pairs) and len(keep) < limit:
        places = range(looked_at, min(looked_at + min(AT_ONCE, limit), len(pairs)))
        for name, values in metrics(model, pairs.take(places), at_once).items():
            found[name].append(values)
        looked_at += len(places)
        passing = found["clean"][-1].float() >= (-torch.inf if min_metric is None else min_metric)
        keep += [place for place, passes in zip(places, passing.tolist(), strict=True) if passes]
    row_seconds = (time.perf_counter() - started) / looked_at
    if not keep:
        reason = f"none of the {looked_at} {split} pairs of task {task.name!r} has a metric of {min_metric}"
        return Behaviour(task, digest, None, error=f"--min-metric: {reason} or more; lower it or choose another task.")
    clean, corrupted = (torch.cat(found[name]) for name in ("clean", "corrupted"))
    judged = {"clean": clean, "corrupted": corrupted}
    if not metric.of_answers:  # whether the model is right is for a metric of answers to say
        judged = metrics(model, replace(pairs.take(range(looked_at)), metric=logit_diff), at_once)
    right = int(((judged["clean"] > 0) & ~(judged["clean"] <= judged["corrupted"])).sum())
    kept = keep[:limit]
    try:  # of these pairs alone: all rows of the task may be there before
        pairs.take(kept).refuse_replacement(replacement)
    except BenchmarkError as error:
        return Behaviour(task, digest, None, error=str(error))
    known = {"clean": clean[kept], "corrupted": corrupted[kept]}
    said = caveats(model, pairs, right, looked_at)
    return Behaviour(
        task, digest, pairs.take(kept), known, right, looked_at, looked_at - len(keep), min_metric, caveats=said,
        row_seconds=row_seconds,
    )  # fmt: skip


def _named(task: Task) -> str:
    return f"Task {task.name!r}" + f" ({task.file})" * bool(task.file)
