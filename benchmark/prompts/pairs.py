"""Prompt pairs as tokens: the audit that drops what a tokenizer can't carry, and batches of one token length."""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.errors import BenchmarkError
from benchmark.prompts.align import Align, Partners, partners
from benchmark.prompts.dataset import PromptPair, answers
from benchmark.prompts.metrics import Answers, Metric
from benchmark.prompts.tokens import AnswerTokens, Check, Tokens

MEAN_ROWS = 64  # discovery rows behind a mean replacement, drawn with seed 0


class Source(NamedTuple):
    """Where pairs come from: a task's name and rows, how its rows become tokens, and what is to be known of them."""

    name: str
    rows: Sequence[PromptPair]
    answer_tokens: AnswerTokens = "first-token"
    check: Check | None = None
    notes: tuple[str, ...] = ()
    file: str = ""  # the user's file that they are from

    def __str__(self) -> str:
        return f"task {self.name!r}" + f" ({self.file})" * bool(self.file)


@dataclass(frozen=True)
class TokenPair:
    """One pair that survived the audit."""

    prompt: PromptPair
    clean: tuple[int, ...]
    corrupted: tuple[int, ...] | None
    correct: tuple[int, ...]
    incorrect: tuple[int, ...]
    cut: tuple[str, ...] = ()  # answers of several tokens, of which the first one stands for all
    partners: Partners | None = None  # positions that are held to be the same, where lengths differ


class NothingCarried(BenchmarkError):
    """No row of a split survives the audit; `reasons` counts why."""

    def __init__(self, source: Source, split: str, tokens: Tokens, audit: "Audit") -> None:
        self.reasons = "; ".join(f"{count} x {reason}" for reason, count in audit.dropped.items())
        super().__init__(
            f"No {split} pair of {source} survives the audit under {_of(tokens)} "
            f"({self.reasons or 'the split is empty'}). "
            "`attribution-bench audit` shows the table; use another task, dataset or model."
        )


class Dropped(str):
    """Why a row can't be used; `detail` is what a person needs to see beside the reason."""

    detail: str

    def __new__(cls, reason: str, detail: str = "") -> "Dropped":
        made = super().__new__(cls, reason)
        made.detail = detail
        return made


