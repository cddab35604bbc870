"""Head importance: how large gradient times activation is, token by token."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class HeadImportance(Method):
    """`1/T sum_t |z_t . grad_t f(clean)|` over the T tokens, of heads and of whatever else is asked for.

    The size is taken of every token by itself, as in the code of Michel et al. 2019, before any sum over tokens or
    pairs; implementations that take it of a batch's sum depend on the size of the batch. With one size a pair it would
    be |attribution patching| with zero replacement. A prepended BOS counts for nothing.
    """

    name: ClassVar[str] = "hisp"
    summary: ClassVar[str] = "size of gradient times activation, meant over the tokens (Michel et al.'s importance)"
    citation: ClassVar[str] = "michel2019"
    directions: ClassVar[tuple[str, ...]] = ("noising",)
    signed: ClassVar[bool] = False
    metric_units: ClassVar[bool] = False
    needs_replacement: ClassVar[bool] = False
    by_default: ClassVar[bool] = False

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention(model, batch, replace(request, replacement="zero", by_position=True))
        products = run.stacked(run.integrate([run.sites], AT_ONE))  # [pair, layer, index, pos]
        return {kind: product.abs().sum(-1) / (product.shape[-1] - batch.bos) for kind, product in products.items()}

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=2, backward=1)
