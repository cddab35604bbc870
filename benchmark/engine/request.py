"""What is asked of a method for a batch, what it may cost, and which components it measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmark.components import COUNTERFACTUAL
from benchmark.engine.memory import Chunk
from benchmark.engine.model import Site


def ignore(_: float | int) -> None:
    """No progress wanted."""


class Design(NamedTuple):
    """Which components of one kind are measured.

    `probability` is the chance with which a component came to be measured: 1 where all are, 0 where it isn't. Where
    the sample is meant to stand for the rest, `stratum` says what it was drawn from (see `statistics.sampling`).
    """

    probability: Float[Tensor, "layer index"]
    stratum: Int[Tensor, "layer index"] | None = None

    @property
    def measured(self) -> Bool[Tensor, "layer index"]:
        return self.probability > 0


@dataclass(frozen=True)
class Request:
    """What is asked of a method for one batch.

    `means` holds `[component, dim]` a site where the replacement is `mean`; `progress` is told how many rows went
    through the model, forward and backward, in whole rows; `tokens_per_forward` and `rows_per_forward` bound what
    shares a forward wherever many rows stand for one pair, `pairs_per_batch` how many pairs do; `design`
    says by kind which components are to be measured; `prepared` is what the method worked out for all pairs.
    `by_position` asks for scores of places, `[pair, layer, index, pos]`. `metrics` are those of the unpatched prompts
    of all pairs, `clean` and `corrupted` `[pair]`, NaN where there is no corrupted prompt. `kept` holds the last
    `Intervention` made for this request.
    """

    kinds: tuple[str, ...] = ("head",)
    replacement: str = COUNTERFACTUAL.replacement
    direction: str = COUNTERFACTUAL.direction
    seed: int = 0
    means: Mapping[Site, Tensor] = field(default_factory=dict)
    tokens_per_forward: int = Chunk().tokens
    rows_per_forward: int = Chunk().rows
    pairs_per_batch: int = Chunk().pairs
    progress: Callable[[float], None] = ignore
    design: Mapping[str, Design] = field(default_factory=dict)
    prepared: Any = None
    by_position: bool = False
    metrics: Mapping[str, Float[Tensor, " pair"]] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True)
class Share:
    """Which pairs are scored, by their places among all and in their order, and what was worked out from all of them.

    `ready` is empty or holds the request that `Method.ready` gave: it serves every share of the same pairs.
    """

    places: tuple[int, ...]
    ready: list[Request] = field(default_factory=list, compare=False, repr=False)


class Cost(NamedTuple):
    """Rows through the model for one pair, at most. A row that starts above the first layer counts as a whole one."""

    forward: int
    backward: int


def may_go_backward(cost: Cost | None) -> bool:
    """Whether gradients must be reckoned with: they are where nothing is declared."""
    return cost is None or cost.backward > 0
