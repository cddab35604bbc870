"""The contract of a method plugin, and the scores it gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.means import mean_activations
from benchmark.model import KINDS, Model, Site
from benchmark.pairs import PairBatch, Pairs

REPLACEMENTS = ("counterfactual", "zero", "mean")
DIRECTIONS = ("noising", "denoising")


def _ignore(rows: int) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class Request:
    """What is asked of a method for one batch.

    `means` holds `[component, dim]` a site where the replacement is `mean`; `progress` is told of every row that went
    forward; `tokens_per_forward` bounds how many tokens share a forward wherever many rows stand for one pair.
    """

    kinds: tuple[str, ...] = ("head",)
    replacement: str = "counterfactual"
    direction: str = "noising"
    seed: int = 0
    means: Mapping[Site, Tensor] = field(default_factory=dict)
    tokens_per_forward: int = 512
    progress: Callable[[int], None] = _ignore


class Cost(NamedTuple):
    """Rows through the model for one pair, at most. A row that starts above the first layer counts as a whole one."""

    forward: int
    backward: int

    @property
    def work(self) -> int:
        """Comparable amounts: without gradients of weights, a backward takes about as long as a forward."""
        return self.forward + self.backward


@dataclass(frozen=True)
class Scores:
    """One method's scores of one kind of component.

    `values` is NaN where a component wasn't measured. `probability` is the chance with which a component came to be
    measured: 1 where all were, 0 where it wasn't. The metrics are those of the unpatched prompts, NaN where a pair has
    no corrupted prompt. `completeness_error` is the largest difference, a pair, between the sum of scores and what a
    complete method's scores must sum to; None where the method claims no completeness.
    """

    kind: str
    values: Float[Tensor, "pair layer index"]
    probability: Float[Tensor, "layer index"]
    pair_ids: tuple[str, ...]
    clean_metric: Float[Tensor, " pair"]
    corrupted_metric: Float[Tensor, " pair"]
    completeness_error: Float[Tensor, " pair"] | None
    provenance: dict[str, Any]

    @property
    def measured(self) -> Bool[Tensor, "layer index"]:
        return self.probability > 0

    def mean(self) -> Float[Tensor, "layer index"]:
        """Mean score over the pairs."""
        return self.values.mean(0)


@dataclass(frozen=True)
class Method:
    """A way to score components. Subclasses are frozen dataclasses whose fields are their options.

    Positive scores mean: the component's clean activation pushes the metric towards the clean answer.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    citation: ClassVar[str] = ""
    replacements: ClassVar[tuple[str, ...]] = REPLACEMENTS
    directions: ClassVar[tuple[str, ...]] = DIRECTIONS
    kinds: ClassVar[tuple[str, ...]] = KINDS
    signed: ClassVar[bool] = True
    metric_units: ClassVar[bool] = True  # whether a score is an amount of the metric
    reference: ClassVar[bool] = False  # what the other methods are held against
    quadrature: ClassVar[str | None] = None  # of integrals, where there are any
    cross_check: ClassVar[bool] = False  # a second implementation, left out of `--methods all`

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        """Scores by kind, `[pair, layer, index]`, for at least the kinds asked for; NaN where not measured."""
        raise NotImplementedError

    def cost(self, model: Model, request: Request) -> Cost:
        """Forward and backward rows that one pair takes, at most."""
        raise NotImplementedError

    def coverage(self, model: Model, kind: str, seed: int) -> Float[Tensor, "layer index"]:
        """The probability with which each component came to be measured; 0 where it isn't. By default all are."""
        return torch.ones(model.n_layers, model.size(kind))

    def totals(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        """What the scores must sum to, where the method claims completeness.

        By kind `[pair, layer]` for a claim about each site, or under `"all"` `[pair]` for one about all components
        that `attribute` returns. Empty: no claim.
        """
        return {}

    @property
    def options(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in fields(self)}

    @property
    def label(self) -> str:
        """`name:option=value`, with the options that differ from their defaults."""
        passed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ":".join([self.name, *passed])

    def check(self, kinds: Sequence[str], replacement: str, direction: str) -> None:
        """Refuse, with a reason, what this method can't do or nothing can."""
        if direction == "denoising" and replacement != "counterfactual":
            raise BenchmarkError(
                f"Denoising restores the clean activations, so its replacement is 'counterfactual', not "
                f"{replacement!r}. Use --direction noising with {replacement!r}."
            )
        asked = (("replacement", [replacement], self.replacements), ("direction", [direction], self.directions))
        for what, values, able in (*asked, ("component kind", kinds, self.kinds)):
            for value in values:
                if value not in able:
                    raise BenchmarkError(
                        f"Method {self.label!r} can't do {what} {value!r}; it can do {', '.join(able)}."
                    )

    def scores(
        self,
        model: Model,
        pairs: Pairs,
        components: Sequence[str] = KINDS,
        replacement: str = "counterfactual",
        direction: str = "noising",
        seed: int = 0,
        tokens_per_forward: int = Request.tokens_per_forward,
        progress: Callable[[int], None] = _ignore,
        means: Mapping[Site, Tensor] | None = None,
    ) -> dict[str, Scores]:
        """This method's scores of every pair, by kind of component, in the order of `pairs`.

        `means` saves taking them again where several methods share them (`benchmark.means.mean_activations`).
        """
        self.check(components, replacement, direction)
        pairs.refuse_replacement(replacement)
        if means is None:
            means = mean_activations(model, pairs, KINDS) if replacement == "mean" else {}
        request = Request(tuple(components), replacement, direction, seed, means, tokens_per_forward, progress)
        before = (model.passes.forward, model.passes.backward)
        parts = [(batch, self._batch_scores(model, batch, request)) for batch in pairs.batches()]
        order = torch.tensor([place for batch, _ in parts for place in batch.index]).argsort()

        def joined(name: str) -> Tensor:
            return torch.cat([part[name] for _, part in parts])[order]

        counted = {"forward": model.passes.forward - before[0], "backward": model.passes.backward - before[1]}
        provenance = {
            "method": self.name, "options": self.options, "direction": direction, "replacement": replacement,
            "model": model.name, "seed": seed, "passes": counted,
        }  # fmt: skip
        return {
            kind: Scores(
                kind=kind,
                values=joined(kind),
                probability=self.coverage(model, kind, seed),
                pair_ids=pairs.ids,
                clean_metric=joined("clean"),
                corrupted_metric=joined("corrupted"),
                completeness_error=joined("completeness") if "completeness" in parts[0][1] else None,
                provenance=provenance,
            )
            for kind in components
        }

    def _batch_scores(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        scores = {kind: values.detach() for kind, values in self.attribute(model, batch, request).items()}
        for kind in request.kinds:
            self._refuse_bad(scores.get(kind), model, kind, request.seed, batch)
        result = {kind: scores[kind].float().cpu() for kind in request.kinds}
        result |= {name: values.cpu() for name, values in metrics(model, batch).items()}
        totals = self.totals(model, batch, request)
        if totals:
            result["completeness"] = _completeness_error(scores, totals).cpu()
        return result

    def _refuse_bad(self, scores: Tensor | None, model: Model, kind: str, seed: int, batch: PairBatch) -> None:
        shape = (len(batch), model.n_layers, model.size(kind))
        if scores is None or tuple(scores.shape) != shape:
            got = "nothing" if scores is None else f"shape {tuple(scores.shape)}"
            raise BenchmarkError(
                f"Method {self.label!r} returned {got} for kind {kind!r}; it must return [pair, layer, index] {shape}."
            )
        measured = self.coverage(model, kind, seed).to(scores.device) > 0
        if not torch.isfinite(scores[:, measured]).all():
            raise BenchmarkError(f"Method {self.label!r} gave NaN or infinite scores for measured {kind}s.")


@torch.no_grad()
def metrics(model: Model, batch: PairBatch) -> dict[str, Float[Tensor, " pair"]]:
    """The metric on the clean and on the corrupted prompts; NaN where there is no corrupted prompt."""
    rows = torch.arange(len(batch))
    clean = batch.metric(model.run(batch.clean), rows)
    if batch.corrupted is None:
        return {"clean": clean, "corrupted": torch.full_like(clean, torch.nan)}
    return {"clean": clean, "corrupted": batch.metric(model.run(batch.corrupted), rows)}


def _completeness_error(scores: Mapping[str, Tensor], totals: Mapping[str, Tensor]) -> Float[Tensor, " pair"]:
    if "all" in totals:
        return (sum(values.sum((1, 2)) for values in scores.values()) - totals["all"]).abs()
    return torch.stack([(scores[kind].sum(2) - total).abs().amax(1) for kind, total in totals.items()]).amax(0)
