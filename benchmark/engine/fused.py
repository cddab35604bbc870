"""Parts of a block that run as one operation, where nothing watches them: fewer passes over memory.

transformer_lens computes norms and attention step by step, so that each step can be hooked, and some activations of
transformers are written as many operations on the widest activations there are. A part that nothing hooks is run as
one operation. Which ones are the same function is measured, not read from a config: values and gradients, on inputs of
many sizes. A part that something hooks, or that runs another forward, is left as it is.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.engine.measure_stream import ROUNDING
from benchmark.engine.model import Model

Function = Callable[[Tensor], Tensor]
_TANH = partial(functional.gelu, approximate="tanh")
_ACTIVATIONS: tuple[Function, ...] = (_TANH, functional.gelu, functional.silu)
_HOMES = ("transformers.activations", "torch.nn.modules.activation")  # of modules that act element by element
_SIZES = (1e-4, 1e-2, 1.0, 1e2)  # of inputs; a norm's epsilon counts at small ones


class Part(NamedTuple):
    """A module of a layer's block, what computes the same at once, and the modules inside that a hook may sit on."""

    name: str
    layer: int
    module: nn.Module
    at_once: Callable[..., Any]
    inside: tuple[nn.Module, ...]

    @property
    def free(self) -> bool:
        """Whether the module and all inside it run their own forward."""
        return not any("forward" in vars(module) for module in (self.module, *self.inside))

    def forward(self, taken: set[str]) -> Callable[..., Any]:
        """All at once, which is noted in `taken`; or step by step while something inside is hooked."""
        return unless_hooked(self.module, partial(self._noted, taken), self.inside)

    def _noted(self, taken: set[str], *arguments: Any, **options: Any) -> Any:
        taken.add(self.name)
        return self.at_once(*arguments, **options)


def unless_hooked(
    module: nn.Module, other: Callable[..., Any], inside: tuple[nn.Module, ...] | None = None
) -> Callable[..., Any]:
    """Another forward, or the module's own while something inside is hooked."""
    points = tuple(module.modules())[1:] if inside is None else inside
    return partial(_unless_hooked, module.forward, other, points)


def _unless_hooked(
    own: Callable[..., Any], other: Callable[..., Any], points: tuple[nn.Module, ...], *arguments: Any, **options: Any
) -> Any:
    return (own if any(map(_hooked, points)) else other)(*arguments, **options)


_KNOWN: MutableMapping[Model, tuple[Part, ...]] = WeakKeyDictionary()


def parts(model: Model) -> tuple[Part, ...]:
    """The norms, activations and attentions of a model's blocks that can be run at once; looked for once.

    None while a module runs another forward, as under backward rules: then nothing can be told of it. None of a model
    of 16 bits either: a patched run that rounds otherwise than the recorded one would have that as its effect.
    """
    if torch.finfo(model.dtype).bits < 32:
        return ()
    if model not in _KNOWN:
        if any("forward" in vars(module) for block in model.blocks for module in block.module.modules()):
            return ()
        with torch.enable_grad():
            _KNOWN[model] = tuple(_found(model))
    return _KNOWN[model]


def _found(model: Model) -> Iterator[Part]:
    attentions = _attentions(model)
    for layer, block in enumerate(model.blocks):
        for module in dict.fromkeys(block.module.modules()):
            inside = tuple(part for part in module.modules() if part is not module)
            whole: Callable[..., Any] | None = None
            if type(module).__module__ in _HOMES:
                whole, name = _activation(module, model), "activation"
            elif module in attentions:
                whole, name = attentions[module], "attention"
            elif "norm" in type(module).__name__.lower():
                whole, name = _norm(module, getattr(module, "original_component", None), model), "norm"
            if whole is not None:
                yield Part(name, layer, module, whole, inside)


