"""Attribution patching from both ends."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from benchmark.components import DIRECTIONS
from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class TwoSided(Method):
    """`(a - b) . (grad f(clean) + grad f(corrupted)) / 2`: attribution patching, the mean of noising and denoising.

    The trapezoid rule with two nodes. It estimates the mean of both directions' exact effects, is the same whichever
    is asked for, and is exact where F is quadratic in each m and nothing interacts. Hanna et al. 2024 call it
    clean-corrupted.
    """

    name: ClassVar[str] = "two-sided"
    summary: ClassVar[str] = "mean of attribution patching from the clean and from the corrupted prompt"
    citation: ClassVar[str] = "hanna2024"
    replacements: ClassVar[tuple[str, ...]] = ("counterfactual", "resample")
    by_default: ClassVar[bool] = False

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        both = [Intervention(model, batch, replace(request, direction=direction)) for direction in DIRECTIONS]
        noising, denoising = (run.stacked(run.integrate([run.sites], AT_ONE)) for run in both)
        return {kind: (noising[kind] + denoising[kind]) / 2 for kind in noising}

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=6, backward=2)
