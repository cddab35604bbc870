"""What a run must not change: about a model, and about what all code shares."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.conformance.findings import softmaxes
from benchmark.engine.model import Model

SHARED = "what all code shares"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state(model: Model) -> dict[str, dict[str, Any]]:
    """What a run must not change, by what it is called in a message."""
    modules, parameters = dict(model.bridge.named_modules()), dict(model.bridge.named_parameters())
    buffers = {f"{name}.{key}": kept for name, module in modules.items() for key, kept in module._buffers.items()}
    weights = {name: value for name, value in (parameters | buffers).items() if value is not None}
    return {
        "train mode": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: weight.requires_grad for name, weight in parameters.items()},
        "gradients": {name: weight.grad is not None for name, weight in parameters.items()},
        "hooks": {name: [len(getattr(module, kind)) for kind in _HOOKS] for name, module in modules.items()},
        "forward functions": {name: vars(module).get("forward") for name, module in modules.items()},
        "weights": {name: value.detach().clone() for name, value in weights.items()},
        SHARED: {
            "the gradient mode": torch.is_grad_enabled(),
            "torch's generator": torch.get_rng_state(),
            "numpy's generator": repr(np.random.get_state(legacy=False)),
            **{f"{place.__name__}.{name}": function for (place, name), function in softmaxes().items()},
        },
    }


def changed(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What differs, with the first place at which it does."""
    found: dict[str, str] = {}
    for what, was in before.items():
        for name in {**was, **after[what]}:
            one, other = was.get(name), after[what].get(name)
            if isinstance(one, Tensor) and isinstance(other, Tensor):
                same = torch.equal(one, other)
            else:
                same = one is other or one == other
            if not same:
                found.setdefault(what, name)
    return found