@dataclass(frozen=True)
class Audit:
    """How many rows were read, how many survive, and how many fell to each reason.

    `examples` names the rows of each reason, with details. `cut`: in how many surviving rows an answer of several
    tokens is scored by its first one.
    """

    rows: int
    kept: int
    dropped: dict[str, int]
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)
    cut: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one token length: what a method attributes at once.

    `index` places each pair in the order in which the pairs were drawn; `bos` is how many tokens were put in front.
    `partners` are the positions of the clean and of the corrupted prompt that are held to be the same, for prompts of
    different lengths; without it, each is its own.
    """

    ids: tuple[str, ...]
    index: tuple[int, ...]
    clean: Int[Tensor, "pair pos"]
    corrupted: Int[Tensor, "pair pos"] | None
    answers: Answers
    metric_function: Metric
    bos: int
    partners: Partners | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def both(self) -> tuple[Int[Tensor, "pair pos"], Int[Tensor, "pair pos"]]:
        """Clean and corrupted tokens; an error where these pairs have no corrupted prompts."""
        if self.corrupted is None:
            raise BenchmarkError(f"Pair {self.ids[0]!r} has no corrupted prompt: use the replacement 'zero' or 'mean'.")
        return self.clean, self.corrupted

    def first_difference(self, noising: bool = True) -> int:
        """The first position at which any pair's prompts differ: before it, both runs are the same.

        It is one of the clean prompts if `noising`, else of the corrupted ones. Where prompts differ in length: the
        first one that has a partner, and not itself.
        """
        clean, corrupted = self.both()
        both = min(clean.shape[1], corrupted.shape[1])
        differ = (clean[:, :both] != corrupted[:, :both]).any(0).nonzero()[:, 0].tolist()
        if self.partners is None:
            return int(min([*differ, both - 1]))  # a drawn prompt may be the clean one
        first, base = min([*differ, both]), clean if noising else corrupted
        turned = self.partners if noising else tuple((there, here) for here, there in self.partners)
        return min((here for here, there in turned if here >= first or here != there), default=base.shape[1] - 1)

    def split(self, largest: int) -> list["PairBatch"]:
        """The same pairs in batches of at most `largest`."""
        return [self._rows(slice(start, start + largest)) for start in range(0, len(self), largest)]

    def _rows(self, rows: slice) -> "PairBatch":
        corrupted = None if self.corrupted is None else self.corrupted[rows]
        answers = Answers(self.answers.correct[rows], self.answers.incorrect[rows])
        ids, index = self.ids[rows], self.index[rows]
        return PairBatch(
            ids, index, self.clean[rows], corrupted, answers, self.metric_function, self.bos, self.partners
        )

    @property
    def vocabulary(self) -> Int[Tensor, " token"] | None:
        """The tokens whose logits the metric reads; None: all of them."""
        return self.answers.vocabulary() if self.metric_function.answers_only else None

    def metric(
        self,
        logits: Float[Tensor, "row *pos token"],
        pairs: Int[Tensor, " row"],
        vocabulary: Tensor | None = None,
        tokens: Int[Tensor, "row pos"] | None = None,
        unpatched: Float[Tensor, "row vocab"] | None = None,
    ) -> Float[Tensor, " row"]:
        """The metric of each row of logits, where row i belongs to pair `pairs[i]` of this batch.

        The logits are those of all tokens, or of those in `vocabulary`. `tokens` and `unpatched` are for metrics that
        read them.
        """
        answers = self.answers if vocabulary is None else self.answers.among(vocabulary)
        return self.metric_function(logits, answers.to(logits.device)[pairs.to(logits.device)], tokens, unpatched)

    def value(
        self,
        model: Any,
        tokens: Int[Tensor, "row pos"],
        pairs: Int[Tensor, " row"],
        edits: Any = None,
        unpatched: Float[Tensor, "pair vocab"] | None = None,
    ) -> Float[Tensor, " row"]:
        """The metric of whole runs of these prompts, a row a pair in `pairs`, under edits as `Model.run` takes them.

        `unpatched` saves running the clean prompts where the metric needs them.
        """
        if self.metric_function.needs_unpatched and unpatched is None:
            with torch.no_grad():
                unpatched = model.run(self.clean)
        logits = model.run(tokens, edits, reads=self.metric_function.reads)
        beside = None if unpatched is None else unpatched[pairs.to(unpatched.device)]
        return self.metric(logits, pairs, tokens=tokens.to(logits.device), unpatched=beside)


@dataclass(frozen=True, repr=False)
class Pairs:
    """Tokenised, audited pairs of one task; `discovery` are the rows behind a mean replacement.

    `notes` are what is to be known of the rows. `rows_of` gives all rows of a split that survive the audit: they take a
    while to find and are looked for once somebody wants them.
    """

    task: str
    pairs: tuple[TokenPair, ...]
    metric: Metric
    bos: int
    audit: Audit
    discovery: tuple[TokenPair, ...] = ()
    notes: tuple[str, ...] = ()
    rows_of: Callable[[str], Sequence[TokenPair]] = field(default=lambda split: (), compare=False)

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        lengths = sorted({len(pair.clean) for pair in self.pairs})
        tokens = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else f"{lengths[0] if lengths else 0}"
        first = f"\n  first: {self.pairs[0].prompt.clean!r} -> {self.pairs[0].prompt.correct!r}" if self.pairs else ""
        dropped = f", {sum(self.audit.dropped.values())} rows dropped" if self.audit.dropped else ""
        return f"Pairs of {self.task}: {len(self)} pairs of {tokens} tokens, {self.metric.name}{dropped}{first}"

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(pair.prompt.id for pair in self.pairs)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(prompt) for pair in self.pairs for prompt in (pair.clean, pair.corrupted or ()))

    def digest(self) -> str:
        """sha256 over all tokens that reach the model or the metric, in order."""
        rows = [(pair.clean, pair.corrupted, pair.correct, pair.incorrect) for pair in self.pairs]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def batches(self, largest: int = 32, among: Collection[int] | None = None) -> Iterator[PairBatch]:
        """The pairs by token length, at most `largest` in a batch: nothing is ever padded."""
        return self._batched(self.pairs, largest, among)

    def discovery_batches(self, largest: int = 32) -> Iterator[PairBatch]:
        return self._batched(self.discovery, largest)

    def refuse_replacement(self, replacement: str) -> None:
        """Say what these pairs lack for a replacement, if anything."""
        if replacement == "resample":
            self._refuse_no_donors()
        if replacement == "mean" and not self.discovery:
            raise BenchmarkError(
                f"Replacement 'mean' takes means over the discovery split, and task {self.task!r} has no rows there: "
                "add some, or use the replacement 'counterfactual' or 'zero'."
            )
        lacking = [pair.prompt.id for pair in self.pairs if pair.corrupted is None]
        if replacement == "counterfactual" and lacking:
            raise BenchmarkError(f"Pair {lacking[0]!r} has no corrupted prompt: use the replacement 'zero' or 'mean'.")

    def donors(self, pair: TokenPair) -> list[tuple[int, ...]]:
        """Prompts whose activations can replace the pair's at random: the corrupted ones, as long as its clean one, of
        the other rows of its split; the clean ones of rows that have no other.

        In an order that only the tokens fix.
        """
        others = (row for row in self.rows_of(pair.prompt.split) if row.prompt.id != pair.prompt.id)
        prompts = (row.clean if row.corrupted is None else row.corrupted for row in others)
        return sorted(prompt for prompt in prompts if len(prompt) == len(pair.clean))

    def _refuse_no_donors(self) -> None:
        lacking = [f"{pair.prompt.id} ({len(pair.clean)})" for pair in self.pairs if not self.donors(pair)]
        if len(lacking) == len(self) and not any(self.rows_of(pair.prompt.split) for pair in self.pairs):
            raise BenchmarkError(
                "Replacement 'resample' draws prompts from a task's other rows, and these pairs are by hand: take "
                "pairs of a task (`task.pairs(model)`; `Task.from_csv` makes one of your own), or use the replacement "
                "'counterfactual' or 'zero'."
            )
        if lacking:
            more = f" and {len(lacking) - 5} more" * (len(lacking) > 5)
            raise BenchmarkError(
                "Replacement 'resample' draws prompts of as many tokens from the other rows of a pair's split, and "
                f"task {self.task!r} has none for {', '.join(lacking[:5])}{more} (tokens in brackets): add rows of "
                "these lengths, leave these pairs out, or use the replacement 'counterfactual', 'zero' or 'mean'."
            )

    def refuse_other_tokens(self, tokens: Tokens) -> None:
        """Raise BenchmarkError where these are the tokens of another model's tokenizer."""
        for pair in self.pairs[:1]:
            texts = _texts([pair.prompt.clean], pair.prompt, tokens)
            if isinstance(texts, Dropped) or tuple(tokens.encode(texts[0])) not in (pair.clean, pair.corrupted):
                raise BenchmarkError(
                    f"These pairs of {self.task!r} were made for a model with another tokenizer: make them anew, "
                    "with `task.pairs(model)` or `make_pairs(model, ...)`."
                )

    def take(self, keep: Sequence[int]) -> "Pairs":
        """The pairs at these places, in this order."""
        return replace(self, pairs=tuple(self.pairs[place] for place in keep))

    def _batched(
        self, pairs: Sequence[TokenPair], largest: int, among: Collection[int] | None = None
    ) -> Iterator[PairBatch]:
        groups: dict[tuple[int, bool, Partners], list[int]] = {}
        for place, pair in enumerate(pairs):
            if among is not None and place not in among:
                continue
            group = (len(pair.clean), pair.corrupted is None, pair.partners or ())
            groups.setdefault(group, []).append(place)
        for (_, clean_only, _), places in sorted(groups.items()):
            for start in range(0, len(places), largest):
                chosen = places[start : start + largest]
                members = [pairs[place] for place in chosen]
                corrupted = None if clean_only else torch.tensor([pair.corrupted for pair in members])
                yield PairBatch(
                    ids=tuple(pair.prompt.id for pair in members),
                    index=tuple(chosen),
                    clean=torch.tensor([pair.clean for pair in members]),
                    corrupted=corrupted,
                    answers=Answers.of([p.correct for p in members], [p.incorrect for p in members]),
                    metric_function=self.metric,
                    bos=self.bos,
                    partners=members[0].partners,
                )


