"""Gender bias: a profession with a gender stereotype calls for " she" or " he", and "woman" or "man" settles it."""

import random
from collections.abc import Iterator
from itertools import product

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.task import Task
from tasks._professions import PROFESSIONS, PRONOUNS

SEED = 30
OTHER_PERSON = {"she": "man", "he": "woman"}  # one token each, as every profession is
PREDICATES = {
    "discovery": (
        "left early", "smiled", "called home", "was tired", "stayed late", "was nervous", "sat down",
        "missed the train", "apologized", "was happy",
    ),
    "evaluation": (
        "went home", "laughed", "took a break", "was late", "felt sick", "was worried", "stood up", "slept badly",
        "complained", "was proud",
    ),
}  # fmt: skip


def generate() -> Iterator[PromptPair]:
    rng = random.Random(SEED)
    number = 0
    for split, groups in PROFESSIONS.items():
        people = [(word, *group) for group, words in groups.items() for word in words.split()]
        rows = list(product(people, PREDICATES[split]))
        rng.shuffle(rows)
        for (profession, pronoun, source), predicate in rows:
            number += 1
            yield PromptPair(
                id=f"gender-bias-{number:04d}",
                clean=f"The {profession} {predicate} because",
                corrupted=f"The {OTHER_PERSON[pronoun]} {predicate} because",
                correct=PRONOUNS[pronoun],
                incorrect=PRONOUNS["he" if pronoun == "she" else "she"],
                template=f"The {{profession}} {predicate} because",
                cluster=profession,
                split=split,
                extra={"stereotype": pronoun, "source": source},
            )


gender_bias = Task(
    name="gender-bias",
    title="Gender bias",
    metric=logit_diff,
    summary="A profession is followed by the pronoun of its gender stereotype; the corrupted prompt has `man` or "
    "`woman` in its place, whichever is of the other gender.",
    citation="vig2020",
    dataset="gender_bias.csv",
    generate=generate,
)
