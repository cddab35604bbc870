"""Attribution patching: activation patching to first order."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class AttributionPatching(Method):
    """The first-order estimate `(a - r) . grad f`, all components from one backward pass."""

    name: ClassVar[str] = "attribution-patching"
    summary: ClassVar[str] = "first-order estimate of activation patching, one backward pass for all components"
    citation: ClassVar[str] = "nanda2023; syed2023"
    by_position: ClassVar[bool] = True

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        intervention = Intervention(model, batch, request)
        return intervention.stacked(intervention.integrate([intervention.sites], AT_ONE))

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=3, backward=1)
