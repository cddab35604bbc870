"""The contract of a method plugin."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from benchmark.components import (
    COUNTERFACTUAL,
    DEFAULT_KINDS,
    DENOISING,
    DIRECTIONS,
    FEATURE_KINDS,
    KINDS,
    MEAN,
    PLACES_ONLY,
    REPLACEMENTS,
    RESAMPLE,
    plural,
    titled,
)
from benchmark.engine.kinds import KIND
from benchmark.engine.means import mean_activations
from benchmark.engine.memory import Chunk, fitting_chunk, smaller, whole_prompts, within_memory
from benchmark.engine.model import Model, Site
from benchmark.engine.moving import moving
from benchmark.engine.request import Cost, Design, Request, Share, may_go_backward
from benchmark.engine.resample import draws_of, over_draws, resampled
from benchmark.engine.scores import Scores
from benchmark.errors import BenchmarkError
from benchmark.progress import bar
from benchmark.prompts.pairs import PairBatch, Pairs
from benchmark.words import ran_out


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
    by_position: ClassVar[bool] = False  # whether it can score places: `[pair, layer, index, pos]`
    signed: ClassVar[bool] = True
    metric_units: ClassVar[bool] = True  # whether a score is an amount of the metric
    needs_replacement: ClassVar[bool] = True  # False: the same scores whatever replaces an activation
    indirect: ClassVar[bool] = True  # whether it counts what a component does through later ones
    reference: ClassVar[bool] = False  # what the other methods are held against
    by_default: ClassVar[bool] = True  # whether a run takes it whose `--methods` aren't said
    on_request: ClassVar[bool] = False  # left out of `--methods all` too: a second implementation, or it needs a file
    elsewhere: ClassVar[bool] = False  # whether the scores were made by other code, so that their cost isn't known
    variants: ClassVar[tuple[str, ...]] = ("",)  # options under which it behaves differently: each is checked

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        """Scores by kind, `[pair, layer, index]`, for at least the kinds asked for; NaN where not measured.

        Where `request.by_position`: `[pair, layer, index, pos]`. What it found out besides may stand beside them, under
        names that `store/cell.py` declares: numbers of a pair (`integral_nodes`, `[pair]`), or of a component
        (`head.standard_error`, `[pair, layer, index]`).
        """
        raise NotImplementedError

    def cost(self, model: Model, request: Request) -> Cost | None:
        """Forward and backward rows that one pair takes, at most; None: not declared."""
        return None

    def work(self, model: Model, batch: PairBatch, request: Request) -> float:
        """What a batch takes, in whole rows: the length of its progress bar.

        By default the cost, or one row a pair where none is declared. Without gradients of weights, a backward takes
        about as long as a forward.
        """
        cost = self.cost(model, request)
        return float(len(batch) if cost is None else sum(cost) * len(batch))

    def design(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Design]:
        """Which components of every kind asked for are measured, the same for all pairs.

        By default all are; of features, those that move in any pair: all others score 0 where one site moves at a time.
        """
        return {
            kind: Design(
                moving(model, pairs, request, kind)
                if kind in FEATURE_KINDS
                else torch.ones(model.layers(kind), model.size(kind))
            )
            for kind in request.kinds
        }

    def prepare(self, model: Model, pairs: Pairs, request: Request) -> Any:
        """What is worked out once, from all pairs: `design`, `attribute` and `totals` find it in `request.prepared`."""
        return None

    def totals(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        """What the scores must sum to, where the method claims completeness.

        By kind `[pair, layer]` for a claim about each site or `[pair]` for one about all of a kind, or under `"all"`
        `[pair]` for one about all components that `attribute` returns. Empty: no claim. `request` is the one that
        `attribute` got, so that `Intervention.of` gives the run that was made there.
        """
        return {}

    @property
    def options(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in fields(self)}

    @property
    def quadrature(self) -> str | None:
        """The rule of its integrals, where it has any."""
        return None

    @property
    def per_pair(self) -> dict[str, bool]:
        """Kinds for which it is False have the same scores for every pair; True goes without saying."""
        return {}

    @property
    def label(self) -> str:
        """`name:option=value`, with the options that differ from their defaults."""
        passed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ":".join([self.name, *passed])

    def as_seen(self, request: Request) -> Request:
        """The request as the method gets it. It knows nothing of `resample` (`engine.resample`)."""
        if request.replacement != RESAMPLE.replacement:
            return request
        return replace(request, replacement=COUNTERFACTUAL.replacement if self.needs_replacement else "zero")

    def check(self, kinds: Sequence[str], replacement: str, direction: str) -> None:
        """Refuse, with a reason, what this method can't do or nothing can."""
        if direction == DENOISING.direction and replacement != DENOISING.replacement:
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
        for kind in kinds:
            if kind in KIND and replacement not in KIND[kind].replacements:
                choice = ", ".join(KIND[kind].replacements)
                raise BenchmarkError(f"{titled(kind)} can't be replaced by {replacement!r}; choose {choice}.")

    @torch.inference_mode(mode=False)  # whatever mode a notebook was put into
    @torch.enable_grad()
    def scores(
        self,
        model: Model,
        pairs: Pairs,
        components: Sequence[str] | None = None,
        replacement: str = COUNTERFACTUAL.replacement,
        direction: str = COUNTERFACTUAL.direction,
        seed: int = 0,
        chunk: Chunk | None = None,
        progress: Callable[[float], None] | None = None,
        means: Mapping[Site, Tensor] | None = None,
        known: Mapping[str, Tensor] | None = None,
        say: Callable[[str], None] = warnings.warn,
        by_position: bool = False,
        draws: int | None = None,
        share: Share | None = None,
    ) -> dict[str, Scores]:
        """This method's scores of every pair, by kind of component, in the order of `pairs`.

        `components` are kinds: by default heads and neurons, if the method and the model have them. `by_position` asks
        for the scores of places, each component at each position: `[pair, layer, index, pos]`, NaN behind the end of a
        shorter prompt.
        `chunk`, how much shares a forward, is chosen from the device's free memory where it isn't given; where memory
        runs out all the same it is halved and the batch tried again, which `say` is told. `progress` is told of rows
        that are done; without it, long work shows a bar. `means` (`engine.means.mean_activations`) and `known`, the
        metrics `clean` and `corrupted` `[pair]` of the unpatched prompts, save computing them again. `draws` is how
        many prompts a pair draws where the replacement is `resample`: scores, and what stands beside them, are means
        over these, with the scores' `standard_error` among the extras if there are two or more. Of a completeness error
        it is no less than that of the mean. `share` names some of the pairs, of which alone scores are made; what a
        method works out from all pairs, and `known`, are still those of all.
        """
        self._refuse_wrong_types(model, pairs, components)
        model.refuse_train_mode()
        pairs.refuse_other_tokens(model.tokens)
        if components is None:
            components = tuple(kind for kind in DEFAULT_KINDS if kind in model.kinds and kind in self.kinds)
        model.refuse(components)
        self.check(components, replacement, direction)
        self._refuse_positions(components, by_position)
        if self.needs_replacement:
            pairs.refuse_replacement(replacement)
        drawn = draws_of(replacement, draws)
        request = Request(tuple(components), replacement, direction, seed, by_position=by_position)
        asked, request = pairs, self.as_seen(request)
        if drawn and self.needs_replacement:
            pairs = resampled(pairs, drawn, seed)
        each, scored = len(pairs) // len(asked), asked
        rows: Collection[int] = range(len(pairs))
        if share is not None:
            scored = asked.take(sorted(share.places))
            rows = {place * each + draw for place in share.places for draw in range(each)}
        if chunk is None:
            chunk = fitting_chunk(model, pairs.longest, gradients=may_go_backward(self.cost(model, request)))
        if means is None:
            needed = replacement == MEAN.replacement
            means = mean_activations(model, asked, (*DEFAULT_KINDS, *components), chunk.pairs) if needed else {}
        if progress is None:
            length = sum(self.work(model, batch, request) for batch in pairs.batches(among=rows))
            with bar(length, f"{pairs.task} x {self.label}", "pass") as shown:
                return self.scores(
                    model, asked, components, replacement, direction, seed, chunk, shown.advance, means, known,
                    say, by_position, draws, share,
                )  # fmt: skip
        behaviour = known or metrics(model, asked, chunk.pairs)
        here = slice(None) if share is None else sorted(share.places)
        of_rows = {name: values.repeat_interleave(each) for name, values in behaviour.items()}
        request = replace(request, means=means, progress=progress, metrics=of_rows)
        before = replace(model.passes, shortcuts=model.passes.shortcuts.copy())
        ready = [] if share is None else share.ready
        request, chunk, parts = self._scored(model, pairs, rows, request, ready, chunk, say)
        order = torch.tensor([place for batch, _ in parts for place in batch.index]).argsort()
        if len(order) != len(rows):
            raise BenchmarkError(f"Method {self.label!r} scored {len(order)} of {len(rows)} pairs: some were lost.")

        longest = asked.longest
        found = {name: torch.cat([_padded(part[name], longest) for _, part in parts])[order] for name in parts[0][1]}
        if each > 1:
            found = over_draws(found, each, components)
        passes = model.passes
        counted = {"forward": passes.forward - before.forward, "backward": passes.backward - before.backward}
        provenance = {
            "method": self.name, "label": self.label, "options": self.options, "direction": direction,
            "replacement": replacement, "model": model.name, "seed": seed, "passes": counted, "chunk": chunk._asdict(),
            "whole_forwards": round(passes.whole_forward - before.whole_forward, 2),
            "shortcuts": dict(sorted((passes.shortcuts - before.shortcuts).items())),
        } | ({"draws": drawn} if drawn else {})  # fmt: skip
        scores = {
            kind: Scores(
                kind=kind,
                values=found[kind],
                design=request.design[kind],
                pair_ids=scored.ids,
                clean_metric=behaviour["clean"][here],
                corrupted_metric=behaviour["corrupted"][here],
                completeness_error=found.get("completeness"),
                provenance=provenance,
                extras={name.rpartition(".")[2]: values for name, values in found.items() if _is_beside(name, kind)},
            )
            for kind in components
        }
        for kind, one in scores.items():
            if one.extras.get("unfinished", torch.zeros(1)).any():
                unfinished = one.extras["unfinished"].bool().numpy()
                say(f"{self.label} on {asked.task}: {ran_out(plural(kind), unfinished, scored.ids)}")
        return scores

    def _scored(
        self,
        model: Model,
        pairs: Pairs,
        rows: Collection[int],
        request: Request,
        made_ready: list[Request],
        chunk: Chunk,
        say: Callable[[str], None],
    ) -> tuple[Request, Chunk, list[tuple[PairBatch, dict[str, Tensor]]]]:
        """Every batch of these rows with its scores, the request made ready, and the chunk that it came to.

        Where `made_ready` is empty it is filled.
        """

        def fitted(request: Request) -> Request:
            tokens, most, rows = chunk
            return replace(request, tokens_per_forward=tokens, rows_per_forward=rows, pairs_per_batch=most, kept=[])

        def shrink(length: int, count: int) -> Chunk:
            fits = smaller(chunk, model, length, count)
            say(f"Memory ran out: trying again with at most {fits.tokens} tokens in a forward and {fits.pairs} pairs.")
            return fits

        while not made_ready:
            if (ready := within_memory(partial(self.ready, model, pairs, fitted(request)))) is None:
                chunk = shrink(pairs.longest, chunk.pairs)
            else:
                made_ready.append(ready)
        request = replace(made_ready[0], progress=request.progress)
        parts: list[tuple[PairBatch, dict[str, Tensor]]] = []
        waiting = list(pairs.batches(chunk.pairs, rows))[::-1]
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
        return request, chunk, parts

    def ready(self, model: Model, pairs: Pairs, request: Request) -> Request:
        """The request with what `prepare` and `design` make of all pairs: what `attribute` gets."""
        request = replace(request, prepared=self.prepare(model, pairs, request))
        return replace(request, design=self.design(model, pairs, request))

    def _batch_scores(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        with model.finite_in_the_end():
            found = {name: values.detach() for name, values in self.attribute(model, batch, request).items()}
            scores = {name: values for name, values in found.items() if name in KINDS}
            for kind in request.kinds:
                self._refuse_bad(scores.get(kind), model, kind, request, batch)
        result = {name: values.float().cpu() for name, values in found.items() if name not in KINDS}
        for kind in request.kinds:
            unmeasured = ~request.design[kind].measured
            values = scores[kind].float().cpu()
            result[kind] = values.masked_fill(unmeasured[(..., *[None] * request.by_position)], torch.nan)
        totals = self.totals(model, batch, request)
        if totals:
            everything = ({name: values.cpu() for name, values in some.items()} for some in (scores, totals))
            result["completeness"] = _completeness_error(*everything)
        return result

    def _refuse_wrong_types(self, model: Any, pairs: Any, components: Any) -> None:
        """A sentence for what is easily handed over in place of what is needed."""
        if not isinstance(model, Model):
            raise BenchmarkError(f"scores() needs a model from `load_model`, not {type(model).__name__}.")
        if not isinstance(pairs, Pairs):
            raise BenchmarkError(
                f"scores() needs pairs that were tokenised for the model, not {type(pairs).__name__}: use "
                "`task.pairs(model)`, or `make_pairs(model, [PromptPair(...)], logit_diff)`."
            )
        if isinstance(components, str) or (components is not None and not components):
            raise BenchmarkError(
                f"components is {components!r}; give a tuple of kinds, such as ({components or DEFAULT_KINDS[0]!r},)."
            )

    def _refuse_positions(self, components: Sequence[str], by_position: bool) -> None:
        """Refuse scores of places where the method has none, and other scores where only places have some."""
        if by_position and not self.by_position:
            raise BenchmarkError(f"Method {self.label!r} has no scores by position.")
        for kind in components:
            if kind in PLACES_ONLY and not by_position:
                raise BenchmarkError(
                    f"{titled(kind)} are scored by position only: {PLACES_ONLY[kind]}. Pass "
                    "by_position=True, or use `attribution-bench trace`."
                )

    def _refuse_bad(self, scores: Tensor | None, model: Model, kind: str, request: Request, batch: PairBatch) -> None:
        length = batch.clean.shape[1] if request.direction == "noising" else batch.both()[1].shape[1]
        shape = (len(batch), model.layers(kind), model.size(kind), *[length] * request.by_position)
        if scores is None or tuple(scores.shape) != shape:
            got = "nothing" if scores is None else f"shape {tuple(scores.shape)}"
            raise BenchmarkError(
                f"Method {self.label!r} returned {got} for kind {kind!r}; it must return [pair, layer, index"
                f"{', pos' * request.by_position}] {shape}."
            )
        if not torch.isfinite(scores[:, request.design[kind].measured.to(scores.device)]).all():
            raise BenchmarkError(f"Method {self.label!r} gave NaN or infinite scores for measured {plural(kind)}.")


@torch.no_grad()
def metrics(model: Model, pairs: Pairs, at_once: int | None = None) -> dict[str, Float[Tensor, " pair"]]:
    """The metric on the clean and on the corrupted prompts; NaN where there is no corrupted prompt.

    As many share a forward as free memory allows, if it isn't said.
    """
    at_once = at_once or whole_prompts(model, pairs.longest)
    found = {name: torch.full((len(pairs),), torch.nan, dtype=torch.float64) for name in ("clean", "corrupted")}
    for batch in pairs.batches(at_once):
        rows = torch.arange(len(batch))
        unpatched = model.run(batch.clean) if pairs.metric.needs_unpatched else None
        for name, prompts in (("clean", batch.clean), ("corrupted", batch.corrupted)):
            if prompts is not None:
                values = batch.value(model, prompts, rows, unpatched=unpatched)
                if values.shape != rows.shape:
                    raise BenchmarkError(
                        f"Metric {pairs.metric.name!r} gave shape {tuple(values.shape)} for {len(rows)} pairs; it must "
                        "give one number a pair."
                    )
                found[name][list(batch.index)] = values.cpu().double()
    return found


def _is_beside(name: str, kind: str) -> bool:
    """Whether it names something beside the scores of a kind: of all pairs, or of these components."""
    whose, _, _ = name.rpartition(".")
    return name not in (*KINDS, "completeness") and whose in ("", kind)


def _padded(scores: Tensor, longest: int) -> Tensor:
    """Scores of places, NaN behind the end of their prompts; others as they are."""
    return functional.pad(scores, (0, longest - scores.shape[3]), value=torch.nan) if scores.ndim == 4 else scores


def _completeness_error(scores: Mapping[str, Tensor], totals: Mapping[str, Tensor]) -> Float[Tensor, " pair"]:
    if "all" in totals:
        return (sum(values.flatten(1).sum(1) for values in scores.values()) - totals["all"]).abs()
    summed = {kind: scores[kind].flatten(total.ndim).sum(-1) for kind, total in totals.items()}
    errors = [(summed[kind] - total).abs().reshape(len(total), -1).amax(1) for kind, total in totals.items()]
    return torch.stack(errors).amax(0)
