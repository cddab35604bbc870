"""Hypernymy: after "Roses, and other" come the words for what roses are, such as " flowers" and " plants"."""

import random
from collections.abc import Iterator
from itertools import product

from benchmark.prompts.dataset import SPLITS, PromptPair
from benchmark.prompts.metrics import prob_diff
from benchmark.prompts.task import Task
from tasks._lexicon_hypernymy import CATEGORIES, Category

SEED = 40
CANDIDATES = 10  # corrupted prompts a row, so that one has as many tokens as the clean prompt
FRAMES = {
    "start": "{noun}, and other",
    "talk": "We talked about {noun} and other",
    "book": "The book is about {noun} and other",
    "know": "They knew a lot about {noun} and other",
}
MIDDLE = ("talk", "book", "know")


def generate() -> Iterator[PromptPair]:
    rng = random.Random(SEED)
    number = 0
    for split, category in product(SPLITS, CATEGORIES):
        for place, noun in enumerate(_members(category, split)):
            for frame in ("start", MIDDLE[place % len(MIDDLE)]):
                number += 1
                wrong = _wrong(category, noun, split, rng)
                yield PromptPair(
                    id=f"hypernymy-{number:04d}",
                    clean=_prompt(frame, noun),
                    corrupted=[_prompt(frame, other) for other, _ in wrong],
                    correct=category.words,
                    incorrect=[words for _, words in wrong],
                    template=frame,
                    cluster=category.name,
                    split=split,
                    extra={"noun": noun},
                )


def _members(category: Category, split: str) -> tuple[str, ...]:
    """Every other member: no noun stands in both splits, neither clean nor corrupted."""
    return category.members[SPLITS.index(split) :: 2]


def _wrong(category: Category, noun: str, split: str, rng: random.Random) -> list[tuple[str, tuple[str, ...]]]:
    """Nouns of unrelated categories, about as long as `noun`, each with its category's words."""
    unrelated = [other for other in CATEGORIES if not other.domains & category.domains]
    return [
        (min(rng.sample(_members(other, split), 3), key=lambda member: abs(len(member) - len(noun))), other.words)
        for other in rng.sample(unrelated, CANDIDATES)
    ]


def _prompt(frame: str, noun: str) -> str:
    return FRAMES[frame].format(noun=noun.capitalize() if frame == "start" else noun)


hypernymy = Task(
    name="hypernymy",
    title="Hypernymy",
    metric=prob_diff,
    summary="A list that starts with one kind of thing goes on with the word for all of them (roses and other "
    "flowers); the corrupted prompt has a noun of another category.",
    citation="hanna2024",
    dataset="hypernymy.csv",
    generate=generate,
)
