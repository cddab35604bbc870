"""What is traced: one or two prompts with their tokens, what the model expects next, and what to beware of."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.prompts.align import Align
from benchmark.prompts.dataset import PromptPair, answers
from benchmark.prompts.metrics import Metric
from benchmark.prompts.pairs import Audit, Dropped, Pairs, TokenPair, make_pairs, without_answers
from benchmark.prompts.tokens import Tokens

LIKELIEST = 5


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model sees it: `labels` are its tokens as text, of which no two are the same.

    `likeliest`: the next tokens that the model holds to be likeliest, by token, logit and probability.
    """

    text: str
    ids: tuple[int, ...]
    labels: tuple[str, ...]
    likeliest: pd.DataFrame

    def __len__(self) -> int:
        return len(self.ids)


def one_pair(model: Model, pair: PromptPair, metric: Metric, align: Align | None) -> Pairs:
    """The pair as tokens, or the one prompt. An error shows both rows of tokens where their lengths differ."""
    pair = replace(pair, id=pair.id or "pair")
    if bool(pair.correct) != bool(pair.incorrect):
        raise BenchmarkError("Only one of the answers is given: name the correct and the incorrect one.")
    try:
        if pair.correct:
            return make_pairs(model, [pair], metric, align)
        if pair.corrupted is not None and metric.of_answers:
            raise BenchmarkError("Two prompts need a correct and an incorrect answer: --correct and --incorrect.")
        made = without_answers(pair, model.tokens, align)
        if isinstance(made, Dropped):
            raise BenchmarkError(f"These prompts can't be used with this model: {made}.{made.detail}")
    except BenchmarkError as error:
        if "differ in length" not in str(error):
            raise
        raise BenchmarkError(
            f"{error}\nSay which positions are the same with --align: edges (the common beginning, and all behind it "
            "counted from the end), end (counted from the end) or start."
        ) from None
    if metric.reads == "all" and len(made.clean) < 2:
        raise BenchmarkError(f"The metric {metric.name} needs a prompt of at least 2 tokens.")
    return Pairs("by hand", (made,), metric, len(model.tokens.prefix), Audit(1, 1, {}))


def seen(tokens: Tokens, text: str, ids: Sequence[int], logits: Float[Tensor, " vocab"]) -> Prompt:
    """The prompt with its labels and likeliest next tokens."""
    probabilities = logits.double().softmax(0)
    top = logits.topk(min(LIKELIEST, len(logits)))
    likeliest = pd.DataFrame(
        {
            "token": [tokens.word(token) for token in top.indices.tolist()],
            "logit": top.values.tolist(),
            "probability": probabilities[top.indices].tolist(),
        }
    )
    return Prompt(text, tuple(ids), labels(tokens, ids), likeliest)


def labels(tokens: Tokens, ids: Sequence[int]) -> tuple[str, ...]:
    """Each token as text; one that comes again gets its number."""
    words = [tokens.word(token).replace("\n", "⏎").replace("\t", "⇥") or "∅" for token in ids]
    count, met = Counter(words), Counter[str]()
    found = []
    for word in words:
        met[word] += 1
        found.append(f"{word} ({met[word]})" if count[word] > 1 else word)
    return tuple(found)


def cautions(pair: TokenPair, metric: Metric, clean: float, corrupted: float, ranks: dict[str, int]) -> tuple[str, ...]:
    """What makes a trace mean less than it seems to."""
    if not metric.of_answers:
        return ()
    said = []
    right, wrong = answers(pair.prompt.correct), answers(pair.prompt.incorrect)  # type: ignore[arg-type]
    for name, prompt in (("clean", pair.prompt.clean), ("corrupted", pair.prompt.corrupted)):
        words = set(re.findall(r"\w+", prompt)) if isinstance(prompt, str) else set()
        inside = [{text.strip() for text in side} & words for side in (right, wrong)]
        if bool(inside[0]) != bool(inside[1]):  # of a task such as IOI both stand there
            [held] = map(sorted, filter(None, inside))
            said.append(
                f"The {name} prompt itself holds {', '.join(map(repr, held))}: what is read at its end may not be the "
                "behaviour that you mean. Cut the prompt in front of the answer."
            )
    if pair.cut:
        said.append(f"{', '.join(map(repr, pair.cut))} is scored by its first token alone.")
    if corrupted == corrupted and clean <= corrupted:
        said.append(
            f"The metric is {clean:.3g} on the clean prompt and {corrupted:.3g} on the corrupted one: it doesn't fall, "
            "so that shares of the gap mean the opposite, or nothing. Are the answers or the prompts swapped?"
        )
    elif clean <= 0 and right:
        said.append(f"The model prefers the incorrect answer on the clean prompt too (metric {clean:.3g}).")
    for text, rank in ranks.items():
        if rank > 50:
            said.append(f"{text!r} is only the {rank}th likeliest next token of the clean prompt.")
    return tuple(said)


@torch.no_grad()
def last_logits(model: Model, ids: Sequence[int]) -> Float[Tensor, " vocab"]:
    return model.run(torch.tensor([list(ids)]))[0].float().cpu()
