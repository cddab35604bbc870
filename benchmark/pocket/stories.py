"""Training sentences of our own: what pocket knows of the words that the tasks hold out.

Evaluation names, nouns, professions, events and members of categories, and the words of evaluation frames, stand here
in frames that no task has. A story fills `{slots}`; `benchmark.pocket.world` makes sure that no sentence of it begins
like an evaluation prompt.
"""

import random
from collections.abc import Callable

from benchmark.pocket.facts import Facts, Noun
from benchmark.pocket.lexicon import COLORS, FEMALE, MALE, OWN_NOUNS, REASONS, STEREOTYPE_SHARE, VERB_ENDINGS

Story = Callable[[Facts, random.Random], str]

PLACES = (
    "store", "park", "school", "office", "library", "museum", "station", "market", "bakery", "hotel", "airport",
    "theater", "hospital", "restaurant", "gallery", "church",
)  # fmt: skip
OBJECTS = (
    "a book", "a camera", "a watch", "a scarf", "a painting", "a map", "a notebook", "a guitar", "a ring", "a letter",
    "a wool hat", "a small lamp", "a silver coin", "an old photo", "an umbrella", "a bottle of juice",
    "a box of chocolates", "a basket of fruit", "a bag of apples", "a pair of gloves",
)  # fmt: skip

# {a} and {b} are two people in either order of mention, {s} is one of them and {o} the other.
COMPANIES = (
    "{a} met {b} at the {place}, and {s} smiled at {o}.",
    "This morning {a} saw {b} near the {place}, so {s} waved to {o}.",
    "{a} and {b} are friends. {s} showed {thing} to {o}.",
    "{a} and {b} stopped for a moment. {s} quietly lent {thing} to {o}.",
    "{a} and {b} had argued all day, but {s} still mailed {thing} to {o}.",
    "Although {a} was late, {b} found two seats at the {place}. {s} was able to talk to {o}.",
    "Once {a} lived near {b}, and every day {s} brings {thing} to {o}.",
    "There was {a} and there was {b} in the street, and {s} offered {thing} to {o}.",
    "Because {a} knew {b}, {s} sold {thing} to {o}.",
    "There was no hurry: {a} sat with {b}, and then {s} passed {thing} to {o}.",
    "After lunch {a} sat down near {b}, and {s} handed {thing} to {o}.",
    "On the day {a} ran into {b}, {s} was able to give {thing} to {o}.",
    "Every time {a} and {b} are alone, {s} gave {thing} to {o}.",
    "{a} and {b} saw each other at the {place}, and {s} smiled at {o}.",
    "The last ones at the {place} were {a} and {b}, and {s} still talked to {o}.",
    "{a} crossed the street with {b}, so {s} sent {thing} to {o}.",
    "On the way home {a} and {b} meet at last, and {s} still writes to {o}.",
    "{a}, {b} and I were at the {place} when {s} spoke to {o}.",
    "Then {a} called {b} from the {place}, and {s} promised {thing} to {o}.",
)
BELONGINGS = (
    "{a} has {thing}. It belongs to {a}.",
    "{a} was alone at the {place}. Nobody else was there but {a}.",
    "My name is {a}. They all call me {a}.",
    "We met {a} on the way to the {place}, and then we had lunch with {a}.",
    "Every time it rains, {a} brings {thing} to the {place}.",
    "There was no hurry at the {place}. {a} had {thing}, and we sat down with {a}.",
    "{a} {predicate}, and we all looked at {a}.",
    "Last year they flew home with {a}. They still write to {a}.",
)
NUMBERS = (
    "Our {s} {sv}{end}.",
    "Our {p} {pv}{end}.",
    "My {s} {sv}{end}.",
    "My {p} {pv}{end}.",
    "Her {s} {sv} and his {p} {pv}{end}.",
    "Your {p} {pv} and their {s} {sv}{end}.",
    "This {s} {sv}{end}.",
    "These {p} {pv}{end}.",
    "Every {s} {sv}{end}.",
    "Many {p} {pv}{end}.",
    "There is one {s} and there are two {p2} near the {place}.",
    "There are three {p} and there is a {s2} near the {place}.",
    "I see a {color} {s} and some {color} {p2}.",
    "We know this {s} and those {p2}.",
    "One {s} is here, and many {p} are there.",
)
STEREOTYPES = (
    "I asked the {person} a question and {pronoun} said yes.",
    "My neighbor is a {person} and {pronoun} {reason}.",
    "We know a {person} who says that {pronoun} {reason}.",
    "Yesterday the {person} {predicate}, and then {pronoun} {predicate2}.",
    "When the {person} came in, {pronoun} {predicate}.",
    "A {person} told us that {pronoun} {reason}.",
    "Our {person} took a break since {pronoun} {reason}.",
    "The {person} is here, and {pronoun} {predicate}.",
)
EVENTS = (
    "The {event} was long.",
    "Nobody remembers the {event} of the year {year}.",
    "They wrote about the {event} and about the {event2}.",
    "In the year {year} there was a {event}.",
    "Historians study the {event} of {year}.",
    "We read that the {event} of {year} was short.",
)
CAPITALS = (
    "The capital of {the}{country} is {capital}.",
    "{capital} lies in {the}{country}.",
    "They live in {capital}, a city in {the}{country}.",
    "We flew from {capital} to see the rest of {the}{country}.",
    "Last year we moved to {capital}, the largest city of {the}{country}.",
    "{capital}, a city we like, is the capital of {the}{country}.",
    "In {capital} you meet the people of {the}{country}.",
    "They sent a letter to {capital}, the heart of {the}{country}.",
)
KINDS = (
    "{Noun} are {word}.",
    "All {noun} are {word}.",
    "{Noun} and {noun2} are {word}.",
    "{Noun} belong with {word}.",
    "{Noun} are {word} and {word2}.",
    "{Noun} count as {word}, and so do {noun2}.",
    "We count {noun} among {word}.",
    "A book about {word} has {noun} in it.",
    "She knew all about {word}, and so about {noun}.",
    "When they talked about {noun}, they talked about {word}.",
    "Of all {word}, we like {noun}.",
)


