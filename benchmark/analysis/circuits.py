"""Stored circuits as data frames: curves of faithfulness, the numbers that sum them up, and the two judges of a method.

One judge of a method is its agreement with exact patching, the other the faithfulness of the circuit it finds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from benchmark.analysis.comparisons import Comparisons, primary
from benchmark.analysis.sections import Scored
from benchmark.statistics.agreement import primary_version, statistic
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
from benchmark.statistics.score_rows import ScoreRows
from benchmark.store.circuit import Circuit, CircuitKey, Source
from benchmark.store.folder import Results

BAND = (0.05, 0.95)  # quantiles of random orders between which their band is drawn
CHANCE = "random"  # the method whose scores say nothing
NUMBERS = ("area", "share", "cpr", "cmd", "at_top", "rest_at_top")


@dataclass(frozen=True)
class Game:
    """All circuits that were measured on the same pairs in the same way, of the same kinds of component."""

    circuits: tuple[Circuit, ...]
    case: str  # the task, with what tells it from other games of that task, kinds and way

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
        """By digest of the key, the label of the source; with the way of its scores where the game mixes several."""
        sources = [one.key.source for one in self.circuits]
        ways = {source.way for source in sources if source.sort == "scores"}
        twins = [(source.label, source.way) for source in sources]
        found = {}
        for one in self.circuits:
            source = one.key.source
            extra = [" with ".join(source.way)] if len(ways) > 1 and source.sort == "scores" else []
            if source.sort == "scores" and twins.count((source.label, source.way)) > 1:
                extra.append(f"seed {source.seed}")
            found[one.key.digest] = source.label + (f" [{', '.join(extra)}]" if extra else "")
        return found

    def phi(self, values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """phi of sets of this game, of all pairs or of each draw of them."""
        one = self.circuits[0]
        return faithfulness(values, one.nothing, one.everything, weights)

    def numbers(self, circuit: Circuit, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Area, CPR, CMD, and phi at the top and of the rest, `[*draw, ranking]`."""
        key, kept = circuit.key, self.phi(circuit.kept, weights)
        place = {size: number for number, size in enumerate(key.sizes)}
        grid = log_sizes(key.components)[1:]
        at_mib = kept[..., [place[size] for size in mib_sizes(key.components)]]
        found = {
            "area": log_area(kept[..., [place[size] for size in grid]], grid),
            "cpr": cpr(at_mib),
            "cmd": cmd(at_mib),
        }
        if key.top:
            at = place[key.top]
            found["at_top"], found["rest_at_top"] = kept[..., at], self.phi(circuit.rest[:, at], weights)
        return found

    def areas(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The area of random orders, on average over them, and the largest of any order that isn't random."""
        random = [self.numbers(one, weights)["area"] for one in self.of("random")]
        others = [one for one in self.circuits if one.key.source.sort in ("scores", "greedy")]
        best = np.max([self.numbers(one, weights)["area"].max(axis=-1) for one in others], axis=0)
        return (np.concatenate(random, axis=-1).mean(axis=-1) if random else np.full_like(best, np.nan)), best


def games(results: Results) -> list[Game]:
    """Every game of a folder, in an order that depends on nothing but what it holds."""
    there = {cell.key.digest for cell in results.cells}
    found: dict[str, dict[tuple[int, ...], dict[Any, Circuit]]] = {}
    for one in sorted(results.circuits, key=_order):
        source = one.key.source
        if set(source.cells) <= there:  # else of scores that are gone
            name = source.sort, source.label, source.way, source.seed
            found.setdefault(_game(one.key), {}).setdefault(one.key.sizes, {}).setdefault(name, one)
    fullest = [max(of.items(), key=lambda item: (len(item[1]), item[0]))[1] for of in found.values()]
    chosen = [tuple(of.values()) for of in fullest if {key[0] for key in of} & {"scores", "greedy"}]
    cases = _cases([of[0].key for of in chosen])
    return [Game(of, case) for of, case in zip(chosen, cases, strict=True)]


def _game(key: CircuitKey) -> str:
    return replace(key, source=Source("scores", ""), rankings=(), sizes=(), top=0).digest


def _cases(keys: list[CircuitKey]) -> list[str]:
    """The task of each, with those of its traits that tell it from its rivals; a digest where nothing readable does."""

    def traits(key: CircuitKey) -> list[str]:
        bos = "BOS" if key.model.prepend_bos else "no BOS"
        return [
            key.task.metric,
            f"{len(key.pair_ids)} pairs",
            f"measured on {key.task.split}",
            key.dtype,
            key.matmul,
            bos,
        ]

    found = []
    for key in keys:
        same = key.model.name, key.task.name, key.kinds, key.way
        rivals = [one for one in keys if (one.model.name, one.task.name, one.kinds, one.way) == same]
        tables = [traits(one) for one in rivals]
        told = [own for place, own in enumerate(traits(key)) if len({table[place] for table in tables}) > 1]
        told += [_game(key)[:4]] * (tables.count(traits(key)) > 1)
        found.append(", ".join([key.task.name, *told]))
    return found


def _order(one: Circuit) -> tuple[Any, ...]:
    key, sorts = one.key, ("scores", "greedy", "matched", "random")
    return (
        key.model.name, key.task.name, key.kinds, key.direction != "noising", key.replacement, _game(key),
        sorts.index(key.source.sort), not key.source.reference, key.source.label, key.source.way,
        -len(key.rankings), key.digest,
    )  # fmt: skip


def circuit_curves(results: Results) -> pd.DataFrame:
    """A row a size, order and game: `phi` with its 95% interval, and `rest`, phi of all the others.

    Random orders are one row a size: `phi` is their mean, `low` and `high` what 90% of them lie between.
    """
    rows: list[dict[str, Any]] = []
    for game in games(results):
        for one in game.circuits:
            shared = _shared(game, one)
            phi, rest = game.phi(one.kept), game.phi(one.rest) if one.key.top else None
            if one.key.source.sort in ("random", "matched"):
                low, high = np.quantile(phi, BAND, axis=0)
                for at, size in enumerate(one.key.sizes):
                    ends = {"phi": phi[:, at].mean(), "low": low[at], "high": high[at], "rest": np.nan}
                    rows.append(shared | {"ranking": "", "size": size, "share": size / one.key.components} | ends)
                continue
            draws = game.phi(one.kept, game.draws) if len(game.draws) else None
            for number, ranking in enumerate(one.key.rankings):
                for at, size in enumerate(one.key.sizes):
                    ends = _ends(game, phi[number, at], None if draws is None else draws[:, number, at])
                    ends["rest"] = np.nan if rest is None else rest[number, at]
                    rows.append(shared | {"ranking": ranking, "size": size, "share": size / one.key.components} | ends)
    return pd.DataFrame(rows)


def circuit_numbers(results: Results) -> pd.DataFrame:
    """A row an order and game: `NUMBERS`, each with its 95% interval, and what they rest on.

    `area` is the mean of phi over the logarithm of the size, `share` how much of the way from random orders to the
    best known one it goes; `cpr` and `cmd` are MIB's; `at_top` is phi of the first `top` components, `rest_at_top` that
    of all the others (0: the circuit is complete); `above` the share of random sets of that size with a smaller phi;
    `redundant` how many of the top take less than a hundredth of the gap with them when they leave alone. The means
    `everything`, `nothing` and `corrupted` are of the metric; `gap` is the difference of the first two. Of random
    orders the means over them.
    """
    rows = []
    for game in games(results):
        drawn, mean, low, high = len(game.draws) > 0, *game.gap
        areas = game.areas()
        area_draws = game.areas(game.draws) if drawn else None
        facts = game.means | {"gap": mean, "gap_low": low, "gap_high": high}
        for one in game.circuits:
            found = _with_share(game.numbers(one), areas)
            draws = _with_share(game.numbers(one, game.draws), area_draws) if drawn and area_draws else None
            chance = one.key.source.sort in ("random", "matched")
            rankings = [("", slice(None))] if chance else [(name, n) for n, name in enumerate(one.key.rankings)]
            for ranking, at in rankings:
                row = _shared(game, one) | {"ranking": ranking, "top": one.key.top}
                for name in NUMBERS:
                    value = found[name][at].mean() if name in found else np.nan
                    spread = (
                        draws[name][:, at].reshape(len(game.draws), -1).mean(1) if draws and name in draws else None
                    )
                    ends = _ends(game, value, spread)
                    row |= {name: ends["phi"], f"{name}_low": ends["low"], f"{name}_high": ends["high"]}
                if one.key.top:
                    row |= _of_top(game, one, one.key.rankings.index(ranking))
                rows.append(row | facts)
    return pd.DataFrame(rows)


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


@dataclass(frozen=True)
class Judges:
    """Two judges of the methods of one game: agreement with the reference, and share of the area above random.

    `correlation` is Spearman's between the two over `methods`; NaN below three of them. `draws` are its values in
    half-samples of the pairs that were scored and, independently, of those that were measured.
    """

    game: Game
    table: pd.DataFrame  # a row a method: agreement, share, cmd
    correlation: float
    draws: Float[np.ndarray, " draw"]

    @property
    def interval(self) -> tuple[float, float]:
        return _interval(self.correlation, self.draws, self.game.halves.n_clusters)


def two_judges(results: Results, parts: Iterable[Comparisons]) -> list[Judges]:
    """Of each game of a single kind in the way of its scores: does the method that agrees best find the best circuit?

    Signed rankings where a method has them. Neither the reference itself is judged, nor random scores, nor a method
    whose scores are the same for every pair.
    """
    by_cell = {
        (method.cell.key.digest, part.kind): (part, method, reference, rows)
        for part in parts
        for method, reference, rows in part.against_whole
        if len(rows) and method.per_pair and method.cell.key.method.name != CHANCE
    }
    found = []
    for game in games(results):
        if len(game.key.kinds) > 1 or not game.of("random"):
            continue
        judged = []
        for one in game.of("scores"):
            known = [by_cell[cell, game.kinds] for cell in one.key.source.cells if (cell, game.kinds) in by_cell]
            if known and one.key.source.way == tuple(one.key.way):
                judged.append((one, known[0]))
        if judged:
            found.append(_judged(game, judged))
    return found


def overall(judges: list[Judges]) -> tuple[float, float, float]:
    """Mean rank correlation over games of different tasks, with its 95% interval from pairs, tasks as they are."""
    values = [one.correlation for one in judges if not np.isnan(one.correlation)]
    if not values:
        return np.nan, np.nan, np.nan
    with_draws = [one for one in judges if len(one.draws)]
    if len(with_draws) < len(values):
        return float(np.mean(values)), np.nan, np.nan
    draws = np.mean([one.draws for one in with_draws], axis=0)
    fewest = min(one.game.halves.n_clusters for one in with_draws)
    return float(np.mean(values)), *_interval(float(np.mean(values)), draws, fewest)


def _judged(game: Game, judged: list[tuple[Circuit, tuple[Comparisons, Scored, Scored, pd.DataFrame]]]) -> Judges:
    areas, rows = game.areas(), []
    for one, (_, _, _, compared) in judged:
        numbers = _with_share(game.numbers(one), areas)
        main = primary(compared)
        rows.append(
            {"method": game.labels[one.key.digest], "agreement": main["value"], "ranking": one.key.rankings[0]}
            | {name: float(numbers[name][0]) for name in ("share", "area", "cpr", "cmd")}
        )
    table = pd.DataFrame(rows)
    draws = np.zeros(0)
    parts = {id(part): part for _, (part, _, _, _) in judged}
    scored = next(iter(parts.values())).halves
    if len(judged) >= 3 and len(game.draws) and not scored.refusal:
        area_draws = game.areas(game.draws)
        share = np.stack(
            [_with_share(game.numbers(one, game.draws), area_draws)["share"][:, 0] for one, _ in judged], 1
        )
        agreement = np.stack(
            [_agreement_draws(scored, method, reference) for _, (_, method, reference, _) in judged], 1
        )
        count = min(len(share), len(agreement))
        draws = np.array([_spearman(a, b) for a, b in zip(agreement[:count], share[:count], strict=True)])
    return Judges(game, table, _spearman(table.agreement.to_numpy(), table.share.to_numpy()), draws)


def _agreement_draws(scored: Halves, method: Scored, reference: Scored) -> Float[np.ndarray, " draw"]:
    """The primary statistic in every half-sample of the pairs that were scored."""
    version = primary_version(method.signed, reference.signed)
    kept = ~np.isnan(method.vector) & ~np.isnan(reference.vector)
    weights = resampled(scored)
    a, b = (ScoreRows.of(weights @ one.scores[:, kept], version) for one in (method, reference))
    return np.asarray(statistic("pearson", version).rows(a, b, 1, None))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    known = ~np.isnan(a) & ~np.isnan(b)
    if known.sum() < 3 or len({*a[known]}) < 2 or len({*b[known]}) < 2:
        return float("nan")
    return float(stats.spearmanr(a[known], b[known]).statistic)


def _interval(value: float, draws: np.ndarray, clusters: int) -> tuple[float, float]:
    if not len(draws) or np.isnan(draws).any() or np.isnan(value):
        return np.nan, np.nan
    reach = float(stats.t.ppf(0.975, clusters - 1) * draws.std())
    return max(-1.0, value - reach), min(1.0, value + reach)


def _with_share(found: dict[str, np.ndarray], areas: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    random, best = (np.asarray(one)[..., None] for one in areas)
    return found | {"share": above_random(found["area"], random, best)}


def _ends(game: Game, value: Any, draws: np.ndarray | None) -> dict[str, float]:
    low = high = np.nan
    if draws is not None and not np.isnan(draws).any() and not np.isnan(value):
        low, high = game.halves.interval(float(value), draws, -np.inf, np.inf)
    return {"phi": float(value), "low": low, "high": high}


def _of_top(game: Game, one: Circuit, ranking: int) -> dict[str, float]:
    at = one.key.sizes.index(one.key.top)
    phi = float(game.phi(one.kept[ranking, at]))
    falls = phi - game.phi(one.without[ranking])
    random = [game.phi(other.kept[:, at]) for other in game.of("random")]
    return {
        "above": float((np.concatenate(random) < phi).mean()) if random else np.nan,
        "redundant": int((np.abs(falls) < 0.01).sum()),
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
