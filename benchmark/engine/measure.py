"""What a model is found to be, at load: where its components are, how many, and which kinds can't be told apart.

Nothing is taken from the config. A few forwards of a few tokens show, layer by layer, what the output projections take
in, whether that is what a hook sees and changes, and whether each head's slice is a head of its own. The other kinds
have their checks in `measure_stream` and `measure_mixed`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmark.components import plural
from benchmark.engine.hooked import run_hooked
from benchmark.engine.kinds import HEAD, KEY, KIND, PATTERN, QUERY, VALUE, Kind, Seen
from benchmark.engine.measure_mixed import mixed as measure_mixed
from benchmark.engine.measure_stream import stream

_ROWS = 6
_Place = tuple[str, int]  # a kind and a layer


class Found(NamedTuple):
    """Components a layer by kind, the hook of every site, and of the kinds that can't be scored the reason.

    And the widths of the residual stream, of the logits, and of what the output projections take in.
    """

    sizes: dict[str, int]
    widths: dict[str, int]
    hooks: dict[_Place, str]
    refusals: dict[str, str]
    d_model: int
    d_vocab: int


@dataclass
class _Projection:
    """One layer's output projection of a kind: what entered it, and what its hook made of that."""

    hook: str
    module: nn.Module
    entered: list[Tensor] = field(default_factory=list)
    edited: list[Tensor] = field(default_factory=list)


@torch.no_grad()
def measure(bridge: Any, blocks: Iterable[nn.Module]) -> Found:
    """Try every kind on every layer."""
    layers = list(blocks)
    known = set(bridge.hook_dict)
    refusals: dict[str, str] = {}
    projections: dict[str, list[_Projection]] = {}
    for kind in KIND.values():
        if kind.checked != "projection":
            continue
        try:
            projections[kind.name] = [_projection(kind, number, block, known) for number, block in enumerate(layers)]
        except LookupError as missing:
            refusals[kind.name] = str(missing.args[0])
    every = [one for ones in projections.values() for one in ones]
    with _watched(every):
        d_model, d_vocab = _edited_run(bridge, every)
    mixed, patterns, shapes = _mixed(bridge, len(layers), every)
    found = Found({}, {}, {}, refusals, d_model, d_vocab)
    for name, ones in projections.items():
        claimed = int(bridge.cfg.n_heads or 0)
        seen = [Seen(_width(one), patterns.get(layer), claimed, mixed.get(one.hook)) for layer, one in enumerate(ones)]
        reason = next(filter(None, map(_not_what_enters, ones)), "") or KIND[name].refusal(seen)
        if reason:
            refusals[name] = reason
            continue
        found.sizes[name], found.widths[name] = KIND[name].size(seen[0]), seen[0].width
        found.hooks.update({(name, layer): one.hook for layer, one in enumerate(ones)})
    for name, hooks in stream(bridge, len(layers)).items():
        if isinstance(hooks, str):
            refusals[name] = hooks
        else:
            found.sizes[name] = 1
            found.hooks.update({(name, layer): hook for layer, hook in hooks.items()})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A hook on .* returned a modified tensor")  # found out and refused here
        mixed_sizes = measure_mixed(bridge, len(layers), patterns, shapes)
    for name, size in mixed_sizes.items():
        if isinstance(size, str):
            refusals[name] = size
        else:
            found.sizes[name] = size
            hook = KIND[name].hooks[0]
            found.hooks.update({(name, layer): f"blocks.{layer}.{hook}" for layer in range(len(layers))})
    return found


def _projection(kind: Kind, layer: int, block: nn.Module, known: set[str]) -> _Projection:
    for place in kind.hooks:
        hook = f"blocks.{layer}.{place}"
        part, name, _ = place.split(".")
        module = getattr(getattr(block, part, None), name, None)
        if isinstance(module, nn.Module) and hook in known:
            return _Projection(hook, getattr(module, "original_component", None) or module)
    part = kind.hooks[0].partition(".")[0]
    there = getattr(getattr(block, part, None), "original_component", None)
    what = f"its {part} there is {type(there).__name__}" if there is not None else f"it has no {part} there"
    raise LookupError(f"layer {layer} has no single output projection that all its {plural(kind.name)} feed ({what})")