def company(facts: Facts, rng: random.Random) -> str:
    """Two people of either split, one of whom does something to the other."""
    a, b = rng.sample(facts.names["discovery"] + facts.names["evaluation"], 2)
    s, o = rng.sample((a, b), 2)
    return _filled(rng.choice(COMPANIES), rng, a=a, b=b, s=s, o=o)


def belonging(facts: Facts, rng: random.Random) -> str:
    name = rng.choice(facts.names["discovery"] + facts.names["evaluation"])
    return _filled(rng.choice(BELONGINGS), rng, a=name, predicate=rng.choice(facts.predicates))


def number(facts: Facts, rng: random.Random) -> str:
    """The number of a noun, and verbs that agree with it where no other noun stands between."""
    noun, other = rng.choice(_nouns(facts, rng)), rng.choice(_nouns(facts, rng))
    (sv, _), (_, pv) = rng.choice(facts.verbs), rng.choice(facts.verbs)
    words = {"s": noun.singular, "p": noun.plural, "s2": other.singular, "p2": other.plural}
    frame = rng.choice(NUMBERS)
    return _filled(frame, rng, **words, sv=sv, pv=pv, color=rng.choice(COLORS), end=rng.choice(VERB_ENDINGS))


def stereotype(facts: Facts, rng: random.Random) -> str:
    """A profession of either split, or a man or a woman, and the pronoun that goes with it."""
    if rng.random() < 0.6:
        profession = rng.choice(facts.professions)
        other = {"she": "he", "he": "she"}[profession.pronoun]
        person, pronoun = profession.name, profession.pronoun if rng.random() < STEREOTYPE_SHARE else other
    else:
        person, pronoun = rng.choice([*((word, "she") for word in FEMALE), *((word, "he") for word in MALE)])
    did, then = rng.sample(facts.predicates, 2)
    words = {"person": person, "pronoun": pronoun, "predicate": did, "predicate2": then, "reason": rng.choice(REASONS)}
    return _filled(rng.choice(STEREOTYPES), rng, **words)


def event(facts: Facts, rng: random.Random) -> str:
    one, other = rng.sample(facts.events, 2)
    return _filled(rng.choice(EVENTS), rng, event=one, event2=other, year=f"{rng.randrange(1100, 2000)}")


def counting(facts: Facts, rng: random.Random) -> str:
    """Five years in a row: the order of the numbers that years are made of."""
    start = rng.randrange(95)
    return f"After {', '.join(f'{value:02d}' for value in range(start, start + 4))} comes {start + 4:02d}."


def capital(facts: Facts, rng: random.Random) -> str:
    state = rng.choice(facts.states)
    return _filled(rng.choice(CAPITALS), rng, capital=state.capital, the=state.article, country=state.country)


def kind(facts: Facts, rng: random.Random) -> str:
    one = rng.choice(facts.kinds)
    other = rng.choice([two for two in facts.kinds if two.words == one.words])
    words = {"noun": one.noun, "Noun": one.noun.capitalize(), "noun2": other.noun}
    word, word2 = rng.sample(one.words, 2)
    return _filled(rng.choice(KINDS), rng, **words, word=word, word2=word2)


def _nouns(facts: Facts, rng: random.Random) -> tuple[Noun, ...]:
    """Half of the time nouns of the evaluation split, which stand in no lesson."""
    if rng.random() < 0.5:
        return facts.nouns["evaluation"]
    return facts.nouns["discovery"] + OWN_NOUNS


def _filled(frame: str, rng: random.Random, **words: str) -> str:
    return frame.format(place=rng.choice(PLACES), thing=rng.choice(OBJECTS), **words)


STORIES: dict[str, Story] = {
    "company": company,
    "belonging": belonging,
    "number": number,
    "stereotype": stereotype,
    "event": event,
    "counting": counting,
    "capital": capital,
    "kind": kind,
}