def make_pairs(model: Any, pairs: Sequence[PromptPair], metric: Metric, align: Align | None = None) -> Pairs:
    """Prompt pairs written by hand, for `model`. A pair that the audit would drop is an error that says why.

    `align` lets clean and corrupted prompts differ in length, and says which of their positions are the same
    (`prompts.align`).
    """
    pairs = [] if pairs is None or isinstance(pairs, PromptPair | str) else list(pairs)
    _refuse_wrong_types(model, pairs, metric)
    made: list[TokenPair] = []
    for number, row in enumerate(pairs):
        row = replace(row, id=row.id or f"pair-{number}")
        outcome = tokenise(row, model.tokens, align=align)
        if isinstance(outcome, Dropped):
            raise BenchmarkError(f"Pair {row.id!r} can't be used with this model: {outcome}.{outcome.detail}")
        made.append(outcome)
    return Pairs("by hand", tuple(made), metric, len(model.tokens.prefix), _all_kept(made))


def draw(
    source: Source, tokens: Tokens, limit: int | None, split: str, seed: int, metric: Metric, paired: bool = False
) -> Pairs:
    """Up to `limit` surviving rows of a split, in an order that `seed` fixes; the audit counts the rows looked at.

    `paired`: rows without a corrupted prompt drop.
    """
    kept, audit = _survivors(source, tokens, _shuffled(source.rows, split, seed), limit, paired)
    if not kept:
        raise NothingCarried(source, split, tokens, audit)
    return Pairs(source.name, tuple(kept), metric, len(tokens.prefix), audit, *_beside(source, tokens))


