"""Every task keeps its promises: the conformance checks, and what more is asked of the project's own."""

from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmark.conformance import check_task
from benchmark.engine.model import Model
from benchmark.models.loading import load_model
from benchmark.pocket.facts import TASKS as POCKET_TASKS
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import METRICS, Answers, Metric
from benchmark.prompts.pairs import Audit, TokenPair, tokenise
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from benchmark.running.plugins import discover

ROOT = Path(__file__).parents[2]
TASKS = {task.name: task for task in discover().chosen_tasks(("all",))}
LEAST_ROWS = {
    "ioi": 1000,
    "greater-than": 1000,
    "sva": 2000,
    "hypernymy": 300,
    "capital-country": 390,
    "gender-bias": 600,
    "tag-questions": 800,
    "professions": 256,
    "professions-anti": 256,
}
SURVIVORS = {
    "ioi": 800,
    "gender-bias": 300,
    "greater-than": 600,
    "capital-country": 250,
    "sva": 1500,
    "hypernymy": 150,
    "tag-questions": 800,
    "professions": 256,
    "professions-anti": 256,
}


@cache
def rows_of(task: str) -> list[PromptPair]:
    return TASKS[task].rows()


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


@pytest.fixture(scope="module")
def pocket() -> Model:
    return load_model("pocket", device="cpu")


@pytest.mark.parametrize("name", POCKET_TASKS)
def test_every_task_of_pocket_passes_the_conformance_checks(name: str, pocket: Model) -> None:
    assert {finding.outcome for finding in check_task(TASKS[name], pocket)} == {"passed"}


@pytest.mark.smollm2
@pytest.mark.parametrize("name", sorted(set(TASKS) - set(POCKET_TASKS)))
def test_every_other_task_passes_them_on_a_real_model(name: str, smollm2: Model) -> None:
    assert {finding.outcome for finding in check_task(TASKS[name], smollm2)} == {"passed"}


def test_half_of_the_rows_are_discovery_and_there_are_clusters_enough(task: Task) -> None:
    rows = rows_of(task.name)
    assert task.dataset_path() == ROOT / "datasets" / task.dataset
    assert len(rows) >= LEAST_ROWS[task.name]
    assert set(Counter(row.split for row in rows).values()) == {len(rows) // 2}
    assert len({row.cluster for row in rows}) >= 25
    assert all(row.id.startswith(task.name) for row in rows)


@pytest.fixture(scope="module")
def audits(gpt2_tokens: Tokens, smollm2_tokens: Tokens) -> dict[str, dict[str, Audit]]:
    by_name = {"GPT-2": gpt2_tokens, "SmolLM2": smollm2_tokens}
    return {name: {task.name: task.audit(tokens) for task in TASKS.values()} for name, tokens in by_name.items()}


@pytest.mark.parametrize("tokenizer", ["GPT-2", "SmolLM2"])
def test_enough_pairs_survive_under_both_tokenizers(
    task: Task, tokenizer: str, audits: dict[str, dict[str, Audit]]
) -> None:
    found = audits[tokenizer][task.name]
    assert found.kept >= SURVIVORS[task.name]
    assert found.kept + sum(found.dropped.values()) == found.rows == len(rows_of(task.name))


@pytest.mark.parametrize("metric", [metric for metric in METRICS.values() if metric.of_answers], ids=lambda m: m.name)
def test_both_metrics_tell_right_from_wrong_under_a_real_tokenizer(
    task: Task, metric: Metric, smollm2_tokens: Tokens
) -> None:
    rows = [row for row in rows_of(task.name) if row.split == "evaluation"][::20]
    made = [tokenise(row, smollm2_tokens, task.answer_tokens, task.check) for row in rows]
    pairs = [pair for pair in made if isinstance(pair, TokenPair)]
    assert len(pairs) > 5
    answers = Answers.of([pair.correct for pair in pairs], [pair.incorrect for pair in pairs])
    right, wrong = torch.zeros(2, len(pairs), len(smollm2_tokens.tokenizer))
    for number, pair in enumerate(pairs):
        right[number, list(pair.correct)] = 15
        wrong[number, list(pair.incorrect)] = 15
    assert (metric(right, answers) > 0.3).all()
    assert (metric(wrong, answers) < -0.3).all()


def test_every_card_says_what_is_held_out(task: Task) -> None:
    assert len(task.summary) > 40
    assert "eld out" in task.dataset_path().with_suffix(".md").read_text()


def test_the_audit_tables_in_the_docs_are_what_the_audit_says(audits: dict[str, dict[str, Audit]]) -> None:
    text = (ROOT / "docs" / "datasets.md").read_text()
    for name in audits:
        table = text.split(f"Under {name}'s tokenizer")[1].split("Under ")[0]
        for task in TASKS.values():
            found = audits[name][task.name]
            dropped = "; ".join(f"{count} {reason}" for reason, count in found.dropped.items()) or "-"
            assert f"| {task.name} | {found.rows} | {found.kept} | {dropped} |" in table
