"""Kinds of component as values. To add one: a value and its place in `KIND` here, its words in `benchmark.components`.

The engine treats kinds alike: activations are `[row, pos, component, dim]`. A method may still say what it does for a
kind, as activation patching does of neurons. `engine.measure` tries every kind on every model that is loaded, and
refuses those that don't hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmark.components import REPLACEMENTS


class Seen(NamedTuple):
    """What one layer showed at load: the width of what its output projection takes in, its number of attention
    patterns (None: they can't be seen, and `claimed` is what the config says), and what entered the projection when
    position 0 differed from row to row and position 1 was the same in all."""

    width: int
    patterns: int | None
    claimed: int
    mixed: Float[Tensor, "row 2 width"] | None


def _side_by_side(value: Tensor, size: int) -> Float[Tensor, "row pos component dim"]:
    return value.reshape(*value.shape[:2], size, -1)


def _as_it_was(activation: Float[Tensor, "row pos component dim"], value: Tensor) -> Tensor:
    return activation.reshape(value.shape)


@dataclass(frozen=True)
class Kind:
    """A sort of component: where its activation is read and written, and what that allows.

    `hooks` are names in a block of transformer_lens; the first at which the load-time check holds counts. `read` makes
    `[row, pos, component, dim]` of what stands there, given the number of components; `write` puts an edited activation
    back, given what stood there. `checked` says which check it is under: what an output `projection` takes in, what
    joins the residual `stream`, what an attention pattern is `mixed` from.
    `last_only`: in the last layer, the logits at the last position depend on this kind's last position only.
    `stand_in` gives the modules of a block that need not run where only this kind is edited, and what stands in for
    them, from the traced activation and attention output.
    """

    name: str
    hooks: tuple[str, ...]
    checked: Literal["projection", "stream", "mixed"]
    read: Callable[[Tensor, int], Tensor] = _side_by_side
    write: Callable[[Tensor, Tensor], Tensor] = _as_it_was
    last_only: bool = True
    stand_in: Callable[[Any, Tensor, Tensor], list[tuple[nn.Module, Callable[..., Any]]]] | None = None
    replacements: tuple[str, ...] = REPLACEMENTS
    size: Callable[[Seen], int] = lambda seen: seen.width
    refusal: Callable[[Sequence[Seen]], str] = lambda layers: _alike([seen.width for seen in layers])


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


def _heads_stand_in(block: Any, activation: Tensor, attention: Tensor) -> list[tuple[nn.Module, Callable[..., Any]]]:
    return [(block.attention, lambda *_, **__: (block.attention_output(activation.flatten(2)), None))]


def _neurons_stand_in(block: Any, activation: Tensor, attention: Tensor) -> list[tuple[nn.Module, Callable[..., Any]]]:
    ran = (block.attention, lambda *_, **__: (attention, None))
    return [ran, (block.mlp, lambda *_, **__: block.mlp_output(activation.flatten(2)))]


def _attention_stands_in(
    block: Any, activation: Tensor, attention: Tensor
) -> list[tuple[nn.Module, Callable[..., Any]]]:
    return [(block.attention, lambda *_, **__: (block.attention.hook_out(attention), None))]


def _first(value: Tensor, size: int) -> Float[Tensor, "row pos component dim"]:
    return value.transpose(1, 2)


HEAD = Kind("head", ("attn.o.hook_in",), "projection", stand_in=_heads_stand_in, size=_count, refusal=_heads)
NEURON = Kind(  # in a gated MLP, act(gate) x up
    "neuron", ("mlp.out.hook_in", "mlp.dense_out.hook_in"), "projection", stand_in=_neurons_stand_in
)
RESIDUAL = Kind("residual", ("hook_in",), "stream", last_only=False)  # and, behind the last layer, its `hook_out`
EMBEDDING = Kind("embedding", RESIDUAL.hooks, "stream", last_only=False)  # of the first layer alone
ATTENTION = Kind("attention", ("ln1_post.hook_out", "attn.hook_out"), "stream", stand_in=_attention_stands_in)
MLP = Kind("mlp", ("ln2_post.hook_out", "mlp.hook_out"), "stream", stand_in=_attention_stands_in)
QUERY = Kind("query", ("attn.q.hook_out",), "mixed")  # before any rotation and norm, as keys are
KEY = Kind("key", ("attn.k.hook_out",), "mixed", last_only=False)
VALUE = Kind("value", ("attn.v.hook_out",), "mixed", last_only=False)
PATTERN = Kind(  # its positions are the queries', its dims the keys'; rows of different lengths have no mean
    "pattern", ("attn.hook_pattern",), "mixed", _first, lambda activation, _: activation.transpose(1, 2),
    replacements=tuple(one for one in REPLACEMENTS if one != "mean"),
)  # fmt: skip
KIND = {kind.name: kind for kind in (HEAD, NEURON, RESIDUAL, EMBEDDING, ATTENTION, MLP, QUERY, KEY, VALUE, PATTERN)}
