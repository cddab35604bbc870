"""Backward rules: a model's forward to the bit, with other derivatives of some of its operations.

A rule acts in one part of the model: its norms, its attention, its MLPs. There it keeps what an operation gives and
puts the gradient of a *surrogate* in place of the operation's own: for an activation, x times the constant act(x) / x.
Nothing acts outside these parts, so that the unembedding, a cap on the logits and the metric keep their gradients.
Whether a rule acts is tried on each model, in a forward and a backward pass (`acting`): one that finds nothing is an
error.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmark.engine.model import Model
from benchmark.engine.replay import swapped
from benchmark.errors import BenchmarkError


class Rule(NamedTuple):
    """In which part of the model a rule acts, and how often at least in each run of that part."""

    part: str
    least: int = 1


class Preset(NamedTuple):
    """The rules of a published method, and those that it adds where MLPs are gated, or where they are not."""

    always: tuple[str, ...]
    gated: tuple[str, ...] = ()
    ungated: tuple[str, ...] = ()


RULES = {
    "frozen-norm": Rule("norm"),  # a norm's scale is a constant; that it centres, where it does, is not
    "identity": Rule("mlp"),  # act(x) is x times the constant act(x) / x
    "half": Rule("mlp"),  # each factor of act(gate) x up gets half of the gradient
    "frozen-gate": Rule("mlp"),  # act(gate) is a constant
    "frozen-attention": Rule("attention"),  # attention patterns are constants
    "quarter-quarter-half": Rule("attention", 2),  # both products halve gradients: queries and keys get 1/4, values 1/2
    "softmax-temperature": Rule("attention"),  # the softmax's Jacobian at scores / T
}
PRESETS = {
    "relp": Preset(("frozen-norm", "identity"), gated=("half",)),
    "attn-lrp": Preset(("frozen-norm", "identity", "quarter-quarter-half"), gated=("half",)),
    "cp-lrp": Preset(("frozen-norm", "frozen-attention"), gated=("frozen-gate",), ungated=("identity",)),
    "gim": Preset(("frozen-norm", "quarter-quarter-half", "softmax-temperature")),
}
_ACTIVATIONS = {"relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish"}
_ROOTS = {"sqrt", "rsqrt", "norm", "vector_norm"}
_PRODUCTS = {"matmul", "bmm", "baddbmm", "einsum"}

_ACTING: MutableMapping[Model, set[tuple[str, ...]]] = WeakKeyDictionary()  # what was seen to act in each model
_GATED: MutableMapping[Model, bool] = WeakKeyDictionary()  # whether its MLPs were seen to be
_BENDS: MutableMapping[nn.Module, bool] = WeakKeyDictionary()  # whether a module was seen to be an activation


def named(rules: str) -> tuple[str, ...]:
    """The rules that a preset may take, or that are named by themselves, joined by "+".

    Raises BenchmarkError where one is unknown, or named beside another that leaves it nothing.
    """
    if rules in PRESETS:
        return sum(PRESETS[rules], ())
    chosen = tuple(rules.split("+"))
    if unknown := [rule for rule in chosen if rule not in RULES]:
        raise BenchmarkError(
            f"There is no backward rule {unknown[0]!r}. Choose one of {', '.join(PRESETS)}, or join rules by '+': "
            f"{', '.join(RULES)}."
        )
    if len(set(chosen)) < len(chosen):
        raise BenchmarkError(f"Backward rules {rules!r} name a rule twice.")
    for frozen, others in (("frozen-gate", {"half", "identity"}), ("frozen-attention", {"softmax-temperature"})):
        if frozen in chosen and (dead := sorted(others & set(chosen))):
            raise BenchmarkError(
                f"Backward rules {rules!r}: {frozen!r} leaves {dead[0]!r} nothing to act on. Leave one of them out."
            )
    return chosen


def acting(model: Model, rules: str) -> tuple[str, ...]:
    """The rules that a preset takes on this model, or those named; each was seen to act, in every run of its part.

    A preset leaves out the rules of parts that the model lacks, and says so of norms. Raises BenchmarkError where a
    rule finds nothing to act on, where only some MLPs are gated and the preset has other rules for these, or where the
    forward isn't what it is without rules, bit by bit.
    """
    chosen = named(rules)
    if rules in PRESETS:
        preset = PRESETS[rules]
        chosen = preset.always
        if preset.gated != preset.ungated:
            chosen += preset.gated if _gated(model) else preset.ungated
        lacking = _lacking(model)
        chosen = tuple(rule for rule in chosen if RULES[rule].part not in lacking)
        if "norm" in lacking:
            _say_no_norm(rules)
    _tried(model, chosen)
    return chosen


def frozen_norms(model: Model) -> tuple[str, ...]:
    """The rule under which norms are linear maps at the scale of the run, tried on this model; none without norms.

    Raises BenchmarkError where a norm isn't of this form.
    """
    rules = () if "norm" in _lacking(model) else ("frozen-norm",)
    _tried(model, rules)
    return rules


def _lacking(model: Model) -> set[str]:
    """The parts that a model may be without, and is."""
    return {"norm", "mlp"} - {part for part, _, _ in _parts(model)}


def _gated(model: Model) -> bool:
    """Whether `half` acts in MLPs, in a run of them. Raises BenchmarkError where it does in some only."""
    if model not in _GATED:
        running, _ = _trial(model, ("half",))
        idle, runs = _idle(running, "half")
        if 0 < len(idle) < len(runs):
            raise BenchmarkError(
                f"Model {model.name!r} has gated MLPs, and others in {', '.join(idle)}; presets of backward rules are "
                "for either. Name the rules, or use another model."
            )
        _GATED[model] = len(idle) < len(runs)
    return _GATED[model]


def _tried(model: Model, rules: tuple[str, ...]) -> None:
    """Try rules on a model, once."""
    if rules not in _ACTING.setdefault(model, set()):
        _try(model, rules)
        _ACTING[model].add(rules)


@cache  # said once, not for every planted model of a litmus run
def _say_no_norm(preset: str) -> None:
    warnings.warn(f"Backward rules {preset!r} leave out 'frozen-norm' on a model that has no norm.", stacklevel=4)


@contextmanager
def backward_rules(model: Model, rules: Sequence[str], temperature: float = 2.0) -> Iterator["Running"]:
    """While this holds, gradients through the model follow the rules of these names."""
    running = Running(frozenset(rules), temperature)
    with ExitStack() as stack:
        for part, where, module in _parts(model):
            stack.enter_context(swapped(module, partial(running.within, part, where, module.forward)))
        for block in model.blocks:
            for module in _activations(block.running_mlp) if block.has_mlp else ():
                stack.enter_context(swapped(module, partial(running.activation, module.forward)))
        stack.enter_context(running)
        yield running


@dataclass
class Run:
    """One call of a part's module, and how often each rule acted in it."""

    part: str
    where: str
    acted: Counter[str] = field(default_factory=Counter)


