"""What would mislead is said, in the same words in run, audit, check and report."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.engine.model import Model
from benchmark.models.loading import load_model
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import Audit, make_pairs
from benchmark.running.caveats import at_chance, cut, mostly_dropped, spelled_otherwise, spellings
from benchmark.store.folder import Results, record_run
from reports.report import write_report
from reports.terminal import terminal_summary
from tests.reports.test_reports import add_cell

pytestmark = pytest.mark.usefixtures("without_pictures", "loaded_once")


def test_over_half_of_the_rows_dropped_is_said_and_half_is_not() -> None:
    assert mostly_dropped(Audit(10, 5, {"why": 5})) == ""
    assert mostly_dropped(Audit(10, 4, {"why": 6})) == (
        "6 of 10 rows were dropped (6 x why): what is left is no sample of the dataset."
    )


def test_a_model_at_chance_or_below_is_said_to_be() -> None:
    assert at_chance(14, 16) == ""
    assert "isn't shown to be better than a guess between two answers (0.5; 95% interval 0.28 to 0.72)" in at_chance(
        8, 16
    )
    assert "right on 1 of 16 pairs" in at_chance(1, 16)
    assert at_chance(0, 0) == ""
    assert "2 of 2 pairs" in at_chance(2, 2)


def test_answers_that_are_cut_are_counted_and_named() -> None:
    assert cut(Audit(3, 3, {})) == ""
    assert cut(Audit(3, 3, {}, cut={" Ouagadougou": 1})) == (
        "1 answer of several tokens is scored by the first token alone: ' Ouagadougou' in 1 pair."
    )
    many = cut(Audit(9, 9, {}, cut=dict.fromkeys("abcde", 2)))
    assert many.startswith("5 answers of several tokens are scored by the first token alone: 'a' in 2 pairs")
    assert many.endswith("and 2 more.")


def test_the_spelling_that_the_model_expects_is_named_with_both_probabilities(smollm2: Model) -> None:
    without = PromptPair("The capital of France is", "The capital of Spain is", "Paris", "Madrid", id="x")
    found = spellings(smollm2, make_pairs(smollm2, [without], logit_diff))
    words = spelled_otherwise(found, 1)
    assert words.startswith("In 1 of 1 pair the model finds an answer's other spelling far likelier: ' Paris' 0.7")
    assert "'Paris' 0.00052 (pair x)" in words
    one_side = replace(without, correct=" Paris")  # the wrong answer has no chance, so the model is always right
    assert "' Madrid'" in spelled_otherwise(spellings(smollm2, make_pairs(smollm2, [one_side], logit_diff)), 1)
    with_space = replace(without, correct=" Paris", incorrect=" Madrid")
    assert spellings(smollm2, make_pairs(smollm2, [with_space], logit_diff)) == []
    assert spelled_otherwise([], 1) == ""


WENT, GAVE = "went to the office", "gave a pair of gloves to"


@pytest.fixture(scope="module")
def chance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of pocket's names, with the answers the wrong way round, in a file of four columns."""
    file = tmp_path_factory.mktemp("pairs") / "the wrong way.csv"
    rows = [
        (f"When {a} and {b} {WENT}, {b} {GAVE}", f"When {a} and {b} {WENT}, {a} {GAVE}", f" {b}", f" {a}")
        for a, b in (("Andrew", "Thomas"), ("Thomas", "Andrew"))
    ]  # fmt: skip
    with open(file, "w", newline="") as opened:
        csv.writer(opened).writerows([("clean", "corrupted", "correct", "incorrect"), *rows])
    return file


def said(text: str) -> set[str]:
    return {line.strip().removeprefix("! ") for line in text.splitlines() if line.strip().startswith("! ")}


