"""The conformance checks of tasks: each mistake is caught by the check that names it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark import ConformanceError, check_task
from benchmark.cli import main
from benchmark.conformance import TASK_CHECKS, task_findings
from benchmark.conformance.findings import name_of
from benchmark.engine.model import Model
from benchmark.prompts import pairs as audit
from benchmark.prompts.dataset import PromptPair, write_csv
from benchmark.prompts.metrics import Metric, logit_diff
from benchmark.prompts.task import Task
from benchmark.running.plugins import load_task

PEOPLE = {"evaluation": ("Mary", "John", "Ann", "Tom"), "discovery": ("cat", "dog", "bird", "fish")}
ROWS = tuple(
    PromptPair(
        f"{one} and {other} gave milk to", f"{other} and {one} gave milk to", f" {one}", f" {other}",
        id=f"house-{split}-{one}-{other}", template="gave", cluster=one, split=split,
    )
    for split, people in PEOPLE.items()
    for one in people
    for other in people
    if one < other
)  # fmt: skip
ROWS += tuple(
    replace(row, clean=f"the {row.clean}", corrupted=f"the {row.corrupted}", id=f"{row.id}-the") for row in ROWS
)
GOOD = Task("house", "House", logit_diff, "Two people, and who is named first.", prompt_pairs=ROWS)
CARD = f"{len(ROWS)} rows, made by `attribution-bench generate --tasks house`."
COUNT = Metric("count", "blind to everything", lambda logits, answers: logits[:, 0] * 0 + len(answers.correct[0]))


def with_rows(*rows: PromptPair) -> Task:
    return replace(GOOD, prompt_pairs=rows)


def changed(place: int, **changes: object) -> Task:
    return with_rows(*ROWS[:place], replace(ROWS[place], **changes), *ROWS[place + 1 :])


def with_split(place: int, split: str = "discovery") -> PromptPair:
    return replace(ROWS[place], split=split, id="another")


def shared_first_tokens() -> Task:
    return with_rows(*(replace(row, correct=" Mary John", incorrect=" Mary Ann") for row in ROWS))


def same_first_token_in_two_rows() -> Task:
    return with_rows(
        *(replace(r, correct=f" who {r.correct.strip()}", incorrect=" a") for r in ROWS if isinstance(r.correct, str))
    )


BROKEN_TASKS: dict[str, tuple[str, Callable[[], Task]]] = {
    "an id that stands twice": ("rows-are-complete", lambda: changed(1, id=ROWS[0].id)),
    "no answer": ("rows-are-complete", lambda: changed(1, correct="")),
    "an unknown split": ("rows-are-complete", lambda: changed(1, split="test")),
    "a corrupted prompt that is its clean one": ("no-identical-prompts", lambda: changed(2, corrupted=ROWS[2].clean)),
    "a row that stands twice": ("no-identical-prompts", lambda: with_rows(*ROWS, replace(ROWS[0], id="again"))),
    "a prompt in both splits": ("splits-share-no-prompt", lambda: with_rows(*ROWS, with_split(0))),
    "a corrupted prompt that is a clean one of the other split": (
        "splits-share-no-prompt",
        lambda: with_rows(*ROWS, replace(ROWS[-1], corrupted=ROWS[0].clean, id="d")),
    ),
    "prompts that differ in length": (
        "audit-keeps-enough",
        lambda: with_rows(*(replace(row, corrupted=f"{row.corrupted} a") for row in ROWS)),
    ),
    "answers that share their first token": ("first-tokens-tell-answers-apart", shared_first_tokens),
    "answers of two rows with one first token": ("first-tokens-tell-answers-apart", same_first_token_in_two_rows),
    "no discovery rows": ("means-are-possible", lambda: with_rows(*(row for row in ROWS if row.split == "evaluation"))),
    "a metric that sees nothing": ("metrics-are-not-degenerate", lambda: replace(GOOD, metric=COUNT)),
    "no summary": ("metadata-is-complete", lambda: replace(GOOD, summary="")),
    "no title": ("metadata-is-complete", lambda: replace(GOOD, title=" ")),
}  # fmt: skip


def outcomes(task: Task, model: Model) -> dict[str, str]:
    return {finding.check: finding.outcome for finding in task_findings(task, model)}


@pytest.mark.parametrize("mistake", BROKEN_TASKS)
def test_each_mistake_is_caught_by_the_check_that_names_it(mistake: str, llama: Model) -> None:
    check, make = BROKEN_TASKS[mistake]
    assert outcomes(make(), llama)[check] == "failed"


def test_a_good_task_passes_and_what_it_lacks_is_not_asked_of_it(llama: Model) -> None:
    found = outcomes(GOOD, llama)
    assert found.pop("generator-reproduces-the-file") == "not applicable"
    assert set(found.values()) == {"passed"}


def test_an_answer_that_overlaps_with_the_wrong_ones_fails_the_metrics(llama: Model, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The audit keeps such tokens out of both sets; were they let in, the metrics' check would say so."""
    monkeypatch.setattr(audit, "_answer_tokens", lambda *_: (((3, 4), (3, 4)), ()))
    assert outcomes(GOOD, llama)["metrics-tell-right-from-wrong"] == "failed"


