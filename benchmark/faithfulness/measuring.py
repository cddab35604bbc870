"""From stored scores to stored circuits: orders ranked on one split, their sets measured on the other.

For every setting of a results folder, every choice of kinds and every way there is a game: components that take part,
and sources of orders, which are the methods' scores, a greedy search, and chance. Each source becomes a cell of its
own, keyed by the scores that it rests on; what is stored already is not measured again.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from benchmark.analysis.sections import Scored, Section, sections
from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS, MEAN, WAYS, Way, plural
from benchmark.engine.intervention import mean_share
from benchmark.engine.means import discovery_digest, mean_activations
from benchmark.engine.memory import choose_chunk, fitting_chunk, parse_bytes
from benchmark.engine.model import Model
from benchmark.engine.moving import moving
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.faithfulness import CIRCUIT_DRAWS
from benchmark.faithfulness.orders import Players, Sets, first, greedy, matched_orders, random_orders, ranked
from benchmark.faithfulness.values import Values
from benchmark.progress import bar
from benchmark.prompts.pairs import Pairs
from benchmark.running.behaviour import Behaviour, behaviour
from benchmark.running.plan import Asked, dictionaries_digest
from benchmark.running.provenance import environment
from benchmark.running.work import Bench
from benchmark.statistics.agreement import default_k
from benchmark.statistics.faithfulness import log_sizes, mib_sizes
from benchmark.store.cell import PairFacts, Provenance, Rows, sha256
from benchmark.store.circuit import (
    ABSOLUTE,
    SIGNED,
    Circuit,
    CircuitKey,
    Source,
)
from benchmark.store.folder import Results, alone_in, stored_circuit, write_circuit

MATCHED = "random, layers and signs kept"
SEARCHED = 64  # up to so many components are searched greedily where nobody says
JOINT = (DEFAULT_KINDS, ("head", "mlp", "embedding"))  # kinds that rank together where a folder has them all

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is asked of a results folder.

    `components`: kinds that rank together, such as `(("head",), ("head", "neuron"))`, empty for each kind by itself and
    those of `JOINT`; `pairs`: of each task, None for as many as were scored; `draws`: random orders of each sort;
    `search`: a greedy search, None where there are few components; `top`: the set whose members leave one at a time,
    None for a twentieth, at least 5. `device` and `memory` are those of the run where they are None.
    """

    components: tuple[tuple[str, ...], ...] = ()
    tasks: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = ("all",)
    ways: tuple[Way, ...] = WAYS
    pairs: int | None = None
    draws: int = CIRCUIT_DRAWS
    search: bool | None = None
    top: int | None = None
    seed: int = 0
    device: str | None = None
    memory: str | None = None

    def refuse(self) -> None:
        if self.draws < 0 or (self.pairs is not None and self.pairs < 1) or (self.top is not None and self.top < 1):
            raise BenchmarkError(
                f"--random {self.draws}, --pairs {self.pairs}, --top-k {self.top}: give 0 or more random orders, and "
                "at least 1 of the others."
            )
        if not self.ways:
            raise BenchmarkError(f"--ways names none: choose from {', '.join(map(way_name, WAYS))}.")


@dataclass(frozen=True)
class _Game:
    """One setting and choice of kinds: who takes part, and the methods that scored them all."""

    section: Section
    players: Players
    methods: tuple[dict[str, Scored], ...]  # of each method, by kind

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.players.there)

    @property
    def name(self) -> str:
        return f"{self.section.key.task.name} x {'+'.join(self.kinds)}"

    def scores(self, method: dict[str, Scored]) -> np.ndarray:
        """A feature that moved in no pair that was scored has none: there 0 is exact."""
        return np.asarray(np.nan_to_num(self.players.of({kind: one.mean for kind, one in method.items()})))

    def on(self, model: Model, pairs: Pairs, request: Request) -> "_Game":
        """The same with the features that move on these pairs, whether or not they did on those that were scored."""
        there = dict(self.players.there)
        for kind in set(there) & set(FEATURE_KINDS):
            there[kind] = there[kind] | (moving(model, pairs, request, kind).numpy() > 0)
            there[kind][:, -1] = False  # errors stay
        return replace(self, players=Players(there))


@dataclass(frozen=True)
class _Pending:
    """A cell that is to be measured; `orders` is None until a search has found them."""

    key: CircuitKey
    orders: Int[np.ndarray, "ranking component"] | None


def circuits(results: Results | str | Path, **wanted: Any) -> Results:
    """Measure, on the split that they were not made on, the circuits that a folder's scores name; see `Wanted`.

    Returns the folder with its `circuits`. What is stored already stays. Raises BenchmarkError where nothing can be
    measured; what can't be measured beside the rest is a warning.

    >>> circuits("results/demo", ways=(Way("noising", "zero"),)).circuits  # doctest: +SKIP
    """
    folder = results.folder if isinstance(results, Results) else Path(results)
    return measure(Results(folder), Wanted(**wanted), Bench(), lambda words: warnings.warn(words, stacklevel=3))


