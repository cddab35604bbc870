"""A cell: what was asked (its key), what came out (its arrays), and all that a report says about both.

Everything that reads or writes the JSON of a cell is in this file and in `store.folder`; others use these fields.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import Field, TypeAdapter, ValidationError

from benchmark.errors import BenchmarkError

# a field that old cells don't have is left out of the JSON where it says nothing, so that their keys stay as they were
unless_empty = Field(exclude_if=lambda value: not value)
unless_ieee = Field(exclude_if=lambda value: value == "ieee")


@dataclass(frozen=True)
class ModelKey:
    """Which weights: sha256 over names, shapes and bytes; and whether a BOS stands before every prompt."""

    name: str
    digest: str = ""
    revision: str | None = None
    prepend_bos: bool = False


@dataclass(frozen=True)
class Truth:
    """What is known of a planted model: by kind what matters, as layer, index, effect (None: no number says it)."""

    model: str
    metric: str
    effects: dict[str, list[tuple[int, int, float | None]]]
    planted: str = ""
    lesson: str = ""


@dataclass(frozen=True)
class TaskKey:
    """Which rows and metric. Digests are sha256; `code` is that of a user's plugin, None for the project's own."""

    name: str
    metric: str
    dataset_digest: str = ""
    split: str = "evaluation"
    min_metric: float | None = None
    code: str | None = None
    truth: Annotated[Truth | None, unless_empty] = None


@dataclass(frozen=True)
class MethodKey:
    """Which method, with its options, and what its scores are.

    `signed`: they have signs; `metric_units`: they are amounts of the metric; `reference`: others are held against
    them; `elsewhere`: other code made them, so that their cost isn't known; `per_pair`: kinds for which it is False
    have the same scores for every pair; `draws`: how many prompts a pair drew, 0 where the replacement draws none.
    """

    name: str
    label: str
    direction: str
    replacement: str
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    signed: bool = True
    reference: bool = False
    metric_units: bool = True
    code: str | None = None
    elsewhere: Annotated[bool, unless_empty] = False
    per_pair: Annotated[dict[str, bool], unless_empty] = field(default_factory=dict)
    draws: Annotated[int, unless_empty] = 0


@dataclass(frozen=True)
class CellKey:
    """All that can change a cell's numbers. `tokens` and `means` are sha256 of what reaches the model and of the rows
    behind a mean replacement, or drawn for a resample one, `dictionaries`, by kind, of those that features are read by;
    `processing` says what was done to the weights before they were loaded, `matmul` what products of float32 numbers
    were taken in."""

    model: ModelKey
    task: TaskKey
    method: MethodKey
    kinds: tuple[str, ...]
    pair_ids: tuple[str, ...]
    tokens: str | None = None
    means: str | None = None
    dtype: str = "float32"
    processing: str = "none"
    dictionaries: Annotated[dict[str, str], unless_empty] = field(default_factory=dict)
    matmul: Annotated[str, unless_ieee] = "ieee"

    @cached_property
    def digest(self) -> str:
        """sha256 of the key; its first eight letters name the cell's folder."""
        return sha256(_KEY.dump_python(self, mode="json"))

    @cached_property
    def setting(self) -> str:
        """Digest of all that two cells must share for their scores to be compared: everything but the method.

        Of features, their dictionaries besides.
        """
        return self._without("method", "kinds", "means", "dictionaries")

    @cached_property
    def variant(self) -> str:
        """Digest of all but the dictionaries that can change a component's scores: not of the kinds asked for."""
        return self._without("kinds", "dictionaries")

    def _without(self, *names: str) -> str:
        return sha256(_KEY.dump_python(self, mode="json", exclude=set(names)))


@dataclass(frozen=True)
class PairFacts:
    """One pair: what it shares with others, and its length in tokens."""

    id: str
    template: str = ""
    cluster: str = ""
    length: int | None = None


@dataclass(frozen=True)
class AuditCounts:
    """How many rows were looked at, how many became pairs, and how many fell to each reason.

    `cut`: in how many pairs an answer of several tokens is scored by its first one.
    """

    rows: int
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    cut: Annotated[dict[str, int], unless_empty] = field(default_factory=dict)


