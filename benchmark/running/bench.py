"""What a process has loaded for its work: models and tasks are looked up by name, and loaded once."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from benchmark.components import DEFAULT_KINDS, MEAN
from benchmark.engine.means import discovery_digest, mean_activations
from benchmark.engine.memory import Chunk
from benchmark.engine.method import Method, metrics
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request, Share
from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_tokens
from benchmark.prompts.pairs import Pairs
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from benchmark.running.plugins import Registry, build_method, discover, plugin_digest
from benchmark.running.work import ModelSource, Place, TaskSource, Work


@dataclass
class Bench:
    """What was loaded, by what it was loaded from: a worker keeps one, so that work on the same model shares it."""

    models: dict[ModelSource, Model] = field(default_factory=dict)
    registries: dict[tuple[str, ...], Registry] = field(default_factory=dict)
    codes: dict[tuple[str, ...], dict[str, str | None]] = field(default_factory=dict)  # by method, of its plugin
    pairs: dict[Place, Pairs] = field(default_factory=dict)
    metrics: dict[Place, Mapping[str, Tensor]] = field(default_factory=dict)
    means: dict[tuple[Any, ...], dict[Site, Tensor]] = field(default_factory=dict)
    resolutions: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)
    ready: dict[Work, list[Request]] = field(default_factory=dict)
    fits: dict[Work, Chunk] = field(default_factory=dict)  # of a cell for which memory ran out

    def model(self, source: ModelSource) -> Model:
        if source not in self.models:
            for kept in (self.models, self.pairs, self.metrics, self.means, self.resolutions, self.ready, self.fits):
                kept.clear()  # one model at a time: two may not fit
            self.models[source] = source.load()
        return self.models[source]

    def registry(self, plugins: tuple[str, ...]) -> Registry:
        if plugins not in self.registries:
            found = self.registries[plugins] = discover(plugins)
            self.codes[plugins] = {  # now: a file that is edited later isn't what was loaded
                name: plugin_digest(inspect.getsourcefile(method)) for name, method in found.methods.items()
            }
        return self.registries[plugins]

    def tasks(self, names: Sequence[str], source: TaskSource, plugins: tuple[str, ...], tokens: Tokens) -> list[Task]:
        """The tasks of these names, or that of a user's file where `source` names one."""
        if source.dataset is None:
            return self.registry(plugins).chosen_tasks(names)
        if source.dataset_tokenizer is not None:
            tokens = load_tokens(source.dataset_tokenizer)
        like = self.registry(plugins).task(source.name) if source.name else None
        return [
            Task.from_csv(
                source.dataset, title=source.title, like=like, tokens=tokens, corrupted_column=source.corrupted_column
            )
        ]

    def pairs_of(self, work: Work) -> Pairs:
        """The pairs of a piece of work, tokenised for its model. Raises where they aren't those that were planned."""
        key = work.place
        if key not in self.pairs:
            model = self.model(work.model)
            [task] = self.tasks((work.task.name,), work.task, work.plugins, model.tokens)
            self.pairs[key] = task.pairs_named(model, work.pair_ids, work.task.chosen_metric(task))
        if self.pairs[key].digest() != work.tokens:
            raise BenchmarkError(
                f"The rows of task {work.task.name!r} have changed since the run was planned. Start it again."
            )
        return self.pairs[key]

    def metrics_of(self, work: Work) -> Mapping[str, Tensor]:
        """The metrics of all pairs, unpatched."""
        key = work.place
        if key not in self.metrics:
            self.metrics[key] = metrics(self.model(work.model), self.pairs_of(work), self.chunk_of(work).pairs)
        return self.metrics[key]

    def chunk_of(self, work: Work) -> Chunk:
        """The work's own chunk, or less where memory ran out on an earlier part of its cell."""
        return self.fits.get(work.whole, work.chunk)

    def ran_out(self, work: Work, chunk: Chunk) -> None:
        """Keep what the chunk of a piece of work came to for the rest of its cell; other cells have their own."""
        self.fits = {work.whole: chunk}

    def method_of(self, work: Work) -> Method:
        found = self.registry(work.plugins).method_class(work.method)
        if self.codes[work.plugins].get(work.method) != work.code:
            raise BenchmarkError(f"The file of method {work.method!r} has changed since the run was planned.")
        return build_method(found, dict(work.options))

    def share_of(self, work: Work) -> Share | None:
        """The pairs that are to be scored; with what was worked out from all pairs, kept for one cell at a time."""
        if work.places is None:
            return None
        if work.whole not in self.ready:
            self.ready.clear()
            self.ready[work.whole] = []
        return Share(work.places, self.ready[work.whole])

    def means_of(self, work: Work) -> dict[Site, Tensor]:
        """The mean activations behind a mean replacement, taken once for each task."""
        if work.replacement != MEAN.replacement:
            return {}
        kinds = tuple(dict.fromkeys((*DEFAULT_KINDS, *work.kinds)))  # on the joint path, those move whatever is asked
        key = (work.model, work.task, kinds, discovery_digest(self.pairs_of(work)))
        if key not in self.means:
            self.means.clear()  # one task's at a time
            self.means[key] = mean_activations(self.model(work.model), self.pairs_of(work), kinds, work.chunk.pairs)
        return self.means[key]
