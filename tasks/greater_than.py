"""Greater-than: an event that began in 1745 can't end before 1745."""

import itertools
import random
import re
from collections.abc import Iterator

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import prob_diff
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens

FRAMES = {
    "lasted": "The {noun} lasted from the year {century}{year:02d} to the year {century}",
    "began": "The {noun} began in the year {century}{year:02d} and ended in the year {century}",
    "went-on": "Historians say that the {noun} went on from the year {century}{year:02d} until the year {century}",
}
DISCOVERY_NOUNS = (
    "war", "siege", "trial", "voyage", "famine", "rebellion", "partnership", "investigation", "project", "blockade",
    "drought", "journey", "truce", "occupation", "negotiation", "mission", "exile", "migration", "restoration",
    "plague", "monopoly", "feud", "regency", "excavation",
)  # fmt: skip
EVALUATION_NOUNS = (
    "campaign", "expedition", "dispute", "uprising", "epidemic", "construction", "alliance", "crusade", "marriage",
    "conflict", "embargo", "reign", "survey", "pilgrimage", "experiment", "rivalry", "shortage", "persecution",
    "friendship", "conquest", "lawsuit", "revolt", "dynasty", "correspondence",
)  # fmt: skip
CENTURIES = range(12, 19)  # GPT-2 has most 11xx years and all 19xx years as single tokens
FIRST_YEARS = range(2, 99)  # the corrupted prompt says 01, and after 99 nothing greater is left
CORRUPTED_YEAR = 1
NOT_SPLIT = "year not split as the metric needs"


def generate() -> Iterator[PromptPair]:
    """Every noun once in each of the 3 frames x 7 centuries; nouns of one split never stand in the other."""
    rng = random.Random(20230501)
    number = itertools.count(1)
    for split, nouns in (("discovery", DISCOVERY_NOUNS), ("evaluation", EVALUATION_NOUNS)):
        for century in CENTURIES:
            places = list(itertools.product(nouns, FRAMES))
            for (noun, frame), year in zip(places, rng.sample(FIRST_YEARS, len(places)), strict=True):
                yield _row(f"greater-than-{next(number):04d}", noun, frame, century, year, split)


def _row(id: str, noun: str, frame: str, century: int, year: int, split: str) -> PromptPair:
    return PromptPair(
        clean=FRAMES[frame].format(noun=noun, century=century, year=year),
        corrupted=FRAMES[frame].format(noun=noun, century=century, year=CORRUPTED_YEAR),
        correct=[f"{end:02d}" for end in range(year + 1, 100)],
        incorrect=[f"{end:02d}" for end in range(year + 1)],
        id=id,
        template=frame,
        cluster=noun,
        split=split,
        extra={"noun": noun, "century": str(century), "year": f"{year:02d}"},
    )


def year_is_split(tokens: Tokens, row: PromptPair) -> str | None:
    """Both first years must be the century's tokens followed by those of two digits, as at the end of the prompt."""
    for prompt in (row.clean, row.corrupted):
        year = re.search(r"\b(\d\d)(\d\d)\b", str(prompt))
        if year is None:
            return "no year with four digits"
        if tokens.answer(f" {year[0]}") != tokens.answer(f" {year[1]}") + tokens.answer(year[2]):
            return NOT_SPLIT
    return None


greater_than = Task(
    name="greater-than",
    title="Greater-than",
    metric=prob_diff,
    answer_tokens="continuation",
    summary="An event has a first year, and its last year must be greater. The corrupted prompt sets the first year's "
    "last two digits to 01. Where digits are single tokens, the tens digit of the last year is what counts.",
    citation="hanna2023",
    dataset="greater_than.csv",
    generate=generate,
    check=year_is_split,
)
