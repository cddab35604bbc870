"""A part of a cell: some of its pairs, scored. Parts are kept until all are there and the cell is joined from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter

from benchmark.errors import BenchmarkError
from benchmark.store.cell import Rows, axes_of, sha256, validated


@dataclass(frozen=True)
class Part:
    """Some pairs of the cell whose key has the digest `cell`; `arrays` are those of a cell, of these pairs alone.

    The other fields say how they came to be, as in `store.cell.Provenance`; `device` is a card's name, or `cpu`, and
    `package` the version of attribution-bench and of its code; `planned` is what decides the last bits: the plan's
    chunk, threads and rows a part. Both are absent in parts of versions that didn't store them.
    """

    cell: str
    pair_ids: tuple[str, ...]
    device: str
    threads: int
    seconds: float
    chunk: dict[str, int]
    passes: Rows
    whole_forwards: float
    shortcuts: dict[str, int]
    peak_memory_bytes: int | None = None
    package: str = ""
    planned: dict[str, Any] = field(default_factory=dict)
    arrays: Annotated[Any, Field(exclude=True)] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """Eight letters that tell it from other parts of its cell."""
        return sha256(list(self.pair_ids))[:8]

    def as_json(self) -> dict[str, Any]:
        """Everything but the arrays."""
        found: dict[str, Any] = _PART.dump_python(self, mode="json")
        return found


_PART = TypeAdapter(Part)


def part_from_json(info: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Part:
    """What `as_json` gave, with its arrays. Raises BenchmarkError that says what is wrong where."""
    found: Part = replace(validated(_PART, info, "a part"), arrays=dict(arrays))
    return found


def joined(pair_ids: Sequence[str], parts: Sequence[Part]) -> dict[str, np.ndarray]:
    """The arrays of all pairs, in this order. Raises BenchmarkError where parts don't belong together."""
    place = {pair: number for number, pair in enumerate(pair_ids)}
    order = np.argsort([place[pair] for part in parts for pair in part.pair_ids])
    if len(order) != len(place):
        raise BenchmarkError(f"The parts of a cell hold {len(order)} of its {len(place)} pairs: run again.")
    if len({frozenset(part.arrays) for part in parts}) > 1:
        raise BenchmarkError("The parts of a cell hold different arrays: run again.")
    arrays: dict[str, np.ndarray] = {}
    for name, first in parts[0].arrays.items():
        every = [part.arrays[name] for part in parts]
        if axes_of(name).dims[0] == "pair":
            arrays[name] = np.concatenate(every)[order]
        elif all(np.array_equal(one, first, equal_nan=True) for one in every):
            arrays[name] = first
        else:  # machines whose rounding differs may choose other components to measure
            raise BenchmarkError(f"The parts of a cell differ in {name!r}, which is the same for all pairs: run again.")
    return arrays
