"""The check of kinds on the residual stream: what enters and leaves each block, what attention and MLP add to it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.engine.hooked import Hook, run_hooked
from benchmark.engine.kinds import ATTENTION, EMBEDDING, MLP, RESIDUAL

Hooks = dict[int, str]  # by layer
ROUNDING = 16  # steps of the number format, at the values' own scale, that two orders of the same sums may be apart


def close(got: Tensor, want: Tensor, effect: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether two results are the same but for rounding in `dtype` (their own); `effect` is what the edit behind them
    did.

    The edit of a silent MLP does nothing but round, so that what it does is not all that may differ.
    """
    step = float(torch.finfo(dtype or want.dtype).eps)
    allowed = max(1e-4, step**0.5) * effect.abs().max() + ROUNDING * step * want.abs().max()
    return bool((got - want).abs().max() <= allowed)


def same_input(generator: torch.Generator, last_is_other: bool = False) -> Callable[[Tensor, Any], Tensor]:
    """A hook that gives every row of a block one random input; the last row another, if asked for."""

    def enter(value: Tensor, hook: Any) -> Tensor:
        scale = value.float().std()
        drawn = torch.randn(value.shape[1:], generator=generator).to(value) * (scale if scale > 0 else 1.0)
        rows = drawn.expand_as(value).clone()
        if last_is_other:
            rows[-1] = drawn.flip(-1)
        return rows

    return enter


def stream(bridge: Any, n_layers: int) -> dict[str, Hooks | str]:
    """Hooks of `residual`, `embedding`, `attention` and `mlp`, or why that kind can't be scored."""
    found = _residual(bridge, n_layers)
    first = found if isinstance(found, str) else {0: found[0]}
    return {RESIDUAL.name: found, EMBEDDING.name: first} | _added(bridge, n_layers)


def _residual(bridge: Any, n_layers: int) -> Hooks | str:
    """One prompt's residual stream, put into another's at any one layer, must give the one's logits."""
    hooks = {layer: f"blocks.{layer}.{RESIDUAL.hooks[0]}" for layer in range(n_layers)}
    hooks[n_layers] = f"blocks.{n_layers - 1}.hook_out"
    kept: dict[int, Tensor] = {}
    tokens = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]], device=next(bridge.parameters()).device)

    def keep(layer: int) -> Hook:
        return hooks[layer], lambda value, hook: kept.__setitem__(layer, value.detach().clone())

    def put(layer: int) -> Hook:
        def hooked(value: Tensor, hook: Any) -> Tensor:
            value = value.clone()
            value[layer] = kept[layer][1]
            return value

        return hooks[layer], hooked

    base, other = run_hooked(bridge, tokens, [keep(layer) for layer in hooks], use_cache=False)
    if lacking := [layer for layer in hooks if layer not in kept or kept[layer].ndim != 3]:
        return f"nothing of shape [row, position, dim] stands at {hooks[lacking[0]]}"
    rows = tokens[:1].expand(len(hooks), -1)
    got = run_hooked(bridge, rows, [put(layer) for layer in hooks], use_cache=False)
    for layer in hooks:
        if not close(got[layer], other, other - base):
            return f"what stands at {hooks[layer]} doesn't carry all that the layers above it read"
    return hooks


def _added(bridge: Any, n_layers: int) -> dict[str, Hooks | str]:
    """Of each kind the first hook at which a change is what the block's output changes by."""
    found: dict[str, Hooks | str] = {}
    chosen: dict[str, list[str]] = {}
    for kind in (ATTENTION, MLP):
        chosen[kind.name] = [
            place
            for place in kind.hooks
            if all(f"blocks.{layer}.{place}" in bridge.hook_dict for layer in range(n_layers))
        ]
        if not chosen[kind.name]:
            found[kind.name] = f"not every layer has {kind.hooks[-1].removesuffix('.hook_out')}"
    while places := {name: left[0] for name, left in chosen.items() if left and name not in found}:
        for name, wrong in _tried(bridge, n_layers, places).items():
            if wrong is None:
                found[name] = {layer: f"blocks.{layer}.{places[name]}" for layer in range(n_layers)}
            elif len(chosen[name]) > 1:
                chosen[name].pop(0)
            else:
                found[name] = f"what stands at blocks.{wrong}.{places[name]} isn't what joins the residual stream there"
    return found


def _tried(bridge: Any, n_layers: int, places: Mapping[str, str]) -> dict[str, int | None]:
    """By kind the first layer at which its hook isn't what the block adds; None where there is none.

    Every block gets the same input in all rows but the last. Row 0 stays; in one row by kind, that kind is changed and
    the others are those of row 0. In the last row none is: what comes out must still tell that the input is another, or
    the stream itself stands at one of these hooks.
    """
    generator = torch.Generator().manual_seed(2)
    row = {name: number for number, name in enumerate(places, 1)}
    given: dict[tuple[str, int], Tensor] = {}
    left: dict[int, Tensor] = {}

    def change(name: str, layer: int) -> Hook:
        def hooked(value: Tensor, hook: Any) -> Tensor:
            noise = torch.rand(value.shape[1:], generator=generator).to(value)
            edited = value[:1].expand_as(value).clone()
            edited[row[name]] = edited[0] * (0.5 + noise) + (noise - 0.5)
            given[name, layer] = edited.detach()
            return edited

        return f"blocks.{layer}.{places[name]}", hooked

    def leave(layer: int) -> Hook:
        return f"blocks.{layer}.hook_out", lambda value, hook: left.__setitem__(layer, value.detach())

    enter = same_input(generator, last_is_other=True)
    hooks: list[Hook] = [(f"blocks.{layer}.{RESIDUAL.hooks[0]}", enter) for layer in range(n_layers)]
    hooks += [change(name, layer) for name in places for layer in range(n_layers)]
    hooks += [leave(layer) for layer in range(n_layers)]
    tokens = torch.zeros(len(places) + 2, 3, dtype=torch.long, device=next(bridge.parameters()).device)
    run_hooked(bridge, tokens, hooks, use_cache=False)

    def wrong(name: str, layer: int) -> bool:
        edited, output = given.get((name, layer)), left.get(layer)
        if edited is None or output is None or edited.shape != output.shape:
            return True
        if not (output[-1] - output[0]).abs().max() > 1e-3 * output[0].abs().max():
            return True
        change, moved = (part[row[name]] - part[0] for part in (edited, output))
        factor = (change * moved).sum() / change.square().sum()  # some models scale what joins
        return not factor.abs() > 1e-3 or not close(output[0] + factor * change, output[row[name]], moved)

    return {name: next((layer for layer in range(n_layers) if wrong(name, layer)), None) for name in places}
