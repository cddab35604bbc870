"""Capital-country: which country a city is the capital of."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from tasks._capitals import capitals

DISCOVERY_FRAMES = {
    "is-the-capital": "{capital} is the capital city of",
    "on-the-map": "On the map we found {capital}, which is the capital of",
}
EVALUATION_FRAMES = {
    "the-capital-of": "{capital}, the capital of",
    "flew-to": "Last year they flew to {capital}, the capital city of",
}
CANDIDATES = 16
STEM = 5  # letters
SHARED = "answer's first token is shared by several countries"
NAMED = "the capital names its country"


@dataclass(frozen=True)
class State:
    """A country as it follows "the capital of": `article` is " the" for the Netherlands, and empty for France."""

    capital: str
    article: str
    name: str

    @property
    def stem(self) -> str:
        """States that begin alike (South Africa and South Korea, Niger and Nigeria) may share their first token."""
        return self.article + self.name[:STEM]

    def names(self, other: "State") -> bool:
        """Whether this state's capital has the other's first word in it, as Mexico City has Mexico's."""
        return other.name.split()[0] in self.capital.split()


def states() -> tuple[State, ...]:
    return tuple(
        State(capital, " the", name.removeprefix("the ")) if name.startswith("the ") else State(capital, "", name)
        for capital, name in capitals()
    )


def generate() -> Iterator[PromptPair]:
    """Every state in four frames, two a split. A state whose capital names it is never a partner."""
    rng = random.Random(20240326)
    stems = Counter(state.stem for state in states())
    partners = [state for state in states() if stems[state.stem] == 1 and not state.names(state)]
    frames = [("discovery", *frame) for frame in DISCOVERY_FRAMES.items()]
    frames += [("evaluation", *frame) for frame in EVALUATION_FRAMES.items()]
    for number, ((split, frame, text), state) in enumerate(itertools.product(frames, states()), start=1):
        chosen = _candidates(state, partners, rng)
        yield PromptPair(
            clean=text.format(capital=state.capital) + state.article,
            corrupted=[text.format(capital=other.capital) + state.article for other in chosen],
            correct=f" {state.name}",
            incorrect=[f" {other.name}" for other in chosen],
            id=f"capital-country-{number:04d}",
            template=frame,
            cluster=state.name,
            split=split,
            extra={"capital": state.capital, "article": state.article.strip()},
        )


def _candidates(state: State, partners: list[State], rng: random.Random) -> list[State]:
    """Other states in random order, first those whose capitals are about as long: tokens follow words and letters."""

    def distance(other: State) -> int:
        words = abs(len(state.capital.split()) - len(other.capital.split()))
        return 4 * words + abs(len(state.capital) - len(other.capital)) // 2

    others = [other for other in partners if other.article == state.article and other.stem != state.stem]
    others = [other for other in others if not other.names(state) and not state.names(other)]
    others = rng.sample(others, len(others))
    alike = sorted(others, key=distance)[: CANDIDATES // 2]
    return alike + [other for other in others if other not in alike][: CANDIDATES // 2]


def answer_is_telling(tokens: Tokens, row: PromptPair) -> str | None:
    """Drops what can't say whether the model knows the country: Mexico City's, and " South" (Africa, Korea, Sudan)."""
    if str(row.correct).split()[0] in re.findall(r"[\w-]+", row.clean):
        return NAMED
    article = " the" if row.clean.endswith(" the") else ""
    first = tokens.answer(str(row.correct))[0]
    sharing = [state for state in states() if state.article == article and tokens.answer(f" {state.name}")[0] == first]
    return SHARED if len(sharing) > 1 else None


capital_country = Task(
    name="capital-country",
    title="Capital-country",
    metric=logit_diff,
    summary="A capital is named and its country is asked for. The corrupted prompt names another country's capital, "
    "whose country is the incorrect answer.",
    citation="hanna2024",
    dataset="capital_country.csv",
    generate=generate,
    check=answer_is_telling,
)