@dataclass(frozen=True)
class Accuracy:
    """Of how many pairs, before any filter, the clean metric is above 0 and above the corrupted one."""

    right: int
    of: int


@dataclass(frozen=True)
class Filter:
    """The least clean metric that was asked for, in its units, and how many pairs had less."""

    min_metric: float | None = None
    left_out: int = 0


@dataclass(frozen=True)
class DictionaryFacts:
    """What one dictionary is worth on the clean prompts: features active at a token (`l0`), the share of the variance
    that it explains (below 0: the mean explains more), and the mean metric with its reconstruction in place.

    `page` is model and source on Neuronpedia, where they are known.
    """

    kind: str
    layer: int
    name: str
    features: int
    variance_explained: float
    l0: float
    metric: float
    metric_with_it: float
    page: tuple[str, str] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows (one prompt each) that went through the model."""

    forward: int | float = 0
    backward: int | float = 0


@dataclass(frozen=True)
class PartFacts:
    """How many pairs were scored together, on which device, by how many threads, in how many seconds, in what chunk."""

    pairs: int
    device: str
    threads: int
    seconds: float
    chunk: Annotated[dict[str, int], unless_empty] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """How a cell came to be. Absent in cells of versions that didn't store it.

    `whole_forwards`: to how many whole forwards the forward rows came; `shortcuts`: how many rows took each; `chunk`:
    tokens, pairs and rows that shared a forward; `model_folder`: where a local model lay; `declared_cost_per_pair`:
    rows at most, as the method says; `passed`: the run as it was asked for; `parts`: those that the cell was joined
    from, where it was computed in parts: `seconds` are then theirs, summed, and `chunk` is the first one's.
    """

    versions: dict[str, str | None] = field(default_factory=dict)
    python: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    model_folder: str | None = None
    device: str | None = None
    dtype: str | None = None
    threads: int | None = None
    seed: int | None = None
    quadrature: str | None = None
    seconds: float | None = None
    passes: Rows | None = None
    whole_forwards: float | None = None
    shortcuts: dict[str, int] = field(default_factory=dict)
    chunk: dict[str, int] = field(default_factory=dict)
    declared_cost_per_pair: Rows | None = None
    peak_memory_bytes: int | None = None
    passed: dict[str, Any] = field(default_factory=dict)
    parts: Annotated[tuple[PartFacts, ...], unless_empty] = ()


class Axes(NamedTuple):
    """What an array holds: its dimensions, the unit of its numbers, and what stands where nothing is stored."""

    dims: tuple[str, ...]
    unit: str
    absent: float = 0.0


# by name, an array for each kind (`head.values`) and an array for all
KIND_ARRAYS = {
    "values": Axes(("pair", "layer", "index"), "the metric, or the method's own; NaN: not measured", np.nan),
    "probability": Axes(("layer", "index"), "chance to be measured; 0: not measured"),
    "stratum": Axes(("layer", "index"), "number of the stratum (statistics.sampling)"),
    "unfinished": Axes(("pair", "layer"), "1 where the nodes of an integral ran out before its tolerance held"),
    "standard_error": Axes(("pair", "layer", "index"), "as values: of an estimate from random draws", np.nan),
}
ARRAYS = {
    "clean_metric": Axes(("pair",), "the metric"),
    "corrupted_metric": Axes(("pair",), "the metric; NaN: no corrupted prompt"),
    "completeness_error": Axes(("pair",), "the metric"),
    "resolution": Axes(("pair",), "the metric: smaller scores are noise of the number format (engine.resolution)"),
    "integral_nodes": Axes(("pair",), "nodes that integrals took, each a row forward and back"),
    "integral_error": Axes(("pair",), "the metric: the largest error of any path's integral, as it was estimated"),
}


@dataclass(frozen=True)
class Cell:
    """One finished or failed cell; `arrays` is empty where it failed. `folder` is where it was read from,
    `scores_sha256` the digest of the arrays there.

    `caveats` are what a reader should know of the pairs on this model; `pairs_file` is the user's file they are from.
    """

    key: CellKey
    task_title: str = ""
    citations: dict[str, str | None] = field(default_factory=dict)
    pairs: tuple[PairFacts, ...] = ()
    audit: AuditCounts | None = None
    accuracy: Accuracy | None = None
    filter: Filter = field(default_factory=Filter)
    caveats: tuple[str, ...] = ()
    dictionaries: Annotated[tuple[DictionaryFacts, ...], unless_empty] = ()
    pairs_file: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    error: str | None = None
    traceback: str | None = None
    arrays: Annotated[Any, Field(exclude=True)] = field(default_factory=dict, compare=False)
    folder: Annotated[Any, Field(exclude=True)] = field(default=None, compare=False)
    schema: Annotated[int, Field(exclude=True)] = 0
    scores_sha256: Annotated[str, Field(exclude=True)] = field(default="", compare=False)

    @property
    def model(self) -> str:
        return self.key.model.name

    @property
    def task(self) -> str:
        return self.key.task.name

    @property
    def kinds(self) -> tuple[str, ...]:
        return self.key.kinds

    @property
    def identity(self) -> tuple[str, str, str]:
        """Method label, direction and replacement: what a column of a table stands for."""
        return self.key.method.label, self.key.method.direction, self.key.method.replacement

    @property
    def setting(self) -> str:
        return self.key.setting

    @property
    def variant(self) -> str:
        return self.key.variant

    @property
    def truth(self) -> Truth | None:
        """What is known of the model; None for models that weren't planted, or planted for another task."""
        known = self.key.task.truth
        return known if known is not None and known.model == self.model else None

    def values(self, kind: str) -> Float[np.ndarray, "pair layer index"]:
        """Every pair's scores, NaN where a component wasn't measured."""
        return np.asarray(self.arrays[f"{kind}.values"])

    def probability(self, kind: str) -> Float[np.ndarray, "layer index"]:
        return np.asarray(self.arrays[f"{kind}.probability"])

    def stratum(self, kind: str) -> Int[np.ndarray, "layer index"] | None:
        """What the measured components were drawn from (`statistics.sampling`); None where they stand for no others."""
        found = self.arrays.get(f"{kind}.stratum")
        return None if found is None else np.asarray(found)

    @property
    def resolution(self) -> Float[np.ndarray, " pair"] | None:
        """Below which a pair's score is noise of the number format; None in cells of versions that didn't store it."""
        found = self.arrays.get("resolution")
        return None if found is None else np.asarray(found)

    @property
    def completeness_error(self) -> Float[np.ndarray, " pair"] | None:
        found = self.arrays.get("completeness_error")
        return None if found is None else np.asarray(found)

    def unfinished(self, kind: str) -> Bool[np.ndarray, "pair layer"] | None:
        """Where the nodes of an integral ran out before its tolerance held; None for other methods."""
        found = self.arrays.get(f"{kind}.unfinished")
        return None if found is None else np.asarray(found) > 0

    def gap(self) -> Float[np.ndarray, " pair"]:
        """f(clean) - f(corrupted) of every pair, NaN where it has no corrupted prompt."""
        return np.asarray(self.arrays["clean_metric"].astype(np.float64) - self.arrays["corrupted_metric"])

    def as_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        found: dict[str, Any] = _CELL.dump_python(self, mode="json")
        return found

    @classmethod
    def from_json(
        cls, info: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None, folder: Path | None = None
    ) -> "Cell":
        """A cell from its JSON, of whatever schema so far. Raises BenchmarkError that says what is wrong where."""
        schema = info.get("schema", 0)
        read: Cell = validated(_CELL, _upgraded(info) if schema == 1 else info, "a cell")
        digest = info.get("scores_sha256", "")
        return replace(read, arrays=dict(arrays or {}), folder=folder, schema=schema, scores_sha256=digest)


