"""Circuits of two results folders side by side: the areas under faithfulness of the orders that both hold.

The share of the best circuit isn't compared: each folder's is of the best order that is known there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.circuits import BY_CHANCE, Game, games
from benchmark.analysis.side_by_side import matched
from benchmark.components import plural
from benchmark.store.circuit import Circuit
from benchmark.store.folder import Results

NUMBERS = ("cpr", "cmd", "area")
COLUMNS = (
    "task", "kinds", "direction", "replacement", "order", "ranking", "sort", "case_a", "case_b", "told_a", "told_b",
    "number",
    "value_a", "low_a", "high_a", "value_b", "low_b", "high_b", "difference", "difference_low", "difference_high",
    "pairs_a", "pairs_b", "same_pairs",
)  # fmt: skip


@dataclass(frozen=True)
class CircuitsSideBySide:
    """`numbers`: a row an order, ranking and number of both, and B - A where both were measured on the same pairs.

    `alone` says which circuits only one folder holds.
    """

    numbers: pd.DataFrame
    alone: tuple[str, ...]


@dataclass(frozen=True)
class _Order:
    """One ranking of a circuit; of orders by chance all, whose numbers are means."""

    game: Game
    circuit: Circuit
    ranking: str
    at: slice

    def of(self, number: str, drawn: bool) -> Any:
        """Its number, or that of each half-sample of the pairs."""
        return self.game.numbers(self.circuit, drawn)[number][..., self.at].mean(axis=-1)


def circuits_side_by_side(a: Results, b: Results) -> CircuitsSideBySide:
    """Games of the same task, kinds and way, matched as closely as both folders allow; empty where there are none."""
    criteria = [
        lambda one: (*_what(one), one.key.model, one.key.task, one.key.pair_ids),
        lambda one: (*_what(one), one.key.model.name, one.key.task.metric, one.key.task.split, len(one.key.pair_ids)),
        lambda one: (*_what(one), one.key.model.name),
        _what,
    ]
    couples, left = matched(games(a), games(b), criteria)
    alone = []
    for side, rest in zip("AB", left, strict=True):
        cases: dict[str, list[str]] = {}
        for one in rest:
            what = f"{' and '.join(map(plural, one.key.kinds))}, {one.key.way}"
            cases.setdefault(what, []).append(one.case)
        alone += [f"{side}: circuits of {what}, on {', '.join(some)}" for what, some in cases.items()]
    rows = [row for one, other in couples for row in _rows(one, other, alone)]
    return CircuitsSideBySide(pd.DataFrame(rows, columns=list(COLUMNS)), tuple(alone))


def _what(one: Game) -> tuple[Any, ...]:
    return one.key.task.name, one.key.kinds, one.key.way


def _orders(game: Game) -> Iterator[_Order]:
    for one in game.circuits:
        if one.key.source.sort in BY_CHANCE:
            yield _Order(game, one, "", slice(None))
        else:
            yield from (_Order(game, one, name, slice(at, at + 1)) for at, name in enumerate(one.key.rankings))


def _rows(a: Game, b: Game, alone: list[str]) -> Iterator[dict[str, Any]]:
    def named(*traits: str) -> Any:
        return lambda one: (one.ranking, *(getattr(one.circuit.key.source, trait) for trait in traits))

    criteria = [named("sort", "label", "way", "seed"), named("sort", "label", "way")]
    couples, left = matched(list(_orders(a)), list(_orders(b)), criteria)
    for side, game, rest in zip("AB", (a, b), left, strict=True):
        if names := dict.fromkeys(game.labels[one.circuit.key.digest] for one in rest):
            kinds = " and ".join(map(plural, game.key.kinds))
            alone.append(f"{side}: circuits by {', '.join(names)} of {kinds} of {game.case}, {game.key.way}")
    task = a.key.task.dataset_digest == b.key.task.dataset_digest and a.key.pair_ids == b.key.pair_ids
    same = task and np.array_equal(a.draws, b.draws)
    for one, other in couples:
        both = a.labels[one.circuit.key.digest], b.labels[other.circuit.key.digest]
        shared = {
            "task": a.key.task.name, "kinds": a.kinds, "direction": a.key.direction,
            "replacement": a.key.replacement, "order": max(both, key=len), "ranking": one.ranking,
            "sort": one.circuit.key.source.sort, "case_a": a.case, "case_b": b.case,
            "told_a": a.told, "told_b": b.told, "pairs_a": len(a.key.pair_ids),
            "pairs_b": len(b.key.pair_ids), "same_pairs": same,
        }  # fmt: skip
        for number in NUMBERS:
            yield shared | {"number": number} | _beside(one, other, number, same)


def _beside(a: _Order, b: _Order, number: str, same: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side, one in (("a", a), ("b", b)):
        value = float(one.of(number, drawn=False))
        low, high = one.game.interval(value, one.of(number, drawn=True), number)
        found |= {f"value_{side}": value, f"low_{side}": low, f"high_{side}": high}
    if not same:
        return found
    difference = found["value_b"] - found["value_a"]
    low, high = a.game.interval(difference, b.of(number, drawn=True) - a.of(number, drawn=True))
    return found | {"difference": difference, "difference_low": low, "difference_high": high}
