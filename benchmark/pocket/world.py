"""The text pocket is trained on: lessons and stories, no sentence of which begins like an evaluation prompt."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmark.errors import BenchmarkError
from benchmark.pocket.facts import Facts, prompts
from benchmark.pocket.lessons import LESSONS
from benchmark.pocket.stories import STORIES

# Shares of the texts. Agreement has the largest one: it is the task that takes longest to learn.
MIXTURE = {
    "ioi": 0.08,
    "sva": 0.30,
    "greater-than": 0.12,
    "gender-bias": 0.04,
    "capital-country": 0.03,
    "hypernymy": 0.06,
    "company": 0.07,
    "belonging": 0.02,
    "number": 0.11,
    "stereotype": 0.04,
    "event": 0.01,
    "counting": 0.01,
    "capital": 0.03,
    "kind": 0.08,
}
_SENTENCE = re.compile(r"(?:^|(?<=[.:?] ))(?=\S)")


@dataclass(frozen=True)
class World:
    """Everything that can be said in pocket's world, drawn text by text."""

    facts: Facts = field(default_factory=Facts.gather)

    def texts(self, seed: int) -> Iterator[str]:
        """Training texts without end, the same ones for the same seed."""
        rng = random.Random(seed)
        sources, shares = list(MIXTURE), list(MIXTURE.values())
        makers = {**LESSONS, **STORIES}
        starts = _Starts(self.facts.held_out)
        while True:
            (source,) = rng.choices(sources, shares)
            text = makers[source](self.facts, rng)
            if found := starts.within(text):
                raise BenchmarkError(
                    f"The training text {text!r} ({source}) gives the evaluation prompt {found!r} away."
                )
            yield text

    def prompts(self) -> list[str]:
        """Every prompt of every task, both splits: what the vocabulary must cover beside the texts."""
        splits = self.facts.rows.values()
        return [prompt for rows in splits for split in rows.values() for row in split for prompt in prompts(row)]


class _Starts:
    """Finds held-out prompts at the beginning of a text or of any sentence in it."""

    def __init__(self, held_out: frozenset[str]) -> None:
        self.held_out = held_out
        self.lengths = sorted({len(prompt) for prompt in held_out})

    def within(self, text: str) -> str | None:
        """The held-out prompt that a sentence of the text begins with, or None."""
        for place in _SENTENCE.finditer(text):
            sentence = text[place.start() :]
            for length in self.lengths:
                if length > len(sentence):
                    break
                whole_words = not sentence[length : length + 1].isalpha()
                if whole_words and sentence[:length] in self.held_out:
                    return sentence[:length]
        return None
