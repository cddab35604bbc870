"""Exact activation patching: the reference."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmark.components import FEATURE_KINDS, plural
from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention, mean_share, spread
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Design, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs
from benchmark.statistics.sampling import SMALLEST_BUDGET, draw, stratify


@dataclass(frozen=True)
class ActivationPatching(Method):
    """Replace one component's activation, run everything downstream again, and read how far the metric moves.

    Noising: `f(clean) - f(clean | a <- r)`; denoising: `f(corrupted | b <- a) - f(corrupted)`. All of every kind
    but neurons and features are patched.
    Of the neurons in the layers named by `layers` (`all`, or such as `4-6` or `4+9`), `neurons` a layer are drawn at
    random (0: all of them). With `neurons=verified`, `budget` are patched in all: those that attribution patching finds
    strongest, and a stratified random sample of the rest, from which `statistics.estimation` says what holds for all.
    Of each kind of features, `budget` of those that move are patched, chosen in the same way, and every error.
    """

    name: ClassVar[str] = "activation-patching"
    summary: ClassVar[str] = "exact effect of replacing one component's activation, a forward pass a component"
    citation: ClassVar[str] = "vig2020; zhang2024"
    reference: ClassVar[bool] = True
    by_position: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ("neurons=0",)
    neurons: int | Literal["verified"] = 16
    budget: int = 1024
    layers: str = "all"

    def __post_init__(self) -> None:
        verified = self.neurons == "verified"
        if not verified and int(self.neurons) < 0:
            raise BenchmarkError(
                f"{self.name}: neurons={self.neurons}; give how many a layer, 0 for all, or 'verified'."
            )
        if self.budget < SMALLEST_BUDGET:
            raise BenchmarkError(f"{self.name}: budget={self.budget}; give at least {SMALLEST_BUDGET} neurons.")

    def check(self, kinds: Sequence[str], replacement: str, direction: str) -> None:
        super().check(kinds, replacement, direction)
        budgeted = self.neurons == "verified" or set(kinds) & set(FEATURE_KINDS)
        if not budgeted and self.budget != type(self).budget:
            raise BenchmarkError(
                f"{self.name}: budget={self.budget} is for neurons=verified and for features, not for "
                f"neurons={self.neurons}."
            )

    def design(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Design]:
        designs = super().design(model, pairs, request)
        if "neuron" in designs:
            verified = self.neurons == "verified"
            designs["neuron"] = (
                self._verified(model, pairs, request, "neuron", self._in_layers(model))
                if verified
                else self._random(model, request.seed)
            )
        for kind in set(request.kinds) & set(FEATURE_KINDS):
            designs[kind] = self._verified(model, pairs, request, kind, designs[kind].measured)
        return designs

    def _in_layers(self, model: Model) -> Bool[Tensor, "layer neuron"]:
        inside = torch.zeros(model.n_layers, model.size("neuron"), dtype=torch.bool)
        inside[sorted(self._layers(model))] = True
        return inside

    def _random(self, model: Model, seed: int) -> Design:
        size = model.size("neuron")
        probability = torch.zeros(model.n_layers, size)
        generator = torch.Generator().manual_seed(seed)
        for layer in range(model.n_layers):
            drawn = torch.randperm(size, generator=generator)[: int(self.neurons) or size]
            if layer in self._layers(model):
                probability[layer, drawn] = len(drawn) / size
        return Design(probability)

    def _verified(
        self, model: Model, pairs: Pairs, request: Request, kind: str, population: Bool[Tensor, "layer index"]
    ) -> Design:
        scores = _attribution_patching(model, pairs, request, kind)
        if not torch.isfinite(scores[population]).all():
            raise BenchmarkError(
                f"{self.label}: attribution patching gave NaN or infinite scores to choose {plural(kind)} by."
            )
        scores[~population] = torch.nan
        if kind in FEATURE_KINDS:  # errors are patched in any case, and stand for nothing but themselves
            scores[:, -1] = torch.nan
        stratum = stratify(scores.numpy(), self.budget)
        probability = torch.from_numpy(draw(stratum, request.seed))
        if kind in FEATURE_KINDS:
            probability[:, -1] = population[:, -1].float()
        return Design(probability, torch.from_numpy(stratum))

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
        chosen = {
            site: request.design[site.kind].measured[site.layer].nonzero().flatten() for site in intervention.sites
        }
        effects = intervention.patch(chosen)
        return intervention.stacked(
            {site: spread(found, chosen[site], model.size(site.kind)) for site, found in effects.items()}
        )

    def work(self, model: Model, batch: PairBatch, request: Request) -> float:
        layers = self._layers(model) if request.kinds == ("neuron",) else None  # every head is patched
        work = super().work(model, batch, request) * mean_share(model, batch, request, layers)
        if not request.by_position:
            return work
        first = batch.first_difference() if request.replacement == "counterfactual" else 0
        return work * (batch.clean.shape[1] - first) / 2  # nothing before a position is computed

    def cost(self, model: Model, request: Request) -> Cost:
        features = [
            kind for kind in request.kinds if kind in FEATURE_KINDS
        ]  # of each, attribution patching comes first
        patches = sum(
            model.layers(kind) * model.size(kind) for kind in request.kinds if kind not in ("neuron", *features)
        )
        for kind in features:
            sites = len(model.sites([kind]))  # and as many errors
            patches += 3 + min(self.budget, sites * (model.size(kind) - 1)) + sites
        if "neuron" not in request.kinds:
            return Cost(forward=2 + patches, backward=len(features))
        size, layers = model.size("neuron"), len(self._layers(model))
        if self.neurons == "verified":  # attribution patching comes first: 3 forward, 1 backward
            return Cost(forward=5 + patches + min(self.budget, layers * size), backward=1 + len(features))
        return Cost(forward=2 + patches + layers * min(int(self.neurons) or size, size), backward=len(features))


def _attribution_patching(model: Model, pairs: Pairs, request: Request, kind: str) -> Float[Tensor, "layer index"]:
    """The first-order score of every component of a kind, meant over the pairs."""
    total = torch.zeros(model.layers(kind), model.size(kind), dtype=torch.float64)
    request = replace(request, by_position=False, kept=[])
    for batch in pairs.batches(request.pairs_per_batch):
        run = Intervention(model, batch, request, (kind,))
        total += run.stacked(run.integrate([run.sites], AT_ONE))[kind].sum(0).cpu()
    return total / len(pairs)
