"""Stored circuits as data frames: curves of faithfulness, the numbers that sum them up, and who is in their tops."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmark.analysis.sections import labels, told_apart
from benchmark.statistics.faithfulness import (
    above_random,
    cmd,
    cpr,
    faithfulness,
    log_area,
    log_sizes,
    mib_sizes,
    resampled,
)
from benchmark.statistics.halves import Halves, halves
from benchmark.statistics.mean_score import mean_scores
from benchmark.store.circuit import Circuit, CircuitKey
from benchmark.store.folder import Results
from benchmark.words import counted

BAND = (0.05, 0.95)  # quantiles of random orders between which their band is drawn
BY_CHANCE = {"random": "random orders", "matched": "random orders, layers and signs kept"}  # never a method's name
RANGES = {"area": (-np.inf, 1.0), "share": (-np.inf, 1.0), "cmd": (0.0, np.inf)}  # of the others, all numbers
NUMBERS = ("area", "share", "cpr", "cmd", "most", "at_top", "rest_at_top")
REDUNDANT = 0.01  # of the gap, by which a member's leaving changes nothing


@dataclass(frozen=True)
class Game:
    """All circuits that were measured on the same pairs in the same way, of the same kinds of component."""

    circuits: tuple[Circuit, ...]
    case: str  # the task, with what tells it from other games of that task, kinds and way
    methods: Mapping[str, str]  # by digest of a cell's key, what tables of agreement call its method

    @property
    def key(self) -> CircuitKey:
        """That of the first: all but the source of orders is the same for all."""
        return self.circuits[0].key

    @property
    def kinds(self) -> str:
        return "+".join(self.key.kinds)

    @cached_property
    def halves(self) -> Halves:
        pairs = self.circuits[0].pairs
        facts = [pair.cluster for pair in pairs], [pair.template for pair in pairs]
        return halves(len(pairs), *facts, seed=1)  # other draws than those of the pairs that were scored

    @cached_property
    def draws(self) -> Float[np.ndarray, "draw pair"]:
        """Weights of the pairs in every half-sample, the same for all circuits."""
        return resampled(self.halves)

    @cached_property
    def gap(self) -> tuple[float, float, float]:
        """Mean of V(all) - V(nothing) over the pairs, with its 95% interval."""
        one = self.circuits[0]
        mean, low, high = mean_scores((one.everything - one.nothing)[:, None], self.halves)
        return float(mean[0]), float(low[0]), float(high[0])

    @property
    def told(self) -> bool | None:
        """Whether the gap is told from 0; None: too few pairs to say. Else faithfulness is a ratio of noise."""
        _, low, high = self.gap
        return None if np.isnan(low) else not low <= 0 <= high

    @property
    def means(self) -> dict[str, float]:
        """Mean metric with all that take part live, with all of them replaced, and on the corrupted prompts."""
        one = self.circuits[0]
        return {
            "everything": float(one.everything.mean()),
            "nothing": float(one.nothing.mean()),
            "corrupted": float(np.mean(one.arrays["corrupted"])),
        }

    def of(self, sort: str) -> list[Circuit]:
        return [one for one in self.circuits if one.key.source.sort == sort]

    @cached_property
    def labels(self) -> dict[str, str]:
        """By digest of the key, what the source is called; with what tells it from others of that name in the game."""
        sorts, found = [one.key.source.sort for one in self.circuits], {}
        for one in self.circuits:
            source = one.key.source
            if source.sort == "scores":
                found[one.key.digest] = self.methods[source.cells[0]]
                continue
            seed = f" [seed {source.seed}]" * (sorts.count(source.sort) > 1)
            found[one.key.digest] = BY_CHANCE.get(source.sort, source.label) + seed
        return found

    def phi(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """phi of sets of this game, of all pairs or of each draw of them."""
        one = self.circuits[0]
        return faithfulness(values, one.nothing, one.everything, weights)

    def numbers(self, circuit: Circuit, drawn: bool = False) -> dict[str, np.ndarray]:
        """`NUMBERS`, `[*draw, ranking]`; the last two where there is a top."""
        key, weights = circuit.key, self.draws if drawn else None
        kept, area = self.phi(circuit.kept, weights), self._area(circuit, weights)
        random, best = (ends[..., None] for ends in self._ends[drawn])
        at_mib = kept[..., [key.sizes.index(size) for size in mib_sizes(key.components)]]
        found = {
            "area": area,
            "share": above_random(area, random, best),
            "cpr": cpr(at_mib),
            "cmd": cmd(at_mib),
            "most": kept.max(axis=-1),
        }
        if key.top:
            at = key.sizes.index(key.top)
            found["at_top"], found["rest_at_top"] = kept[..., at], self.phi(circuit.rest[:, at], weights)
        return found

    def _area(self, circuit: Circuit, weights: np.ndarray | None) -> np.ndarray:
        sizes, grid = circuit.key.sizes, log_sizes(circuit.key.components)[1:]
        return log_area(self.phi(circuit.kept, weights)[..., [sizes.index(size) for size in grid]], grid)

    @cached_property
    def _ends(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The mean area of random orders and the largest of any other, of all pairs and of each draw of them."""
        found = []
        for weights in (None, self.draws):
            others = [one for one in self.circuits if one.key.source.sort not in BY_CHANCE]
            best = np.max([self._area(one, weights).max(axis=-1) for one in others], axis=0)
            random = [self._area(one, weights) for one in self.of("random")]
            mean = np.concatenate(random, axis=-1).mean(axis=-1) if random else np.full_like(best, np.nan)
            found.append((np.asarray(mean), np.asarray(best)))
        return found

    def interval(self, value: float, draws: np.ndarray | None, name: str = "") -> tuple[float, float]:
        """95% interval about a number, given its draws and its name among `NUMBERS`; NaN without any draw."""
        if draws is None or not len(draws) or np.isnan(draws).any() or np.isnan(value):
            return np.nan, np.nan
        return self.halves.interval(value, draws, *RANGES.get(name, (-np.inf, np.inf)))