def _hooked(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _activation(module: nn.Module, model: Model) -> Function | None:
    """The operation that an activation is; None where there is none, or it is run as that one already."""
    exact = torch.linspace(-30, 30, 2001, dtype=torch.float64, device=model.device)
    inputs = [exact * size for size in _SIZES]
    for function in _ACTIVATIONS:
        if all(_alike(module, function, x, torch.float64) and _alike(module, function, x, model.dtype) for x in inputs):
            own = exact.to(model.dtype)
            return None if torch.equal(module(own), function(own)) else function
    return None


@torch.no_grad()
def _attentions(model: Model) -> dict[nn.Module, nn.Module]:
    """The attentions that give what the model's own modules inside them give, in a run; with these modules."""
    given: dict[nn.Module, tuple[Any, Any]] = {}
    tokens = torch.randint(model.d_vocab, (2, 5), generator=torch.Generator().manual_seed(0))
    with model.uncounted(), ExitStack() as stack:
        for block in model.blocks:
            if block.has_attention:
                keep = partial(_keep, given)
                stack.callback(block.attention.register_forward_pre_hook(keep, with_kwargs=True).remove)
        model.run(tokens)
    found = {}
    for module, (inputs, options) in given.items():
        own = getattr(module, "original_component", None)
        if isinstance(own, nn.Module):
            try:
                want, got = module(*inputs, **options), own(*inputs, **options)
                if _near(got[0], want[0], want[0].abs().amax(), model.dtype):
                    found[module] = own
            except torch.OutOfMemoryError:
                raise
            except Exception:  # one that takes other inputs than the module around it: it isn't run alone
                continue
    return found


def _keep(given: dict[nn.Module, Any], module: nn.Module, inputs: Any, options: Any) -> None:
    given[module] = (inputs, options)


def _norm(module: nn.Module, wrapped: Any, model: Model) -> Function | None:
    """The operation that a norm is; None where there is none."""
    weight, eps = getattr(wrapped, "weight", None), getattr(wrapped, "variance_epsilon", getattr(wrapped, "eps", None))
    if not isinstance(weight, Tensor) or weight.ndim != 1 or not isinstance(eps, float):
        return None
    generator = torch.Generator().manual_seed(0)
    drawn = 1 + torch.randn(2, 3, len(weight), generator=generator, dtype=torch.float64)  # a mean that isn't 0
    inputs = [(size * drawn).to(model.device) for size in _SIZES]
    for function in _norms(wrapped, weight, eps):
        if all(_alike(module, function, x, model.dtype) for x in inputs):
            return function
    return None


def _norms(wrapped: Any, weight: Tensor, eps: float) -> Iterator[Function]:
    if isinstance(wrapped, nn.LayerNorm | nn.RMSNorm):
        yield wrapped
    yield lambda x: functional.rms_norm(x, weight.shape, weight, eps)
    yield lambda x: functional.rms_norm(x, weight.shape, 1 + weight, eps)


def _alike(module: nn.Module, function: Function, inputs: Tensor, dtype: torch.dtype) -> bool:
    """Whether values and gradients are the same but for rounding, as a share of the inputs and of the largest."""
    x = inputs.to(dtype).requires_grad_()
    try:
        want, got = module(x), function(x)
        behind = torch.linspace(0.5, 1.5, want.numel(), dtype=torch.float64, device=x.device).reshape(want.shape).to(x)
        slopes = [torch.autograd.grad(one, x, behind)[0] for one in (want, got)]
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a module of another kind than its name says
        return False
    pointwise = want.shape == x.shape and type(module).__module__ in _HOMES
    scale = x.abs() if pointwise else want.abs().amax()
    steep = 1 + x.abs() if pointwise else slopes[0].abs().amax()
    # a norm's gradient is what is left of larger terms
    return _near(got, want, scale, dtype) and _near(slopes[1], slopes[0], 4 * steep, dtype)


def _near(got: Tensor, want: Tensor, scale: Tensor, dtype: torch.dtype) -> bool:
    """Whether nothing is apart by more than some steps of the number format at this scale."""
    return bool(((got - want).abs() <= ROUNDING * float(torch.finfo(dtype).eps) * scale).all())
