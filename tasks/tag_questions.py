"""Tag questions: "Yes, Sarah is hungry again, isn’t" is followed by " she", by the gender of the name alone."""

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmark.prompts.dataset import SPLITS, PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.task import Task

SEED = 60
PARTNERS = 3  # of each name
PRONOUNS = (" she", " he")

# Each name is one token behind a space under the vocabularies of GPT-2 and SmolLM2.
WOMEN = {
    "discovery": "Anna Laura Rachel Susan Jennifer Helen Margaret Julia Karen Emma Ruth Linda",
    "evaluation": "Sarah Emily Alice Elizabeth Maria Jane Lisa Michelle Jessica Rebecca Nancy Barbara",
}
MEN = {
    "discovery": "Robert David Peter Edward Matthew Henry Kevin George Philip Jason Anthony Steven",
    "evaluation": "William Richard Michael Andrew Joseph Paul Brian Eric Charles Stephen Patrick James",
}
# A word before the name: SmolLM2 can't tell the gender of a name that is the first token of a text (the card).
OPENINGS = {"discovery": ("So", "Well,"), "evaluation": ("Yes,", "Of course")}
# The tag has the auxiliary of its sentence, or a form of "do" where there is none.
TAGS = {"is": "isn’t", "was": "wasn’t", "can": "can’t", "has": "hasn’t", "will": "won’t", "does": "doesn’t"}
PREDICATES = {
    "discovery": {
        "is": ("is new to this office", "is waiting at the station", "is ready to leave", "is right about the weather"),
        "was": ("was late for the meeting", "was born in this town", "was on the train", "was asleep at noon"),
        "can": ("can see the lake from here", "can read this map", "can stay until Sunday", "can hear the rain"),
        "has": ("has lost the key", "has seen this film", "has lived here for years", "has missed the last bus"),
        "will": ("will be back by Friday", "will wait for us", "will need more time", "will hear the news soon"),
        "does": ("knows the way home", "lives across the street", "likes the new library", "speaks three languages"),
    },
    "evaluation": {
        "is": ("is at the airport now", "is glad to be here", "is hungry again", "is sitting by the window"),
        "was": ("was here this morning", "was very tired last night", "was sure of the answer", "was away last week"),
        "can": ("can come to the concert", "can explain the problem", "can find the address", "can take the tram"),
        "has": ("has finished the report", "has been to Canada", "has forgotten the password", "has read this book"),
        "will": ("will move to another city", "will call us tomorrow", "will arrive before dinner", "will vote today"),
        "does": ("works on the third floor", "remembers that summer", "walks to work", "wants another coffee"),
    },
}


def generate() -> Iterator[PromptPair]:
    rng = random.Random(SEED)
    rows = (row for split in SPLITS for construction in TAGS for row in _rows(split, construction, rng))
    for number, row in enumerate(rows, start=1):
        yield replace(row, id=f"tag-questions-{number:04d}")


def _rows(split: str, construction: str, rng: random.Random) -> Iterator[PromptPair]:
    """Each couple in both orders; the frames take turns, and the two orders of a couple stand in different ones."""
    frames = [
        f"{OPENINGS[split][place % 2]} {{name}} {predicate}, {TAGS[construction]}"
        for place, predicate in enumerate(PREDICATES[split][construction])
    ]
    for number, couple in enumerate(_couples(split, rng)):
        for she_or_he in (0, 1):
            frame = frames[(number + she_or_he) % len(frames)]
            yield PromptPair(
                clean=frame.format(name=couple[she_or_he]),
                corrupted=frame.format(name=couple[1 - she_or_he]),
                correct=PRONOUNS[she_or_he],
                incorrect=PRONOUNS[1 - she_or_he],
                template=frame,
                cluster="+".join(couple),
                split=split,
                extra={"construction": construction},
            )


def _couples(split: str, rng: random.Random) -> list[tuple[str, str]]:
    """Each woman with three men and each man with three women, shuffled."""
    women, men = WOMEN[split].split(), MEN[split].split()
    couples = [(woman, men[(place + step) % len(men)]) for step in range(PARTNERS) for place, woman in enumerate(women)]
    return rng.sample(couples, len(couples))


tag_questions = Task(
    name="tag-questions",
    title="Tag questions",
    metric=logit_diff,
    summary="A sentence about a named person ends in a tag question, whose pronoun has the gender of the name; the "
    "corrupted prompt has a name of the other gender.",
    citation="mathwin2023",
    dataset="tag_questions.csv",
    generate=generate,
)
