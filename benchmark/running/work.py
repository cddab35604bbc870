"""The work of a cell, described by names and numbers, and what comes out of it.

A `Work` can be pickled, and says all that its numbers depend on; `running.doing` turns it into arrays and counts.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from benchmark.components import DTYPES, MATMULS
from benchmark.engine.memory import Chunk
from benchmark.engine.model import Model
from benchmark.engine.precision import dtype_named
from benchmark.models.loading import load_model
from benchmark.prompts.metrics import METRICS, Metric
from benchmark.prompts.task import Task


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


class Place(NamedTuple):
    """The pairs of a task on a model: what a `Bench` keeps them by, and their metrics."""

    model: ModelSource
    task: TaskSource
    pair_ids: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """Some pairs of one cell, or all of them.

    `places` are those of the pairs that are scored, among `pair_ids`; None: all. `weights`, `tokens` and `code` are the
    digests of the model, of what reaches it and of the method where it is a plugin: held against what is found where
    the work is done, as is `package` (`running.provenance.package`). `threads` is how many a CPU does it with; None: as
    many as there are.
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
    package: str | None = None
    threads: int | None = None
    places: tuple[int, ...] | None = None

    @property
    def place(self) -> "Place":
        """Which pairs of which model these are."""
        return Place(self.model, self.task, self.pair_ids)

    @property
    def whole(self) -> "Work":
        """The work of all pairs of the cell."""
        return replace(self, places=None)


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
