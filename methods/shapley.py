"""Shapley values: a component's effect, meant over all the sets of others that may be replaced beside it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS
from benchmark.engine.intervention import Intervention, mean_share
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.moving import present
from benchmark.engine.request import Cost, Design, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs

_TOGETHER = (DEFAULT_KINDS, ("attention", "mlp"))  # kinds that join in one game: neither holds the other's components
_AT_ONCE = 2**23  # numbers in the masks that are held at a time


@dataclass(frozen=True)
class Shapley(Method):
    """`E[v(before + i) - v(before)]` over orders of the components, `before` being those in front of i.

    The game is `v(S) = F(1_S)`: components in S live, the others replaced, and other kinds live throughout. Each kind
    plays a game of its own, or with `of=joint` heads and neurons one (or attention and MLP outputs), whichever were
    asked for. With `of=sites` whole sites are in order, and the components of one among themselves: the Owen value,
    whose sum over a site is the site's Shapley value among sites.

    The mean is over `permutations` random orders and their reverses. Each order's terms sum to `F(1) - F(0)`, and one
    with its reverse gives a game without interactions of three or more exactly. Every pair has orders of its own, so
    that what chance adds evens out over pairs. `standard_error` is over the orders of a pair; NaN where there is one.
    """

    name: ClassVar[str] = "shapley"
    summary: ClassVar[str] = "effect of a component, meant over random sets of the others replaced beside it"
    citation: ClassVar[str] = "shapley1953; castro2009; mitchell2022; owen1977"
    by_default: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ("permutations=1", "permutations=1:of=joint")
    permutations: int = 2
    of: Literal["components", "sites", "joint"] = "components"

    def __post_init__(self) -> None:
        if self.permutations < 1:
            raise BenchmarkError(
                f"{self.name}: permutations={self.permutations}; at least 1, and its reverse, is needed."
            )

    def check(self, kinds: Sequence[str], replacement: str, direction: str) -> None:
        super().check(kinds, replacement, direction)
        if self.of == "joint" and not any({*kinds} <= {*together} for together in _TOGETHER):
            choices = " or ".join(",".join(together) for together in _TOGETHER)
            raise BenchmarkError(
                f"Method {self.label!r} lets kinds play together that hold no components of each other: {choices}, not "
                f"{','.join(kinds)}. Choose of=components, where each kind plays by itself."
            )

    def design(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Design]:
        """All. Features that move in no pair may come to life while others are replaced."""
        return {kind: Design(_players(model, kind).float()) for kind in request.kinds}

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention.of(model, batch, request, self._kinds(request))
        found: dict[str, Tensor] = {}
        for kinds in self._games(request):
            found |= self._played(run, kinds)
        return found

    def totals(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        """`F(1) - F(0)` of each game."""
        run = Intervention.of(model, batch, request, self._kinds(request))
        games = self._games(request)
        gaps = run.patch_sites([[site for site in run.sites if site.kind in kinds] for kinds in games])
        return {"all": gaps[0]} if self.of == "joint" else {kind: gap for (kind,), gap in zip(games, gaps, strict=True)}

    def work(self, model: Model, batch: PairBatch, request: Request) -> float:
        return super().work(model, batch, request) * mean_share(model, batch, request, layers=[0])

    def cost(self, model: Model, request: Request) -> Cost:
        forward = 2
        for kinds in self._games(request):
            players = sum(int(_players(model, kind).sum()) for kind in kinds)
            forward += 2 * self.permutations * (players - 1) + 2
        return Cost(forward=forward, backward=0)

    def _kinds(self, request: Request) -> tuple[str, ...]:
        """The kinds that play, whoever asked."""
        if self.of != "joint":
            return request.kinds
        return next(kinds for kinds in _TOGETHER if {*request.kinds} <= {*kinds})

    def _games(self, request: Request) -> list[tuple[str, ...]]:
        return [self._kinds(request)] if self.of == "joint" else [(kind,) for kind in request.kinds]

    def _played(self, run: Intervention, kinds: tuple[str, ...]) -> dict[str, Tensor]:
        """One game's scores, and their standard errors, by kind."""
        game = _Game(run, {kind: _players(run.model, kind) for kind in kinds})
        gains = run.sign * game.gains(self._orders(run, game))  # [pair, order, player]
        means = gains.reshape(len(gains), self.permutations, 2, -1).mean(2)  # of each order and its reverse
        error = means.std(1, correction=min(1, self.permutations - 1)) / self.permutations**0.5
        if self.permutations == 1:
            error = torch.full_like(error, torch.nan)
        return game.by_kind(means.mean(1)) | {
            f"{kind}.standard_error": values for kind, values in game.by_kind(error).items()
        }

    def _orders(self, run: Intervention, game: "_Game") -> Int[Tensor, "pair order player"]:
        """Random orders of the players, each followed by its reverse; a site's together where sites are in order."""
        layers = torch.cat([place.nonzero()[:, 0] for place in game.there.values()]).numpy()
        found = []
        for tokens in run.tokens.tolist():  # the prompt tells a pair from others, whatever stands beside it
            digest = hashlib.sha256(f"{run.request.seed} {tokens}".encode()).digest()
            draw = np.random.default_rng(int.from_bytes(digest[:8], "little"))
            for _ in range(self.permutations):
                site = draw.permutation(layers.max() + 1)[layers] if self.of == "sites" else 0
                order = np.argsort(site + draw.random(len(layers)))
                found += [order, order[::-1]]
        return torch.from_numpy(np.stack(found).reshape(len(run.tokens), 2 * self.permutations, -1))