@contextmanager
def _watched(projections: Iterable[_Projection]) -> Iterator[None]:
    """While this holds, every projection notes what enters it."""

    def note(one: _Projection) -> Callable[..., None]:
        return lambda module, inputs: one.entered.append(inputs[0].detach().clone())

    handles = [one.module.register_forward_pre_hook(note(one)) for one in projections]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _edited_run(bridge: Any, projections: Iterable[_Projection]) -> tuple[int, int]:
    """One forward in which every component of every layer is changed, each by a factor and a step of its own.

    Gives the widths of the residual stream and of the logits.
    """
    generator = torch.Generator().manual_seed(0)
    residuals: list[Tensor] = []

    def edit(one: _Projection) -> Callable[[Tensor, Any], Tensor]:
        def hooked(value: Tensor, hook: Any) -> Tensor:
            noise = torch.rand(value.shape, generator=generator).to(value)
            changed = value * (0.5 + noise) + 0.01 * (noise - 0.5)
            one.edited.append(changed.detach().clone())
            return changed

        return hooked

    def keep(value: Tensor, hook: Any) -> None:
        residuals.append(value)

    hooks = [("blocks.0.hook_in", keep), *((one.hook, edit(one)) for one in projections)]
    tokens = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]], device=next(bridge.parameters()).device)
    logits = run_hooked(bridge, tokens, hooks, use_cache=False)
    return int(residuals[0].shape[-1]), int(logits.shape[-1])


def _not_what_enters(one: _Projection) -> str:
    """Why what the hook sees isn't just what the projection takes in; empty where it is."""
    layer = one.hook.split(".")[1]
    if len(one.entered) != 1 or len(one.edited) != 1:
        return f"the output projection of layer {layer} ran {len(one.entered)} times in one forward, not once"
    [entered], [edited] = one.entered, one.edited
    if tuple(edited.shape[:2]) != (2, 4):
        return f"what stands at {one.hook} is no [row, position, ...] but {tuple(edited.shape)} for 2 rows of 4 tokens"
    if entered.numel() != edited.numel() or not torch.allclose(entered.flatten(), edited.flatten()):
        return f"a change at {one.hook} is not what the output projection of layer {layer} takes in"
    return ""


def _width(one: _Projection) -> int:
    return int(one.edited[0][0, 0].numel()) if one.edited else 0


def _mixed(
    bridge: Any, n_layers: int, projections: Iterable[_Projection]
) -> tuple[dict[str, Tensor], dict[int, int], dict[str, tuple[int, ...]]]:
    """What enters each projection `[row, 2, width]`, where every block gets position 0 by row and position 1 in common.

    And the number of attention patterns by layer, where they can be seen; and the shape of what stands at each hook
    that was run.
    """
    generator = torch.Generator().manual_seed(1)
    patterns: dict[int, int] = {}
    mixed: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def replaced(value: Tensor, hook: Any) -> Tensor:
        drawn = torch.randn(value.shape, generator=generator)
        drawn[:, 1:] = drawn[:1, 1:]
        scale = value.float().std()
        return drawn.to(value) * (scale if scale > 0 else 1.0)

    def count(layer: int) -> Callable[[Tensor, Any], None]:
        return lambda value, hook: patterns.__setitem__(layer, int(value.shape[1]))

    def keep(one: _Projection) -> Callable[[Tensor, Any], None]:
        return lambda value, hook: mixed.__setitem__(one.hook, value.detach().flatten(2))

    def measured(name: str) -> Callable[[Tensor, Any], None]:
        return lambda value, hook: shapes.__setitem__(name, tuple(value.shape))

    names = set(bridge.hook_dict)
    hooks: list[tuple[str, Callable[..., Any]]] = [(f"blocks.{layer}.hook_in", replaced) for layer in range(n_layers)]
    hooks += [
        (name, count(layer)) for layer in range(n_layers) if (name := f"blocks.{layer}.attn.hook_pattern") in names
    ]
    hooks += [(one.hook, keep(one)) for one in projections]
    hooks += [
        (name, measured(name))
        for kind in (QUERY, KEY, VALUE, PATTERN, HEAD)
        for layer in range(n_layers)
        if (name := f"blocks.{layer}.{kind.hooks[0]}") in names
    ]
    tokens = torch.zeros(_ROWS, 2, dtype=torch.long, device=next(bridge.parameters()).device)
    run_hooked(bridge, tokens, hooks, use_cache=False)
    return mixed, patterns, shapes
