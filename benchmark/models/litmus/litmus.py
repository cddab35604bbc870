"""What a litmus is: a planted model, the pairs that try it, and what is known about its components."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from benchmark.engine.model import Model
from benchmark.models.litmus.planted import Amount, Circuit, Features, Head, Neuron
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.task import Task, Truth

PREFIX = "litmus/"
COLOURS = {
    "evaluation": [
        "amber", "azure", "black", "blue", "brown", "coral", "cream", "gold", "green", "grey", "ivory", "jade", "lilac",
        "lime", "mauve", "navy",
    ],
    "discovery": [
        "ochre", "olive", "orange", "pearl", "pink", "plum", "purple", "red", "rose", "ruby", "rust", "silver", "tan",
        "teal", "violet", "white",
    ],
}  # fmt: skip
WORDS: Mapping[str, Features] = {
    ".": {}, "on": {"on": 1.0}, "off": {}, **{colour: {} for split in COLOURS.values() for colour in split}
}  # fmt: skip
HARD = 40.0  # an attention score that leaves e^-40 to everything else: nothing, in float32
NOWHERE: Features = {"nowhere": 1.0}  # nothing reads this feature


def slot(place: int) -> dict[tuple[str, str], Amount]:
    """Attention to one position, whatever stands there."""
    return {("one", f"at {place}"): HARD}


def switches(clean: str, corrupted: str) -> tuple[PromptPair, ...]:
    """Prompts `. COLOUR SWITCHES` with the answer yes: the colour only tells one pair from another."""
    return tuple(
        PromptPair(f". {colour} {clean}", f". {colour} {corrupted}", " yes", " no", cluster=colour, split=split)
        for split, colours in COLOURS.items()
        for colour in colours
    )


BYSTANDERS = (Head(1, 3, slot(2), [({"on": 3}, NOWHERE)]), Neuron(1, 7, {"on": 3}, NOWHERE))


@dataclass(frozen=True)
class Litmus:
    """A planted model with its pairs and what is true of it.

    `effects` says, for the kinds of component that are judged, which components matter and by how much: the metric's
    change when one of them alone is patched, the same for every pair and in both directions. NaN: it helps the clean
    answer, but no single number says how much. What isn't named doesn't matter, such as the two `bystanders` that
    every model has: they change between the prompts and write where nobody reads. `planted` describes the circuit,
    `lesson` says why methods part on it.
    """

    name: str
    title: str
    planted: str
    lesson: str
    prompt_pairs: Sequence[PromptPair]
    effects: Mapping[str, Mapping[tuple[int, int], Amount]]
    heads: Sequence[Head] = ()
    neurons: Sequence[Neuron] = ()
    bystanders: tuple[Head, Neuron] = BYSTANDERS
    words: Mapping[str, Features] = field(default_factory=lambda: WORDS)
    logits: Mapping[str, Features] = field(default_factory=lambda: {"yes": {"yes": 1.0}, "no": {}})
    d_mlp: int = 8
    citation: str = "lindner2023"

    @cached_property
    def task(self) -> Task:
        """The task `litmus/NAME`; the model of the same name goes with it."""
        name = PREFIX + self.name
        return Task(
            name=name,
            title=self.title,
            summary=self.planted,
            metric=logit_diff,
            citation=self.citation,
            prompt_pairs=self.prompt_pairs,
            truth=Truth(self.effects, name, logit_diff.name, self.planted, self.lesson),
            on_request=True,
        )

    def model(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Model:
        """The planted model `litmus/NAME`."""
        words = dict(self.words) | {word: {} for word in self.logits if word not in self.words}
        head, neuron = self.bystanders
        circuit = Circuit(words, self.logits, [*self.heads, head], [*self.neurons, neuron], d_mlp=self.d_mlp)
        return circuit.model(PREFIX + self.name, device, dtype)
