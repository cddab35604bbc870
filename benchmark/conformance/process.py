"""What a method could leave behind in the model or in the process, taken down before and compared after."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import torch

from benchmark.engine import intervention, model
from benchmark.engine.model import Model
from benchmark.prompts import metrics, pairs

# where a library, or a method in a hurry, would patch a function for everybody
_SHARED: tuple[ModuleType | type, ...] = (
    torch, torch.nn.functional, torch.Tensor, torch.nn.Module, torch.nn.Linear, torch.nn.LayerNorm, torch.nn.Softmax,
    torch.nn.Embedding, torch.autograd, metrics, metrics.Metric, model.Model, pairs.PairBatch,
    intervention.Intervention,
)  # fmt: skip
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def shared_functions() -> dict[tuple[Any, str], Any]:
    """Every function of torch and of the benchmark that more than the method itself calls."""
    return {(place, name): value for place in _SHARED for name, value in vars(place).items() if callable(value)}


def changed_functions(before: dict[tuple[Any, str], Any]) -> list[str]:
    """Functions that are others now, or stand in a class where an inherited one was used before."""
    changed = [key for key, was in before.items() if vars(key[0]).get(key[1]) is not was]
    return [f"{place.__name__}.{name}" for place, name in (*changed, *_added(before))]


def _added(before: dict[tuple[Any, str], Any]) -> list[tuple[Any, str]]:
    return [key for key in shared_functions() if key not in before and isinstance(key[0], type)]


def random_states() -> dict[str, bytes]:
    """The state of torch's and numpy's shared generators."""
    return {
        "torch": bytes(torch.get_rng_state().numpy().tobytes()),
        "numpy": repr(np.random.get_state(legacy=False)).encode(),
    }


def seeds_python(call: Callable[[], object]) -> bool:
    """Whether a call sets Python's generator. Draws from it don't count: type checkers draw from it too."""
    ends = []
    for seed in (1, 2):
        random.seed(seed)
        call()
        ends.append(random.getstate())
    return ends[0] == ends[1]


def modes() -> dict[str, object]:
    return {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
    }


@contextmanager
def restored_process() -> Iterator[None]:
    """Undo, at the end, whatever was done to shared functions, modes and generators."""
    functions, grad, dtype = shared_functions(), torch.is_grad_enabled(), torch.get_default_dtype()
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        for (place, name), was in functions.items():
            if vars(place).get(name) is not was:
                setattr(place, name, was)
        for place, name in _added(functions):
            delattr(place, name)
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def model_state(model: Model) -> dict[str, dict[str, Any]]:
    """What a run must not change about a model, by what it is called in a message."""
    modules = dict(model.bridge.named_modules())
    weights = {name: value.detach().clone() for name, value in model.bridge.state_dict().items()}
    return {
        "train mode": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: weight.requires_grad for name, weight in model.bridge.named_parameters()},
        "gradients": {name: weight.grad is not None for name, weight in model.bridge.named_parameters()},
        "hooks": {name: [len(getattr(module, kind)) for kind in _HOOKS] for name, module in modules.items()},
        "forward functions": {name: vars(module).get("forward") for name, module in modules.items()},
        "weights": weights,
    }


def changed_state(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """What differs, with the first module or weight at which it does."""
    changed = []
    for what, was in before.items():
        now = after[what]
        same = {name: _same(was.get(name), now.get(name)) for name in {**was, **now}}
        if not all(same.values()):
            changed.append(f"{what} (at {next(name for name, equal in same.items() if not equal) or 'the model'})")
    return changed


def _same(one: Any, other: Any) -> bool:
    both = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return torch.equal(one, other) if both else one is other or one == other
