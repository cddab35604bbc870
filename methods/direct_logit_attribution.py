"""Direct logit attribution: what a component writes, read by the unembedding as if no layer were in between."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.engine.routes import direct_slopes
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class DirectLogitAttribution(Method):
    """`a W_out . (M^T/s) W_U u`: a component's output through the final norm, its scale s as in the base run.

    u is the metric's gradient at the logits: for `logit_diff` of single answers, the correct one's minus the incorrect
    one's row of the unembedding. Where the logits are capped, or the metric bends, it is the slope at the base run's
    logits. A norm behind a block's output keeps its scale too. Then, without a cap, all that is written to the last
    position, biases and embedding included, sums to the logit difference. With `of=difference` the output is `a - r`.
    """

    name: ClassVar[str] = "direct-logit-attribution"
    summary: ClassVar[str] = "what a component writes, read at the logits as if no layer came in between"
    citation: ClassVar[str] = "nostalgebraist2020; elhage2021"
    kinds: ClassVar[tuple[str, ...]] = (*DEFAULT_KINDS, "attention", "mlp")
    indirect: ClassVar[bool] = False
    by_default: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ("", "of=difference")
    of: Literal["activation", "difference"] = "activation"

    @property
    def needs_replacement(self) -> bool:  # type: ignore[override]
        return self.of == "difference"

    def check(self, kinds: Sequence[str], replacement: str, direction: str) -> None:
        super().check(kinds, replacement, direction)
        if not self.needs_replacement and direction == "denoising":
            raise BenchmarkError(
                f"Method {self.label!r} restores nothing, so it has no direction 'denoising'. "
                f"Use {self.name}:of=difference."
            )

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention(model, batch, request if self.needs_replacement else replace(request, replacement="zero"))
        return run.stacked(direct_slopes(run))

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=3 if self.needs_replacement else 2, backward=1)