def _players(model: Model, kind: str) -> Bool[Tensor, "layer index"]:
    if kind in FEATURE_KINDS:
        return present(model, kind) > 0
    return torch.ones(model.layers(kind), model.size(kind), dtype=torch.bool)


class _Game(NamedTuple):
    """v(S) on one batch, the players numbered kind by kind; `there` says which components are players."""

    run: Intervention
    there: dict[str, Bool[Tensor, "layer index"]]

    @torch.no_grad()
    def gains(self, orders: Int[Tensor, "pair order player"]) -> Float[Tensor, "pair order player"]:
        """What each player adds when it joins those before it; exactly 0 where it then is what replaces it."""
        count, each, players = orders.shape
        ranks = orders.argsort(-1)
        values = torch.empty(count, each, players + 1, dtype=torch.float64)  # by how many live
        changed = torch.empty(count, each, players, dtype=torch.bool)
        gap = self.run.patch_sites([[site for site in self.run.sites if site.kind in self.there]])[0]
        values[:, :, 0] = (self.run.full - self.run.sign * gap).cpu()[:, None]
        rows = torch.cartesian_prod(torch.arange(count), torch.arange(each), torch.arange(players))
        for block in torch.split(rows, max(1, _AT_ONCE // players)):
            pair, order, joins = block.unbind(1)
            value, live = self.run.value_of(self.masks(ranks[pair, order] <= joins[:, None]), pair)
            values[pair, order, joins + 1] = value.double().cpu()
            changed[pair, order, joins] = self.flat(live)[torch.arange(len(block)), orders[pair, order, joins]]
        return (values.diff(dim=-1) * changed).gather(-1, ranks)

    def masks(self, kept: Bool[Tensor, "row player"]) -> dict[str, Float[Tensor, "row layer index"]]:
        """1 for the players that are kept, and for all that don't play."""
        return self.by_kind(kept.to(self.run.full), elsewhere=1.0)

    def by_kind(
        self, values: Float[Tensor, "row player"], elsewhere: float = 0.0
    ) -> dict[str, Float[Tensor, "row layer index"]]:
        """Numbers of players at their places, another one at those of no player."""
        found = {}
        parts = torch.split(values, [int(place.sum()) for place in self.there.values()], 1)
        for (kind, place), part in zip(self.there.items(), parts, strict=True):
            found[kind] = part.new_full((len(part), *place.shape), elsewhere)
            found[kind][:, place] = part
        return found

    def flat(self, values: dict[str, Tensor]) -> Bool[Tensor, "row player"]:
        return torch.cat([values[kind].cpu()[:, place] for kind, place in self.there.items()], 1)
