"""Planted models in which attention does the work: it finds a word, looks one back, or looks elsewhere."""

from itertools import islice, permutations
from math import exp, nan

from benchmark.models.litmus.litmus import COLOURS, HARD, NOWHERE, WORDS, Litmus, slot, switches
from benchmark.models.litmus.planted import Head, Neuron
from benchmark.prompts.dataset import PromptPair

_LETTERS = "abcdef"
_SCORE, _SCALE = 4.0, 2.0  # the induction head's attention score for a match, and what a letter moved adds to its logit


def _copy_pairs() -> list[PromptPair]:
    """The picture stands second, third or fourth; the words around it say nothing."""
    pairs = []
    for split, colours in COLOURS.items():
        for number, colour in enumerate(colours):
            words = [".", colour, colours[number - 1], colours[number - 2]]
            clean, corrupted = ("cat", "dog") if number % 2 else ("dog", "cat")
            before, after = words[: 1 + number % 3], words[1 + number % 3 :]
            prompts = [" ".join([*before, animal, *after]) for animal in (clean, corrupted)]
            pair = PromptPair(prompts[0], prompts[1], f" {clean}", f" {corrupted}", cluster=colour, split=split)
            pairs.append(pair)
    return pairs


def _induction_pairs() -> list[PromptPair]:
    """`. X y Z w X`: what followed X? In the corrupted prompt X and Z change places, so that w follows X."""
    pairs = []
    for number, (x, y, z, w) in enumerate(islice(permutations(_LETTERS, 4), 0, 320, 10)):
        clean, corrupted = f". {x} {y} {z} {w} {x}", f". {z} {y} {x} {w} {x}"
        split = "discovery" if number % 2 else "evaluation"
        pairs.append(PromptPair(clean, corrupted, f" {y}", f" {w}", cluster=x + y + z + w, split=split))
    return pairs


# the clean metric: of six positions one matches; the corrupted one is its negative
_CLEAN = _SCALE * (exp(_SCORE) - 1) / (exp(_SCORE) + 5)


copy_head = Litmus(
    "copy-head",
    "Copy head",
    "Head 1.1 finds the animal, wherever it stands (QK), and writes it to the answer (OV).",
    "Where the head looks doesn't change between the prompts, and F is linear in what it moves: every method that uses "
    "the metric must see it.",
    _copy_pairs(),
    words={**WORDS, "cat": {"animal": 1, "cat": 1}, "dog": {"animal": 1, "dog": 1}},
    logits={"cat": {"say cat": 1}, "dog": {"say dog": 1}},
    heads=(Head(1, 1, {("one", "animal"): HARD}, [({"cat": 1}, {"say cat": 1.5}), ({"dog": 1}, {"say dog": 1.5})]),),
    bystanders=(Head(1, 3, {("one", "animal"): HARD}, [({"cat": 3}, NOWHERE)]), Neuron(1, 7, {"cat": 3}, NOWHERE)),
    citation="elhage2021",
    effects={"head": {(1, 1): 3}},
)

induction = Litmus(
    "induction",
    "Induction",
    "Head 0.0 writes to every position which letter stood before it; head 1.0 looks for the position whose letter "
    "before is the last letter, and moves the letter there to the answer (composition through keys).",
    "Head 0.0 acts through a softmax that is nearly sure, so F bends in its m: the slope at m = 1 is about a quarter "
    "of the way down to m = 0, and attribution patching gives head 0.0 that quarter. The integral over m is right. "
    "The joint path shares the chain between the two heads.",
    _induction_pairs(),
    words={".": {}, **{letter: {f"is {letter}": 1} for letter in _LETTERS}},
    logits={letter: {f"say {letter}": _SCALE} for letter in _LETTERS},
    heads=(
        Head(
            0, 0, {(f"at {place}", f"at {place - 1}"): HARD for place in range(1, 6)},
            [({f"is {letter}": 1}, {f"before {letter}": 1}) for letter in _LETTERS],
        ),
        Head(
            1, 0, {(f"is {letter}", f"before {letter}"): _SCORE for letter in _LETTERS},
            [({f"is {letter}": 1}, {f"say {letter}": 1}) for letter in _LETTERS],
        ),
    ),
    bystanders=(
        Head(1, 3, slot(1), [({f"is {letter}": 3}, NOWHERE) for letter in _LETTERS]),
        Neuron(1, 7, {f"is {letter}": number for number, letter in enumerate(_LETTERS)}, NOWHERE),
    ),
    citation="olsson2022",
    effects={"head": {(0, 0): 2 * _CLEAN, (1, 0): 2 * _CLEAN}},
)  # fmt: skip

backup_head = Litmus(
    "backup-head",
    "Backup head",
    "Head 0.0 reads the first switch and answers. Head 1.0 would read the second one to the same end, but looks away "
    "while head 0.0 has answered.",
    "With m0 = 0 head 1.0 wakes, so F is the same at both ends of every m: noising sees neither head. Attribution "
    "patching stays at m = 1, where head 1.0 sleeps, and sees head 0.0; so does denoising, which restores it alone. "
    "Head 1.0 shows only to those who take both away from the clean run: joint integrated gradients and Shapley "
    "values, noising, give a half each.",
    switches("on on", "off off"),
    heads=(
        Head(0, 0, slot(2), [({"on": 1}, {"yes": 1, "done": 1})]),
        Head(1, 0, {("one", "at 3"): 8, ("done", "at 0"): 16}, [({"on": 1}, {"yes": 1})]),
    ),
    citation="wang2022",
    effects={"head": {(0, 0): nan, (1, 0): nan}},
)
