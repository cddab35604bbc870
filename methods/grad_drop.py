"""GradDrop of AtP*: attribution patching, once for each layer whose gradient is dropped."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.engine.routes import sizes_past_layers
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs


@dataclass(frozen=True)
class GradDrop(Method):
    """`1/(L-1) sum_l |S_l|`: S_l is attribution patching with no gradient through what layer l writes.

    That is what its attention and its MLP add to the residual stream, behind a norm if it has one there. Where a direct
    and an indirect path cancel, attribution patching gives 0 and this does not. A path through k later layers is left
    out k times of L-1: one through all of them counts for nothing. Unsigned: sizes are taken of each pair, before any
    mean over pairs (Kramár et al. 2024, eq. 11; their QK fix is about queries and keys, and changes no score of a
    head's output or a neuron).
    """

    name: ClassVar[str] = "grad-drop"
    summary: ClassVar[str] = "mean size of attribution patching while each layer's gradient is dropped, as in AtP*"
    citation: ClassVar[str] = "kramar2024"
    kinds: ClassVar[tuple[str, ...]] = (*DEFAULT_KINDS, "query", "key", "value")
    by_position: ClassVar[bool] = True
    signed: ClassVar[bool] = False
    by_default: ClassVar[bool] = False

    def prepare(self, model: Model, pairs: Pairs, request: Request) -> Any:
        if model.n_layers == 1:
            raise BenchmarkError(
                f"{self.name}: {model.name!r} has one layer. The mean is over all layers but a component's own, and "
                "there is none. Use attribution-patching."
            )

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention(model, batch, request)
        return run.stacked({site: total / (model.n_layers - 1) for site, total in sizes_past_layers(run).items()})

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=3, backward=model.n_layers)
