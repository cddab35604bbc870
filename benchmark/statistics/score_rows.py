"""Rows of scores over the same components, and what the statistics need of them, worked out once.

A row is one vector of mean scores: of all pairs, or of half of them. Every statistic takes two `ScoreRows` and compares
them row by row, so one value and those of 200 half-samples are worked out by the same code.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64
from scipy import stats

from benchmark.errors import BenchmarkError

Version = Literal["signed", "by_size"]
Rows = Float[np.ndarray, "row component"]
MOST = 8192  # components up to which every two can be compared
_SAME = 1e-13  # a range below this share of the largest value is rounding: scipy's bound for "nearly constant"
_BLOCK = 2**24  # comparisons held unpacked at a time: 16 MB
ABSENT = np.iinfo(np.int64).max // 4  # the place of a component in no top


def constant(rows: Rows) -> Bool[np.ndarray, " row"]:
    """Which rows hold one score throughout, up to rounding."""
    return np.asarray(np.ptp(rows, axis=1) <= _SAME * np.abs(rows).max(axis=1), dtype=bool)


@dataclass(frozen=True, eq=False)
class Places:
    """Where components stand in the order from the highest score down, as far as the tops reach.

    Components tied with one another share the places `start ... start+size-1`, counted from 0. `found` counts a row's
    scores above 0: no other component is in any top.
    """

    columns: Int[np.ndarray, " top"]
    start: Int[np.ndarray, "row top"]
    size: Int[np.ndarray, "row top"]
    signs: Int[np.ndarray, "row top"]
    found: Int[np.ndarray, " row"]

    def membership(self, k: int) -> Float[np.ndarray, "row top"]:
        """How far each component belongs to the k highest: 1, 0, or an even share of the places left to ties at k."""
        return np.asarray(np.clip(k - self.start, 0, self.size) / self.size)

    def counted(self, k: int | Int[np.ndarray, " depth"]) -> Int[np.ndarray, "row ..."]:
        """How many components the k highest are: k, or `found` where that is smaller."""
        return np.asarray(np.minimum(k, self.found if isinstance(k, int) else self.found[:, None]))


@dataclass(frozen=True, eq=False)
class ScoreRows:
    """What is ranked and correlated (`values`: scores, or sizes `|score|`) and the scores it comes from."""

    values: Rows
    scores: Rows
    _places: dict[int, Places] = field(default_factory=dict)

    @classmethod
    def of(cls, scores: Rows, version: Version) -> "ScoreRows":
        scores = np.asarray(scores, dtype=np.float64)
        return cls(np.abs(scores) if version == "by_size" else scores, scores)

    @cached_property
    def constant(self) -> Bool[np.ndarray, " row"]:
        return constant(self.values)

    @cached_property
    def deviations(self) -> Rows:
        """Deviations from the row's mean, scaled to length 1."""
        return _unit(self.values)

    @cached_property
    def rank_deviations(self) -> Rows:
        return _unit(stats.rankdata(self.values, axis=1))

    def deviations_within(self, layer: Int[np.ndarray, " component"]) -> Rows:
        """Deviations from the mean of the component's layer, scaled to length 1; NaN where every layer is constant."""
        scaled = self.values / np.abs(self.values).max(axis=1, keepdims=True)
        left = scaled - layer_means(scaled, layer)[:, layer]
        lengths = np.linalg.norm(left, axis=1, keepdims=True)
        return np.asarray(left / np.where(lengths > _SAME * np.sqrt(len(layer)), lengths, np.nan))

    @cached_property
    def comparisons(self) -> tuple[UInt64[np.ndarray, "row component word"], UInt64[np.ndarray, "row component word"]]:
        """For each component the set of those that it is above, and the set of those that it is below, as bits."""
        n_rows, n = self.values.shape
        if n > MOST:
            raise BenchmarkError(
                f"Every two of {n} components are too many to compare: use SHORT_PANEL above {MOST} components."
            )
        above, below = (np.zeros((n_rows, n, -(-n // 64) * 8), dtype=np.uint8) for _ in range(2))
        step = max(1, _BLOCK // n**2)
        for rows in (slice(i, i + step) for i in range(0, n_rows, step)):
            one, other = self.values[rows, :, None], self.values[rows, None, :]
            above[rows, :, : -(-n // 8)] = np.packbits(one > other, axis=-1)
            below[rows, :, : -(-n // 8)] = np.packbits(one < other, axis=-1)
        return above.view(np.uint64), below.view(np.uint64)

    @cached_property
    def untied(self) -> Float[np.ndarray, " row"]:
        """How many choices of two components have different scores."""
        above, below = self.comparisons
        return np.asarray(np.bitwise_count(above | below).sum(axis=(1, 2), dtype=np.float64) / 2)

    def places(self, depth: int) -> Places:
        """Places down to `depth`; only components that stand so high in some row have a column."""
        if depth not in self._places:
            self._places[depth] = self._find_places(depth)
        return self._places[depth]

    def _find_places(self, depth: int) -> Places:
        n = self.values.shape[1]
        reaches = self.values > 0
        if depth < n:
            reaches &= self.values >= np.partition(self.values, n - depth, axis=1)[:, n - depth, None]
        columns = np.flatnonzero(reaches.any(axis=0))
        reaches, top = reaches[:, columns], self.values[:, columns]
        start = stats.rankdata(-top, method="min", axis=1).astype(np.int64) - 1
        size = stats.rankdata(-top, method="max", axis=1).astype(np.int64) - start
        return Places(
            columns=columns,
            start=np.where(reaches, start, ABSENT),
            size=np.where(reaches, size, 1),
            signs=np.sign(self.scores[:, columns]).astype(np.int64),
            found=(self.values > 0).sum(axis=1),
        )


def layer_means(rows: Rows, layer: Int[np.ndarray, " component"]) -> Float[np.ndarray, "row layer"]:
    """The mean score of each layer; NaN for a number that no component has."""
    member = np.equal.outer(layer, np.arange(layer.max() + 1)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(rows @ member / member.sum(axis=0))


def _unit(rows: Rows) -> Rows:
    # Scaling first keeps squares of tiny or huge scores inside the range of floats.
    largest = np.abs(rows).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = rows / largest
        scaled = scaled - scaled.mean(axis=1, keepdims=True)
        return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))
