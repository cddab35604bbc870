"""The cells of a game: the orders of each method's scores, of chance, and of a search; and the sets of an order."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from benchmark.components import FEATURE_KINDS, MEAN
from benchmark.engine.means import discovery_digest
from benchmark.faithfulness.games import Game, Method
from benchmark.faithfulness.grounds import Ground
from benchmark.faithfulness.orders import Order, Sets, first, matched_orders, random_orders, ranked
from benchmark.faithfulness.wanted import Wanted
from benchmark.running.plan import dictionaries_digest
from benchmark.statistics.agreement import default_k
from benchmark.statistics.faithfulness import log_sizes, mib_sizes
from benchmark.store.cell import sha256
from benchmark.store.circuit import ABSOLUTE, SIGNED, CircuitKey, Source

MATCHED = "random, layers and signs kept"
SEARCHED = 64  # up to so many components are searched greedily where nobody says


@dataclass(frozen=True)
class Pending:
    """A cell that is to be measured; `orders` is None until a search has found them."""

    key: CircuitKey
    orders: Int[np.ndarray, "ranking component"] | None

    @property
    def sets(self) -> int:
        """How many sets it holds."""
        sizes = len(self.key.sizes) * (2 if self.key.top else 1)
        return len(self.key.rankings) * (sizes + self.key.top)


def planned(game: Game, ground: Ground, wanted: Wanted) -> Iterator[Pending]:
    """A cell for each method, for chance, for chance that keeps layers and signs, and for the search."""
    key, count = _shared(game, ground, wanted), len(game.players)
    reference: tuple[Source, np.ndarray] | None = None
    for method in game.methods:
        source, scores = _source(method), game.scores(method)
        orders = {SIGNED: ranked(scores), ABSOLUTE: ranked(np.abs(scores))}
        if not next(iter(method.values())).signed:
            del orders[SIGNED]
        if source.reference and (reference is None or source.way == tuple(ground.way)):
            reference = source, scores
        yield Pending(replace(key, source=source, rankings=tuple(orders)), np.stack([*orders.values()]))
    drawn = replace(key, rankings=tuple(f"draw {number}" for number in range(wanted.draws)), top=0)
    if wanted.draws:
        by_chance = Source("random", "random", seed=wanted.seed)
        yield Pending(replace(drawn, source=by_chance), random_orders(count, wanted.draws, wanted.seed))
    if wanted.draws and reference:
        source, scores = reference
        matched = replace(source, sort="matched", label=MATCHED, reference=False, seed=wanted.seed)
        orders_kept = matched_orders(game.players, scores, ranked(scores), wanted.draws, wanted.seed)
        if (orders_kept != ranked(scores)).any():  # else no two share kind, layer and sign: it is the reference's own
            yield Pending(replace(drawn, source=matched), orders_kept)
    if wanted.search or (wanted.search is None and count <= SEARCHED):
        searched = Source(
            "greedy", "greedy search", (ground.way.direction, ground.way.replacement), pairs=game.section.key.pair_ids
        )
        yield Pending(replace(key, source=searched, rankings=(SIGNED,)), None)


def _shared(game: Game, ground: Ground, wanted: Wanted) -> CircuitKey:
    """What the keys of all cells of a game share."""
    scored, model, pairs, count = game.section.key, ground.model, ground.pairs, len(game.players)
    top = min(wanted.top or default_k(count), count)
    return CircuitKey(
        model=scored.model,
        task=replace(scored.task, split=ground.split, truth=None),
        source=Source("scores", ""),
        rankings=(),
        kinds=game.kinds,
        components=count,
        direction=ground.way.direction,
        replacement=ground.way.replacement,
        sizes=tuple(sorted({*log_sizes(count), *mib_sizes(count), top})),
        top=top,
        pair_ids=pairs.ids,
        scored_on=scored.task.split,
        tokens=pairs.digest(),
        means=discovery_digest(pairs) if ground.way.replacement == MEAN.replacement else None,
        players=sha256(game.players.where.tobytes()),
        dtype=str(model.dtype).removeprefix("torch."),
        matmul=model.matmul,
        processing=model.processing,
        dictionaries={kind: dictionaries_digest(model, kind) for kind in game.kinds if kind in FEATURE_KINDS},
    )


def _source(method: Method) -> Source:
    key = next(iter(method.values())).cell.key.method
    stored = {of.cell.key.digest: of.cell.scores_sha256 for of in method.values()}
    return Source(
        "scores", key.label, (key.direction, key.replacement), tuple(stored), key.reference, key.elsewhere, key.seed,
        arrays=tuple(stored.values()),
    )  # fmt: skip


def sets_of(key: CircuitKey, order: Order) -> Sets:
    """The sets of one order: those kept, the others of each, and the top without each of its members."""
    kept = first(order, list(key.sizes))
    if not key.top:
        return kept
    without = np.repeat(first(order, [key.top]), key.top, axis=0)
    without[np.arange(key.top), order[: key.top]] = False
    return np.concatenate([kept, ~kept, without])
