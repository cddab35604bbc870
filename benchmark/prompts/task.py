"""A task is a value: what it measures, where its prompt pairs are, and how they become tokens."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any, get_args

from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.packaged import DATASETS, ROOT
from benchmark.prompts.dataset import SPLITS, PromptPair, digest, read_csv, with_answer_sets
from benchmark.prompts.metrics import Metric, logit_diff
from benchmark.prompts.pairs import Audit, Pairs, Source, audit, draw, named
from benchmark.prompts.public_csv import read_pairs
from benchmark.prompts.tokens import AnswerTokens, Check, Tokens


@dataclass(frozen=True)
class Truth:
    """What is known by construction about the components of a planted model.

    `effects[kind][layer, index]` is what a component does to this metric on this model, NaN where it helps the clean
    answer but no single number says how much. Components of these kinds that aren't named don't matter; about other
    kinds nothing is said. `planted` describes the circuit, `lesson` says why methods part on it.
    """

    effects: Mapping[str, Mapping[tuple[int, int], float | int]]
    model: str
    metric: str
    planted: str = ""
    lesson: str = ""

    def as_json(self) -> dict[str, Any]:
        rows = {
            kind: [
                (*component, None if isnan(effect) else float(effect)) for component, effect in sorted(found.items())
            ]
            for kind, found in self.effects.items()
        }
        return {**vars(self), "effects": rows}


@dataclass(frozen=True)
class Task:
    """A behaviour to attribute.

    Give either `dataset`, a CSV file beside the plugin or in the project's `datasets/`, or `prompt_pairs`.
    `generate` rebuilds the file from a fixed seed. `answer_tokens` says what an answer stands for: its first token
    after the prompt, or (`"one-token"`) only answers that are one token, where the i-th correct and the i-th incorrect
    answer are two forms of one word and are kept or left out together; `"continuation"`: the first token of the answer
    by itself, which goes on inside a word. `answer_sets` holds the answer lists that rows
    name (`@singular`) instead of spelling out. `check` names a reason to drop a row under a tokenizer, or returns
    None. `truth` says what is known where the task belongs to a planted model; `on_request` leaves a task out of
    `--tasks all`.
    """

    name: str
    title: str
    metric: Metric
    summary: str
    citation: str = ""
    dataset: str = ""
    prompt_pairs: Sequence[PromptPair] = ()
    generate: Callable[[], Iterable[PromptPair]] | None = None
    answer_tokens: AnswerTokens = "first-token"
    answer_sets: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    check: Check | None = None
    truth: Truth | None = field(default=None, hash=False)
    on_request: bool = False
    notes: tuple[str, ...] = ()  # what a reader should know of the rows
    pairs_file: str = ""  # the user's file that the rows are from
    source: Path | None = None  # the file that the plugin stands in, set on discovery

    def __post_init__(self) -> None:
        if self.answer_tokens not in get_args(AnswerTokens):
            known = get_args(AnswerTokens)
            raise BenchmarkError(
                f"Task {self.name!r}: answer_tokens is {self.answer_tokens!r}; choose {', '.join(known)}."
                f"{did_you_mean(str(self.answer_tokens), known)}"
            )
        if bool(self.dataset) == bool(self.prompt_pairs):
            raise BenchmarkError(f"Task {self.name!r}: give either dataset='FILE.csv' or prompt_pairs=[...].")

    @classmethod
    def from_csv(
        cls,
        file: str | Path,
        *,
        title: str | None = None,
        metric: Metric | None = None,
        like: "Task | None" = None,
        tokens: Tokens | None = None,
        corrupted_column: str | None = None,
    ) -> "Task":
        """A task of a file of one's own, named after it; `title` is the heading of its reports, by default the file.

        The columns `clean, corrupted, correct, incorrect` are enough. `like` is a task whose metric, answer sets and
        checks are to hold for these rows. A file in a public layout holds token ids: `tokens` are those of the
        tokenizer that it was made for. Raises BenchmarkError that names the file, and the line where a row is bad.

        >>> task = Task.from_csv("mine.csv", title="Capitals")  # doctest: +SKIP
        """
        path = Path(file)
        for name, given, wanted in (("metric", metric, Metric), ("like", like, Task)):
            if given is not None and not isinstance(given, wanted):
                raise BenchmarkError(f"from_csv(): {name} is {given!r}; give a {wanted.__name__}.")
        rows, notes = read_pairs(path, like.answer_sets if like else {}, tokens, corrupted_column)
        name = re.sub(r"[^\w.-]+", "-", path.stem).strip("-") or "pairs"
        base = like or cls(name, "", logit_diff, f"the pairs of {path.name}", prompt_pairs=rows)
        return replace(
            base, name=name, title=title or path.name, metric=metric or base.metric, prompt_pairs=rows, notes=notes,
            dataset="", citation="", generate=None, pairs_file=str(path),
        )  # fmt: skip

    def rows(self) -> list[PromptPair]:
        """All prompt pairs as text, both splits, with named answer sets written out."""
        if bad := [row for row in self.prompt_pairs if not isinstance(row, PromptPair)]:
            raise BenchmarkError(f"Task {self.name!r}: prompt_pairs holds a {type(bad[0]).__name__}, no PromptPair.")
        rows: Iterable[PromptPair] = (
            (replace(row, id=row.id or f"{self.name}-{number:04d}") for number, row in enumerate(self.prompt_pairs))
            if self.prompt_pairs
            else read_csv(self.dataset_path())
        )
        made = [with_answer_sets(row, self.answer_sets) for row in rows]
        if twice := [name for name, count in Counter(row.id for row in made).items() if count > 1]:
            raise BenchmarkError(
                f"Task {self.name!r}: the id {twice[0]!r} stands twice; ids name rows and must differ."
            )
        return made

    def digest(self) -> str:
        return digest(self.rows())

    def dataset_path(self) -> Path:
        """Where the CSV lies: beside the plugin, in a wheel's `benchmark/_datasets`, or in a checkout's `datasets/`."""
        beside = [self.source.parent] if self.source else []
        places = [*beside, *DATASETS]
        for place in places:
            if (place / self.dataset).is_file():
                return place / self.dataset
        raise BenchmarkError(
            f"Task {self.name!r} has no file {self.dataset!r} in {' or '.join(map(str, places))}. "
            f"`attribution-bench generate --tasks {self.name}` writes it where the task has a generator."
        )

    def pairs(
        self,
        model: Any,
        limit: int | None = 32,
        split: str = "evaluation",
        seed: int = 0,
        metric: Metric | None = None,
        paired: bool = False,
    ) -> Pairs:
        """Up to `limit` pairs of a split, in an order fixed by `seed`, tokenised for `model` and audited.

        `paired` leaves out rows without a corrupted prompt.
        """
        if not isinstance(getattr(model, "tokens", None), Tokens):
            raise BenchmarkError(f"pairs() needs a model from `load_model`, not {type(model).__name__}.")
        if limit is not None and limit < 1:
            raise BenchmarkError(f"limit is {limit}; give at least 1 pair, or None for all.")
        if split not in SPLITS:
            raise BenchmarkError(f"split is {split!r}; choose discovery or evaluation.")
        return draw(self.source_of_pairs, model.tokens, limit, split, seed, metric or self.metric, paired)

    def pairs_named(self, model: Any, ids: Sequence[str], metric: Metric | None = None) -> Pairs:
        """The pairs of these ids, in this order, tokenised for `model`; one that can't be used is an error."""
        return named(self.source_of_pairs, model.tokens, ids, metric or self.metric)

    def audit(self, tokens: Tokens) -> Audit:
        """What becomes of every row under a tokenizer."""
        return audit(self.source_of_pairs, tokens)

    @property
    def file(self) -> str:
        """The user's file that the rows or the task are from; empty for the project's own tasks."""
        plugin = self.source and self.source.resolve().parent != (ROOT / "tasks").resolve()
        return self.pairs_file or (str(self.source) if plugin else "")

    @property
    def source_of_pairs(self) -> Source:
        """What drawing pairs needs to know of a task."""
        return Source(self.name, self.rows(), self.answer_tokens, self.check, self.notes, self.file)