def _of(tokens: Tokens) -> str:
    return f"the tokenizer of {tokens.name!r}" if tokens.name else "this tokenizer"


def named(source: Source, tokens: Tokens, ids: Sequence[str], metric: Metric) -> Pairs:
    """The pairs of these ids, in this order. An id without a row, or whose row can't be used, is an error."""
    rows = {row.id: row for row in source.rows}
    made = []
    for name in ids:
        outcome = (
            tokenise(rows[name], tokens, source.answer_tokens, source.check)
            if name in rows
            else Dropped("there is no such row")
        )
        if isinstance(outcome, Dropped):
            raise BenchmarkError(f"Pair {name!r} of {source} can't be used: {outcome}.")
        made.append(outcome)
    return Pairs(source.name, tuple(made), metric, len(tokens.prefix), _all_kept(made), *_beside(source, tokens))


def _all_kept(made: Sequence[TokenPair]) -> Audit:
    return Audit(len(made), len(made), {}, cut=_counted_cuts(made))


def _counted_cuts(made: Iterable[TokenPair]) -> dict[str, int]:
    return dict(Counter(answer for pair in made for answer in pair.cut).most_common())


def _beside(
    source: Source, tokens: Tokens
) -> tuple[tuple[TokenPair, ...], tuple[str, ...], Callable[[str], Sequence[TokenPair]]]:
    """What pairs of a task know beside themselves: the rows behind a mean replacement, the same for every seed; the
    notes; all rows of a split."""

    @cache
    def rows_of(split: str) -> list[TokenPair]:
        return _survivors(source, tokens, [row for row in source.rows if row.split == split], None)[0]

    discovery = _survivors(source, tokens, _shuffled(source.rows, "discovery", 0), MEAN_ROWS)[0]
    return tuple(discovery), source.notes, rows_of


def audit(source: Source, tokens: Tokens) -> Audit:
    """Every row under a tokenizer: kept, or dropped for a counted reason."""
    return _survivors(source, tokens, source.rows, None)[1]


def tokenise(
    row: PromptPair,
    tokens: Tokens,
    answer_tokens: AnswerTokens = "first-token",
    check: Check | None = None,
    align: Align | None = None,
) -> TokenPair | Dropped:
    """The pair as tokens, with the first corrupted candidate that fits; or the reason why the first one doesn't."""
    first: Dropped | None = _misshapen(row)
    if first is not None:
        return first
    try:
        if check and (reason := check(tokens, row)):
            return Dropped(str(reason))
        for prompt, wrong in row.candidates():
            outcome = _candidate(row, prompt, wrong, tokens, answer_tokens, align)
            if isinstance(outcome, TokenPair):
                return outcome
            first = first or outcome
    except BenchmarkError as error:  # of this row alone
        return Dropped(str(error))
    return first or Dropped("there is no corrupted candidate")


def _misshapen(row: PromptPair) -> Dropped | None:
    """Why a row is no pair of prompts with answers, whatever the tokenizer."""
    several = isinstance(row.corrupted, list | tuple)
    prompts = [row.clean, *(row.corrupted if several else [row.corrupted])]  # type: ignore[misc]
    wrong = row.incorrect if several and isinstance(row.incorrect, list | tuple) else [row.incorrect]
    if not all(isinstance(prompt, str) or prompt is None for prompt in prompts) or row.clean is None:
        return Dropped("a prompt is no text")
    if "" in prompts:
        return Dropped("a prompt is empty")
    for side in (row.correct, *wrong):
        texts = [side] if isinstance(side, str) else side
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
            return Dropped("an answer is no text and no list of texts")
        if "" in texts:
            return Dropped("an answer is empty")
    return None