class Running(TorchFunctionMode):
    """Rules at work: every operation of torch comes by here, and those of the part that runs are looked at."""

    def __init__(self, rules: frozenset[str], temperature: float) -> None:
        super().__init__()
        self.rules, self.temperature = rules, temperature
        self.runs: list[Run] = []
        self._inside: list[Run | None] = [None]
        self._activated: Tensor | None = None  # what the last activation gave: the gate of a gated MLP
        self._scaled: tuple[Tensor, ...] = ()  # the last product with a number, and of what
        self._sigmoid: tuple[Tensor, ...] = ()  # the last sigmoid, and of what, be it times a number

    def within(self, part: str, where: str, forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A part's forward, in which its rules act."""
        self.runs.append(Run(part, where))
        return self._under(self.runs[-1], forward, *arguments, **options)

    def activation(self, forward: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
        """The forward of a module that is an activation; its own operations are none of the rules'."""
        run = self._inside[-1]
        return self._activation(run, self._under(None, forward, value), value)

    def _under(self, run: Run | None, forward: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._inside.append(run)
        try:
            return forward(*arguments, **options)
        finally:
            self._inside.pop()
            if run is not None:
                self._activated, self._scaled, self._sigmoid = None, (), ()

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = options or {}
        actual, run = function(*arguments, **options), self._inside[-1]
        if run is None or not torch.is_grad_enabled() or not isinstance(actual, Tensor):
            return actual
        name, inputs = function.__name__, [x for x in (*arguments, *options.values()) if isinstance(x, Tensor)]
        if run.part == "norm" and "frozen-norm" in self.rules:
            if name in _ROOTS or (name == "pow" and arguments[1] in (0.5, -0.5)):
                return self._frozen(run, "frozen-norm", actual)
            if name in ("layer_norm", "rms_norm"):
                norm: Callable[..., Tensor] = _layer_norm if name == "layer_norm" else _rms_norm
                return self._instead(run, "frozen-norm", actual, norm(*arguments, **options))
        elif run.part == "attention" and name == "softmax":
            if "frozen-attention" in self.rules:
                return self._frozen(run, "frozen-attention", actual)
            if "softmax-temperature" in self.rules:  # T softmax(s / T) has the Jacobian of a softmax at s / T
                surrogate = self.temperature * function(inputs[0] / self.temperature, *arguments[1:], **options)
                return self._instead(run, "softmax-temperature", actual, surrogate)
        elif run.part == "attention" and name in _PRODUCTS and "quarter-quarter-half" in self.rules:
            if sum(x.ndim > 2 and not isinstance(x, nn.Parameter) for x in inputs) > 1:
                return self._instead(run, "quarter-quarter-half", actual, actual / 2)
        elif run.part == "mlp":
            return self._in_mlp(run, name, actual, inputs)
        return actual

    def _in_mlp(self, run: Run, name: str, actual: Tensor, inputs: list[Tensor]) -> Tensor:
        """An operation of an MLP: an activation, x sigmoid(k x) among them, or a product of the last activation."""
        if name in _ACTIVATIONS:
            return self._activation(run, actual, inputs[0])
        if name == "sigmoid":
            self._sigmoid = (actual, self._scaled[1] if _same(inputs, self._scaled[:1]) else inputs[0])
        elif name == "mul" and len(inputs) == 1:
            self._scaled = (actual, *inputs)
        elif name == "mul" and _same(inputs, self._sigmoid):
            return self._activation(run, actual, self._sigmoid[1])
        elif name == "mul" and any(x is self._activated for x in inputs) and all(x.requires_grad for x in inputs):
            if "half" in self.rules:
                return self._instead(run, "half", actual, actual / 2)
            if "frozen-gate" in self.rules:
                gate, up = sorted(inputs, key=lambda x: x is not self._activated)
                return self._instead(run, "frozen-gate", actual, gate.detach() * up)
        return actual

    def _activation(self, run: Run | None, actual: Tensor, value: Tensor) -> Tensor:
        if run is None or run.part != "mlp" or not torch.is_grad_enabled():
            return actual
        if "identity" in self.rules:
            nonzero = torch.where(value == 0, 1, value)
            surrogate = torch.where(value == 0, actual, value * (actual / nonzero).detach())  # at 0, its own slope
            actual = self._instead(run, "identity", actual, surrogate)
        self._activated = actual
        return actual

    def _frozen(self, run: Run, rule: str, actual: Tensor) -> Tensor:
        """A constant, which acts where there was a gradient."""
        run.acted[rule] += actual.requires_grad
        return actual.detach()

    def _instead(self, run: Run, rule: str, actual: Tensor, surrogate: Tensor) -> Tensor:
        """What the operation gave, with the gradient of the surrogate; it acts where a gradient comes through."""
        if not surrogate.requires_grad:
            return actual.detach()
        acted = partial(run.acted.update, (rule,))
        value: Tensor = _Instead.apply(actual.detach(), surrogate, acted)  # type: ignore[no-untyped-call]
        return value


class _Instead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, actual: Tensor, surrogate: Tensor, acted: Callable[[], None]) -> Tensor:
        ctx.acted = acted
        return actual.view_as(actual)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None]:
        ctx.acted()
        return None, gradient, None


def _same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether these are the same tensors, in any order."""
    return {*map(id, some)} == {*map(id, others)}


def _layer_norm(
    value: Tensor, shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Layer norm by a constant scale."""
    centred = value - value.mean(tuple(range(-len(shape), 0)), keepdim=True)
    scaled = _rms_norm(centred, shape, weight, eps)
    return scaled if bias is None else scaled + bias


def _rms_norm(value: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """RMS norm by a constant scale."""
    wide = value.detach().to(torch.promote_types(value.dtype, torch.float32))
    eps = torch.finfo(value.dtype).eps if eps is None else eps
    scale = torch.rsqrt(wide.square().mean(tuple(range(-len(shape), 0)), keepdim=True) + eps).to(value.dtype)
    return value * scale if weight is None else value * scale * weight


def _parts(model: Model) -> list[tuple[str, str, nn.Module]]:
    """Every module in which rules act: the part that it is, where it stands, and the module."""
    parts: list[tuple[str, str, nn.Module]] = []
    for layer, block in enumerate(model.blocks):
        where = f"block {layer}"
        parts += [("norm", where, norm) for norm in dict.fromkeys(_norms(block.module))]
        parts += [("attention", where, block.attention)] if block.has_attention else []
        parts += [("mlp", where, block.running_mlp)] if block.has_mlp else []
    if model.final_norm is not None:
        parts += [("norm", "the final norm", norm) for norm in _norms(model.final_norm)]
    return parts


def _norms(root: nn.Module) -> Iterator[nn.Module]:
    """The modules below this one, or itself, that are norms by the name of their class; not what is inside them."""
    if "norm" in type(root).__name__.lower():
        yield root
    else:
        for child in root.children():
            yield from _norms(child)


def _activations(mlp: nn.Module) -> list[nn.Module]:
    """The modules of an MLP that are activations with act(0) = 0."""
    return [module for module in mlp.modules() if not module._modules and _bends(module)]


@torch.no_grad()
def _bends(module: nn.Module) -> bool:
    """Whether a module takes every number by itself, leaves 0 at 0 and is no straight line."""
    if module not in _BENDS:
        numbers = torch.tensor([0.0, 1.0, -2.0, 3.0])
        numbers = numbers.to(next(module.parameters(), numbers).device)
        try:
            found = module.forward(numbers.clone())
            alone = torch.stack([module.forward(number.clone()) for number in numbers])
            straight = torch.allclose(found, found[1] * numbers)
            _BENDS[module] = torch.allclose(found, alone) and float(found[0]) == 0 and not straight
        except torch.OutOfMemoryError:
            raise
        except Exception:  # one that takes other inputs
            _BENDS[module] = False
    return _BENDS[module]


class _Reached(Exception):
    """The run has come to the unembedding, where the rules end."""


def _forward(model: Model) -> tuple[Tensor, Tensor]:
    """What reaches the unembedding in a short run, and a leaf at the embedding."""
    tokens = torch.randint(model.d_vocab, (2, 5), generator=torch.Generator().manual_seed(0)).to(model.device)
    leaves: list[Tensor] = []
    finals: list[Tensor] = []

    def watch(embedding: Tensor) -> Tensor:
        leaves.append(torch.zeros_like(embedding, requires_grad=True))
        return embedding + leaves[0]

    def stop(final: Tensor, **_: Any) -> None:
        finals.append(final)
        raise _Reached

    with swapped(model.unembedding_module, stop), suppress(_Reached):
        model.logits(tokens, model.hooks({}, watch))
    return finals[0], leaves[0]


def _trial(model: Model, rules: Sequence[str]) -> tuple[Running, Tensor]:
    """Rules after a run and its backward pass, and what reached the unembedding."""
    with torch.enable_grad(), model.uncounted():
        with backward_rules(model, rules) as running:
            final, leaf = _forward(model)
        torch.autograd.grad(final.sum(), leaf)
    return running, final


def _idle(running: Running, rule: str) -> tuple[list[str], list[str]]:
    """Where a rule's part ran and the rule didn't act, and where its part ran at all."""
    part, least = RULES[rule]
    runs = [run for run in running.runs if run.part == part]
    idle = [run.where for run in runs if run.acted[rule] < least]
    return list(dict.fromkeys(idle)), list(dict.fromkeys(run.where for run in runs))


def _try(model: Model, rules: Sequence[str]) -> None:
    """Raise BenchmarkError where one of the rules doesn't act in a run of its part, or changes the forward."""
    with torch.enable_grad(), model.uncounted():
        plain, _ = _forward(model)
    running, final = _trial(model, rules)
    for rule in rules:
        idle, runs = _idle(running, rule)
        if idle:
            raise BenchmarkError(
                f"Backward rule {rule!r} finds nothing to act on in {', '.join(idle)} of model {model.name!r}. Leave "
                "it out, or use another model."
            )
        if not runs:
            raise BenchmarkError(
                f"Backward rule {rule!r} finds nothing to act on in model {model.name!r}: no {RULES[rule].part} was "
                "seen to run. Leave it out, or use another model."
            )
    if not torch.equal(final, plain):
        raise BenchmarkError(
            f"Under backward rules {', '.join(rules)} the forward of model {model.name!r} is another one. Use other "
            "rules, or another model."
        )
    if "frozen-norm" in rules:
        with torch.enable_grad(), model.uncounted(), backward_rules(model, ("frozen-norm",)):
            _refuse_bent_norms(model)


def _refuse_bent_norms(model: Model) -> None:
    """Raise BenchmarkError where a norm isn't a linear map and a shift at a given scale, as the rule takes it to be.

    Then its gradient along x is what it makes of x, less the shift, which is half of N(x) + N(-x). Norms get what they
    get in a run.
    """
    given: dict[nn.Module, tuple[str, Tensor, Any]] = {}
    with ExitStack() as stack:
        for part, where, norm in _parts(model):
            if part == "norm":
                keep = partial(_keep, given, where)
                stack.callback(norm.register_forward_pre_hook(keep, with_kwargs=True).remove)
        _forward(model)
    generator = torch.Generator().manual_seed(0)
    for norm, (where, x, options) in given.items():
        found = norm(x, **options)
        behind = torch.randn(found.shape, generator=generator, dtype=torch.float64).to(found)
        [gradient] = torch.autograd.grad(found, x, behind)
        linear = (found - norm(-x, **options)).detach() / 2
        off = (gradient * x - behind * linear).sum()
        if off.abs() > max(1e-5, 16 * torch.finfo(x.dtype).eps) * behind.norm() * linear.norm():
            raise BenchmarkError(
                f"Backward rule 'frozen-norm' finds a norm in {where} of model {model.name!r} that isn't linear at a "
                "given scale. Leave it out, or use another model."
            )


def _keep(given: dict[nn.Module, Any], where: str, norm: nn.Module, inputs: tuple[Any, ...], options: Any) -> None:
    given[norm] = (where, inputs[0].detach().requires_grad_(), options)
