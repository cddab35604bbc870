"""Checks of a task as tokens: what the audit leaves, what the answers stand for, what the metrics see."""

from collections import Counter
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.conformance.findings import NotApplicable, expect
from benchmark.conformance.task_trial import TaskTrial, few
from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.prompts.metrics import METRICS, Answers, Metric
from benchmark.prompts.pairs import Pairs

ENOUGH = 8  # evaluation pairs; the report gives no interval for fewer than 16
CLEAR = 0.3  # a metric where one side has nearly all the mass
_SHARED = "answers of several words (' South Africa', ' South Korea'): leave them out by `check` or in the generator"


def audit_keeps_enough(trial: TaskTrial) -> None:
    """The model's tokenizer leaves enough evaluation pairs to measure anything."""
    reasons = Counter(outcome for outcome in trial.outcomes if isinstance(outcome, str))
    said = "; ".join(f"{count} rows: {reason}" for reason, count in reasons.most_common(3)) or "there are no more"
    kept = len(trial.survivors("evaluation"))
    expect(
        kept >= ENOUGH,
        f"{kept} evaluation pairs survive under {trial.model.name} ({said})",
        f"at least {ENOUGH}",
        "prompts that differ in length, or words unknown to this tokenizer: --model takes another",
    )


def first_tokens_tell_answers_apart(trial: TaskTrial) -> None:
    """A single correct answer shares its first token with no incorrect one, and with no other row's correct one."""
    lost = [
        row.id
        for row, outcome in zip(trial.rows, trial.outcomes, strict=True)
        if isinstance(row.correct, str) and isinstance(outcome, str) and "share their first tokens" in outcome
    ]
    expect(not lost, f"right and wrong answers of rows {few(lost)} share first tokens", "answers apart", _SHARED)
    trial.pairs()
    by_token: dict[int, set[str]] = {}
    for pair in trial.survivors("evaluation"):
        if isinstance(pair.prompt.correct, str):
            by_token.setdefault(pair.correct[0], set()).add(pair.prompt.correct)
    shared = [" and ".join(map(repr, sorted(found))) for found in by_token.values() if len(found) > 1]
    expect(not shared, f"{few(shared)} start with the same token", "a first token each", _SHARED)


def means_are_possible(trial: TaskTrial) -> None:
    """Discovery rows survive, so that mean replacement has something to average."""
    trial.pairs()
    expect(bool(trial.survivors("discovery")), "no discovery row survives", "some", "no row has split='discovery'")


def metrics_tell_right_from_wrong(trial: TaskTrial) -> None:
    """Both metrics are high where the correct answers have all the mass, and low where the incorrect ones have it."""
    pairs = trial.pairs().pairs
    sets = Answers.of([pair.correct for pair in pairs], [pair.incorrect for pair in pairs])
    right, wrong = torch.zeros(2, len(pairs), trial.model.d_vocab)
    for number, pair in enumerate(pairs):
        right[number, list(pair.correct)] = 15
        wrong[number, list(pair.incorrect)] = 15
    for metric in (metric for metric in METRICS.values() if metric.of_answers):
        low, high = float(metric(wrong, sets).max()), float(metric(right, sets).min())
        expect(
            high > CLEAR and low < -CLEAR,
            f"{metric.name} is {high:.2g} with all the mass on the correct answers, {low:.2g} on the incorrect ones",
            f"above {CLEAR} and below -{CLEAR}",
            "answer sets that overlap",
        )


def metrics_are_not_degenerate(trial: TaskTrial) -> None:
    """On the model, both metrics and the task's own are finite, differ from pair to pair, and see the corruption."""
    pairs = trial.pairs()
    if any(pair.corrupted is None for pair in pairs.pairs):
        raise NotApplicable("its pairs have no corrupted prompts")
    of_answers = _of_answers(trial.model, pairs)
    for metric in dict.fromkeys((*of_answers, trial.task.metric)):
        found = of_answers[metric] if metric in of_answers else metrics(trial.model, replace(pairs, metric=metric))
        clean, corrupted = found["clean"], found["corrupted"]
        expect(bool(clean.isfinite().all()), f"{metric.name} is not finite", "a number a pair", "an empty answer set")
        expect(
            len(clean) < 2 or bool((clean != clean[0]).any()),
            f"{metric.name} is {clean[0]:.3g} on each of {len(clean)} pairs",
            "values that differ",
            "a metric that doesn't read these answers' logits",
        )
        blind = float((clean == corrupted).double().mean())
        expect(
            blind == 0,
            f"{metric.name} is the same on both prompts of {blind:.0%} of pairs",
            "a metric that the corruption moves",
            "what was changed doesn't reach the answer",
        )


@torch.no_grad()
def _of_answers(model: Model, pairs: Pairs) -> dict[Metric, dict[str, Tensor]]:
    """Every metric of answers on the clean and on the corrupted prompts, from one run of each."""
    chosen = [metric for metric in METRICS.values() if metric.of_answers]
    found = {metric: {name: torch.zeros(len(pairs)).double() for name in ("clean", "corrupted")} for metric in chosen}
    for batch in pairs.batches():
        for name, prompts in zip(("clean", "corrupted"), batch.both(), strict=True):
            logits = model.run(prompts)
            for metric in chosen:
                values = replace(batch, metric_function=metric).metric(logits, torch.arange(len(batch)))
                found[metric][name][list(batch.index)] = values.cpu().double()
    return found
