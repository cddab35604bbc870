"""Random scores: the floor that every method must beat."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class RandomScores(Method):
    """Standard normal scores, fixed by the seed and the pair's id."""

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "standard normal scores fixed by the seed: a floor"
    metric_units: ClassVar[bool] = False
    needs_replacement: ClassVar[bool] = False

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        return {
            kind: torch.stack(
                [_normal(f"{request.seed} {pair} {kind}", model.layers(kind), model.size(kind)) for pair in batch.ids]
            )
            for kind in request.kinds
        }

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=0, backward=0)


def _normal(key: str, *shape: int) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little", signed=True)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
