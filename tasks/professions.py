"""Two professions of opposite stereotype; he or she, by the stereotype of the first or against it."""

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmark.prompts.dataset import SPLITS, PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.task import Task
from tasks._professions import PROFESSIONS, PRONOUNS

SEED = 70
OPPOSITE = {"she": "he", "he": "she"}
# With "The" and the profession each is four tokens under the vocabularies of GPT-2 and SmolLM2.
FRAMES = {
    "discovery": (
        "knew that", "felt that", "complained that", "decided that",
        "left because", "ran because", "slept because", "spoke because",
    ),
    "evaluation": (
        "said that", "wrote that", "promised that", "argued that",
        "stayed because", "moved because", "stopped because", "returned because",
    ),
}  # fmt: skip


def generate() -> Iterator[PromptPair]:
    rng = random.Random(SEED)
    rows = [row for split in SPLITS for row in _rows(split, rng)]
    for number, row in enumerate(rows, start=1):
        yield replace(row, id=f"professions-{number:04d}")


def generate_anti() -> Iterator[PromptPair]:
    """The same rows with the prompts exchanged and the answers left where they are."""
    for row in generate():
        yield replace(
            row,
            id=row.id.replace("professions", "professions-anti"),
            clean=str(row.corrupted),
            corrupted=row.clean,
            extra={**row.extra, "stereotype": OPPOSITE[row.extra["stereotype"]]},
        )


def _rows(split: str, rng: random.Random) -> list[PromptPair]:
    """Each couple once in each frame, in one of its two orders; the orders take turns, over frames and over couples."""
    rows = []
    for number, (she, he, source) in enumerate(_couples(split, rng)):
        for place, did in enumerate(FRAMES[split]):
            stereotype, clean, corrupted = ("she", she, he) if (number + place) % 2 else ("he", he, she)
            rows.append(
                PromptPair(
                    clean=f"The {clean} {did}",
                    corrupted=f"The {corrupted} {did}",
                    correct=PRONOUNS[stereotype],
                    incorrect=PRONOUNS[OPPOSITE[stereotype]],
                    template=f"The {{profession}} {did}",
                    cluster=f"{she}/{he}",
                    split=split,
                    extra={"stereotype": stereotype, "source": source},
                )
            )
    return rng.sample(rows, len(rows))


def _couples(split: str, rng: random.Random) -> list[tuple[str, str, str]]:
    """Every profession in one couple of a she-word and a he-word, with the source of the she-word's stereotype."""
    words: dict[str, list[tuple[str, str]]] = {"she": [], "he": []}
    for (stereotype, source), named in PROFESSIONS[split].items():
        words[stereotype] += [(word, source) for word in named.split()]
    partners = rng.sample(words["he"], len(words["he"]))
    return [(she, he, source) for (she, source), (he, _) in zip(words["she"], partners, strict=True)]


professions = Task(
    name="professions",
    title="Professions",
    metric=logit_diff,
    summary="A profession is followed by the pronoun of its gender stereotype; the corrupted prompt has a profession "
    "of the other stereotype.",
    citation="marks2024; bolukbasi2016",
    dataset="professions.csv",
    generate=generate,
)
professions_anti = Task(
    name="professions-anti",
    title="Professions, against the stereotype",
    metric=logit_diff,
    summary="A profession is followed by the pronoun that goes against its gender stereotype: the pairs of "
    "`professions` with clean and corrupted prompt exchanged and the answers left where they were.",
    citation="marks2024; bolukbasi2016",
    dataset="professions_anti.csv",
    generate=generate_anti,
)
