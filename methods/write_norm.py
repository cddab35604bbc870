"""How much of the residual stream a component's change writes: a floor that sees no metric."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.prompts.pairs import PairBatch, Pairs


@dataclass(frozen=True)
class WriteNorm(Method):
    """`sum_t ||(a - r)_t W_out||` over the positions t: the change, as long as it is in the residual stream.

    Unlike activation-difference it is the same however a neuron is scaled against its output weights. Before the norm
    behind a block's output, where there is one.
    """

    name: ClassVar[str] = "write-norm"
    summary: ClassVar[str] = "norm of the change in what a component writes: a floor that sees no metric"
    kinds: ClassVar[tuple[str, ...]] = DEFAULT_KINDS
    signed: ClassVar[bool] = False
    metric_units: ClassVar[bool] = False
    by_default: ClassVar[bool] = False

    def prepare(self, model: Model, pairs: Pairs, request: Request) -> Any:
        """By site, `W_out W_out^T` of every component, `[component, dim, dim]`: as narrow as its activation."""
        weights = {site: model.output_weights(site).double() for site in model.sites(request.kinds)}
        return {site: weight @ weight.mT for site, weight in weights.items()}

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention(model, batch, request)
        changes = {site: (run.live[site] - run.replacement[site]).double() for site in run.sites}
        squares = {
            site: torch.einsum("ptcd,cde,ptce->ptc", change, request.prepared[site], change)
            for site, change in changes.items()
        }
        return run.stacked({site: square.clamp(min=0).sqrt().sum(1) for site, square in squares.items()})

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=2, backward=0)
