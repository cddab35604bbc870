"""The words of a request: kinds of component, directions, replacements, and which go together. Imports nothing heavy.

To add a kind: its name in `KINDS`, its letter in `_LETTERS`, and in `_MANY` if a layer has thousands. Where its
activation is read and written stands in `engine.kinds`.
"""

from typing import NamedTuple

KINDS = ("head", "neuron")
DIRECTIONS = ("noising", "denoising")
REPLACEMENTS = ("counterfactual", "zero", "mean")  # what integrated gradients call the baseline

_LETTERS = {"head": "H", "neuron": "N"}
_MANY = ("neuron",)


class Way(NamedTuple):
    """What is done to a prompt: its direction, and what replaces an activation."""

    direction: str
    replacement: str

    def __str__(self) -> str:
        return f"{self.direction} with {self.replacement}"


COUNTERFACTUAL = Way("noising", "counterfactual")
DENOISING = Way("denoising", "counterfactual")  # it restores clean activations: nothing else makes sense
MEAN = Way("noising", "mean")
WAYS = (COUNTERFACTUAL, DENOISING, *(Way("noising", other) for other in REPLACEMENTS[1:]))


def component_name(kind: str, layer: int, index: int) -> str:
    """
    >>> component_name("head", 23, 3), component_name("neuron", 0, 1024)
    ('L23H3', 'L0N1024')
    """
    return f"L{layer}{_LETTERS[kind]}{index}"


def many(kind: str) -> bool:
    """Whether a layer has so many of this kind that a map of them, or a full panel with intervals, is out of reach."""
    return kind in _MANY
