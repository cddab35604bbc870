"""Exact activation patching: the reference."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.intervention import Intervention
from benchmark.method import Cost, Method, Request
from benchmark.model import Model, Site
from benchmark.pairs import PairBatch


@dataclass(frozen=True)
class ActivationPatching(Method):
    """Replace one component's activation, run everything downstream again, and read how far the metric moves.

    Noising: `f(clean) - f(clean | a <- r)`; denoising: `f(corrupted | b <- a) - f(corrupted)`. Every head is patched.
    Of the neurons, `neurons` a layer are drawn at random (0: all of them), in the layers named by `layers`
    (`all`, or such as `4-6` or `4+9`).
    """

    name: ClassVar[str] = "activation-patching"
    summary: ClassVar[str] = "exact effect of replacing one component's activation, a forward pass a component"
    citation: ClassVar[str] = "Vig et al. 2020, arXiv:2004.12265; Zhang & Nanda 2024, arXiv:2309.16042"
    reference: ClassVar[bool] = True
    neurons: int = 16
    layers: str = "all"

    def __post_init__(self) -> None:
        if self.neurons < 0:
            raise BenchmarkError(f"{self.name}: neurons={self.neurons}; give how many a layer, or 0 for all.")

    def coverage(self, model: Model, kind: str, seed: int) -> Float[Tensor, "layer index"]:
        size = model.size(kind)
        probability = torch.zeros(model.n_layers, size)
        if kind == "head":
            return probability + 1
        generator = torch.Generator().manual_seed(seed)
        for layer in range(model.n_layers):
            drawn = torch.randperm(size, generator=generator)[: self.neurons or size]
            if layer in self._layers(model):
                probability[layer, drawn] = len(drawn) / size
        return probability

    def _layers(self, model: Model) -> set[int]:
        if self.layers == "all":
            return set(range(model.n_layers))
        chosen: set[int] = set()
        try:
            for part in self.layers.split("+"):
                first, _, last = part.partition("-")
                chosen.update(range(int(first), int(last or first) + 1))
        except ValueError as error:
            raise BenchmarkError(f"{self.name}: layers={self.layers!r}; write all, 4, 4-6 or 4+9.") from error
        if not chosen or max(chosen) >= model.n_layers:
            raise BenchmarkError(
                f"{self.name}: layers={self.layers!r}, but {model.name!r} has layers 0-{model.n_layers - 1}."
            )
        return chosen

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        intervention = Intervention(model, batch, request)
        scores = {}
        for kind in request.kinds:
            coverage = self.coverage(model, kind, request.seed)
            scores[kind] = torch.full((len(batch), *coverage.shape), torch.nan, dtype=model.dtype, device=model.device)
            for layer, probability in enumerate(coverage):
                chosen = probability.nonzero().flatten()
                scores[kind][:, layer, chosen] = intervention.patch_components(Site(kind, layer), chosen)
        return scores

    def cost(self, model: Model, request: Request) -> Cost:
        patches = sum(int(self.coverage(model, kind, request.seed).count_nonzero()) for kind in request.kinds)
        return Cost(forward=4 + patches, backward=0)
