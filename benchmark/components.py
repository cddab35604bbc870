"""The words of a request: kinds of component, directions, replacements, and which go together. Imports nothing heavy.

To add a kind: its name and its words in `KIND_WORDS`. Where its activation is read and written stands in
`engine.kinds`.
"""

import re
from typing import Literal, NamedTuple

from benchmark.errors import BenchmarkError


class Words(NamedTuple):
    """How a kind is written: its letter in `L23H3`, its plural, and how many a layer has."""

    letter: str
    plural: str
    in_a_layer: Literal["one", "some", "thousands"]


KIND_WORDS = {
    "head": Words("H", "heads", "some"),
    "neuron": Words("N", "neurons", "thousands"),
    "residual": Words("R", "residual streams", "one"),  # what enters each block, and what leaves the last
    "embedding": Words("E", "embeddings", "one"),  # what enters the first block: MIB's input node
    "attention": Words("A", "attention outputs", "one"),  # what a block's attention adds to the residual stream
    "mlp": Words("M", "MLP outputs", "one"),
    "query": Words("Q", "queries", "some"),
    "key": Words("K", "keys", "some"),
    "value": Words("V", "values", "some"),
    "pattern": Words("P", "attention patterns", "some"),
    # of these, the last one in a layer is `error`: what the dictionary's reconstruction leaves over
    "attention-feature": Words("AF", "attention features", "thousands"),
    "mlp-feature": Words("MF", "MLP features", "thousands"),
    "residual-feature": Words("RF", "residual features", "thousands"),
}
KINDS = tuple(KIND_WORDS)
FEATURE_KINDS = tuple(kind for kind in KINDS if kind.endswith("-feature"))  # of sparse autoencoders that are given
DEFAULT_KINDS = ("head", "neuron")  # what is scored where nothing is said; they never overlap
LAST = -1  # index of the last in a layer, where nobody has said how many there are
PLACES_ONLY = {  # kinds whose scores mean something at a position only, and why
    "residual": "a layer's residual stream carries everything, so that patching it at all positions gives the whole gap"
}
DIRECTIONS = ("noising", "denoising")
BASELINES = ("counterfactual", "zero", "mean")  # the word of integrated gradients: those of the baselines experiment
REPLACEMENTS = (*BASELINES, "resample")
DRAWS = 8  # of resample, where nothing is said
DTYPES = ("float32", "bfloat16", "float16")  # in which a model is loaded
SHORT_DTYPES = DTYPES[1:]  # of 16 bits
MATMULS = ("ieee", "tf32")  # what products of float32 numbers are taken in, on a GPU


class Way(NamedTuple):
    """What is done to a prompt: its direction, and what replaces an activation."""

    direction: str
    replacement: str

    def __str__(self) -> str:
        return f"{self.direction} with {self.replacement}"


COUNTERFACTUAL = Way("noising", "counterfactual")
DENOISING = Way("denoising", "counterfactual")  # it restores clean activations: nothing else makes sense
MEAN = Way("noising", "mean")
RESAMPLE = Way("noising", "resample")  # to a method it is counterfactual, so that it is no way of its own to be tried
WAYS = (COUNTERFACTUAL, DENOISING, *(Way("noising", other) for other in BASELINES[1:]))


def component_name(kind: str, layer: int, index: int, size: int = 0) -> str:
    """A component's name, given how many a layer has: of features, the last one is the error.

    >>> component_name("head", 23, 3), component_name("neuron", 0, 1024), component_name("mlp", 4, 0)
    ('L23H3', 'L0N1024', 'L4M')
    >>> component_name("mlp-feature", 2, 77, size=513), component_name("mlp-feature", 2, 512, size=513)
    ('L2MF77', 'L2MF-error')
    """
    words = KIND_WORDS[kind]
    if kind in FEATURE_KINDS and index == size - 1:
        return f"L{layer}{words.letter}-error"
    return f"L{layer}{words.letter}{'' if words.in_a_layer == 'one' else index}"


def component_named(name: str) -> tuple[str, int, int]:
    """Kind, layer and index of what `component_name` has named; of a dictionary's error, the last in its layer, `LAST`.

    Raises BenchmarkError for other names.

    >>> component_named("L23H3"), component_named("L4M"), component_named("L2MF-error")
    (('head', 23, 3), ('mlp', 4, 0), ('mlp-feature', 2, -1))
    """
    found = re.fullmatch(r"L(\d+)([A-Z]+)(\d*)(-error)?", name)
    kinds = [kind for kind, words in KIND_WORDS.items() if found and words.letter == found[2]]
    if found and kinds and found[4] and not found[3] and kinds[0] in FEATURE_KINDS:
        return kinds[0], int(found[1]), LAST
    if not found or not kinds or found[4] or bool(found[3]) == (KIND_WORDS[kinds[0]].in_a_layer == "one"):
        raise BenchmarkError(
            f"{name!r} names no component: write such as L9H7, L0N1024, L0MF-error or, one a layer, L4M."
        )
    return kinds[0], int(found[1]), int(found[3] or 0)


def plural(kind: str) -> str:
    return KIND_WORDS[kind].plural


def titled(kind: str) -> str:
    """The plural as a heading begins with it: `Heads`, `MLP features`."""
    return plural(kind)[0].upper() + plural(kind)[1:]


def many(kind: str) -> bool:
    """Whether a layer has so many of this kind that a map of them, or a full panel with intervals, is out of reach."""
    return KIND_WORDS[kind].in_a_layer == "thousands"
