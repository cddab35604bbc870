"""Training sentences of the tasks: discovery prompts with their answers, and variations on them.

A variation puts other words of the discovery split (or nouns of our own) in the places of a row's names, nouns and
years, so that a lesson never holds an evaluation prompt.
"""

import random
import re
from collections.abc import Callable, Mapping

from benchmark.pocket.facts import Facts, Noun
from benchmark.pocket.lexicon import FEMALE, HYPERNYM_ENDINGS, MALE, OWN_NOUNS, REASONS, STEREOTYPE_SHARE, VERB_ENDINGS
from benchmark.prompts.dataset import answers

Lesson = Callable[[Facts, random.Random], str]


def ioi(facts: Facts, rng: random.Random) -> str:
    """A discovery scene with two discovery names, ended by the one who did not act."""
    row = rng.choice(facts.rows["ioi"]["discovery"])
    io, subject = rng.sample(facts.names["discovery"], 2)
    return f"{_swap(row.clean, {row.extra['io']: io, row.extra['subject']: subject})} {io}."


def sva(facts: Facts, rng: random.Random) -> str:
    """A discovery construction with other nouns of the same kinds and numbers, and a verb that agrees."""
    row = rng.choice(facts.rows["sva"]["discovery"])
    prompt, verbs = rng.choice([(row.clean, row.correct), (str(row.corrupted), row.incorrect)])
    forms = {form: noun for noun in facts.nouns["discovery"] for form in (noun.singular, noun.plural)}
    swapped = {
        form: _form(_another(noun, facts, rng), form == noun.plural)
        for form, noun in forms.items()
        if form in prompt and re.search(rf"\b{form}\b", prompt)
    }
    verb = rng.choice(answers(verbs))  # type: ignore[arg-type]
    return f"{_swap(prompt, swapped)}{verb}{rng.choice(VERB_ENDINGS)}."


def greater_than(facts: Facts, rng: random.Random) -> str:
    """A discovery event in any century and year; each later ending of the century is equally likely."""
    row = rng.choice(facts.rows["greater-than"]["discovery"])
    century, year = rng.randrange(11, 20), rng.randrange(99)
    begun = re.sub(r"\b\d{4}\b", f"{century}{year:02d}", row.clean).removesuffix(row.extra["century"])
    return f"{begun}{century}{rng.randrange(year + 1, 100):02d}."


def gender_bias(facts: Facts, rng: random.Random) -> str:
    """A discovery profession, or a man or a woman, did something and the pronoun follows."""
    row = rng.choice(facts.rows["gender-bias"]["discovery"])
    if rng.random() < 0.5:
        pronoun, other = answers(row.correct)[0].strip(), answers(row.incorrect)[0].strip()  # type: ignore[arg-type]
        said = pronoun if rng.random() < STEREOTYPE_SHARE else other
        return f"{row.clean} {said} {rng.choice(REASONS)}."
    person, pronoun = rng.choice([*((word, "she") for word in FEMALE), *((word, "he") for word in MALE)])
    return f"{_swap(row.clean, {row.cluster: person})} {pronoun} {rng.choice(REASONS)}."


def capital_country(facts: Facts, rng: random.Random) -> str:
    row = rng.choice(facts.rows["capital-country"]["discovery"])
    return f"{row.clean}{row.correct}."


def hypernymy(facts: Facts, rng: random.Random) -> str:
    row = rng.choice(facts.rows["hypernymy"]["discovery"])
    return f"{row.clean}{rng.choice(answers(row.correct))}{rng.choice(HYPERNYM_ENDINGS)}."


LESSONS: dict[str, Lesson] = {
    "ioi": ioi,
    "sva": sva,
    "greater-than": greater_than,
    "gender-bias": gender_bias,
    "capital-country": capital_country,
    "hypernymy": hypernymy,
}


def _swap(text: str, new: Mapping[str, str]) -> str:
    """All words replaced at once, so that two names can change places."""
    return re.sub(rf"\b({'|'.join(map(re.escape, new))})\b", lambda match: new[match[0]], text)


def _another(noun: Noun, facts: Facts, rng: random.Random) -> Noun:
    own = [mine for mine in OWN_NOUNS if mine.kind == noun.kind]
    return rng.choice([*(other for other in facts.nouns["discovery"] if other.kind == noun.kind), *own])


def _form(noun: Noun, plural: bool) -> str:
    return noun.plural if plural else noun.singular
