"""Checks of what a method leaves behind, and of what it does to others while it runs."""

from dataclasses import replace

import torch
from torch import Tensor

from benchmark.conformance.findings import expect
from benchmark.conformance.state import changed, state
from benchmark.conformance.trial import Trial, tiny
from benchmark.prompts.metrics import Answers, Metric, prob_diff


def left_as_found(trial: Trial) -> None:
    """The model (weights, hooks, flags, train mode), softmax, the gradient mode and generators are what they were."""
    model, pairs = tiny("gemma2", 1)
    for way in trial.ways:
        before = state(model)
        trial.scores(model, pairs, way)
        found = [f"{what} (at {name or 'the model'})" for what, name in changed(before, state(model)).items()]
        expect(
            not found,
            f"{way} changed {'; '.join(found)}",
            "all as it was found",
            "a patch or mode that no `finally` undoes, or a seed set for everybody: use your own `torch.Generator`",
        )


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