def _candidate(
    row: PromptPair,
    corrupted: str | None,
    wrong: tuple[str, ...],
    tokens: Tokens,
    answer_tokens: AnswerTokens,
    align: Align | None,
) -> TokenPair | Dropped:
    prompts = _texts([row.clean] if corrupted is None else [row.clean, corrupted], row, tokens)
    if isinstance(prompts, Dropped):
        return prompts
    encoded = [tuple(tokens.encode(prompt)) for prompt in prompts]
    if reason := _unusable(encoded, tokens, align):
        return reason
    sides = _answer_tokens(prompts, (answers(row.correct), wrong), tokens, answer_tokens)
    if isinstance(sides, Dropped):
        return sides
    (correct, incorrect), cut = sides
    chosen = replace(row, corrupted=corrupted, incorrect=wrong)
    return TokenPair(chosen, encoded[0], _second(encoded), correct, incorrect, cut, _partners(encoded, align))


def without_answers(row: PromptPair, tokens: Tokens, align: Align | None = None) -> TokenPair | Dropped:
    """The prompts alone as tokens, for metrics that read no answers; or why they can't be used."""
    texts = [text for text in (row.clean, row.corrupted) if isinstance(text, str)]
    prompts = _texts(texts, row, tokens)
    if isinstance(prompts, Dropped):
        return prompts
    encoded = [tuple(tokens.encode(prompt)) for prompt in prompts]
    if not all(encoded):
        return Dropped("a prompt is empty")
    if reason := _unusable(encoded, tokens, align):
        return reason
    return TokenPair(row, encoded[0], _second(encoded), (), (), partners=_partners(encoded, align))


