"""Metrics: from logits to one number a pair; higher is more like the clean answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.errors import BenchmarkError, did_you_mean

PADDING = -1


@dataclass(frozen=True)
class Answers:
    """Token ids of the correct and incorrect answers, a row a pair, padded on the right with -1."""

    correct: Int[Tensor, "pair correct"]
    incorrect: Int[Tensor, "pair incorrect"]

    @classmethod
    def of(cls, correct: Sequence[Sequence[int]], incorrect: Sequence[Sequence[int]]) -> "Answers":
        """From one list of token ids a pair; the lists may differ in length."""
        return cls(_padded(correct), _padded(incorrect))

    def __getitem__(self, pairs: Tensor) -> "Answers":
        return Answers(self.correct[pairs], self.incorrect[pairs])

    def to(self, device: torch.device) -> "Answers":
        return Answers(self.correct.to(device), self.incorrect.to(device))

    def vocabulary(self) -> Int[Tensor, " token"]:
        """Every token that is an answer somewhere, in order."""
        ids = torch.cat([self.correct.flatten(), self.incorrect.flatten()])
        return torch.tensor(sorted(set(ids.tolist()) - {PADDING}))

    def among(self, vocabulary: Int[Tensor, " token"]) -> "Answers":
        """The same answers, by their places in `vocabulary`."""
        places = (torch.searchsorted(vocabulary, ids).where(ids != PADDING, PADDING) for ids in self)
        return Answers(*places)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.correct, self.incorrect))


@dataclass(frozen=True)
class Metric:
    """A named function from logits to one number a pair.

    What it `reads` are the logits at the `last` position: `(logits [pair, vocab], answers) -> [pair]`, or those at
    `all` of them: `(logits [pair, pos, vocab], tokens [pair, pos]) -> [pair]`, where the tokens are the prompt's own.
    If it `needs_unpatched`, it gets one argument more: the clean prompt's logits `[pair, vocab]` at the last position.
    `answers_only` says that it reads no logit but the answers': then the others need not be computed.
    """

    name: str
    summary: str
    function: Callable[..., Float[Tensor, " pair"]]
    answers_only: bool = False
    reads: Literal["last", "all"] = "last"
    needs_unpatched: bool = False

    @property
    def of_answers(self) -> bool:
        """Whether it says how far correct answers are ahead of incorrect ones."""
        return self.reads == "last" and not self.needs_unpatched

    def __call__(
        self,
        logits: Float[Tensor, "pair *pos vocab"],
        answers: Answers,
        tokens: Int[Tensor, "pair pos"] | None = None,
        unpatched: Float[Tensor, "pair vocab"] | None = None,
    ) -> Float[Tensor, " pair"]:
        beside = (answers if self.reads == "last" else tokens, *((unpatched,) if self.needs_unpatched else ()))
        return self.function(logits, *beside)


def _padded(ids: Sequence[Sequence[int]]) -> Tensor:
    width = max((len(row) for row in ids), default=0)
    return torch.tensor([[*row, *[PADDING] * (width - len(row))] for row in ids], dtype=torch.long)


def _gathered(values: Float[Tensor, "pair vocab"], ids: Int[Tensor, "pair answer"], fill: float) -> Tensor:
    return values.gather(-1, ids.clamp(min=0)).masked_fill(ids == PADDING, fill)


def _logit_diff(logits: Float[Tensor, "pair vocab"], answers: Answers) -> Float[Tensor, " pair"]:
    correct = _gathered(logits, answers.correct, -torch.inf).logsumexp(-1)
    return correct - _gathered(logits, answers.incorrect, -torch.inf).logsumexp(-1)


def _prob_diff(logits: Float[Tensor, "pair vocab"], answers: Answers) -> Float[Tensor, " pair"]:
    probabilities = logits.softmax(-1)
    correct = _gathered(probabilities, answers.correct, 0.0).sum(-1)
    return correct - _gathered(probabilities, answers.incorrect, 0.0).sum(-1)


def _log_likelihood(logits: Float[Tensor, "pair pos vocab"], tokens: Int[Tensor, "pair pos"]) -> Float[Tensor, " pair"]:
    following = tokens[:, 1:, None]
    return logits[:, :-1].log_softmax(-1).gather(-1, following)[..., 0].mean(1)


def _kl(
    logits: Float[Tensor, "pair vocab"], answers: Answers, unpatched: Float[Tensor, "pair vocab"]
) -> Float[Tensor, " pair"]:
    wanted = unpatched.log_softmax(-1)
    return (wanted.exp() * (logits.log_softmax(-1) - wanted)).sum(-1)


logit_diff = Metric(
    "logit_diff",
    "logsumexp of the correct answers' logits minus logsumexp of the incorrect ones' "
    "(the log odds of a correct over an incorrect answer)",
    _logit_diff,
    answers_only=True,
)
prob_diff = Metric(
    "prob_diff",
    "summed probability of the correct answers minus summed probability of the incorrect ones",
    _prob_diff,
)
log_likelihood = Metric(
    "log_likelihood",
    "mean log probability of the prompt's own next tokens at all positions (minus the language-modelling loss)",
    _log_likelihood,
    reads="all",
)
kl = Metric(
    "kl",
    "minus KL(clean || patched) of the next token's distribution at the last position, in nats; 0 is the clean "
    "prompt's own",
    _kl,
    needs_unpatched=True,
)
METRICS = {metric.name: metric for metric in (logit_diff, prob_diff, log_likelihood, kl)}


def metric_named(name: str) -> Metric:
    """The metric of this name. Raises BenchmarkError that names the others."""
    if name not in METRICS:
        raise BenchmarkError(
            f"There is no metric {name!r}; choose {', '.join(METRICS)}.{did_you_mean(name, tuple(METRICS))}"
        )
    return METRICS[name]