def test_run_audit_and_report_say_it_in_the_same_words(
    chance: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--model", "pocket", "--pairs-file", str(chance), "--title", "Turned round"]
    assert main(["run", *asked, "--methods", "random", "--components", "head", "--out", str(tmp_path / "r")]) == 0
    printed = capsys.readouterr()
    assert main(["audit", *asked]) == 0
    audited = said(capsys.readouterr().out)
    assert any("The model is right on 0 of 2 pairs" in words for words in audited)
    assert said(printed.out) == said(printed.err) == audited
    report = (tmp_path / "r" / "report" / "report.md").read_text()
    assert all(words in report for words in audited)


def test_check_task_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "turned.py"
    plugin.write_text(
        "from benchmark import PromptPair, Task, logit_diff\n"
        f"a = PromptPair('When Andrew and Thomas {WENT}, Thomas {GAVE}', "
        f"'When Andrew and Thomas {WENT}, Andrew {GAVE}', ' Thomas', ' Andrew')\n"
        "task = Task('turned', 'Turned', logit_diff, 'The wrong way round.', prompt_pairs=[a])\n"
    )
    main(["check", "task", "turned", "--model", "pocket", "--plugin", str(plugin), "--only", "rows-are-complete"])
    assert "! The model is right on 0 of 1 pair" in capsys.readouterr().out


def test_reports_name_the_file_its_digest_and_its_title_and_no_other_task(chance: Path, tmp_path: Path) -> None:
    for more in ([], ["--task", "ioi"]):
        out = tmp_path / f"r{len(more)}"
        asked = ["--pairs-file", str(chance), "--title", "Turned round", "--methods", "random", "--components", "head"]
        assert main(["run", *asked, *more, "--out", str(out)]) == 0
        report = (out / "report" / "report.md").read_text()
        [cell] = Results(out).cells
        assert "Turned round (the-wrong-way)" in report
        assert f"{chance} (Turned round; sha256 of its rows {cell.key.task.dataset_digest[:12]})" in report
        assert "Indirect object" not in report
        assert cell.citations["task"] == ""


def test_planned_cells_that_were_never_computed_are_named(tmp_path: Path) -> None:
    add_cell(tmp_path, "random")
    there = next(tmp_path.glob("cells/*/*/*")).name[-8:]
    record_run(tmp_path, {"asked": {}, "resolved": {"cells": [there, "0123abcd"], "names": {"0123abcd": "ioi x slow"}}})
    results = Results(tmp_path)
    assert results.missing == {"ioi x slow": "never computed"}
    assert "1 planned cell not finished: ioi x slow (never computed)." in terminal_summary(results)
    write_report(results, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "missing: ioi x slow: planned, never computed" in text
    assert "none is missing" not in text


def test_two_folders_of_the_same_name_are_told_apart_by_their_place(tmp_path: Path, folder: Path) -> None:
    from benchmark.models.tiny import save

    places = [save(tmp_path / name / "checkpoint-500", architecture) for name, architecture in
              (("a", "llama"), ("b", "gpt2"))]  # fmt: skip
    pairs = tmp_path / "p.csv"
    pairs.write_text("clean,corrupted,correct,incorrect\nthe cat near a dog,the bird near a dog, is, are\n")
    asked = ["run", *(word for place in places for word in ("--model", str(place))), "--pairs-file", str(pairs)]
    out = tmp_path / "r"
    assert main([*asked, "--methods", "random", "--components", "head", "--out", str(out)]) == 0
    report = (out / "report" / "report.md").read_text()
    assert all(f"checkpoint-500 ({place})" in report for place in places)
    assert len(re.findall("^### p.csv", report, re.MULTILINE)) == 2


def test_pocket_needs_no_caveat_on_the_tasks_it_was_made_for() -> None:
    from benchmark.running.behaviour import behaviour
    from benchmark.running.plugins import load_task

    model = load_model("pocket")
    for name in ("ioi", "sva"):
        task = load_task(name)
        assert behaviour(model, task, task.metric, 32, "evaluation", 0, "zero").caveats == ()