def games(results: Results, tops: Collection[tuple[str, int]] = ()) -> list[Game]:
    """Every game of a folder, in an order that depends on nothing but what it holds.

    Of a game that was measured with several tops, that of `tops` (kinds with their k) where there is one, else the one
    with most orders.
    """
    there = {cell.key.digest: (not cell.key.method.metric_units, not cell.key.method.signed) for cell in results.cells}
    found: dict[str, list[Circuit]] = {}
    for one in sorted(current(results), key=lambda one: _order(one, there)):
        found.setdefault(one.key.game, []).append(one)
    variants = {cell.key.digest: cell.variant for cell in results.cells}
    alike = [_measured_alike(of, variants) for of in found.values()]
    chosen = [max(some, key=lambda of: _preferred(of, tops)) for some in alike if some]
    cases = _cases([of[0].key for of in chosen])
    names = labels(results.cells)
    methods = {digest: names[variant] for digest, variant in variants.items()}
    return [Game(of, case, methods) for of, case in zip(chosen, cases, strict=True)]


def current(results: Results) -> list[Circuit]:
    """The circuits whose orders are those of the scores that the folder holds now."""
    stored = {cell.key.digest: cell.scores_sha256 for cell in results.cells}
    sources = ((one, one.key.source) for one in results.circuits)
    return [one for one, of in sources if tuple(map(stored.get, of.cells)) == of.arrays]


def outdated(results: Results) -> int:
    """How many circuits are of scores that have changed since, and weren't measured again."""
    cells = {cell.key.digest for cell in results.cells}
    known = {_whose(one) for one in current(results)}
    return len({_whose(one) for one in results.circuits if cells.issuperset(one.key.source.cells)} - known)


def _whose(one: Circuit) -> str:
    """A digest of the key but for what the scores were."""
    return replace(one.key, source=replace(one.key.source, arrays=())).digest