@pytest.fixture
def stored(tmp_path: Path) -> Task:
    """The good task with a dataset, a card and a generator."""
    (tmp_path / "house.csv").write_text(write_csv(ROWS))
    (tmp_path / "house.md").write_text(CARD)
    file = {"dataset": "house.csv", "generate": lambda: iter(ROWS), "source": tmp_path / "task.py"}
    return replace(GOOD, prompt_pairs=(), citation="a2020", **file)


def test_a_good_task_with_a_dataset_passes_everything(stored: Task, llama: Model) -> None:
    assert set(outcomes(stored, llama).values()) == {"passed"}
    assert [finding.check for finding in check_task(stored, llama)] == [name_of(check) for check in TASK_CHECKS]


def moody() -> Iterator[PromptPair]:
    yield from random.sample(ROWS, len(ROWS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generate": lambda: iter(ROWS[::-1])}, "the file is another one from line 2 on"),
        ({"generate": lambda: iter(ROWS[:-1])}, f"the file is another one from line {len(ROWS) + 1} on"),
        ({"generate": moody}, "two calls of the generator differ"),
        ({"citation": ""}, "the citation is empty"),
        ({"name": "mansion"}, "house.md doesn't say 'generate --tasks mansion'"),
    ],
)
def test_mistakes_in_what_belongs_to_a_dataset(
    change: dict[str, object], message: str, stored: Task, llama: Model
) -> None:
    with pytest.raises(ConformanceError) as caught:
        check_task(replace(stored, **change), llama)
    assert message in str(caught.value)


def test_a_card_must_be_there_and_count_the_rows(stored: Task, llama: Model) -> None:
    card = stored.dataset_path().with_suffix(".md")
    card.write_text(CARD.replace(str(len(ROWS)), "7"))
    with pytest.raises(ConformanceError, match=f"house.md doesn't say '{len(ROWS)}'"):
        check_task(stored, llama)
    card.unlink()
    with pytest.raises(ConformanceError, match=r"there is no card house\.md"):
        check_task(stored, llama)


def test_an_empty_cell_is_named_with_its_row(stored: Task, llama: Model) -> None:
    path = stored.dataset_path()
    path.write_text(write_csv((replace(ROWS[0], cluster=""), *ROWS[1:])))
    with pytest.raises(ConformanceError, match=f"row '{ROWS[0].id}' has no cluster"):
        check_task(stored, llama)


def test_the_command_checks_a_task_under_another_model(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    torch.manual_seed(0)
    assert main(["check", "task", "hypernymy"]) == 0
    assert f"{len(TASK_CHECKS)} passed, 0 failed, 0 not applicable" in capsys.readouterr().out
    assert main(["check", "task", "hypernymy", "--model", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "failed          audit-keeps-enough: 0 evaluation pairs survive" in printed
    assert "not applicable  metrics-are-not-degenerate: no evaluation pair survives the audit" in printed
    assert load_task("hypernymy").name in printed
