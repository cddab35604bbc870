"""Progress where nobody watches a terminal: a line now and then, and not a single carriage return."""

import io
import sys
from pathlib import Path

import pytest

from benchmark import progress
from benchmark.cli import main
from benchmark.progress import Lines, bar

pytestmark = pytest.mark.usefixtures("without_pictures", "loaded_once")


class Clock:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Lines(400.0, "ioi x random", clock) as shown:
        for seconds in (10, 19, 1, 15, 14, 31):
            clock.now += seconds
            shown.advance(50)
    assert capsys.readouterr().err.splitlines() == [
        "ioi x random: 150/400, 00:30 elapsed, about 00:50 left",
        "ioi x random: 300/400, 01:30 elapsed, about 00:30 left",
    ]


def test_what_is_done_changes_its_name_and_never_passes_the_length(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = Lines(10.0, "first", clock)
    shown.describe("second")
    clock.now += 60
    shown.advance(25.5)
    assert capsys.readouterr().err == "second: 10/10, 01:00 elapsed\n"


def test_without_a_length_nothing_is_said_of_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    shown = Lines(None, "report", clock)
    clock.now += 3700
    shown.advance()
    assert capsys.readouterr().err == "report: 1, 1:01:40 elapsed\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with bar(13 / 3, "ioi", quick=0.0) as shown:  # passes are counted in fractions
        shown.advance(7 / 3)
    assert "\rioi:   0%|" in sys.stderr.getvalue()
    assert "| 4/4 [" in sys.stderr.getvalue()


@pytest.mark.parametrize(("length", "hidden"), [(0, False), (4, True)])
def test_nothing_to_do_and_what_is_hidden_show_nothing(
    length: float, hidden: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with bar(length, hidden=hidden) as shown:
        shown.advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_every_command_speaks_in_lines(
    every: float, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "EVERY", every)
    out = str(tmp_path / "r")
    few = ["--methods", "activation-patching,random", "--pairs", "2", "--components", "head", "--device", "cpu"]
    commands = {
        "sva x random: ": ["run", "--model", "pocket", "--task", "sva", *few, "--out", out],
        "report, ": ["report", out],
        "plans: 4/4, ": ["litmus", "or-gate", *few, "--out", str(tmp_path / "litmus")],
        "checks: 2/2, ": ["check", "method", "random", "--only", "refusals,declared-cost"],
    }
    for line, words in commands.items():
        with monkeypatch.context() as only:
            if words[0] != "report":  # all write their reports in the same way
                only.setattr("benchmark.cli._write_report", lambda *_: None)
            assert main(words) == 0
        said = "".join(capsys.readouterr())
        assert "\r" not in said
        assert (f"\n{line}" in f"\n{said}") == (every == 0.0), words
