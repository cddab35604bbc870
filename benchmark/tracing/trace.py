"""`trace`: the effect of any component at any position on one pair of prompts, and what the weights say of it."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from benchmark.components import DIRECTIONS, KINDS, PLACES_ONLY, component_name, plural, titled
from benchmark.engine.intervention import Intervention
from benchmark.engine.memory import fitting_chunk
from benchmark.engine.method import Method
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request
from benchmark.engine.weights import ov_circuit, unembedding_bias, value_bias
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.prompts.align import Align, Partners
from benchmark.prompts.dataset import PromptPair, answers
from benchmark.prompts.metrics import Metric, logit_diff, metric_named
from benchmark.prompts.pairs import Pairs
from benchmark.running.plugins import discover
from benchmark.tracing.subject import Prompt, cautions, last_logits, one_pair, seen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STREAM = ("residual", "attention", "mlp")  # looked at by position
LOOKED_AT = (*STREAM, "head")
EXACT = "activation-patching"
PUBLISHED = "published"  # an ablation that leaves what is there without any input, and spares no BOS
STRONGEST_PATTERNS, VECTORS, VECTOR_TOKENS = 4, 4, 8
ALL = "all"


@dataclass(frozen=True)
class Map:
    """Scores of one kind by one method in one direction, in units of the metric.

    `values` is `[layer, index, pos]`, with one position where scores are over all of them; NaN where nothing was
    measured: a layer that wasn't asked for, or a position that has no partner in the other prompt.
    """

    kind: str
    method: str
    direction: str
    by_position: bool
    values: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pattern:
    """Where one head looks, `[query, key]`, on each prompt."""

    layer: int
    head: int
    clean: np.ndarray[Any, Any]
    corrupted: np.ndarray[Any, Any] | None

    @property
    def name(self) -> str:
        return component_name("head", self.layer, self.head)


@dataclass(frozen=True, repr=False)
class Trace:
    """All that was found on one pair, or one prompt. The metrics are those of the unpatched prompts."""

    model: str
    metric: str
    replacement: str
    clean: Prompt
    corrupted: Prompt | None
    correct: tuple[str, ...]
    incorrect: tuple[str, ...]
    clean_metric: float
    corrupted_metric: float
    gap: float  # what a share is a share of; NaN where there is none
    maps: tuple[Map, ...]
    partners: Partners | None = None  # positions held to be the same, where the prompts differ in length
    patterns: tuple[Pattern, ...] = ()
    circuits: pd.DataFrame = field(default_factory=pd.DataFrame)
    bias: pd.DataFrame = field(default_factory=pd.DataFrame)
    cautions: tuple[str, ...] = ()
    formation: Mapping[str, Map] = field(default_factory=dict)  # the residual map at each checkpoint, in order
    seconds: float = 0.0

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.kind for one in self.maps))

    @property
    def directions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.direction for one in self.maps))

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.method for one in self.maps))

    def map(self, kind: str, direction: str | None = None, method: str | None = None) -> Map:
        """One kind's scores: by default those of the first method, in the first direction."""
        for one in self.maps:
            if one.kind == kind and direction in (None, one.direction) and method in (None, one.method):
                return one
        raise BenchmarkError(
            f"There are no scores of {kind!r}, {direction or 'any direction'}, {method or 'any method'}; there are "
            f"those of {', '.join(self.kinds) or 'nothing'}, {', '.join(self.directions)}, {', '.join(self.methods)}."
        )

    def base(self, direction: str) -> Prompt:
        """The prompt that is run and changed: its tokens are a map's positions."""
        return self.clean if direction == "noising" or self.corrupted is None else self.corrupted

    def same_tokens(self) -> tuple[tuple[int, int], ...]:
        """Positions of the clean and of the corrupted prompt that are held to be the same, and hold the same token."""
        if self.corrupted is None:
            return ()
        both = self.partners or tuple((at, at) for at in range(len(self.clean)))
        return tuple((one, other) for one, other in both if self.clean.ids[one] == self.corrupted.ids[other])

    def frame(self, kind: str, direction: str | None = None, method: str | None = None) -> pd.DataFrame:
        """A row a place that was measured: component, layer, index, position, token, score, share (of the gap).

        Where scores are over all positions, position is -1 and the token "all".
        """
        one = self.map(kind, direction, method)
        layer, index, position = (~np.isnan(one.values)).nonzero()
        scores = one.values[layer, index, position]
        size = one.values.shape[1]
        names = [component_name(kind, *at, size=size) for at in zip(layer.tolist(), index.tolist(), strict=True)]
        labels = self.base(one.direction).labels
        return pd.DataFrame(
            {
                "component": names,
                "layer": layer,
                "index": index,
                "position": position if one.by_position else -1,
                "token": [labels[at] for at in position] if one.by_position else ALL,
                "score": scores,
                "share": scores / self.gap,
            }
        )

    def top(
        self, k: int = 10, kind: str | None = None, direction: str | None = None, method: str | None = None
    ) -> pd.DataFrame:
        """The k places with the largest |score| of each kind, or of one, by the first method and direction."""
        frames = []
        for one in (kind,) if kind else self.kinds:
            frame = self.frame(one, direction, method)
            order = frame.score.abs().argsort(kind="stable")[::-1][:k]
            frames.append(frame.iloc[order].assign(kind=one))
        columns = ["kind", "component", "position", "token", "score", "share"]
        return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)

    def figure(self, kind: str, direction: str | None = None, method: str | None = None) -> "Figure":
        """A picture for a paper: a heat map layer x position, a map layer x head, or a dot a neuron."""
        from reports.trace.figures import drawn

        return drawn(self, self.map(kind, direction, method))

    def save(self, folder: str | Path) -> Path:
        """Write `trace.html`, `trace.json`, a CSV a kind, and every picture as PDF and PNG; gives the page's place."""
        from reports.trace.writing import write

        return write(self, Path(folder))

    def __repr__(self) -> str:
        two = f" / {self.corrupted.text!r}" if self.corrupted else ""
        lines = [f"Trace of {self.clean.text!r}{two} in {self.model}"]
        if not np.isnan(self.clean_metric):
            other = f", {self.corrupted_metric:.3f} corrupted" if self.corrupted else ""
            lines.append(f"  {self.metric}: {self.clean_metric:.3f} clean{other}")
        for kind in self.kinds:
            one = self.map(kind)
            places = [
                f"{row.component}{f' at {row.token.strip()!r}' if row.position >= 0 else ''} {row.score:+.3g}"
                for row in self.top(3, kind).itertuples()
            ]
            lines.append(f"  {plural(kind)} ({one.direction}): {', '.join(places)}")
        return "\n".join(lines)


