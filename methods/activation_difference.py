"""How far each activation moves: a floor that sees no metric."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class ActivationDifference(Method):
    """Euclidean norm of `a - r` over positions and dimensions; of a feature, along what it writes. Unsigned."""

    name: ClassVar[str] = "activation-difference"
    summary: ClassVar[str] = "norm of the change in activation: a floor that sees no metric"
    signed: ClassVar[bool] = False
    metric_units: ClassVar[bool] = False

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention(model, batch, request)
        return run.stacked({site: run.sizes(site).norm(dim=1) for site in run.sites})

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=2, backward=0)
