"""What pocket's tasks' datasets say about their world: names, nouns, professions, capitals and kinds of things."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from benchmark.prompts.dataset import SPLITS, PromptPair, answers
from benchmark.running.plugins import discover

TASKS = ("ioi", "sva", "greater-than", "gender-bias", "capital-country", "hypernymy")
Value = TypeVar("Value")
PEOPLE, RELATIONS, THINGS = "people", "relations", "things"


@dataclass(frozen=True)
class Noun:
    """A countable noun of the agreement task: its two forms and what kind of subject it makes."""

    singular: str
    plural: str
    kind: str


@dataclass(frozen=True)
class Profession:
    name: str
    pronoun: str


@dataclass(frozen=True)
class State:
    """A country with its capital; `article` is "the " or empty."""

    capital: str
    article: str
    country: str


@dataclass(frozen=True)
class Kind:
    """One plural noun of the hypernymy task with the words for what it is."""

    noun: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Rows of every task by split, and what can be read off them. All of it is text; nothing here knows a model."""

    rows: dict[str, dict[str, list[PromptPair]]]

    @classmethod
    def gather(cls) -> "Facts":
        tasks = discover().tasks
        found = {name: tasks[name].rows() for name in TASKS}
        return cls({name: {s: [row for row in rows if row.split == s] for s in SPLITS} for name, rows in found.items()})

    @cached_property
    def held_out(self) -> frozenset[str]:
        """Every prompt of the evaluation split: clean, corrupted, and each corrupted candidate."""
        rows = [row for splits in self.rows.values() for row in splits["evaluation"]]
        return frozenset(prompt for row in rows for prompt in prompts(row))

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """First names by split."""
        return {split: _distinct(row.extra["io"] for row in rows) for split, rows in self.rows["ioi"].items()}

    @cached_property
    def nouns(self) -> dict[str, tuple[Noun, ...]]:
        """Subject nouns by split, with their plural read off the two prompts of a row."""
        return {split: _distinct(_nouns(rows)) for split, rows in self.rows["sva"].items()}

    @cached_property
    def verbs(self) -> tuple[tuple[str, str], ...]:
        """Singular and plural form of every verb, without the space in front."""
        row = next(row for row in self.rows["sva"]["discovery"] if row.cluster in row.clean.split())
        forms = zip(answers(row.correct), answers(row.incorrect), strict=True)  # type: ignore[arg-type]
        return tuple((singular.strip(), plural.strip()) for singular, plural in forms)

    @cached_property
    def professions(self) -> tuple[Profession, ...]:
        rows = _both(self.rows["gender-bias"])
        return _distinct(Profession(row.cluster, row.extra["stereotype"]) for row in rows)

    @cached_property
    def predicates(self) -> tuple[str, ...]:
        """What the people of the gender task do: "left early", "was proud", ..."""
        rows = _both(self.rows["gender-bias"])
        return _distinct(row.template.removeprefix("The {profession} ").removesuffix(" because") for row in rows)

    @cached_property
    def events(self) -> tuple[str, ...]:
        return _distinct(row.extra["noun"] for row in _both(self.rows["greater-than"]))

    @cached_property
    def states(self) -> tuple[State, ...]:
        rows = _both(self.rows["capital-country"])
        return _distinct(
            State(row.extra["capital"], f"{row.extra['article']} ".lstrip(), str(row.correct).strip()) for row in rows
        )

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        rows = _both(self.rows["hypernymy"])
        return _distinct(Kind(row.extra["noun"], tuple(word.strip() for word in answers(row.correct))) for row in rows)


def prompts(row: PromptPair) -> list[str]:
    """The clean prompt of a row and all its corrupted candidates."""
    return [row.clean, *(prompt for prompt, _ in row.candidates() if prompt is not None)]


def _both(splits: dict[str, list[PromptPair]]) -> list[PromptPair]:
    return [row for split in SPLITS for row in splits[split]]


def _distinct(values: Iterable[Value]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(values))


def _nouns(rows: Sequence[PromptPair]) -> list[Noun]:
    people = {row.cluster for row in rows if row.template == "coordination"}
    relations = {row.cluster for row in rows if row.template == "of-noun"}
    found = []
    for row in rows:
        words = zip(_words(row.clean), _words(str(row.corrupted)), strict=True)
        (forms,) = ({clean, corrupted} for clean, corrupted in words if clean != corrupted)
        (plural,) = forms - {row.cluster}
        kind = PEOPLE if row.cluster in people else RELATIONS if row.cluster in relations else THINGS
        found.append(Noun(row.cluster, plural, kind))
    return found


def _words(prompt: str) -> list[str]:
    return prompt.replace(",", "").split()
