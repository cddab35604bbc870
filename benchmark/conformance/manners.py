"""Checks of what a method leaves behind, and of what it does to others while it runs."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmark.conformance.findings import expect
from benchmark.conformance.process import (
    changed_functions,
    changed_state,
    model_state,
    modes,
    random_states,
    seeds_python,
    shared_functions,
)
from benchmark.conformance.trial import Trial, tiny
from benchmark.prompts.metrics import Answers, Metric, prob_diff


def model_left_as_found(trial: Trial) -> None:
    """Weights, hooks, flags, train mode and gradients of the model are what they were."""
    model, pairs = tiny("gemma2", 2)
    model.run(next(pairs.batches()).clean)  # transformer_lens sets hooks of its own on the first forward
    for way in trial.ways:
        before = model_state(model)
        trial.scores(model, pairs, way)
        changed = changed_state(before, model_state(model))
        expect(
            not changed,
            f"{way} changed {'; '.join(changed)}",
            "a model as it was found",
            "a hook, a patched weight or a mode without a `finally` that undoes it",
        )


def process_left_as_found(trial: Trial) -> None:
    """Functions of torch, modes and random generators, which all code shares, are what they were."""
    model, pairs = tiny(count=2)
    for way in trial.ways:
        functions, before, drawn = shared_functions(), modes(), random_states()
        trial.scores(model, pairs, way)
        changed = changed_functions(functions)
        changed += [name for name, value in modes().items() if value != before[name]]
        changed += [f"{name}'s generator" for name, state in random_states().items() if state != drawn[name]]
        if seeds_python(partial(trial.scores, model, pairs.take([0]), way)):
            changed.append("python's generator")
        expect(
            not changed,
            f"{way} changed {', '.join(changed)}",
            "a process as it was found",
            "a global patch, or a seed set for everybody: use a `torch.Generator` of your own",
        )


def metric_left_as_it_is(trial: Trial) -> None:
    """While a method runs, the metric is the real one, with its real gradient."""
    model, pairs = tiny(count=2)
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
