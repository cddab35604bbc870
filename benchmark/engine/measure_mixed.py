"""The check of queries, keys, values and attention patterns: each must be what its heads use, and no others."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.engine.hooked import Hook, run_hooked
from benchmark.engine.kinds import HEAD, KEY, KIND, PATTERN, QUERY, RESIDUAL, VALUE
from benchmark.engine.measure_stream import same_input

_POSITIONS = 3


class _Refused(Exception):
    """Why a kind can't be scored."""


def mixed(
    bridge: Any, n_layers: int, patterns: Mapping[int, int], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int | str]:
    """How many components a layer has of `query`, `key`, `value` and `pattern`, or why that kind can't be scored.

    `patterns` is the number of attention patterns by layer, `shapes` what stands at a hook for rows of some positions.
    """
    found: dict[str, int | str] = {}
    for kind in (QUERY, KEY, VALUE, PATTERN):
        try:
            found[kind.name] = _count(kind.name, n_layers, patterns, shapes)
        except _Refused as reason:
            found[kind.name] = str(reason)
    sizes = {name: size for name, size in found.items() if isinstance(size, int)}
    if sizes:
        found |= _wrong(bridge, n_layers, next(iter(patterns.values())), sizes, f"blocks.0.{HEAD.hooks[0]}" in shapes)
    return found


def _count(name: str, n_layers: int, patterns: Mapping[int, int], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """From the widths alone: a query is as wide as a key, a value as wide as a head's slice of what they give."""
    counts = set()
    for layer in range(n_layers):
        place = KIND[name].hooks[0]
        if f"blocks.{layer}.{place}" not in shapes:
            raise _Refused(f"layer {layer} has no {place.removesuffix('.hook_out').replace('hook_', '')}")
        if layer not in patterns:
            raise _Refused(f"the attention patterns of layer {layer} can't be seen")
        heads = patterns[layer]
        if name in (QUERY.name, PATTERN.name):
            counts.add(heads)
            continue
        other = QUERY.hooks[0] if name == KEY.name else HEAD.hooks[0]
        if f"blocks.{layer}.{other}" not in shapes:
            raise _Refused(f"layer {layer} has no {other.rpartition('.')[0]}")
        width, whole = _width(shapes[f"blocks.{layer}.{place}"]), _width(shapes[f"blocks.{layer}.{other}"])
        if whole % heads or width % (whole // heads) or heads % (width // (whole // heads)):
            raise _Refused(f"the {width} numbers of layer {layer}'s {place} can't be shared by {heads} heads")
        counts.add(width // (whole // heads))
    if len(counts) > 1:
        raise _Refused(f"its layers have different numbers of them ({', '.join(map(str, sorted(counts)))})")
    return counts.pop()


def _width(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape[2:]).numel())


def _wrong(bridge: Any, n_layers: int, heads: int, sizes: Mapping[str, int], has_heads: bool) -> dict[str, str]:
    """Why a kind is none: each component of each kind is changed in a row of its own, in all layers at once.

    Every block gets the same input in all rows. Queries and keys must change their heads' patterns and no others,
    values and patterns their heads' slices of what the output projection takes in. A head with weights of zero shows
    nothing, so that it is enough if one in each layer does.
    """
    generator = torch.Generator().manual_seed(3)
    components = [(name, index) for name, size in sizes.items() for index in range(size)]
    seen: dict[tuple[str, int], Tensor] = {}  # patterns and heads, by layer

    def change(name: str, layer: int) -> Hook:
        kind = KIND[name]

        def hooked(value: Tensor, hook: Any) -> Tensor:
            if name == PATTERN.name:
                seen[name, layer] = value.detach().clone()
            edited = kind.read(value, sizes[name]).clone()
            noise = torch.rand(edited.shape[1:], generator=generator).to(value)
            for row, (other, index) in enumerate(components, 1):
                if other == name:
                    edited[row, :, index] = edited[row, :, index] * (-1.5 - noise[:, index])
            return kind.write(edited, value)

        return f"blocks.{layer}.{kind.hooks[0]}", hooked

    def keep(layer: int) -> Hook:
        return f"blocks.{layer}.{HEAD.hooks[0]}", lambda value, hook: seen.__setitem__(
            (HEAD.name, layer), value.detach().reshape(*value.shape[:2], heads, -1).transpose(1, 2)
        )

    layers, enter = range(n_layers), same_input(generator)
    hooks: list[Hook] = [(f"blocks.{layer}.{RESIDUAL.hooks[0]}", enter) for layer in layers]
    hooks += [change(name, layer) for name in sizes for layer in layers]
    hooks += [keep(layer) for layer in layers if has_heads]
    tokens = torch.zeros(len(components) + 1, _POSITIONS, dtype=torch.long, device=next(bridge.parameters()).device)
    run_hooked(bridge, tokens, hooks, use_cache=False)

    def changed(name: str, row: int, layer: int) -> set[int]:
        looked_at = seen.get((PATTERN.name if name in (QUERY.name, KEY.name) else HEAD.name, layer))
        if looked_at is None:
            return set()
        moved = (looked_at[row] - looked_at[0]).flatten(1).abs().amax(1)  # by head
        step = float(torch.finfo(looked_at.dtype).eps)
        return set((moved > 4 * step * looked_at.abs().max()).nonzero().flatten().tolist())

    wrong: dict[str, str] = {}
    used: set[tuple[str, int]] = set()  # kinds and layers in which a change is seen at all: a dead head shows none
    for row, (name, index) in enumerate(components, 1):
        group = heads // sizes[name]
        own = set(range(index * group, (index + 1) * group))
        for layer in layers:
            found = changed(name, row, layer)
            if found - own and name not in wrong:
                place = f"blocks.{layer}.{KIND[name].hooks[0]}"
                wrong[name] = f"a change of number {index} at {place} changes other heads than its own"
            used |= {(name, layer)} if found == own else set()
    for name in sizes:
        if unused := [layer for layer in layers if (name, layer) not in used]:
            wrong.setdefault(name, f"no change at blocks.{unused[0]}.{KIND[name].hooks[0]} changes its own heads")
    return wrong
