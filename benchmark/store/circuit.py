"""A stored circuit cell: the metric under the sets of components that one source of orders gives, on one task's pairs.

A set holds the first components of an order. Orders come from stored scores, from a search, or from chance.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field, TypeAdapter

from benchmark.components import Way, component_name
from benchmark.errors import BenchmarkError
from benchmark.store.cell import (
    Axes,
    ModelKey,
    PairFacts,
    Provenance,
    TaskKey,
    sha256,
    unless_empty,
    unless_ieee,
    validated,
)

Sort = Literal["scores", "greedy", "random", "matched"]
SIGNED, ABSOLUTE = "signed", "absolute"
ARRAYS = {
    "players": Axes(("component", "where"), "who takes part: number of the kind in the key, layer, index"),
    "order": Axes(("ranking", "component"), "places among the players, the first the first kept"),
    "kept": Axes(("ranking", "size", "pair"), "the metric with the first `size` components kept, the others replaced"),
    "rest": Axes(("ranking", "size", "pair"), "the metric with these replaced and the others kept"),
    "without": Axes(("ranking", "member", "pair"), "the metric with the top kept but one member, from the first on"),
    "nothing": Axes(("pair",), "the metric with all components that take part replaced"),
    "everything": Axes(("pair",), "the metric with none of them replaced"),
    "corrupted": Axes(("pair",), "the metric on the corrupted prompt; NaN: there is none"),
}
VALUES = {  # of a game whose circuits aren't whole yet
    "set": Axes(("set", "byte"), "a digest of who is kept"),
    "value": Axes(("set", "pair"), "the metric with these kept"),
}
OF_A_TOP = ("rest", "without")  # absent where the key says that the top is 0


@dataclass(frozen=True)
class Source:
    """Where orders come from.

    `scores` of a method, with the digests of their `cells`, those of the `arrays` stored there (which another run of
    the same key may change) and the way that they were made; a `greedy` search on `pairs` (ids); `random` draws by
    `seed`, or draws `matched` to kind, layer and sign of a method's order at each place.
    """

    sort: Sort
    label: str
    way: tuple[str, str] = ("", "")
    cells: tuple[str, ...] = ()
    reference: bool = False
    elsewhere: Annotated[bool, unless_empty] = False
    seed: int = 0
    pairs: Annotated[tuple[str, ...], unless_empty] = ()
    arrays: Annotated[tuple[str, ...], unless_empty] = ()


@dataclass(frozen=True)
class CircuitKey:
    """All that can change a circuit cell's numbers.

    `task` is that of the pairs that are measured, `scored_on` the split that the scores are from. `sizes` are numbers
    of components kept, `top` is that of the set whose members leave one at a time; `components` counts those that take
    part, and `players` is sha256 over who they are.
    """

    model: ModelKey
    task: TaskKey
    source: Source
    rankings: tuple[str, ...]
    kinds: tuple[str, ...]
    components: int
    direction: str
    replacement: str
    sizes: tuple[int, ...]
    top: int
    pair_ids: tuple[str, ...]
    scored_on: str
    tokens: str | None = None
    means: str | None = None
    players: str = ""
    dtype: str = "float32"
    processing: str = "none"
    dictionaries: Annotated[dict[str, str], unless_empty] = field(default_factory=dict)
    matmul: Annotated[str, unless_ieee] = "ieee"

    @property
    def digest(self) -> str:
        """sha256 of the key; its first eight letters end the name of the cell's folder."""
        return sha256(_KEY.dump_python(self, mode="json"))

    @property
    def game(self) -> str:
        """Digest of all that decides what the metric is under a set of components, and so of what may be compared."""
        return replace(self, source=Source("scores", ""), rankings=(), sizes=(), top=0).digest

    @property
    def way(self) -> Way:
        return Way(self.direction, self.replacement)


@dataclass(frozen=True)
class Circuit:
    """One circuit cell. `scored_pairs` counts the pairs that the scores are means over."""

    key: CircuitKey
    task_title: str = ""
    pairs: tuple[PairFacts, ...] = ()
    scored_pairs: int = 0
    provenance: Provenance = field(default_factory=Provenance)
    arrays: Annotated[Any, Field(exclude=True)] = field(default_factory=dict, compare=False)
    folder: Annotated[Any, Field(exclude=True)] = field(default=None, compare=False)

    def names(self) -> list[str]:
        """The players' names."""
        places = self.arrays["players"].tolist()
        return [component_name(self.key.kinds[kind], layer, index) for kind, layer, index in places]

    @property
    def order(self) -> Int[np.ndarray, "ranking component"]:
        return np.asarray(self.arrays["order"])

    @property
    def kept(self) -> Float[np.ndarray, "ranking size pair"]:
        return np.asarray(self.arrays["kept"])

    @property
    def rest(self) -> Float[np.ndarray, "ranking size pair"]:
        return np.asarray(self.arrays["rest"])

    @property
    def without(self) -> Float[np.ndarray, "ranking member pair"]:
        return np.asarray(self.arrays["without"])

    @property
    def nothing(self) -> Float[np.ndarray, " pair"]:
        return np.asarray(self.arrays["nothing"])

    @property
    def everything(self) -> Float[np.ndarray, " pair"]:
        return np.asarray(self.arrays["everything"])

    def as_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        found: dict[str, Any] = _CIRCUIT.dump_python(self, mode="json")
        return found


_KEY = TypeAdapter(CircuitKey)
_CIRCUIT = TypeAdapter(Circuit)


def circuit_from_json(info: dict[str, Any], arrays: dict[str, np.ndarray], folder: Any) -> Circuit:
    """Raises BenchmarkError that says what is wrong where."""
    read: Circuit = validated(_CIRCUIT, info, "a circuit")
    return replace(read, arrays=arrays, folder=folder)


def refuse_misshapen_circuit(key: CircuitKey, arrays: dict[str, np.ndarray]) -> None:
    """Say which array isn't of the shape that the key gives it."""
    sizes = {
        "ranking": len(key.rankings), "size": len(key.sizes), "pair": len(key.pair_ids), "member": key.top,
        "component": key.components, "where": 3,
    }  # fmt: skip
    for name, axes in ARRAYS.items():
        wanted = [sizes[dim] for dim in axes.dims]
        if name in OF_A_TOP and not key.top:
            continue
        if name not in arrays or list(arrays[name].shape) != wanted:
            there = list(arrays[name].shape) if name in arrays else "nothing"
            raise BenchmarkError(f"Array {name!r} of a circuit is {there}; it must be {list(axes.dims)}: {wanted}.")
