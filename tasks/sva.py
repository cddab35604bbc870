"""Subject-verb agreement: after "The keys near the table" come " are" and " have" rather than " is" and " has"."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from benchmark.prompts.dataset import SPLITS, PromptPair
from benchmark.prompts.metrics import prob_diff
from benchmark.prompts.task import Task
from tasks._lexicon_sva import LARGE_THINGS, PEOPLE, RELATIONS, SMALL_THINGS, VERBS, Nouns

SEED = 20
ROWS_PER_CELL = 40  # a cell: construction, split, number of the subject, number of the distractor
NUMBERS = ("singular", "plural")

# Every verb before the answer is in the past tense, so the subject noun is all that tells its number.
CONSTRUCTIONS = {
    "simple": "The {adjective} {subject}",
    "prepositional": "The {subject} {place} the {other}",
    "of-noun": "The {subject} of the {other}",
    "subject-relative": "The {subject} who {past} the {other}",
    "object-relative": "The {subject} that the {other} {past}",
    "coordination": "The {subject} once {past} the {other} and now",
    "parenthetical": "The {subject}, {aside} the {other},",
}
FILLERS = {
    "place": ("near", "behind", "beside", "next to", "in front of", "close to"),
    "past": ("met", "praised", "helped", "admired", "blamed", "ignored", "greeted", "called", "visited", "warned"),
    "aside": ("according to", "unlike", "much like", "just like"),
}
PERSON_ADJECTIVES = ("kind", "clever", "quiet", "honest", "careful", "young", "old", "famous", "local", "new")
THING_ADJECTIVES = ("small", "large", "heavy", "broken", "old", "new", "red", "white", "expensive", "beautiful")


def generate() -> Iterator[PromptPair]:
    rng = random.Random(SEED)
    rows = (row for construction in CONSTRUCTIONS for split in SPLITS for row in _rows(construction, split, rng))
    for number, row in enumerate(rows, start=1):
        singular_or_plural = (row.subject_number, 1 - row.subject_number)
        clean, corrupted = (row.prompt(form) for form in singular_or_plural)
        correct, incorrect = (f"@{NUMBERS[form]}" for form in singular_or_plural)
        yield PromptPair(
            id=f"sva-{number:04d}",
            clean=clean,
            corrupted=corrupted,
            correct=correct,
            incorrect=incorrect,
            template=row.construction,
            cluster=row.subject[0],
            split=row.split,
            extra={"distractor": NUMBERS[row.other_number] if "other" in row.wording else "none"},
        )


@dataclass(frozen=True)
class _Row:
    construction: str
    split: str
    subject: tuple[str, str]
    subject_number: int
    other_number: int
    wording: dict[str, str]

    def prompt(self, number: int) -> str:
        return CONSTRUCTIONS[self.construction].format(subject=self.subject[number], **self.wording)


def _rows(construction: str, split: str, rng: random.Random) -> Iterator[_Row]:
    """Each of the four cells of a construction takes its subjects in turn, so that they come equally often."""
    seen: set[tuple[str, ...]] = set()
    for subject_number, other_number in product((0, 1), (0, 1)):
        scenes = _scenes(construction, split)
        rng.shuffle(scenes)
        for place in range(ROWS_PER_CELL):
            subject, others, adjectives = scenes[place % len(scenes)]
            other = [noun[other_number] for noun in others if noun != subject]
            options = {**FILLERS, "adjective": adjectives, "other": other}
            slots = [slot for slot in options if f"{{{slot}}}" in CONSTRUCTIONS[construction]]
            wording: dict[str, str] = {}
            while not wording or (subject[0], *wording.values()) in seen:
                wording = {slot: rng.choice(options[slot]) for slot in slots}
            seen.add((subject[0], *wording.values()))
            yield _Row(construction, split, subject, subject_number, other_number, wording)


def _scenes(construction: str, split: str) -> list[tuple[tuple[str, str], Nouns, Sequence[str]]]:
    """Each subject noun of a construction with the nouns that may distract from it and adjectives that suit it."""
    people, small, large = PEOPLE[split], SMALL_THINGS[split], LARGE_THINGS[split]
    if construction == "of-noun":
        return [(noun, people, ()) for noun in RELATIONS[split]]
    if construction not in ("simple", "prepositional"):
        return [(noun, people, ()) for noun in people]
    return [
        *((noun, large, PERSON_ADJECTIVES) for noun in people),
        *((noun, small, THING_ADJECTIVES) for noun in small),
        *((noun, large, THING_ADJECTIVES) for noun in large),
    ]


sva = Task(
    name="sva",
    title="Subject-verb agreement",
    metric=prob_diff,
    summary="The verb agrees in number with the subject noun, across phrases and clauses that hold a distractor noun; "
    "the corrupted prompt has the subject in the other number.",
    citation="newman2021",
    dataset="sva.csv",
    generate=generate,
    answer_tokens="one-token",
    answer_sets={number: [forms[place] for forms in VERBS] for place, number in enumerate(NUMBERS)},
)
