"""The work of a cell, described by names and numbers, and the pure function that does it.

A `Work` can be pickled, and says all that its numbers depend on; `computed` turns it into arrays and counts, and writes
nothing. Models and tasks are looked up by name in a `Bench`, which holds what was loaded.
"""

import inspect
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.components import DEFAULT_KINDS, DTYPES, MATMULS, MEAN
from benchmark.engine.means import discovery_digest, mean_activations
from benchmark.engine.memory import Chunk, peak_bytes, reset_peak
from benchmark.engine.method import Method, metrics
from benchmark.engine.model import Model, Site
from benchmark.engine.precision import dtype_named
from benchmark.engine.request import Request, Share
from benchmark.engine.scores import Scores
from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model, load_tokens
from benchmark.prompts.metrics import METRICS, Metric
from benchmark.prompts.pairs import Pairs
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from benchmark.running.plugins import Registry, build_method, discover, plugin_digest


@dataclass(frozen=True)
class ModelSource:
    """What `load_model` takes."""

    name: str
    device: str = "auto"
    prepend_bos: bool | None = None
    revision: str | None = None
    dictionaries: str | None = None
    dtype: str = DTYPES[0]
    matmul: str = MATMULS[0]

    def load(self) -> Model:
        return load_model(
            self.name, device=self.device, prepend_bos=self.prepend_bos, revision=self.revision,
            dictionaries=self.dictionaries, dtype=dtype_named(self.dtype), matmul=self.matmul,
        )  # fmt: skip


@dataclass(frozen=True)
class TaskSource:
    """A task by name, with the metric by name (`default`: its own); or a user's file of pairs.

    Of a file, `name` is the task whose rules hold for its rows, or "", and `title` its heading in reports.
    """

    name: str
    metric: str = "default"
    dataset: str | None = None
    dataset_tokenizer: str | None = None
    corrupted_column: str | None = None
    title: str | None = None

    def chosen_metric(self, task: Task) -> Metric:
        return task.metric if self.metric == "default" else METRICS[self.metric]


@dataclass(frozen=True)
class Work:
    """Some pairs of one cell, or all of them.

    `places` are those of the pairs that are scored, among `pair_ids`; None: all. `weights`, `tokens` and `code` are the
    digests of the model, of what reaches it and of the method where it is a plugin: held against what is found where
    the work is done. `threads` is how many a CPU does it with; None: as many as there are.
    """

    model: ModelSource
    task: TaskSource
    pair_ids: tuple[str, ...]
    tokens: str | None
    method: str
    options: tuple[tuple[str, Any], ...]
    kinds: tuple[str, ...]
    direction: str
    replacement: str
    seed: int
    chunk: Chunk
    plugins: tuple[str, ...] = ()
    draws: int | None = None
    weights: str | None = None
    code: str | None = None
    threads: int | None = None
    places: tuple[int, ...] | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """Which pairs of which model these are: what a `Bench` keeps them by."""
        return self.model, self.task, self.pair_ids


@dataclass(frozen=True)
class Computed:
    """What came out: arrays by the names of `store.cell`, and what it took, where."""

    arrays: dict[str, np.ndarray]
    passes: dict[str, int]
    whole_forwards: float
    shortcuts: dict[str, int]
    chunk: Chunk
    device: str = ""
    threads: int = 1
    seconds: float = 0.0
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Failed:
    """What went wrong with a piece of work, in words; the traceback; and where in a plugin's file, if it was there."""

    error: str
    traceback: str
    where: str = ""