def _measured_alike(circuits: list[Circuit], variants: Mapping[str, str]) -> list[tuple[Circuit, ...]]:
    """For each top of some scores, the circuits at the same sizes; of one source of orders the first.

    Methods are told apart by the `variants` of their cells: two versions of one are two sources.
    """
    found = []
    for sizes, top in dict.fromkeys(
        (one.key.sizes, one.key.top) for one in circuits if one.key.source.sort == "scores"
    ):
        of: dict[Any, Circuit] = {}
        for one in circuits:
            if one.key.sizes == sizes and one.key.top in (top, 0):  # orders by chance have no top
                source = one.key.source
                version = variants[source.cells[0]] if source.sort == "scores" else source.label
                of.setdefault((source.sort, version, source.way, source.seed), one)
        found.append(tuple(of.values()))
    return found


def _preferred(circuits: tuple[Circuit, ...], tops: Collection[tuple[str, int]]) -> tuple[Any, ...]:
    key = circuits[0].key
    return any((kind, key.top) in tops for kind in key.kinds), len(circuits), key.sizes, key.top


def _cases(keys: list[CircuitKey]) -> Iterator[str]:
    """The task of each, with what tells it from others of the same model, task, kinds and way."""

    def traits(key: CircuitKey) -> list[str]:
        bos = "BOS" if key.model.prepend_bos else "no BOS"
        return [
            key.task.metric,
            counted(len(key.pair_ids), "pair"),
            f"measured on {key.task.split}",
            key.dtype,
            key.matmul,
            bos,
        ]

    for key in keys:
        same = key.model.name, key.task.name, key.kinds, key.way
        rivals = [one for one in keys if (one.model.name, one.task.name, one.kinds, one.way) == same]
        yield ", ".join([key.task.name, *told_apart(traits(key), map(traits, rivals), key.game)])


def _order(one: Circuit, kind_of: Mapping[str, tuple[bool, bool]]) -> tuple[Any, ...]:
    """By setting and game; then methods as they stand in every other table of a report."""
    key, sorts = one.key, ("scores", "greedy", "matched", "random")
    return (
        key.model.name, key.task.name, key.kinds, key.direction != "noising", key.replacement, key.game,
        sorts.index(key.source.sort), not key.source.reference,
        *kind_of.get("".join(key.source.cells[:1]), (False, False)), key.source.label, key.source.way,
        -len(key.rankings), key.digest,
    )  # fmt: skip


def circuit_curves(results: Results, tops: Collection[tuple[str, int]] = ()) -> pd.DataFrame:
    """A row a size, order and game (see `games`): `phi` with its 95% interval, and `rest`, phi of all the others.

    Random orders are one row a size: `phi` is their mean, `low` and `high` what 90% of them lie between.
    """
    return pd.DataFrame([row for game in games(results, tops) for one in game.circuits for row in _curve(game, one)])


def _curve(game: Game, one: Circuit) -> Iterator[dict[str, Any]]:
    shared, phi = _shared(game, one), game.phi(one.kept)
    places = [{"size": size, "share": size / one.key.components} for size in one.key.sizes]
    if one.key.source.sort in BY_CHANCE:
        low, high = np.quantile(phi, BAND, axis=0)
        for at, place in enumerate(places):
            ends = {"phi": phi[:, at].mean(), "low": low[at], "high": high[at], "rest": np.nan}
            yield shared | {"ranking": ""} | place | ends
        return
    rest, draws = game.phi(one.rest) if one.key.top else np.full_like(phi, np.nan), game.phi(one.kept, game.draws)
    for number, ranking in enumerate(one.key.rankings):
        for at, place in enumerate(places):
            low, high = game.interval(float(phi[number, at]), draws[:, number, at])
            ends = {"phi": phi[number, at], "low": low, "high": high, "rest": rest[number, at]}
            yield shared | {"ranking": ranking} | place | ends


