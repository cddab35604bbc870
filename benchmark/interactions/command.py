"""The `interactions` command: what was asked, which components are the strongest, and what is printed."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmark.analysis.top import top_components
from benchmark.components import BASELINES, KINDS, LAST, MEAN, PLACES_ONLY, component_name, component_named, many
from benchmark.engine.intervention import mean_share
from benchmark.engine.means import mean_activations
from benchmark.engine.memory import choose_chunk, fitting_chunk, parse_bytes
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.interactions.effects import Component, Interactions, interactions, sets_of
from benchmark.progress import bar
from benchmark.prompts.pairs import Pairs
from benchmark.running.behaviour import behaviour
from benchmark.running.bench import Bench
from benchmark.running.plan import Asked
from benchmark.store.folder import Results

GIVEN = 3  # of the strongest are out where nobody says which
SEES_BOTH, SEES_MANY = "shapley:permutations=1", "attribution-patching"  # what ranks few components, and thousands


@dataclass(frozen=True)
class Question:
    """What was asked: the run, how many of the strongest components by which method, and which of them are out.

    `by` and `given` are None where nobody says; `results` is a folder whose scores rank, in place of new ones.
    """

    run: Asked
    by: str | None
    top: int
    given: tuple[Component, ...]
    results: str | None

    @property
    def method(self) -> str:
        return self.by or (SEES_MANY if any(map(many, self.run.components)) else SEES_BOTH)


def read_request(asked: argparse.Namespace) -> Question:
    """Refuses what doesn't go together before any model is loaded."""
    names = {field.name for field in fields(Asked)}
    given: dict[str, Any] = {name: value for name, value in vars(asked).items() if name in names}
    run = Asked(**given | {"plugins": tuple(asked.plugins)})
    if set(run.components) - (set(KINDS) - set(PLACES_ONLY)) or not run.components:
        able = ", ".join(kind for kind in KINDS if kind not in PLACES_ONLY)
        raise BenchmarkError(f"--components {','.join(run.components)}: choose from {able}.")
    if run.replacement not in BASELINES:
        raise BenchmarkError(f"--replacement {run.replacement}: choose {', '.join(BASELINES)}.")
    if asked.top < 2 or run.pairs < 1:
        raise BenchmarkError(f"--top {asked.top}, --pairs {run.pairs}: give at least 2 components and 1 pair.")
    run.refuse_mixed()
    return Question(run, asked.by, asked.top, tuple(map(component_named, asked.given)), asked.results)


def answered(question: Question, bench: Bench) -> Iterator[tuple[str, Interactions]]:
    """The interactions on each task's pairs, with its title."""
    run = question.run
    registry = bench.registry(run.plugins)
    registry.chosen_tasks(run.tasks)  # an unknown task or method is refused before any model is loaded
    method = registry.method(question.method)
    method.check(run.components, run.replacement, run.direction)
    stored = Results(question.results) if question.results is not None else None
    model = bench.model(run.source)
    model.refuse(run.components)
    question = replace(question, given=tuple(there(model, component) for component in question.given))
    for task in bench.tasks(run.tasks, run.rows_of(""), run.plugins, model.tokens):
        metric = run.rows_of(task.name).chosen_metric(task)
        found = behaviour(model, task, metric, run.pairs, run.split, run.seed, run.replacement, run.min_metric)
        if found.pairs is None:
            if run.tasks == ("all",) and found.not_carried:
                continue
            raise BenchmarkError(str(found.error))
        request = _request(question, model, found.pairs)
        if stored is None:
            strongest = _scored(model, found.pairs, method, request, run.components, question.top)
        else:
            strongest = _stored(stored, model, task.name, question)
        yield task.title, _interactions(question, model, found.pairs, request, strongest, method.label)


def _request(question: Question, model: Model, pairs: Pairs) -> Request:
    run = question.run
    kinds = tuple(dict.fromkeys((*run.components, *(kind for kind, _, _ in question.given))))
    chunk = fitting_chunk(model, pairs.longest, gradients=True)
    if run.memory:
        chunk = choose_chunk(model, pairs.longest, parse_bytes(run.memory), gradients=True)
    means = mean_activations(model, pairs, kinds, chunk.pairs) if run.replacement == MEAN.replacement else {}
    return Request(kinds, run.replacement, run.direction, run.seed, means, chunk.tokens, chunk.rows, chunk.pairs)


def _scored(
    model: Model, pairs: Pairs, method: Method, request: Request, kinds: Sequence[str], top: int
) -> list[Component]:
    """The components with the largest mean scores by a method, of these kinds."""
    scores = method.scores(model, pairs, kinds, request.replacement, request.direction, request.seed)
    ranked = []
    for kind, one in scores.items():
        means = one.values.double().mean(0)
        ranked += [
            (abs(float(means[layer, index])), (kind, layer, index))
            for layer, index in (~means.isnan()).nonzero().tolist()
        ]
    return [component for _, component in sorted(ranked, key=lambda one: -one[0])[:top]]


def _stored(results: Results, model: Model, task: str, question: Question) -> list[Component]:
    """The same from the scores of a results folder, of the same direction and replacement."""
    run, ranked = question.run, []
    for kind in run.components:
        found = top_components(results, kind, tasks=(task,), methods=(question.by or "all",))
        same = (found.model == model.name) & (found.direction == run.direction) & (found.replacement == run.replacement)
        if (labels := set(found[same].method)) and len(labels) > 1:
            raise BenchmarkError(f"{results.folder} has several rankings: choose --by {' or '.join(sorted(labels))}.")
        places = zip(found[same].score.abs(), found[same].layer, found[same]["index"], strict=True)
        ranked += [(score, (kind, int(layer), int(index))) for score, layer, index in places]
    if not ranked:
        raise BenchmarkError(
            f"{results.folder} holds no scores of {model.name} on {task}, {run.direction} with {run.replacement}."
        )
    return [component for _, component in sorted(ranked, key=lambda one: -one[0])[: question.top]]


def _interactions(
    question: Question, model: Model, pairs: Pairs, request: Request, strongest: Sequence[Component], ranked: str
) -> Interactions:
    given = question.given or tuple(strongest[:GIVEN])
    others = [
        (kind, layer, index)
        for kind in question.run.components
        if not many(kind)
        for layer in range(model.layers(kind))
        for index in range(model.size(kind))
    ]
    others += [one for one in strongest if many(one[0])]
    batch = next(pairs.batches())
    rows = len(sets_of(strongest, given, others)) * len(pairs) * mean_share(model, batch, request)
    with bar(rows, f"{pairs.task} x interactions", "pass") as shown:
        return interactions(model, pairs, replace(request, progress=shown.advance), strongest, given, others, ranked)


def there(model: Model, component: Component) -> Component:
    """The component, the last of a layer by its number. Raises BenchmarkError where it isn't there or can't be out."""
    kind, layer, index = component
    if kind in PLACES_ONLY:
        raise BenchmarkError(f"--given {component_name(*component)}: {PLACES_ONLY[kind]}.")
    size = model.size(kind)
    index = size - 1 if index == LAST else index
    model.refuse_absent(kind, layer, index, component_name(kind, layer, index, size))
    return kind, layer, index


def folder_of(question: Question) -> Path:
    return Path("interactions") / Path(question.run.model).name