def _second(encoded: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    return encoded[1] if len(encoded) > 1 else None


def _partners(encoded: Sequence[tuple[int, ...]], align: Align | None) -> Partners | None:
    """Which positions are the same, where the prompts differ in length."""
    return partners(*encoded, align) if align and len({len(ids) for ids in encoded}) > 1 else None  # type: ignore[arg-type, call-arg]


def _texts(prompts: list[str], row: PromptPair, tokens: Tokens) -> list[str] | Dropped:
    """The prompts as the tokenizer gets them: as they stand, or in its chat template."""
    if row.is_chat:
        return [tokens.chat(prompt, str(row.extra.get("system", ""))) for prompt in prompts]
    if any(map(tokens.brings_prefix, prompts)):
        front = tokens.decode(tokens.prefix)
        return Dropped(f"a prompt starts with {front!r}, which is put in front anyway (leave it out of the text)")
    return prompts


def _unusable(encoded: Sequence[tuple[int, ...]], tokens: Tokens, align: Align | None) -> Dropped | None:
    """Why a model can't take these prompts as they are, or side by side."""
    if not all(tokens.knows_all(ids[len(tokens.prefix) :]) for ids in encoded):
        return Dropped("a prompt has words unknown to the tokenizer")
    if missing := [token for ids in encoded for token in tokens.beyond(ids)]:
        return Dropped(
            f"a prompt has a token beyond the model's embedding of {tokens.vocabulary} rows",
            f" {tokens.decode([missing[0]])!r} is token {missing[0]}",
        )
    longest = max(map(len, encoded))
    if tokens.positions is not None and longest > tokens.positions:
        return Dropped(f"a prompt is longer than the model's {tokens.positions} positions", f" {longest} tokens")
    if len({len(ids) for ids in encoded}) > 1 and align is None:
        return Dropped("clean and corrupted differ in length", _side_by_side(encoded, tokens))
    if len(encoded) == 2 and encoded[0] == encoded[1]:
        return Dropped("clean equals corrupted")
    return None


def _answer_tokens(
    prompts: Sequence[str], sides: tuple[Sequence[str], Sequence[str]], tokens: Tokens, which: AnswerTokens
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[str, ...]] | Dropped:
    """First tokens of the correct and incorrect answers, and the answers that were cut to them.

    A token that would stand in both stands in neither. `one-token` keeps only places where the i-th correct and the
    i-th incorrect answer are both a single token.
    """
    texts = [text for side in sides for text in side]
    if which == "continuation":
        found: list[tuple[int, ...] | None] = [tokens.answer(text) for text in texts]
    else:
        found = tokens.following(prompts[0], texts)
        if None in found:
            joined = texts[found.index(None)]
            return Dropped(
                "prompt and answer join into other tokens (a space between them belongs in front of the answer)",
                f" {prompts[0][-12:] + joined!r}",
            )
        if prompts[-1][-8:] != prompts[0][-8:] and tokens.following(prompts[-1], texts) != found:
            return Dropped("an answer has other tokens after the corrupted prompt than after the clean one")
    told = _told_apart(tuple(texts), tuple(ids or () for ids in found), len(sides[0]), which)
    if isinstance(told, Dropped):
        return told
    (correct, incorrect), cut = told
    if not all(tokens.knows_all(side) and not tokens.beyond(side) for side in (correct, incorrect)):
        return Dropped("an answer is unknown to the tokenizer")
    return (correct, incorrect), cut


@lru_cache(maxsize=32)  # thousands of rows of a task have the same answers: all verbs of a language
def _told_apart(
    texts: tuple[str, ...], forms: tuple[tuple[int, ...], ...], n_correct: int, which: AnswerTokens
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[str, ...]] | Dropped:
    """First tokens of the correct answers, of which there are `n_correct`, and of the others; and what was cut."""
    right, wrong = forms[:n_correct], forms[n_correct:]
    if which == "one-token" and len(right) != len(wrong):
        return Dropped("there are not as many correct as incorrect answers, which one-token answers must be")
    if which == "one-token":
        kept = [pair for pair in zip(right, wrong, strict=True) if all(len(form) == 1 for form in pair)]
        right, wrong = tuple(pair[0] for pair in kept), tuple(pair[1] for pair in kept)
    correct, incorrect = ([form[0] for form in side if form] for side in (right, wrong))
    shared = set(correct) & set(incorrect)
    correct, incorrect = ([*dict.fromkeys(t for t in side if t not in shared)] for side in (correct, incorrect))
    if not correct or not incorrect:
        return Dropped("no answer is left: correct and incorrect share their first tokens")
    cut = [text for text, ids in zip(texts, forms, strict=True) if len(ids) > 1 and ids[0] not in shared]
    return (tuple(correct), tuple(incorrect)), () if which == "one-token" else tuple(dict.fromkeys(cut))


def _side_by_side(encoded: Sequence[Sequence[int]], tokens: Tokens) -> str:
    return "".join(f"\n  {len(ids)} tokens: {' | '.join(tokens.decode([token]) for token in ids)}" for ids in encoded)


def _survivors(
    source: Source, tokens: Tokens, rows: Iterable[PromptPair], limit: int | None, paired: bool = False
) -> tuple[list[TokenPair], Audit]:
    kept: list[TokenPair] = []
    seen: set[tuple[object, ...]] = set()
    dropped: dict[str, list[str]] = {}
    count = 0
    for row in rows:
        if limit is not None and len(kept) == limit:
            break
        count += 1
        outcome = tokenise(row, tokens, source.answer_tokens, source.check)
        if isinstance(outcome, TokenPair) and (outcome.clean, outcome.corrupted) in seen:
            outcome = Dropped("the same tokens as an earlier row")
        if paired and isinstance(outcome, TokenPair) and outcome.corrupted is None:
            outcome = Dropped("it has no corrupted prompt: use the replacement 'zero' or 'mean'")
        if isinstance(outcome, TokenPair):
            kept.append(outcome)
            seen.add((outcome.clean, outcome.corrupted))
        else:
            dropped.setdefault(str(outcome), []).append(f"{row.id}{':' * bool(outcome.detail)}{outcome.detail}")
    ordered = sorted(dropped.items(), key=lambda one: -len(one[1]))
    counts = {reason: len(named) for reason, named in ordered}
    examples = {reason: tuple(named) for reason, named in ordered}
    return kept, Audit(count, len(kept), counts, examples, _counted_cuts(kept))


def _shuffled(rows: Sequence[PromptPair], split: str, seed: int) -> list[PromptPair]:
    chosen = [row for row in rows if row.split == split]
    random.Random(seed).shuffle(chosen)
    return chosen


def _refuse_wrong_types(model: Any, pairs: Any, metric: Any) -> None:
    """A sentence for what is easily handed over in place of what is needed."""
    if not isinstance(getattr(model, "tokens", None), Tokens):
        raise BenchmarkError(f"make_pairs() needs a model from `load_model`, not {type(model).__name__}.")
    if not pairs or not all(isinstance(pair, PromptPair) for pair in pairs):
        raise BenchmarkError(
            "make_pairs() needs a list of PromptPair: make_pairs(model, [PromptPair(...)], logit_diff)."
        )
    if not isinstance(metric, Metric):
        raise BenchmarkError(f"metric is {metric!r}; give a Metric, such as `benchmark.logit_diff` or `prob_diff`.")