def circuit_numbers(results: Results, tops: Collection[tuple[str, int]] = ()) -> pd.DataFrame:
    """A row an order and game (see `games`): `NUMBERS`, each with its 95% interval, and what they rest on.

    `area` is the mean of phi, at most 1, over the logarithm of the size, `share` how much of the way from random orders
    to the best known one it goes; `cpr` and `cmd` are MIB's; `most` is the largest phi; `at_top` that of the first
    `top` components, `rest_at_top` that of all the others (0: the circuit is complete); `above` the share of random
    sets of that size with a smaller phi; `redundant` how many of the top take less than `REDUNDANT` of the gap with
    them when they leave alone. The means `everything`, `nothing` and `corrupted` are of the metric; `gap` is the
    difference of the first two, and `told` whether it is told from 0 (None: nothing says so). Of random orders the
    means over them.
    """
    return pd.DataFrame([row for game in games(results, tops) for one in game.circuits for row in _numbers(game, one)])


def _numbers(game: Game, one: Circuit) -> Iterator[dict[str, Any]]:
    mean, low, high = game.gap
    facts = game.means | {"gap": mean, "gap_low": low, "gap_high": high, "told": game.told}
    found, drawn = game.numbers(one), game.numbers(one, drawn=True)
    chance = one.key.source.sort in BY_CHANCE
    rankings = [("", slice(None))] if chance else [(name, slice(n, n + 1)) for n, name in enumerate(one.key.rankings)]
    for ranking, at in rankings:
        row = _shared(game, one) | {"ranking": ranking, "top": one.key.top}
        for name in NUMBERS:
            value = float(found[name][at].mean()) if name in found else np.nan
            ends = game.interval(value, drawn[name][:, at].mean(axis=1), name) if name in found else (np.nan, np.nan)
            row |= {name: value, f"{name}_low": ends[0], f"{name}_high": ends[1]}
        yield row | (_of_top(game, one, one.key.rankings.index(ranking)) if one.key.top else {}) | facts


def circuit_members(results: Results, count: int = 20) -> pd.DataFrame:
    """The first `count` components of every order, and `leaving`: by how much phi falls when one leaves the top."""
    rows = []
    for game in games(results):
        for one in game.circuits:
            if not one.key.top:
                continue
            names = one.names()
            at = one.key.sizes.index(one.key.top)
            leaving = game.phi(one.kept[:, at])[:, None] - game.phi(one.without)
            for number, ranking in enumerate(one.key.rankings):
                for place, component in enumerate(one.order[number, :count].tolist()):
                    falls = leaving[number, place] if place < one.key.top else np.nan
                    rows.append(
                        _shared(game, one)
                        | {"ranking": ranking, "place": place + 1, "component": names[component], "leaving": falls}
                    )
    return pd.DataFrame(rows)


def _of_top(game: Game, one: Circuit, ranking: int) -> dict[str, float]:
    at = one.key.sizes.index(one.key.top)
    phi = float(game.phi(one.kept[ranking, at]))
    falls = phi - game.phi(one.without[ranking])
    random = [game.phi(other.kept[:, at]) for other in game.of("random")]
    return {
        "above": float((np.concatenate(random) < phi).mean()) if random and not np.isnan(phi) else np.nan,
        "redundant": int((np.abs(falls) < REDUNDANT).sum()) if not np.isnan(falls).all() else np.nan,
    }


def _shared(game: Game, one: Circuit) -> dict[str, Any]:
    key = one.key
    return {
        "model": key.model.name, "task": key.task.name, "case": game.case, "metric": key.task.metric,
        "kinds": game.kinds, "components": key.components,
        "direction": key.direction, "replacement": key.replacement, "pairs": len(key.pair_ids),
        "measured_on": key.task.split, "scored_on": key.scored_on, "sort": key.source.sort,
        "source": game.labels[key.digest], "scored_direction": key.source.way[0],
        "scored_replacement": key.source.way[1], "reference": key.source.reference,
    }  # fmt: skip