def measure(results: Results, wanted: Wanted, bench: Bench, say: Say, force: bool = False) -> Results:
    """Measure and store what isn't stored; the folder with its `circuits`."""
    wanted.refuse()
    chosen = _chosen(results, wanted)
    keys: list[CircuitKey] = []
    with alone_in(results.folder, say):
        for section in chosen:
            keys += _measure_section(results, section, wanted, bench, say, force)
    if not keys:
        raise BenchmarkError(
            f"No circuit of {results.folder} can be measured: what was said above is why. It takes a method that "
            "scored every component of a kind, and rows of the other split (a column `split` in a file of your own)."
        )
    return Results(results.folder)


def _chosen(results: Results, wanted: Wanted) -> list[Section]:
    """The sections of the tasks that are asked for; refuses names that the folder doesn't have."""
    found = sections(results)
    tasks = sorted({one.key.task.name for one in found})
    methods = [cell.key.method for cell in results.cells]
    labels = sorted({method.label for method in methods} | {method.name for method in methods})
    for option, names, there in (("--task", wanted.tasks, tasks), ("--methods", wanted.methods, labels)):
        for name in set(names) - {"all", *there}:
            raise BenchmarkError(
                f"{option} {name}: {results.folder} holds {', '.join(there) or 'none'}.{did_you_mean(name, there)}"
            )
    chosen = [one for one in found if {"all", one.key.task.name} & {*wanted.tasks}]
    kinds = {kind for one in chosen for kind in one.kinds}
    for kind in {kind for some in wanted.components for kind in some} - kinds:
        raise BenchmarkError(f"--components {kind}: {results.folder} holds scores of {', '.join(sorted(kinds))} only.")
    return chosen


def _measure_section(
    results: Results, section: Section, wanted: Wanted, bench: Bench, say: Say, force: bool
) -> list[CircuitKey]:
    games = list(_games(section, wanted, say))
    if not games:
        return []
    asked = _asked(section, wanted)
    model = bench.model(asked.source)
    if model.digest != section.key.model.digest:
        raise BenchmarkError(
            f"{results.folder} holds scores of another {section.key.model.name!r} than what that name loads now: their "
            "weights differ. Run again into another folder."
        )
    split = "discovery" if section.key.task.split == "evaluation" else "evaluation"
    keys: list[CircuitKey] = []
    read = {kind: dictionaries_digest(model, kind) for game in games for kind in game.kinds if kind in FEATURE_KINDS}
    if read and read != {kind: section.read_by[kind] for kind in read}:
        raise BenchmarkError(
            f"{results.folder} holds scores of features by other dictionaries than {section.key.model.name!r} is "
            "loaded with now. Run again into another folder."
        )
    for way in wanted.ways:
        found = _pairs(section, asked, bench, model, split, way, wanted.pairs or section.n_pairs)
        if found.pairs is None:
            say(f"{section.short}, {way}, on the {split} split: {found.error}")
            continue
        if found.dataset_digest != section.key.task.dataset_digest or {*found.pairs.ids} & {*section.key.pair_ids}:
            raise BenchmarkError(
                f"The rows of {section.short} aren't those that were scored: the file has changed since. Run again."
            )
        for game in games:
            keys += _measure_game(results, game, found, split, way, wanted, asked, bench, model, say, force)
    return keys


def _games(section: Section, wanted: Wanted, say: Say) -> Iterator[_Game]:
    kinds = wanted.components or (
        *((kind,) for kind in section.kinds if kind != "embedding"),
        *(some for some in JOINT if {*some} <= {*section.kinds}),
    )
    for some in kinds:
        if not {*some} <= {*section.kinds}:
            continue
        by_variant: dict[str, dict[str, Scored]] = {}
        for kind in some:
            for one in section.scored(kind):
                if {"all", one.cell.key.method.label, one.cell.key.method.name} & {*wanted.methods}:
                    by_variant.setdefault(one.cell.variant, {})[kind] = one
        whole = [of for of in by_variant.values() if len(of) == len(some)]
        there = {
            kind: np.any([~np.isnan(of[kind].mean) | (kind not in FEATURE_KINDS) for of in whole], axis=0)
            for kind in some
            if whole
        }
        able = []
        for of in whole:
            lacking = [kind for kind in some if of[kind].sampled or np.isnan(of[kind].mean[there[kind]]).any()]
            if lacking:
                count = int((~np.isnan(of[lacking[0]].mean)).sum())
                say(
                    f"{section.short}: {of[lacking[0]].label} scored {count} of {int(there[lacking[0]].sum())} "
                    f"{plural(lacking[0])}, so it has no order of all, and no circuit."
                )
            else:
                able.append(of)
        if able:
            yield _Game(section, Players(there), tuple(able))


