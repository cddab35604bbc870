"""`python -m benchmark.pocket.measure`: how many evaluation pairs a model gets right, task by task."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.engine.model import Model
from benchmark.models.loading import load_model
from benchmark.pocket.facts import TASKS
from benchmark.prompts.pairs import Pairs
from benchmark.running.plugins import discover

SHIPPED = Path(__file__).parent / "model"
TARGETS = {
    "ioi": 0.95,
    "sva": 0.95,
    "greater-than": 0.95,
    "gender-bias": 0.90,
    "capital-country": 0.90,
    "hypernymy": 0.90,
}


@dataclass(frozen=True)
class Accuracy:
    """Share of pairs with a clean metric above zero and above the corrupted one, and the mean of both metrics."""

    task: str
    pairs: int
    share: float
    clean: float
    corrupted: float
    wrong: tuple[str, ...]  # ids of the pairs that miss


@torch.no_grad()
def accuracy(model: Model, pairs: Pairs) -> Accuracy:
    """A model's accuracy on pairs, before any filter by its own answers."""
    measured: list[tuple[float, float]] = []
    ids: list[str] = []
    for batch in pairs.batches(256):
        every = torch.arange(len(batch))
        clean, corrupted = (batch.metric(model.run(prompts), every).tolist() for prompts in batch.both())
        measured.extend(zip(clean, corrupted, strict=True))
        ids.extend(batch.ids)
    wrong = tuple(name for name, (one, other) in zip(ids, measured, strict=True) if not one > max(0, other))
    clean_mean, corrupted_mean = (sum(side) / len(ids) for side in zip(*measured, strict=True))
    return Accuracy(pairs.task, len(ids), 1 - len(wrong) / len(ids), clean_mean, corrupted_mean, wrong)


def table(model: Model, limit: int | None = None, split: str = "evaluation") -> list[Accuracy]:
    """One row a task, over all pairs of a split that survive the audit (or up to `limit` of them)."""
    tasks = discover().tasks
    return [accuracy(model, tasks[name].pairs(model, limit=limit, split=split)) for name in TASKS]


def markdown(rows: list[Accuracy]) -> str:
    """The rows as a table for the model card."""
    lines = [
        "| task | pairs | accuracy | target | mean clean metric | mean corrupted metric |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.task} | {row.pairs} | {row.share:.3f} | {TARGETS[row.task]:.2f} "
        f"| {row.clean:.2f} | {row.corrupted:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.pocket.measure", description=__doc__)
    parser.add_argument("--model", default=str(SHIPPED), help="a model's name or folder (the shipped pocket)")
    parser.add_argument("--split", default="evaluation", choices=("discovery", "evaluation"))
    options = parser.parse_args()
    print(markdown(table(load_model(options.model, device="cpu"), split=options.split)))


if __name__ == "__main__":
    main()