@dataclass
class Bench:
    """What was loaded, by what it was loaded from: a worker keeps one, so that work on the same model shares it."""

    models: dict[ModelSource, Model] = field(default_factory=dict)
    registries: dict[tuple[str, ...], Registry] = field(default_factory=dict)
    codes: dict[tuple[str, ...], dict[str, str | None]] = field(default_factory=dict)  # by method, of its plugin
    pairs: dict[tuple[Any, ...], Pairs] = field(default_factory=dict)
    metrics: dict[tuple[Any, ...], Mapping[str, Tensor]] = field(default_factory=dict)
    means: dict[tuple[Any, ...], dict[Site, Tensor]] = field(default_factory=dict)
    resolutions: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)
    ready: dict[Work, list[Request]] = field(default_factory=dict)
    fits: Chunk | None = None  # what memory came to, where it ran out

    def model(self, source: ModelSource) -> Model:
        if source not in self.models:
            for kept in (self.models, self.pairs, self.metrics, self.means, self.resolutions, self.ready):
                kept.clear()  # one model at a time: two may not fit
            self.models[source], self.fits = source.load(), None
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
        """The work's own chunk, or less where memory ran out before."""
        return work.chunk if self.fits is None else Chunk(*map(min, work.chunk, self.fits))

    def method_of(self, work: Work) -> Method:
        found = self.registry(work.plugins).method_class(work.method)
        if self.codes[work.plugins].get(work.method) != work.code:
            raise BenchmarkError(f"The file of method {work.method!r} has changed since the run was planned.")
        return build_method(found, dict(work.options))

    def share_of(self, work: Work) -> Share | None:
        """The pairs that are to be scored; with what was worked out from all pairs, kept for one cell at a time."""
        if work.places is None:
            return None
        cell = replace(work, places=None)
        if cell not in self.ready:
            self.ready.clear()
            self.ready[cell] = []
        return Share(work.places, self.ready[cell])

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


def computed(
    work: Work,
    bench: Bench,
    progress: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = warnings.warn,
) -> Computed:
    """Do a piece of work. The same work gives the same bits on the same hardware."""
    model, started = bench.model(work.model), time.perf_counter()
    if work.weights not in (None, model.digest):
        raise BenchmarkError(f"The weights of {work.model.name!r} are others here than where the run was planned.")
    reset_peak(model)
    before, threads = torch.get_num_threads(), work.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pairs, chunk = bench.pairs_of(work), bench.chunk_of(work)
        scores = bench.method_of(work).scores(
            model, pairs, work.kinds, work.replacement, work.direction, work.seed, chunk, progress,
            bench.means_of(work), bench.metrics_of(work), say, draws=work.draws, share=bench.share_of(work),
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    counted = next(iter(scores.values())).provenance
    came_to = Chunk(**counted["chunk"])
    bench.fits = came_to if came_to != chunk else bench.fits
    return Computed(
        arrays=_arrays(scores),
        passes=counted["passes"],
        whole_forwards=counted["whole_forwards"],
        shortcuts=counted["shortcuts"],
        chunk=came_to,
        device=device_name(model),
        threads=threads,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_bytes(model),
    )


def attempt(
    work: Work,
    bench: Bench,
    progress: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = warnings.warn,
) -> Computed | Failed:
    """`computed`, or what went wrong: whatever a plugin does, other work goes on."""
    try:
        return computed(work, bench, progress, say)
    except Exception as error:
        said = str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"
        return Failed(said, traceback.format_exc(), _where(error, work, bench))


def _where(error: Exception, work: Work, bench: Bench) -> str:
    """The plugin's file, and the line in it where the error came up, if the method is a plugin's."""
    loaded = bench.registries.get(work.plugins)  # none where the plugin itself is what failed
    if work.code is None or loaded is None or work.method not in loaded.methods:
        return ""
    file = inspect.getsourcefile(loaded.methods[work.method])
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f" ({file}" + "".join(f", line {line}" for line in lines[-1:]) + ")"


def device_name(model: Model) -> str:
    """The name of the card, or `cpu`."""
    return torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device)


def _arrays(scores: Mapping[str, Scores]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for kind, one in scores.items():
        arrays[f"{kind}.values"] = one.values.numpy()
        arrays[f"{kind}.probability"] = one.design.probability.numpy()
        if one.design.stratum is not None:
            arrays[f"{kind}.stratum"] = one.design.stratum.numpy()
        for name, values in one.extras.items():
            arrays[name if values.ndim == 1 else f"{kind}.{name}"] = values.numpy()
    of_pairs = {"clean_metric": one.clean_metric, "corrupted_metric": one.corrupted_metric}
    if one.completeness_error is not None:
        of_pairs["completeness_error"] = one.completeness_error
    return arrays | {name: values.to(torch.float32).numpy() for name, values in of_pairs.items()}