def _asked(section: Section, wanted: Wanted) -> Asked:
    """The run that the scores are from, with the device and memory that are asked for now."""
    cells = sorted(section.cells, key=lambda cell: not set(cell.kinds) & set(FEATURE_KINDS))  # loads dictionaries
    passed = cells[0].provenance.passed
    if not passed:
        raise BenchmarkError(
            f"The cells of {section.title} don't say what was asked for when they were made: an older version wrote "
            "them. Run again."
        )
    asked = Asked.from_json(passed)
    return replace(asked, device=wanted.device or asked.device, memory=wanted.memory or asked.memory)


def _pairs(section: Section, asked: Asked, bench: Bench, model: Model, split: str, way: Way, count: int) -> Behaviour:
    """The pairs of the other split, up to as many as are wanted, with the metric and the filter of the scores."""
    name = section.key.task.name
    source = asked.rows_of(name)
    [task] = bench.tasks((name,), source, asked.plugins, model.tokens)
    metric = source.chosen_metric(task)
    return behaviour(model, task, metric, count, split, asked.seed, way.replacement, section.key.task.min_metric)


def _measure_game(
    results: Results, game: _Game, found: Behaviour, split: str, way: Way, wanted: Wanted, asked: Asked, bench: Bench,
    model: Model, say: Say, force: bool,
) -> list[CircuitKey]:  # fmt: skip
    pairs = found.pairs
    assert pairs is not None
    if unable := [kind for kind in game.kinds if way.replacement not in model.kind(kind).replacements]:
        say(f"{game.name}: {plural(unable[0])} have no {way.replacement} replacement.")
        return []
    request = _request(game, pairs, way, asked, model)
    game = game.on(model, pairs, request)
    planned = list(_planned(game, pairs, split, way, wanted, model))
    todo = [one for one in planned if force or not stored_circuit(results.folder, one.key, say)]
    if todo:
        share = mean_share(model, next(pairs.batches()), request)
        sets = sum(len(_sets(one.key, np.zeros((len(one.key.rankings), one.key.components), int))) for one in todo)
        if searched := any(one.orders is None for one in todo):
            sets += len(game.players) * (len(game.players) + 1) // 2
        with bar(sets * len(pairs) * share, f"{game.name}, {way}", "pass") as shown:
            request = replace(request, progress=shown.advance)
            if searched:
                todo = [_search(one, game, way, asked, bench, model, request) for one in todo]
            _measure(results, game, found, todo, Values(model, pairs, request, game.players))
    return [one.key for one in planned]


def _request(game: _Game, pairs: Pairs, way: Way, asked: Asked, model: Model) -> Request:
    chunk = fitting_chunk(model, pairs.longest, gradients=False)
    if asked.memory:
        chunk = choose_chunk(model, pairs.longest, parse_bytes(asked.memory), gradients=False)
    means = mean_activations(model, pairs, game.kinds, chunk.pairs) if way.replacement == MEAN.replacement else {}
    return Request(game.kinds, way.replacement, way.direction, asked.seed, means, chunk.tokens, chunk.rows, chunk.pairs)


def _planned(game: _Game, pairs: Pairs, split: str, way: Way, wanted: Wanted, model: Model) -> Iterator[_Pending]:
    """A cell for each method, for chance, for chance that keeps layers and signs, and for the search."""
    scored, count = game.section.key, len(game.players)
    top = min(wanted.top or default_k(count), count)
    key = CircuitKey(
        model=scored.model,
        task=replace(scored.task, split=split, truth=None),
        source=Source("scores", ""),
        rankings=(),
        kinds=game.kinds,
        components=count,
        direction=way.direction,
        replacement=way.replacement,
        sizes=tuple(sorted({*log_sizes(count), *mib_sizes(count), top})),
        top=top,
        pair_ids=pairs.ids,
        scored_on=scored.task.split,
        tokens=pairs.digest(),
        means=discovery_digest(pairs) if way.replacement == MEAN.replacement else None,
        players=sha256(game.players.where.tobytes()),
        dtype=str(model.dtype).removeprefix("torch."),
        matmul=model.matmul,
        processing=model.processing,
        dictionaries={kind: dictionaries_digest(model, kind) for kind in game.kinds if kind in FEATURE_KINDS},
    )
    reference: tuple[Source, np.ndarray] | None = None
    for method in game.methods:
        source, scores = _source(method), game.scores(method)
        orders = {SIGNED: ranked(scores), ABSOLUTE: ranked(np.abs(scores))}
        if not next(iter(method.values())).signed:
            del orders[SIGNED]
        if source.reference and (reference is None or source.way == tuple(way)):
            reference = source, scores
        yield _Pending(replace(key, source=source, rankings=tuple(orders)), np.stack([*orders.values()]))
    names = tuple(f"draw {number}" for number in range(wanted.draws))
    if wanted.draws:
        by_chance = Source("random", "random", seed=wanted.seed)
        yield _Pending(
            replace(key, source=by_chance, rankings=names, top=0), random_orders(count, wanted.draws, wanted.seed)
        )
    if wanted.draws and reference:
        source, scores = reference
        matched = replace(source, sort="matched", label=MATCHED, reference=False, seed=wanted.seed)
        keeping = matched_orders(game.players, scores, ranked(scores), wanted.draws, wanted.seed)
        yield _Pending(replace(key, source=matched, rankings=names, top=0), keeping)
    if wanted.search or (wanted.search is None and count <= SEARCHED):
        searched = Source("greedy", "greedy search", (way.direction, way.replacement), pairs=scored.pair_ids)
        yield _Pending(replace(key, source=searched, rankings=(SIGNED,)), None)