_KEY = TypeAdapter(CellKey)
_CELL = TypeAdapter(Cell)


def validated(adapter: Any, info: Mapping[str, Any], what: str) -> Any:
    """What the JSON of a cell, or of the like, says by its adapter. Raises BenchmarkError: what is wrong where."""
    try:
        return adapter.validate_python(dict(info))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BenchmarkError(f"{what}'s {place} is not as it should be: {first['msg']}") from error


def sha256(value: Any) -> str:
    """Digest of bytes, or of a JSON value in canonical form."""
    data = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(data).hexdigest()


def _upgraded(info: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of schema 1: what the scores of a file are was told by its options, once by one flag for all kinds."""
    method = info["key"]["method"]
    options = dict(method.get("options", {}))
    if "sha256" not in options:
        return dict(info)
    said = options.pop("per_pair", True)
    per_pair = said if isinstance(said, dict) else {kind: bool(said) for kind in info["key"]["kinds"]}
    method = {**method, "options": options, "elsewhere": True, "per_pair": per_pair}
    return {**info, "key": {**info["key"], "method": method}}


def axes_of(name: str) -> Axes:
    """What the array of that name (`head.values`, `clean_metric`) holds. Raises BenchmarkError for an unknown one."""
    declared = KIND_ARRAYS.get(name.rpartition(".")[2]) if "." in name else ARRAYS.get(name)
    if declared is None:
        raise BenchmarkError(f"No array {name!r} is declared for cells: see ARRAYS and KIND_ARRAYS in store/cell.py.")
    return declared


def refuse_misshapen(pair_ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Say which array isn't of its declared shape: as many pairs as there are ids, one size a kind and dimension."""
    sizes: dict[tuple[str, str], int] = {("", "pair"): len(pair_ids)}
    for name, array in arrays.items():
        dims, kind = axes_of(name).dims, name.rpartition(".")[0]
        if array.ndim == len(dims):
            known = [
                sizes.setdefault(("" if dim == "pair" else kind, dim), n)
                for dim, n in zip(dims, array.shape, strict=True)
            ]
            if known == list(array.shape):
                continue
        raise BenchmarkError(f"Array {name!r} has the shape {list(array.shape)}; it must be {list(dims)}: {sizes}.")


def pack(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays as they are stored: one that is mostly absent as `NAME@shape`, `NAME@places` (flat) and `NAME@entries`.

    Where a component is absent from all pairs or from none, and scores are mostly 0, `NAME@measured` names those that
    are there (flat), and places are those of other numbers than 0 among them, pair by pair.
    """
    packed: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        axes = axes_of(name)
        stored, absent = array, axes.absent
        if axes.dims[0] == "pair" and array.ndim > 1 and array.size and np.isnan(absent):
            flat = array.reshape(len(array), -1)
            lacking = np.isnan(flat)
            measured = np.flatnonzero(~lacking.any(axis=0))
            if (lacking.all(axis=0) == lacking.any(axis=0)).all():
                stored, absent = flat[:, measured], 0.0
        there = ~np.isnan(stored) if np.isnan(absent) else (stored != absent) | np.signbit(stored)  # -0.0 equals 0.0
        small = np.dtype(np.int32 if array.size < 2**31 else np.int64)
        places = np.flatnonzero(there)
        if len(places) * (small.itemsize + array.itemsize) < array.nbytes / 2:
            packed[f"{name}@shape"] = np.array(array.shape, dtype=np.int64)
            packed[f"{name}@places"] = places.astype(small)
            packed[f"{name}@entries"] = stored.ravel()[places]
            if stored is not array:
                packed[f"{name}@measured"] = measured.astype(small)
        else:
            packed[name] = np.ascontiguousarray(array)
    return packed


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `pack` was given."""
    arrays = {}
    for stored, array in packed.items():
        name, _, part = stored.partition("@")
        if not part:
            arrays[name] = array
        elif part == "entries":
            shape = packed[f"{name}@shape"]
            absent = axes_of(name).absent if array.dtype.kind == "f" else 0
            whole = np.full(int(np.prod(shape)), absent, dtype=array.dtype)
            if (measured := packed.get(f"{name}@measured")) is None:
                whole[packed[f"{name}@places"]] = array
            else:
                there = np.zeros(shape[0] * len(measured), dtype=array.dtype)
                there[packed[f"{name}@places"]] = array
                whole.reshape(shape[0], -1)[:, measured] = there.reshape(shape[0], -1)
            arrays[name] = whole.reshape(shape)
    return arrays