def trace(
    model: Model,
    pair: PromptPair | Pairs | str,
    what: Sequence[str] | None = None,
    *,
    neurons: Sequence[int] = (),
    by_position: Collection[str] = STREAM,
    methods: Sequence[str] = (EXACT,),
    directions: Sequence[str] | None = None,
    replacement: str = "counterfactual",
    published: Collection[str] = (),
    metric: Metric | str | None = None,
    align: Align | None = None,
    patterns: Sequence[tuple[int, int]] = (),
    ov: Sequence[tuple[int, int]] = (),
    checkpoints: Mapping[str, Model] | None = None,
    plugins: Sequence[str] = (),
) -> Trace:
    """Score every component of the kinds in `what` on one pair of prompts, exactly, in both directions.

    `pair` is a PromptPair, a prompt alone, or one pair of a task (`task.pairs_named(model, ["ioi-0007"])`). Kinds in
    `by_position` are scored at each position, others over all of them; `neurons` names the layers whose neurons are
    scored besides. `metric` is by default the task's own, or logit_diff. Without a corrupted prompt, `replacement` is
    zero, mean or resample; kinds in `published` keep what is there without any input, and the BOS is replaced too.
    `patterns` and `ov` name heads (layer, head) whose attention patterns and OV circuits are wanted; the strongest
    heads' come by themselves. `checkpoints` are models of the same training: each gets a map of the residual stream.
    Raises BenchmarkError with both rows of tokens where the prompts differ in length and `align` says nothing.
    """
    started = time.perf_counter()
    asked_for = metric_named(metric) if isinstance(metric, str) else metric
    if not isinstance(pair, Pairs | PromptPair | str):
        raise BenchmarkError(
            f"trace() takes a PromptPair, a prompt as text, or one pair of a task, not {type(pair).__name__}."
        )
    if not isinstance(model, Model):
        raise BenchmarkError(f"trace() needs a model from `load_model`, not {type(model).__name__}.")
    if not isinstance(pair, Pairs):
        pair = PromptPair(pair, None, "", "") if isinstance(pair, str) else pair
        pairs = one_pair(model, pair, asked_for or logit_diff, align)
    else:
        pairs = pair if asked_for is None else replace(pair, metric=asked_for)
    chosen = pairs.metric
    if len(pairs) != 1:
        raise BenchmarkError(f"trace() looks into one pair, not {len(pairs)}: give `pairs.take([0])`.")
    [one] = pairs.pairs
    counterfactual = replacement == "counterfactual"
    if isinstance(what, str):
        raise BenchmarkError(f"what is {what!r}; give a tuple of kinds, such as ({what!r},).")
    can_score = one.corrupted is not None or not counterfactual
    if what is None:
        what = LOOKED_AT if can_score else ()
    what = tuple(dict.fromkeys((*what, *(["neuron"] * bool(neurons)))))
    _refuse_asked(model, what, by_position, can_score, neurons, patterns, ov)
    if replacement == "mean" and what and not pairs.discovery:
        raise BenchmarkError("A mean is taken over a task's discovery rows: take a pair of a task (TASK:ID), or zero.")
    if replacement == "resample" and what and not pairs.rows_of(one.prompt.split):
        raise BenchmarkError("Prompts are drawn from a task's other rows: take a pair of a task (TASK:ID), or zero.")
    known = bool(one.correct) or not chosen.of_answers  # whether the metric can be read
    if what and not known:
        raise BenchmarkError(
            f"The metric {chosen.name} reads the answers: give --correct and --incorrect, or take log_likelihood or kl."
        )
    directions = tuple(directions or (DIRECTIONS[::-1] if counterfactual else DIRECTIONS[:1]))
    [batch] = pairs.batches()
    rows = torch.arange(1)
    prompts = [one.clean] + ([one.corrupted] if one.corrupted is not None else [])
    logits = [last_logits(model, ids) for ids in prompts]
    texts = (one.prompt.clean, one.prompt.corrupted)
    shown = [seen(model.tokens, str(text), ids, row) for text, ids, row in zip(texts, prompts, logits, strict=False)]
    with torch.no_grad():
        values = [
            float(batch.value(model, tokens, rows)) if known else np.nan
            for tokens in (batch.clean, batch.corrupted)
            if tokens is not None
        ]
    clean_metric, corrupted_metric = (*values, np.nan)[:2]
    gap = clean_metric - corrupted_metric if counterfactual and chosen.reads == "last" else np.nan
    ranks = {model.tokens.word(token): int((logits[0] > logits[0][token]).sum()) + 1 for token in one.correct[:3]}
    registry = discover(plugins)
    maps: list[Map] = []
    for spec in methods:
        for direction in directions:
            for kind in what:
                method = _method(registry, spec, kind, neurons)
                asked = (method, spec, kind, direction, replacement, kind in by_position, neurons, kind in published)
                maps.append(_scored(model, pairs, *asked))
    heads = tuple(dict.fromkeys((*patterns, *_strongest(maps))))
    if not maps and not heads and "pattern" in model.kinds:
        heads = _looking_away(model, batch.clean)
    circuits = tuple(dict.fromkeys((*ov, *([] if ov or "value" not in model.kinds else heads[:2] if maps else []))))
    exact = _method(registry, EXACT, "residual", ())
    formation = {
        name: _scored(other, pairs, exact, EXACT, "residual", directions[0], replacement, True, (), False)
        for name, other in (checkpoints or {}).items()
    }
    said = (
        *cautions(one, chosen, clean_metric, corrupted_metric, ranks),
        *_of_maps(maps, chosen, clean_metric, corrupted_metric),
    )
    return Trace(
        model=model.name, metric=chosen.name, replacement=PUBLISHED if published else replacement, clean=shown[0],
        corrupted=shown[1] if len(shown) > 1 else None,
        correct=answers(one.prompt.correct) if one.correct else (),
        incorrect=answers(one.prompt.incorrect) if one.incorrect else (),  # type: ignore[arg-type]
        clean_metric=clean_metric, corrupted_metric=corrupted_metric, gap=gap, maps=tuple(maps), partners=one.partners,
        patterns=_patterns(model, batch.clean, batch.corrupted, heads), circuits=_circuits(model, circuits),
        bias=_bias(model, (*one.correct, *one.incorrect)), cautions=said, formation=formation,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _of_maps(maps: Sequence[Map], metric: Metric, clean: float, corrupted: float) -> list[str]:
    """What the scores themselves say not to believe."""
    said = []
    estimated = any(one.method == "attribution-patching" and one.direction == "noising" for one in maps)
    if estimated and metric.needs_unpatched:
        said.append(
            f"{metric.name} is at its largest on the clean prompt, so that its gradient is 0 there: what attribution "
            "patching gives for noising is rounding."
        )
    scale = max(abs(clean), abs(0.0 if np.isnan(corrupted) else corrupted))
    if maps and all(np.nanmax(np.abs(one.values), initial=0.0) < 1e-5 * scale for one in maps):
        said.append("No activation that was patched makes a difference: all scores are rounding.")
    return said


def _refuse_asked(
    model: Model,
    what: Sequence[str],
    by_position: Collection[str],
    can_score: bool,
    neurons: Sequence[int],
    patterns: Sequence[tuple[int, int]],
    ov: Sequence[tuple[int, int]],
) -> None:
    for kind in (*what, *by_position):
        if kind not in KINDS:
            raise BenchmarkError(f"There is no kind {kind!r}; choose {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    for kind in what:
        if kind in PLACES_ONLY and kind not in by_position:
            raise BenchmarkError(f"{titled(kind)} are looked at by position only: {PLACES_ONLY[kind]}.")
    if what and not can_score:
        raise BenchmarkError("One prompt has nothing to be patched with: give a second one, or --ablate KIND.")
    model.refuse(what)
    if out := [layer for layer in neurons if not 0 <= layer < model.n_layers]:
        raise BenchmarkError(f"--neurons {out[0]}: {model.name!r} has layers 0-{model.n_layers - 1}.")
    for asked, heads in {"patterns": patterns, "ov": ov}.items():
        for layer, head in heads:
            if not (0 <= layer < model.n_layers and 0 <= head < model.n_heads):
                raise BenchmarkError(
                    f"--{asked}: there is no head {layer}.{head}; {model.name!r} has layers 0-{model.n_layers - 1} "
                    f"with heads 0-{model.n_heads - 1}."
                )


def _method(registry: Any, spec: str, kind: str, neurons: Sequence[int]) -> Method:
    """The method; exact patching takes all neurons of the layers that were named."""
    if spec == EXACT and kind == "neuron":
        layers = f":layers={'+'.join(map(str, neurons))}" if neurons else ""
        return registry.method(f"{EXACT}:neurons=0{layers}")  # type: ignore[no-any-return]
    return registry.method(spec)  # type: ignore[no-any-return]


def _scored(
    model: Model,
    pairs: Pairs,
    method: Method,
    spec: str,
    kind: str,
    direction: str,
    replacement: str,
    by_position: bool,
    neurons: Sequence[int],
    published: bool,
) -> Map:
    if published:
        values = _published(model, pairs, method, kind, by_position)
    else:
        scores = method.scores(model, pairs, (kind,), replacement, direction, by_position=by_position)[kind]
        values = scores.values[0].double().numpy()
    values = values if by_position else values[..., None]
    [one] = pairs.pairs
    if by_position:
        length = len(one.clean) if direction == "noising" else len(one.corrupted or ())
        values = values[..., :length].copy()
        if one.partners is not None:
            have = [pair[direction == "denoising"] for pair in one.partners]
            values[..., [at for at in range(length) if at not in have]] = np.nan
    if kind == "neuron" and neurons:
        values = values.copy()
        values[[layer for layer in range(len(values)) if layer not in neurons]] = np.nan
    return Map(kind, spec, direction, by_position, values)


def _published(model: Model, pairs: Pairs, method: Method, kind: str, by_position: bool) -> Any:
    """Zero ablation that leaves a value's bias in, and replaces a BOS too."""
    if kind != "value" or method.label != EXACT:
        raise BenchmarkError(f"--ablate {kind}={PUBLISHED}: only values are ablated that way, by {EXACT}.")
    [batch] = pairs.batches()
    chunk = fitting_chunk(model, pairs.longest, gradients=False)
    request = Request(
        (kind,), "zero", tokens_per_forward=chunk.tokens, rows_per_forward=chunk.rows, by_position=by_position
    )
    run = Intervention(model, batch, request)
    for site in run.sites:
        run.replacement[site] = value_bias(model, site.layer).expand_as(run.live[site]).clone()
    effects = run.patch({site: torch.arange(model.size(kind)) for site in run.sites})
    return run.stacked(effects)[kind][0].double().cpu().numpy()


def _strongest(maps: Sequence[Map]) -> list[tuple[int, int]]:
    """The heads with the largest scores of the first map of heads."""
    for one in maps:
        if one.kind == "head":
            sizes = np.abs(np.nan_to_num(one.values)).max(2)
            order = np.argsort(-sizes, axis=None, kind="stable")[:STRONGEST_PATTERNS]
            return [(int(place) // sizes.shape[1], int(place) % sizes.shape[1]) for place in order]
    return []


@torch.no_grad()
def _looking_away(model: Model, tokens: torch.Tensor) -> tuple[tuple[int, int], ...]:
    """The heads whose last position looks least at the first token and at itself."""
    kept = model.activations(tokens, model.sites(("pattern",)))[1]
    away = torch.stack([value[0, -1, :, 1:-1].sum(-1) for value in kept.values()])  # [layer, head]
    order = away.flatten().argsort(descending=True, stable=True)[:STRONGEST_PATTERNS].tolist()
    return tuple(divmod(place, away.shape[1]) for place in order)


@torch.no_grad()
def _patterns(
    model: Model, clean: torch.Tensor, corrupted: torch.Tensor | None, heads: Sequence[tuple[int, int]]
) -> tuple[Pattern, ...]:
    if "pattern" not in model.kinds:
        return ()
    layers = sorted({layer for layer, _ in heads})
    sites = [Site("pattern", layer) for layer in layers]
    kept = [None if tokens is None else model.activations(tokens, sites)[1] for tokens in (clean, corrupted)]
    found = []
    for layer, head in heads:
        one, other = (
            None if seen is None else seen[Site("pattern", layer)][0, :, head].float().cpu().numpy() for seen in kept
        )
        found.append(Pattern(layer, head, one, other))  # type: ignore[arg-type]
    return tuple(found)


def _circuits(model: Model, heads: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """A row a singular vector and side: head, number, singular value, side (reads or writes), sign, tokens."""
    rows = []
    for layer, head in heads:
        circuit = ov_circuit(model, layer, head)
        for number in range(min(VECTORS, len(circuit.singular_values))):
            for side, logits in (("reads", circuit.reads[number]), ("writes", circuit.writes[number])):
                for sign in (1, -1):
                    top = (sign * logits).topk(min(VECTOR_TOKENS, len(logits))).indices.tolist()
                    name, value = component_name("head", layer, head), float(circuit.singular_values[number])
                    words = " ".join(repr(model.tokens.word(token)) for token in top)
                    rows.append((name, number, value, side, "+" if sign > 0 else "-", words))
    return pd.DataFrame(rows, columns=["head", "vector", "singular_value", "side", "sign", "tokens"])


def _bias(model: Model, tokens: Sequence[int]) -> pd.DataFrame:
    """What the answers get whatever the prompt: token, bias, and its odds against the first answer."""
    if not tokens:
        return pd.DataFrame()
    bias = unembedding_bias(model)
    found = [float(bias[token]) for token in tokens]
    return pd.DataFrame(
        {
            "token": [model.tokens.word(token) for token in tokens],
            "bias": found,
            "odds": np.exp(np.array(found) - found[0]),
        }
    )