def _source(method: dict[str, Scored]) -> Source:
    one = next(iter(method.values()))
    key = one.cell.key.method
    cells = tuple(dict.fromkeys(of.cell.key.digest for of in method.values()))
    return Source("scores", key.label, (key.direction, key.replacement), cells, key.reference, key.elsewhere, key.seed)


def _search(
    pending: _Pending, game: _Game, way: Way, asked: Asked, bench: Bench, model: Model, request: Request
) -> _Pending:
    """The greedy order, found on the pairs that the scores are from."""
    if pending.orders is not None:
        return pending
    source = asked.rows_of(game.section.key.task.name)
    [task] = bench.tasks((game.section.key.task.name,), source, asked.plugins, model.tokens)
    pairs = task.pairs_named(model, game.section.key.pair_ids, source.chosen_metric(task))
    pairs.refuse_replacement(way.replacement)
    values = Values(model, pairs, request, game.players)
    order = greedy(len(game.players), lambda sets: values.of(sets).mean(axis=1))
    return replace(pending, orders=order[None])


def _sets(key: CircuitKey, orders: Int[np.ndarray, "ranking component"]) -> Sets:
    """All sets of a cell: of each order those kept, the others of each, and the top without each of its members."""
    found = []
    for order in orders:
        kept = first(order, list(key.sizes))
        found.append(kept)
        if key.top:
            without = np.repeat(first(order, [key.top]), key.top, axis=0)
            without[np.arange(key.top), order[: key.top]] = False
            found += [~kept, without]
    return np.concatenate(found)


def _measure(results: Results, game: _Game, found: Behaviour, todo: Sequence[_Pending], values: Values) -> None:
    """Run all sets, each once whichever cells hold it, and write the cells."""
    started, before = time.perf_counter(), values.model.passes.forward
    nothing = np.zeros((1, len(game.players)), dtype=bool)
    wanted = [_sets(one.key, orders) for one in todo if (orders := one.orders) is not None]
    values.of(np.unique(np.concatenate([nothing, ~nothing, *wanted]), axis=0))
    environs = environment(values.model)
    spent = Provenance(
        **environs,
        seconds=round(time.perf_counter() - started, 3),
        passes=Rows(forward=values.model.passes.forward - before),
        chunk={"tokens": values.request.tokens_per_forward, "rows": values.request.rows_per_forward},
    )
    for one, sets in zip(todo, wanted, strict=True):
        orders, key = one.orders, one.key
        assert orders is not None
        each = values.of(sets).reshape(len(orders), -1, len(key.pair_ids))
        sizes = len(key.sizes)
        arrays = {
            "players": game.players.where,
            "order": orders.astype(np.int32),
            "kept": each[:, :sizes],
            "nothing": values.of(nothing)[0],
            "everything": values.of(~nothing)[0],
            "corrupted": found.metrics["corrupted"].double().cpu().numpy(),
        }
        if key.top:
            arrays |= {"rest": each[:, sizes : 2 * sizes], "without": each[:, 2 * sizes :]}
        write_circuit(
            results.folder,
            Circuit(
                key,
                task_title=found.task.title,
                pairs=_facts(found.pairs),
                scored_pairs=game.section.n_pairs,
                provenance=spent,
                arrays=arrays,
            ),
        )


def _facts(pairs: Pairs | None) -> tuple[PairFacts, ...]:
    listed = pairs.pairs if pairs else ()
    return tuple(PairFacts(one.prompt.id, one.prompt.template, one.prompt.cluster, len(one.clean)) for one in listed)


def way_name(way: Way) -> str:
    return f"{way.direction}/{way.replacement}"
