"""What a reader should know before they believe a number on some pairs: one sentence each, the same words everywhere.

To add one: a function here that takes what was found and gives a sentence or nothing, and its line in `caveats`.
"""

from typing import NamedTuple

import torch

from benchmark.engine.model import Model
from benchmark.prompts.dataset import answers
from benchmark.prompts.pairs import Audit, Pairs, TokenPair
from benchmark.statistics.proportion import CHANCE, wilson
from benchmark.words import counted

LOOKED_AT = 16  # pairs whose answers' other spellings are tried
LIKELIER, WORTH_A_WORD = 10.0, 0.01  # times, and the least probability of the other spelling


class Spelling(NamedTuple):
    """A pair with an answer that is likelier with (or without) a space in front: both forms, with probabilities."""

    pair: str
    given: str
    probability: float
    other: str
    other_probability: float


def caveats(model: Model, pairs: Pairs, right: int, looked_at: int) -> tuple[str, ...]:
    """All that is to be said of these pairs on this model, of which `right` of `looked_at` are right."""
    found = spellings(model, pairs)
    said = [
        *pairs.notes,
        mostly_dropped(pairs.audit),
        cut(pairs.audit),
        at_chance(right, looked_at),
        spelled_otherwise(found, min(len(pairs), LOOKED_AT)),
    ]
    return tuple(filter(None, said))


def mostly_dropped(audit: Audit) -> str:
    """Where over half of the rows that were looked at can't be used."""
    lost = audit.rows - audit.kept
    if 2 * lost <= audit.rows:
        return ""
    reasons = "; ".join(f"{count} x {reason}" for reason, count in audit.dropped.items())
    return f"{lost} of {audit.rows} rows were dropped ({reasons}): what is left is no sample of the dataset."


def cut(audit: Audit) -> str:
    """Where answers have several tokens, of which the metric reads the first."""
    if not audit.cut:
        return ""
    most = [f"{answer!r} in {counted(count, 'pair')}" for answer, count in [*audit.cut.items()][:3]]
    more = f" and {len(audit.cut) - 3} more" if len(audit.cut) > 3 else ""
    what = "answer of several tokens is" if len(audit.cut) == 1 else "answers of several tokens are"
    return f"{len(audit.cut)} {what} scored by the first token alone: {', '.join(most)}{more}."


def at_chance(right: int, looked_at: int) -> str:
    """Where the model can't be told from one that guesses."""
    if not looked_at:
        return ""
    low, high = wilson(right, looked_at)
    if low > CHANCE:
        return ""
    pairs = counted(looked_at, "pair")
    return (
        f"The model is right on {right} of {pairs}, which isn't shown to be better than a guess between two answers "
        f"({CHANCE}; 95% interval {low:.2f} to {high:.2f}): agreement on a task that a model can't do says little."
    )


def spelled_otherwise(found: list[Spelling], of: int) -> str:
    """Where the model expects the answers with a space that they don't have, or without the one that they have."""
    if not found:
        return ""
    worst = max(found, key=lambda one: one.other_probability)
    return (
        f"In {len(found)} of {counted(of, 'pair')} the model finds an answer's other spelling far likelier: "
        f"{worst.other!r} {worst.other_probability:.2g}, {worst.given!r} {worst.probability:.2g} (pair {worst.pair}). "
        "Write the space that stands before an answer into the answer."
    )


@torch.no_grad()
def spellings(model: Model, pairs: Pairs) -> list[Spelling]:
    """The pairs, of the first few, with an answer that the model finds far likelier in its other spelling.

    A correct answer is looked at behind the clean prompt, an incorrect one behind the corrupted prompt.
    """
    found: dict[str, Spelling] = {}
    for batch in pairs.take(range(min(len(pairs), LOOKED_AT))).batches():
        for side, prompts in (("correct", batch.clean), ("incorrect", batch.corrupted)):
            if prompts is None:
                continue
            probabilities = model.run(prompts).float().softmax(-1).cpu()
            for place, prompt, row in zip(batch.index, prompts.tolist(), probabilities, strict=True):
                one = _other_spelling(model, pairs.pairs[place], side, prompt, row)
                if one and (one.pair not in found or one.other_probability > found[one.pair].other_probability):
                    found[one.pair] = one
    return list(found.values())


def _other_spelling(
    model: Model, pair: TokenPair, side: str, prompt: list[int], probabilities: torch.Tensor
) -> Spelling | None:
    likeliest = max(float(probabilities[token]) for token in getattr(pair, side))
    text = model.tokens.decode(prompt[len(model.tokens.prefix) :])
    found = []
    for given in answers(getattr(pair.prompt, side))[:8]:
        other = given[1:] if given.startswith(" ") else f" {given}"
        [ids] = model.tokens.following(text, [other]) if other else [None]
        if not ids or ids[0] in (*pair.correct, *pair.incorrect) or not model.tokens.knows(ids[0]):
            continue
        there = float(probabilities[ids[0]])
        if there >= WORTH_A_WORD and there > LIKELIER * likeliest:
            found.append(Spelling(pair.prompt.id, given, likeliest, other, there))
    return max(found, key=lambda one: one.other_probability, default=None)
