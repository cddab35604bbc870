"""Which components take part in circuits, and the orders in which they are kept: by scores, by search, by chance."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Order = Int[np.ndarray, " player"]
Sets = Bool[np.ndarray, "set player"]


@dataclass(frozen=True)
class Players:
    """The components that take part, one after another, kind by kind: True at their place among all of the kind.

    Those of these kinds that don't take part, and other kinds, are live throughout.
    """

    there: Mapping[str, Bool[np.ndarray, "layer index"]]

    @cached_property
    def kind(self) -> Int[np.ndarray, " player"]:
        """The number of each one's kind."""
        return np.concatenate([np.full(int(one.sum()), place) for place, one in enumerate(self.there.values())])

    @cached_property
    def layer(self) -> Int[np.ndarray, " player"]:
        return np.concatenate([np.nonzero(one)[0] for one in self.there.values()])

    @cached_property
    def index(self) -> Int[np.ndarray, " player"]:
        return np.concatenate([np.nonzero(one)[1] for one in self.there.values()])

    @property
    def where(self) -> Int[np.ndarray, "player 3"]:
        """Number of the kind, layer and index of each."""
        return np.stack([self.kind, self.layer, self.index], axis=1).astype(np.int32)

    def __len__(self) -> int:
        return len(self.kind)

    def of(self, means: Mapping[str, Float[np.ndarray, "layer index"]]) -> Float[np.ndarray, " player"]:
        """Each one's score."""
        return np.concatenate([means[kind][one] for kind, one in self.there.items()])

    def masks(self, live: Sets) -> dict[str, Float[Tensor, "set layer index"]]:
        """m of every component: 1 where it is live or takes no part."""
        masks, start = {}, 0
        for kind, one in self.there.items():
            count = int(one.sum())
            mask = torch.ones(len(live), *one.shape)
            mask[:, torch.from_numpy(one)] = torch.from_numpy(live[:, start : start + count]).float()
            masks[kind], start = mask, start + count
        return masks


def ranked(scores: Float[np.ndarray, " player"], seed: int = 0) -> Order:
    """The largest score first; equal ones as chance has it, so that ties don't favour early layers."""
    return np.lexsort((np.random.default_rng(seed).permutation(len(scores)), -scores))


def random_orders(players: int, draws: int, seed: int) -> Int[np.ndarray, "draw player"]:
    """Orders by chance alone."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(players) for _ in range(draws)])


def matched_orders(
    players: Players, scores: Float[np.ndarray, " player"], order: Order, draws: int, seed: int
) -> Int[np.ndarray, "draw player"]:
    """Orders by chance that keep kind, layer and sign of score at each place of `order`: what these alone are worth."""
    group = np.unique(np.stack([players.kind, players.layer, np.sign(scores)]), axis=1, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(seed)
    found = np.tile(order, (draws, 1))
    for one in range(group.max() + 1):
        places = np.flatnonzero(group[order] == one)
        for draw in found:
            draw[places] = rng.permutation(order[places])
    return found


def first(order: Order, sizes: Int[np.ndarray, " size"] | list[int]) -> Sets:
    """The sets of the first so many of an order."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[None] < np.asarray(sizes)[:, None]


def greedy(players: int, value: Callable[[Sets], Float[np.ndarray, " set"]]) -> Order:
    """The order in which each next one raises the mean metric most, given those before: n (n + 1) / 2 sets."""
    kept: list[int] = []
    while len(kept) < players:
        left = np.setdiff1d(np.arange(players), kept)
        sets = np.zeros((len(left), players), dtype=bool)
        sets[:, kept] = True
        sets[np.arange(len(left)), left] = True
        kept.append(int(left[np.argmax(value(sets))]))
    return np.array(kept)
