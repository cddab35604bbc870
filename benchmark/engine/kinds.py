"""Kinds of component as values. To add one: a value and its place in `KIND` here, its name in `benchmark.components`.

The engine above the adapter (`engine.model`) treats kinds alike: activations are `[row, pos, component, dim]`. A method
may still say what it does for a kind, as activation patching does of neurons.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Kind:
    """Where a kind's activation is, how many components a layer has, and how the activation is read and written.

    `hook` is the name of the place in transformer_lens, with `{}` for the layer; `read` turns what stands there into
    `[row, pos, component, dim]`, `write` turns it back; `size` takes the model.
    """

    name: str
    hook: str
    size: Callable[[Any], int]
    read: Callable[[Tensor], Tensor] = lambda value: value
    write: Callable[[Tensor], Tensor] = lambda value: value


HEAD = Kind("head", "blocks.{}.attn.hook_z", lambda model: int(model.n_heads))
NEURON = Kind(
    "neuron",
    "blocks.{}.mlp.hook_post",  # in a gated MLP, act(gate) x up
    lambda model: int(model.d_mlp),
    read=lambda value: value.unsqueeze(-1),
    write=lambda value: value.squeeze(-1),
)
KIND = {kind.name: kind for kind in (HEAD, NEURON)}
