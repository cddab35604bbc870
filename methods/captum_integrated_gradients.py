"""Integrated gradients by captum: a second implementation to hold ours against."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.components import FEATURE_KINDS, KINDS
from benchmark.engine.method import Method
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Cost, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class CaptumIntegratedGradients(Method):
    """captum's LayerIntegratedGradients at `hook_z` and `mlp.hook_post`: our site path; no zero, no mean."""

    name: ClassVar[str] = "captum-integrated-gradients"
    summary: ClassVar[str] = "captum's LayerIntegratedGradients, to check integrated-gradients:path=site"
    citation: ClassVar[str] = "sundararajan2017; kokhlikyan2020"
    replacements: ClassVar[tuple[str, ...]] = ("counterfactual", "resample")
    kinds: ClassVar[tuple[str, ...]] = tuple(kind for kind in KINDS if kind not in FEATURE_KINDS)
    on_request: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ("steps=6",)  # each step is a forward and a backward of the whole model
    steps: int = 16

    @property
    def quadrature(self) -> str:
        return "gauss-legendre"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BenchmarkError(f"{self.name}: steps={self.steps}; at least 1 is needed.")

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        from captum.attr import LayerIntegratedGradients  # half a second, which other methods need not wait for

        noising = request.direction == "noising"
        base, other = (batch.clean, batch.corrupted) if noising else (batch.corrupted, batch.clean)
        assert other is not None
        assert base is not None
        pairs = torch.arange(len(batch))
        unpatched = model.run(batch.clean) if batch.metric_function.needs_unpatched else None
        rows = max(len(batch), request.tokens_per_forward // base.shape[1])

        # captum repeats the tokens for every step; what belongs to a pair must travel beside them as an argument
        def forward(tokens: Tensor, pairs: Tensor) -> Tensor:
            request.progress(len(tokens) * (2 if torch.is_grad_enabled() else 1))
            model.passes.backward += len(tokens) * torch.is_grad_enabled()
            return batch.value(model, tokens, pairs, unpatched=unpatched)

        def scored(site: Site) -> Tensor:
            values: Tensor = LayerIntegratedGradients(forward, model.module(site)).attribute(
                base, baselines=other, additional_forward_args=(pairs,), n_steps=self.steps, internal_batch_size=rows
            )
            by_component = values.reshape(*base.shape, model.size(site.kind), -1).sum((1, 3))
            return by_component if noising else -by_component

        return {
            kind: torch.stack([scored(Site(kind, layer)) for layer in range(model.layers(kind))], dim=1)
            for kind in request.kinds
        }

    def cost(self, model: Model, request: Request) -> Cost:
        sites = len(model.sites(request.kinds))
        return Cost(forward=sites * (self.steps + 2), backward=sites * self.steps)
