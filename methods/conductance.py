"""Conductance: how much of the metric's change flows through a component while the input moves."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.components import FEATURE_KINDS, KINDS
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Cost, Request
from benchmark.engine.routes import conductances
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class Conductance(Method):
    """`integral of grad_a f . da` while the embeddings move from the corrupted to the clean prompt's.

    The path of integrated gradients with `path=input`, but with the activation's own steps in place of `a - b`. By the
    trapezoid rule over `steps` equal steps, all layers at once. What passes a cut sums to f(clean) - f(corrupted): the
    residual streams of a layer do, by position. Heads and neurons are no cut, since the stream goes past them. The
    same in both directions.
    """

    name: ClassVar[str] = "conductance"
    summary: ClassVar[str] = "gradient along each activation's own way while the inputs move from corrupted to clean"
    citation: ClassVar[str] = "dhamdhere2019"
    replacements: ClassVar[tuple[str, ...]] = ("counterfactual", "resample")
    kinds: ClassVar[tuple[str, ...]] = tuple(kind for kind in KINDS if kind not in FEATURE_KINDS)
    quadrature: ClassVar[str] = "trapezoid"
    by_position: ClassVar[bool] = True
    by_default: ClassVar[bool] = False
    steps: int = 16

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BenchmarkError(f"{self.name}: steps={self.steps}; at least 1 is needed.")

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention.of(model, batch, request)
        return run.stacked(conductances(run, self.steps))

    def totals(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        if "residual" not in request.kinds:
            return {}
        [gap] = Intervention.of(model, batch, request).patch_sites([[Site("residual", 0)]])
        return {"residual": gap[:, None].expand(-1, model.layers("residual"))}

    def cost(self, model: Model, request: Request) -> Cost:
        backward = self.steps + 1
        return Cost(forward=4 + backward + ("residual" in request.kinds), backward=backward)
