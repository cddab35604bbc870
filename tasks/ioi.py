"""Indirect object identification: who, of two named people, receives the object."""

import random
from collections.abc import Iterator
from dataclasses import replace

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.task import Task

# {a} and {b} are the two people in order of mention, {s} is the one of them who acts.
DISCOVERY_TEMPLATES = {
    "went": "When {a} and {b} went to the {place}, {s} gave {thing} to",
    "talking": "While {a} and {b} were talking at the {place}, {s} handed {thing} to",
    "arrived": "Yesterday {a} and {b} arrived at the {place} together, and {s} decided to give {thing} to",
    "left": "As soon as {a} and {b} left the {place}, {s} returned {thing} to",
    "waiting": "Last week {a} and {b} were waiting outside the {place} when {s} sold {thing} to",
    "home": "Before {a} and {b} drove home from the {place}, {s} promised {thing} to",
    "visit": "Soon after {a} and {b} had paid a visit to the {place}, {s} sent {thing} to",
    "long-day": "At the end of a long day at the {place}, {a} and {b} said goodbye, and {s} passed {thing} to",
    "dark": "It was still dark when {a} and {b} reached the {place}, and {s} offered {thing} to",
    "rumor": "People say that {a} and {b} became friends at the {place} when {s} lent {thing} to",
}
EVALUATION_TEMPLATES = {
    "met": "After {a} and {b} met at the {place}, {s} gave {thing} to",
    "sat": "Then {a} and {b} sat down near the {place}, and {s} passed {thing} to",
    "last-ones": "Because {a} and {b} were the last ones at the {place}, {s} quietly handed {thing} to",
    "seat": "Once {a} and {b} had found two seats at the {place}, {s} lent {thing} to",
    "on-the-way": "On the way to the {place}, {a} and {b} stopped for a moment, and {s} showed {thing} to",
    "sundays": "Every time {a} and {b} meet at the {place}, {s} brings {thing} to",
    "ran-into": "The day {a} and {b} ran into each other at the {place}, {s} sold {thing} to",
    "argued": "Although {a} and {b} had argued at the {place}, {s} still mailed {thing} to",
    "hurry": "There was no hurry as {a} and {b} crossed the street to the {place}, so {s} offered {thing} to",
    "alone": "This morning {a} and {b} were alone at the {place}, so {s} was able to give {thing} to",
}
ORDERS = ("ABBA", "BABA")
PLACES = (
    "store", "park", "school", "office", "library", "museum", "station", "market",
    "bakery", "hotel", "airport", "theater", "hospital", "restaurant", "gallery", "church",
)  # fmt: skip
THINGS = (
    "a book", "a camera", "a watch", "a scarf", "a painting", "a map", "a notebook", "a guitar",
    "a ring", "a letter", "a wool hat", "a small lamp", "a silver coin", "an old photo", "an umbrella",
    "a bottle of juice", "a box of chocolates", "a basket of fruit", "a bag of apples", "a pair of gloves",
)  # fmt: skip
# Each is one token after a space in GPT-2's and SmolLM2's vocabularies.
WOMEN = (
    "Alice", "Amanda", "Amy", "Angela", "Anna", "Barbara", "Catherine", "Christine", "Diana", "Elizabeth",
    "Emily", "Emma", "Hannah", "Helen", "Jane", "Jennifer", "Jessica", "Julia", "Karen", "Kate",
    "Laura", "Linda", "Lisa", "Lucy", "Maria", "Mary", "Nancy", "Rachel", "Sarah", "Susan",
)  # fmt: skip
MEN = (
    "Aaron", "Adam", "Alan", "Andrew", "Anthony", "Brian", "Charles", "Daniel", "David", "Edward",
    "Eric", "Fred", "George", "Henry", "Jacob", "James", "John", "Joseph", "Kevin", "Luke",
    "Matthew", "Michael", "Paul", "Peter", "Richard", "Robert", "Simon", "Stephen", "Thomas", "William",
)  # fmt: skip

TURNS = (0, 1, 3, 6, 8)  # which five of ten templates a name pair stands in, counted from its own place in the cycle
PARTNERS = 4  # every name stands in twice as many name pairs


def generate() -> Iterator[PromptPair]:
    """600 rows a split. Names and templates of one split never stand in the other."""
    rng = random.Random(20221101)
    women, men = rng.sample(WOMEN, len(WOMEN)), rng.sample(MEN, len(MEN))
    splits = (("discovery", DISCOVERY_TEMPLATES, 0), ("evaluation", EVALUATION_TEMPLATES, 1))
    number = 0
    for split, templates, half in splits:
        for row in _rows(templates, women[half::2] + men[half::2], rng):
            number += 1
            yield replace(row, id=f"ioi-{number:04d}", split=split)


def _rows(templates: dict[str, str], names: list[str], rng: random.Random) -> Iterator[PromptPair]:
    """Each name pair in five templates; templates, orders and roles are rotated so that all are equally frequent."""
    ids = list(templates)
    for number, (one, other) in enumerate(_name_pairs(names, rng)):
        cycle = number // len(ids)
        for turn, offset in enumerate(TURNS):
            template = ids[(number + offset) % len(ids)]
            order = ORDERS[(cycle + turn) % 2]
            io, subject = (one, other) if (cycle // 2 + turn // 2) % 2 else (other, one)
            a, b = (io, subject) if order == "ABBA" else (subject, io)
            scene = {"a": a, "b": b, "place": rng.choice(PLACES), "thing": rng.choice(THINGS)}
            yield PromptPair(
                clean=templates[template].format(s=subject, **scene),
                corrupted=templates[template].format(s=io, **scene),
                correct=f" {io}",
                incorrect=f" {subject}",
                template=template,
                cluster="+".join(sorted((io, subject))),
                extra={"order": order, "io": io, "subject": subject},
            )


def _name_pairs(names: list[str], rng: random.Random) -> list[tuple[str, str]]:
    """The names on a ring, each paired with the next four: no pair twice, every name equally often."""
    ring = rng.sample(names, len(names))
    steps = range(1, PARTNERS + 1)
    pairs = [(name, ring[(place + step) % len(ring)]) for step in steps for place, name in enumerate(ring)]
    return rng.sample(pairs, len(pairs))


ioi = Task(
    name="ioi",
    title="Indirect object identification",
    metric=logit_diff,
    summary="Two people are named and one of them acts again: the object goes to the other one. "
    "The corrupted prompt lets the other one act, so that the answer flips.",
    citation="wang2022",
    dataset="ioi.csv",
    generate=generate,
)
