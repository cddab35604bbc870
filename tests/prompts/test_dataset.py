"""Dataset files: read strictly, written the same way every time."""

import csv
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import COLUMNS, PromptPair, digest, read_csv, write_csv

ROWS = [
    PromptPair("a, b", ["c", 'd "e"'], [" x", " y"], [" z", " w"], "r1", "t", "c", "discovery", {"extra": "1"}),
    PromptPair("é\u2019s", "f", " x", " y", "r2", "t", "c", "evaluation", {"extra": "2"}),
    PromptPair("g", None, " x", " y", "r3", extra={"extra": ""}),
]


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(write_csv(ROWS), encoding="utf-8")
    assert read_csv(path) == ROWS
    assert write_csv(read_csv(path)) == path.read_text(encoding="utf-8")
    assert digest(ROWS) != digest(ROWS[:2])


def bad(tmp_path: Path, old: str, new: str) -> Path:
    path = tmp_path / "bad.csv"
    text = write_csv(ROWS)
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(
        BenchmarkError, match=r"bad.csv has no column 'corrupted'; clean, corrupted, .* are id, clean, wrong"
    ):
        read_csv(bad(tmp_path, "clean,corrupted", "clean,wrong"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("discovery", "training", r"line 2: split is 'training'"),
        ('"[""c"",', '"[""c"" ""d"",', r"line 2, corrupted: .* starts like a list"),
        ('"["" x"", "" y""]"', '"[1, 2]"', r"line 2, correct: a list must hold strings"),
        ("evaluation,2", "evaluation", r"line 3: this row has more or fewer cells"),
        ("r2", "r1", r"the id 'r1' stands twice"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        read_csv(bad(tmp_path, old, new))


def test_the_columns_are_those_of_the_documentation() -> None:
    card = Path(__file__).parents[2] / "docs" / "add_a_task.md"
    assert all(f"`{column}`" in card.read_text() for column in COLUMNS)


@pytest.mark.parametrize(
    ("cell", "meant"),
    [
        ("[INST] The capital of Spain is [/INST]", "[INST] The capital of Spain is [/INST]"),
        ("[", "["),
        ("[1] The capital of Spain is", "[1] The capital of Spain is"),
        ('[" Paris", " Rome"]', [" Paris", " Rome"]),
        ("[' Paris', \" Rome's\"]", [" Paris", " Rome's"]),
    ],
)
def test_a_cell_is_a_list_where_it_is_written_as_one_and_text_elsewhere(
    tmp_path: Path, cell: str, meant: object
) -> None:
    path = tmp_path / "cells.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("clean", "corrupted", "correct", "incorrect"), ("a", "b", cell, " x")])
    [row] = read_csv(path)
    assert row.correct == meant
