"""Kinds of component as values. To add one: a value and its place in `KIND` here, its name in `benchmark.components`.

The engine above the adapter (`engine.model`) treats kinds alike: activations are `[row, pos, component, dim]`. A method
may still say what it does for a kind, as activation patching does of neurons. `engine.measure` tries every kind on
every model that is loaded, and refuses those that don't hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Seen(NamedTuple):
    """What one layer showed at load: the width of what its output projection takes in, its number of attention
    patterns (None: they can't be seen, and `claimed` is what the config says), and what entered the projection when
    position 0 differed from row to row and position 1 was the same in all."""

    width: int
    patterns: int | None
    claimed: int
    mixed: Float[Tensor, "row 2 width"] | None


@dataclass(frozen=True)
class Kind:
    """A kind's components side by side are what an output projection takes in: that is where they are read and written.

    `outputs` are the projection's names in a block of transformer_lens, the first that is there counts; `size` says how
    many components a layer has, `refusal` why its layers can't be scored, or nothing.
    """

    name: str
    outputs: tuple[str, ...]
    size: Callable[[Seen], int]
    refusal: Callable[[Sequence[Seen]], str]


def _alike(sizes: Sequence[int]) -> str:
    if len(set(sizes)) > 1:
        return f"its layers have different numbers of them ({', '.join(map(str, dict.fromkeys(sizes)))})"
    return "" if sizes and sizes[0] else "its layers have none"


def _count(seen: Seen) -> int:
    return seen.claimed if seen.patterns is None else seen.patterns


def _heads(layers: Sequence[Seen]) -> str:
    """Heads can be scored where each slice of the projection's input is mixed by one attention pattern of its own."""
    counts = [_count(seen) for seen in layers]
    if reason := _alike(counts):
        return reason
    heads = counts[0]
    for layer, seen in enumerate(layers):
        if seen.width % heads:
            return f"{seen.width} inputs of layer {layer}'s output projection can't be shared by {heads} heads"
        if not _mixed_alike(seen, heads):
            return (
                f"what enters layer {layer}'s output projection isn't {heads} slices, each of which one attention "
                "pattern mixes from the positions"
            )
        fewer = (heads // factor for factor in range(2, heads + 1) if heads % factor == 0)
        if seen.patterns is None and any(_mixed_alike(seen, count) for count in fewer):
            return f"its attention patterns can't be seen, and layer {layer} seems to have fewer heads than {heads}"
    return ""


def _mixed_alike(seen: Seen, heads: int) -> bool:
    """Whether all channels of each head's slice take their two positions with the same weights.

    With z0 and z1 what a slice is at both positions, w the value at position 1, and a, b a row's weights, w is
    a z0 + b z1 for every row: one vector lies in the planes of z0 and z1 of all rows.
    """
    if seen.mixed is None:
        return False
    slices = seen.mixed.double().reshape(*seen.mixed.shape[:2], heads, -1)  # [row, 2, head, channel]
    if slices.shape[-1] < 3:
        return True  # two channels share a plane whatever mixes them
    step = float(torch.finfo(seen.mixed.dtype).eps)
    change, size = (slices[:, 1] - slices[:, 0]).norm(dim=-1), slices.norm(dim=-1).amax(1)
    told = change > step**0.5 * size  # where a row doesn't look at position 1, it tells nothing
    planes, _ = torch.linalg.qr(slices.permute(2, 0, 3, 1))  # [head, row, channel, 2]
    projectors = planes @ planes.mT
    weights = told.T.double()[..., None, None]
    mean = (projectors * weights).sum(1) / weights.sum(1).clamp(min=1)
    common = torch.linalg.eigvalsh(mean)[:, -1]
    enough = told.sum(0) >= 3
    return bool((common[enough] > 1 - max(1e-4, 4 * step)).all())


HEAD = Kind("head", ("attn.o",), _count, _heads)
NEURON = Kind(  # in a gated MLP, act(gate) x up
    "neuron", ("mlp.out", "mlp.dense_out"), lambda seen: seen.width,
    lambda layers: _alike([seen.width for seen in layers]),
)  # fmt: skip
KIND = {kind.name: kind for kind in (HEAD, NEURON)}
