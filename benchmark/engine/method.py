"""The contract of a method plugin, and the scores it gives."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmark.engine.means import mean_activations
from benchmark.engine.memory import Chunk, smaller, within_memory
from benchmark.engine.model import KINDS, Model, Site
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs

REPLACEMENTS = ("counterfactual", "zero", "mean")
DIRECTIONS = ("noising", "denoising")


def _ignore(_: float | int) -> None:
    """No progress wanted."""


class Design(NamedTuple):
    """Which components of one kind are measured.

    `probability` is the chance with which a component came to be measured: 1 where all are, 0 where it isn't. Where
    the sample is meant to stand for the rest, `stratum` says what it was drawn from (see `statistics.sampling`).
    """

    probability: Float[Tensor, "layer index"]
    stratum: Int[Tensor, "layer index"] | None = None

    @property
    def measured(self) -> Bool[Tensor, "layer index"]:
        return self.probability > 0


@dataclass(frozen=True)
class Request:
    """What is asked of a method for one batch.

    `means` holds `[component, dim]` a site where the replacement is `mean`; `progress` is told how many rows went
    through the model, forward and backward, in whole rows; `tokens_per_forward` and `rows_per_forward` bound what
    shares a forward wherever many rows stand for one pair, `pairs_per_batch` how many pairs do; `design`
    says by kind which components are to be measured.
    """

    kinds: tuple[str, ...] = ("head",)
    replacement: str = "counterfactual"
    direction: str = "noising"
    seed: int = 0
    means: Mapping[Site, Tensor] = field(default_factory=dict)
    tokens_per_forward: int = Chunk().tokens
    rows_per_forward: int = Chunk().rows
    pairs_per_batch: int = Chunk().pairs
    progress: Callable[[float], None] = _ignore
    design: Mapping[str, Design] = field(default_factory=dict)


class Cost(NamedTuple):
    """Rows through the model for one pair, at most. A row that starts above the first layer counts as a whole one."""

    forward: int
    backward: int


@dataclass(frozen=True)
class Scores:
    """One method's scores of one kind of component.

    `values` is NaN where a component wasn't measured. The metrics are those of the unpatched prompts, NaN where a pair
    has no corrupted prompt. `completeness_error` is the largest difference, a pair, between the sum of scores and what
    a complete method's scores must sum to; None where the method claims no completeness.
    """

    kind: str
    values: Float[Tensor, "pair layer index"]
    design: Design
    pair_ids: tuple[str, ...]
    clean_metric: Float[Tensor, " pair"]
    corrupted_metric: Float[Tensor, " pair"]
    completeness_error: Float[Tensor, " pair"] | None
    provenance: dict[str, Any]

    @property
    def measured(self) -> Bool[Tensor, "layer index"]:
        return self.design.measured

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
    on_request: ClassVar[bool] = False  # left out of `--methods all`: a second implementation, or one that needs a file
    variants: ClassVar[tuple[str, ...]] = ("",)  # options under which it behaves differently: each is checked

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        """Scores by kind, `[pair, layer, index]`, for at least the kinds asked for; NaN where not measured."""
        raise NotImplementedError

    def cost(self, model: Model, request: Request) -> Cost:
        """Forward and backward rows that one pair takes, at most."""
        raise NotImplementedError

    def work(self, model: Model, batch: PairBatch, request: Request) -> float:
        """What a batch takes, in whole rows: the length of its progress bar.

        By default the cost. Without gradients of weights, a backward takes about as long as a forward.
        """
        return float(sum(self.cost(model, request)) * len(batch))

    def design(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Design]:
        """Which components of every kind asked for are measured, the same for all pairs. By default all are."""
        return {kind: Design(torch.ones(model.n_layers, model.size(kind))) for kind in request.kinds}

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
        chunk: Chunk = Chunk(),  # noqa: B008 (immutable)
        progress: Callable[[float], None] = _ignore,
        means: Mapping[Site, Tensor] | None = None,
        say: Callable[[str], None] = warnings.warn,
    ) -> dict[str, Scores]:
        """This method's scores of every pair, by kind of component, in the order of `pairs`.

        `means` saves taking them again where several methods share them (`engine.means.mean_activations`). Where
        memory runs out, the chunk is halved and the batch tried again, which `say` is told.
        """
        self.check(components, replacement, direction)
        pairs.refuse_replacement(replacement)
        if means is None:
            means = mean_activations(model, pairs, KINDS) if replacement == "mean" else {}
        request = Request(tuple(components), replacement, direction, seed, means, progress=progress)
        before = replace(model.passes, shortcuts=model.passes.shortcuts.copy())
        longest = max(len(pair.clean) for pair in pairs.pairs)

        def fitted(request: Request) -> Request:
            tokens, most, rows = chunk
            return replace(request, tokens_per_forward=tokens, rows_per_forward=rows, pairs_per_batch=most)

        def shrink(length: int, count: int) -> Chunk:
            fits = smaller(chunk, model, length, count)
            say(f"Memory ran out: trying again with at most {fits.tokens} tokens in a forward and {fits.pairs} pairs.")
            return fits

        while (design := within_memory(partial(self.design, model, pairs, fitted(request)))) is None:
            chunk = shrink(longest, chunk.pairs)
        request = replace(request, design=design)
        parts: list[tuple[PairBatch, dict[str, Tensor]]] = []
        waiting = list(pairs.batches(chunk.pairs))[::-1]
        while waiting:
            batch = waiting.pop()
            if len(batch) > chunk.pairs:
                waiting += batch.split(chunk.pairs)[::-1]
                continue
            scored = within_memory(partial(self._batch_scores, model, batch, fitted(request)))
            if scored is None:
                chunk = shrink(batch.clean.shape[1], len(batch))
                waiting.append(batch)
            else:
                parts.append((batch, scored))
        order = torch.tensor([place for batch, _ in parts for place in batch.index]).argsort()

        def joined(name: str) -> Tensor:
            return torch.cat([part[name] for _, part in parts])[order]

        passes = model.passes
        counted = {"forward": passes.forward - before.forward, "backward": passes.backward - before.backward}
        provenance = {
            "method": self.name, "options": self.options, "direction": direction, "replacement": replacement,
            "model": model.name, "seed": seed, "passes": counted, "chunk": chunk._asdict(),
            "whole_forwards": round(passes.whole_forward - before.whole_forward, 2),
            "shortcuts": dict(sorted((passes.shortcuts - before.shortcuts).items())),
        }  # fmt: skip
        return {
            kind: Scores(
                kind=kind,
                values=joined(kind),
                design=request.design[kind],
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
            self._refuse_bad(scores.get(kind), model, kind, request.design[kind], batch)
        result = {kind: scores[kind].float().cpu() for kind in request.kinds}
        result |= {name: values.cpu() for name, values in metrics(model, batch).items()}
        totals = self.totals(model, batch, request)
        if totals:
            result["completeness"] = _completeness_error(scores, totals).cpu()
        return result

    def _refuse_bad(self, scores: Tensor | None, model: Model, kind: str, design: Design, batch: PairBatch) -> None:
        shape = (len(batch), model.n_layers, model.size(kind))
        if scores is None or tuple(scores.shape) != shape:
            got = "nothing" if scores is None else f"shape {tuple(scores.shape)}"
            raise BenchmarkError(
                f"Method {self.label!r} returned {got} for kind {kind!r}; it must return [pair, layer, index] {shape}."
            )
        if not torch.isfinite(scores[:, design.measured.to(scores.device)]).all():
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
