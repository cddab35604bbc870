"""The `trace` command: what was asked, and what is printed."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmark.components import plural
from benchmark.engine.precision import dtype_named
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.models.catalogue import model_names
from benchmark.models.dictionaries import own
from benchmark.models.loading import load_model
from benchmark.prompts.dataset import PromptPair
from benchmark.running.plugins import discover
from benchmark.tracing.trace import PUBLISHED, STREAM, Trace, trace

_SHOWN = 3  # places of each kind


@dataclass(frozen=True)
class Asked:
    """A trace as it was asked for: the models (the last one is traced, the others are checkpoints before it)."""

    models: tuple[str, ...]
    row: str | PromptPair  # a task's pair as TASK:ID, or prompts
    options: dict[str, Any]
    load: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """What tells it from others: the prompts or the pair's name, and what is ablated."""
        if isinstance(self.row, str):
            prompts = [self.row]
        else:
            prompts = [text for text in (self.row.clean, self.row.corrupted) if isinstance(text, str)]
        ablated = self.options["replacement"] != "counterfactual"
        return [*prompts, *(self.options["what"] if ablated else ())]


def read_request(asked: argparse.Namespace) -> Asked:
    """Refuses what doesn't go together before any model is loaded."""
    named = re.fullmatch(r"([\w-]+):([\w-]+)", asked.prompt)
    if named and named[1] not in (tasks := discover(asked.plugins).tasks):
        hint = did_you_mean(named[1], tuple(tasks))
        raise BenchmarkError(f"{asked.prompt}: there is no task {named[1]!r}.{hint} A prompt has words between spaces.")
    if asked.replacement and not asked.ablate:
        raise BenchmarkError("--replacement says what --ablate puts in: two prompts replace each other's activations.")
    if named and (asked.corrupted or asked.correct or asked.incorrect):
        raise BenchmarkError(f"{asked.prompt} is a pair of a task: leave out the second prompt and the answers.")
    if asked.ablate and (asked.what or asked.corrupted):
        raise BenchmarkError("--ablate names kinds and takes one prompt alone: leave out --what and a second prompt.")
    kinds = [one.partition("=") for one in asked.ablate]
    if asked.replacement not in (None, "zero") and any(how for _, _, how in kinds):
        raise BenchmarkError(
            f"--ablate value={PUBLISHED} leaves biases, and no {asked.replacement}: leave out --replacement."
        )
    if wrong := [one for one, (_, said, how) in zip(asked.ablate, kinds, strict=True) if said and how != PUBLISHED]:
        raise BenchmarkError(f"--ablate {wrong[0]}: write KIND, or value={PUBLISHED}.")
    pair = PromptPair(asked.prompt, asked.corrupted, _one_or_all(asked.correct), _one_or_all(asked.incorrect))
    options = {
        "what": tuple(kind for kind, _, _ in kinds) or asked.what, "neurons": asked.neurons, "methods": asked.methods,
        "by_position": STREAM if asked.by_position is None else asked.by_position, "metric": asked.metric,
        "directions": (asked.direction,) if asked.direction else None, "align": asked.align, "patterns": asked.patterns,
        "ov": asked.ov, "replacement": (asked.replacement or "zero") if asked.ablate else "counterfactual",
        "published": tuple(kind for kind, _, how in kinds if how), "plugins": tuple(asked.plugins),
    }  # fmt: skip
    models = model_names(asked.model)
    load = {
        "device": asked.device, "prepend_bos": asked.prepend_bos, "revision": asked.revision,
        "dictionaries": own(models[-1], asked.what or (), asked.dictionaries),
        "dtype": dtype_named(asked.dtype), "matmul": asked.matmul,
    }  # fmt: skip
    return Asked(tuple(models), asked.prompt if named else pair, options, load)


def _one_or_all(texts: list[str]) -> Any:
    return texts[0] if len(texts) == 1 else tuple(texts)


def folder_of(asked: Asked) -> Path:
    """`traces/` and the first words of the prompts, or the name of the task's pair; and the model."""
    words = [re.sub(r"[^\w-]+", "-", text).strip("-")[:32].strip("-") or "prompt" for text in asked.texts]
    return Path("traces") / "-".join([*words, Path(asked.models[-1]).name])


def traced(asked: Asked) -> Trace:
    *before, last = asked.models
    model = load_model(last, **asked.load)
    options = asked.options
    pair: Any = asked.row
    if isinstance(asked.row, str):
        name, _, row = asked.row.partition(":")
        task = discover(options["plugins"]).task(name)
        pair = task.pairs_named(model, [row])
    checkpoints = {name: load_model(name, **asked.load | {"dictionaries": None}) for name in before}
    return trace(model, pair, checkpoints=checkpoints | ({last: model} if checkpoints else {}), **options)


def said(found: Trace) -> str:
    """What the terminal shows: tokens, what is likeliest next, metrics, and the strongest places of every kind."""
    lines = _tokens(found)
    for name, prompt in (("clean", found.clean), ("corrupted", found.corrupted)):
        if prompt is not None:
            shown = [f"{row.token!r} {row.logit:.2f} ({row.probability:.1%})" for row in prompt.likeliest.itertuples()]
            lines.append(f"next, {name}: {', '.join(shown)}")
    if found.clean_metric == found.clean_metric:
        other = f", {found.corrupted_metric:.4f} corrupted" if found.corrupted else ""
        lines.append(f"{found.metric}: {found.clean_metric:.4f} clean{other}")
    lines += [f"! {words}" for words in found.cautions]
    for method, direction in product(found.methods, found.directions):
        beside = f", by {method}" if len(found.methods) > 1 else ""
        lines.append(f"\nStrongest places, {direction}{beside}:")
        for kind in found.kinds:
            places = []
            for row in found.top(_SHOWN, kind, direction, method).itertuples():
                share = f" ({row.share:+.0%})" if row.share == row.share else ""
                where = f" at {row.token.strip()}" if row.position >= 0 else ""
                places.append(f"{row.component}{where} {row.score:+.3f}{share}")
            lines.append(f"  {plural(kind)}: {', '.join(places)}")
    return "\n".join(lines)


def _tokens(found: Trace) -> list[str]:
    """Both prompts' tokens one under the other, and a mark under those that differ."""
    if found.corrupted is None:
        return [f"clean      {' | '.join(found.clean.labels)}"]
    same = set(found.same_tokens())
    partner = dict(found.partners or ((at, at) for at in range(len(found.clean))))
    columns: list[tuple[str, str, bool]] = []
    done = 0
    for at, label in enumerate(found.clean.labels):
        other = partner.get(at)
        if other is not None:
            columns += [("", found.corrupted.labels[between], True) for between in range(done, other)]
            columns.append((label, found.corrupted.labels[other], (at, other) not in same))
            done = other + 1
        else:
            columns.append((label, "", True))
    columns += [("", label, True) for label in found.corrupted.labels[done:]]
    widths = [max(len(one), len(other)) for one, other, _ in columns]

    def row(cells: Sequence[Any]) -> str:
        return " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    marks = ["^" * width if differs else " " * width for (_, _, differs), width in zip(columns, widths, strict=True)]
    clean, corrupted = ([column[side] for column in columns] for side in (0, 1))
    return [f"clean      {row(clean)}", f"corrupted  {row(corrupted)}", f"           {'   '.join(marks).rstrip()}"]
