"""`attribution-bench compare`: what it prints and writes, and what it says where nothing can be compared."""

from pathlib import Path

import pandas as pd
import pytest

from benchmark.cli import main
from tests.analysis.test_side_by_side import NAMES, PAIRS, written
from tests.reports.test_paper import document, needs_latex


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    written(tmp_path / "a")
    written(tmp_path / "b", seed=1, replacement="mean")
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_it_says_what_differs_then_agreement_then_scores(
    two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["compare", *two, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    places = [
        printed.index(words)
        for words in (
            "0 of 3 rows", "What differs", "counterfactual  mean", "The same in both: model, weights",
            "Agreement with activation-patching on heads in A and B", "Mean scores of heads in A against those in B",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    stored = pd.read_csv(out / "compare.csv").set_index("method")
    assert list(stored.index) == list(NAMES)
    one = stored.loc["attribution-patching"]
    shown = f"{one.difference:+.2f} [{one.difference_low:+.2f}, {one.difference_high:+.2f}]"
    assert shown in printed
    assert shown in (out / "compare.md").read_text()
    assert shown in (out / "compare.html").read_text()
    assert f"{one.scores_pearson:.4f}" in printed
    assert list(pd.read_csv(out / "differences.csv").what) == ["replacement"]


@needs_latex
def test_its_tables_compile(two: list[str], tmp_path: Path) -> None:
    assert main(["compare", *two, "--out", str(tmp_path)]) == 0
    document(tmp_path, r"\input{compare.tex}", "twocolumn")
    assert (tmp_path / "document.aux").read_text().count(r"\newlabel{tab:") == 3


def test_a_copy_is_the_same_to_the_bit_and_nothing_is_written_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path / "a")
    before = sorted(tmp_path.rglob("*"))
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a")]) == 0
    printed = capsys.readouterr().out
    assert "The scores are the same to the bit, in all 3 rows (a method on a task and kind)." in printed
    assert "Nothing that is recorded differs between the runs." in printed
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_missing_from_a_number_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = str(written(tmp_path / "a").folder)
    for folder, changes, words in (
        ("b", {"dataset": "y"}, "Where A and B share no pair, no interval of a difference is given"),
        ("c", {"rows": slice(0, 6)}, "ioi: no interval: 6 pairs in 3 clusters, and it takes 16 in 8."),
        ("d", {"rows": slice(0, 18)}, "A and B are over all pairs of each, so that B - A needn't be their difference."),
        ("e", {"digest": "e" * 64}, "The models differ, so no score has a counterpart"),
        ("f", {"names": NAMES[:2]}, "one folder holds more than the other"),
        ("g", {"names": NAMES[:1]}, "No method of both is held against a reference in both"),
    ):
        b = str(written(tmp_path / folder, **changes).folder)  # type: ignore[arg-type]
        assert main(["compare", a, b]) == 0
        assert words in " ".join(capsys.readouterr().out.split())
    assert PAIRS == 20


def test_what_cant_be_compared_is_an_error_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = str(written(tmp_path / "a").folder)
    written(tmp_path / "b", task="sva")
    written(tmp_path / "c", names=("hisp",))
    for folder, words in (
        ("nothing", "nothing is no results folder: it holds no run.json. Give the folder that"),
        ("b", "have no task in common: A holds ioi; B holds sva."),
        ("c", "have no method in common on the same task and kind of component"),
    ):
        assert main(["compare", a, str(tmp_path / folder)]) == 2
        assert words in capsys.readouterr().err
    assert main(["compare", a, a, "--out", "/dev/null/x"]) == 2
