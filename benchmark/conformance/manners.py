"""Checks of what a method leaves behind, and of what it does to others while it runs."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.conformance.findings import expect, softmaxes
from benchmark.conformance.trial import Trial, tiny
from benchmark.engine.model import Model
from benchmark.prompts.metrics import Answers, Metric, prob_diff

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def left_as_found(trial: Trial) -> None:
    """The model (weights, hooks, flags, train mode), softmax, the gradient mode and generators are what they were."""
    model, pairs = tiny("gemma2", 1)
    model.run(next(pairs.batches()).clean)  # transformer_lens sets hooks of its own on the first forward
    for way in trial.ways:
        before = _state(model)
        trial.scores(model, pairs, way)
        changed = [f"{what} (at {name or 'the model'})" for what, name in _changed(before, _state(model)).items()]
        expect(
            not changed,
            f"{way} changed {'; '.join(changed)}",
            "all as it was found",
            "a patch or mode that no `finally` undoes, or a seed set for everybody: use your own `torch.Generator`",
        )


def _state(model: Model) -> dict[str, dict[str, Any]]:
    """What a run must not change, by what it is called in a message."""
    modules, parameters = dict(model.bridge.named_modules()), dict(model.bridge.named_parameters())
    return {
        "train mode": {name: module.training for name, module in modules.items()},
        "requires_grad": {name: weight.requires_grad for name, weight in parameters.items()},
        "gradients": {name: weight.grad is not None for name, weight in parameters.items()},
        "hooks": {name: [len(getattr(module, kind)) for kind in _HOOKS] for name, module in modules.items()},
        "forward functions": {name: vars(module).get("forward") for name, module in modules.items()},
        "weights": {name: value.detach().clone() for name, value in model.bridge.state_dict().items()},
        "what all code shares": {
            "the gradient mode": torch.is_grad_enabled(),
            "torch's generator": torch.get_rng_state(),
            "numpy's generator": repr(np.random.get_state(legacy=False)),
            **{f"{place.__name__}.{name}": function for (place, name), function in softmaxes().items()},
        },
    }


def _changed(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, str]:
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


def metric_left_as_it_is(trial: Trial) -> None:
    """While a method runs, the metric is the real one, with its real gradient."""
    model, pairs = tiny(count=1)
    wrong: set[str] = set()

    def watched(logits: Tensor, answers: Answers) -> Tensor:
        with torch.enable_grad():
            inputs = [logits.detach().clone().requires_grad_() for _ in range(2)]
            values = [prob_diff(inputs[0], answers), _obvious_prob_diff(inputs[1], answers)]
            slopes = [torch.autograd.grad(value.sum(), at)[0] for value, at in zip(values, inputs, strict=True)]
        for what, (seen, real) in {"value": values, "gradient": slopes}.items():
            if not torch.allclose(seen, real, rtol=1e-4, atol=1e-6):
                wrong.add(what)
        return prob_diff(logits, answers)

    trial.scores(model, replace(pairs, metric=Metric("watched", "prob_diff, held against its definition", watched)))
    expect(
        not wrong,
        f"the {' and '.join(sorted(wrong))} of prob_diff was wrong while the method ran",
        "the metric as it is",
        "a patch of torch's softmax that reaches the metric's own",
    )


def _obvious_prob_diff(logits: Tensor, answers: Answers) -> Tensor:
    weights = (logits - logits.detach().amax(1, keepdim=True)).exp()
    rows = []
    for row, correct, incorrect in zip(weights, answers.correct, answers.incorrect, strict=True):
        rows.append((row[correct[correct >= 0]].sum() - row[incorrect[incorrect >= 0]].sum()) / row.sum())
    return torch.stack(rows)
