"""Claims about the fonts of pictures: the small one draws what the whole one draws, and is never needed."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pytest

from reports.writing.drawing import canvas, style
from reports.writing.fonts import SMALL, fonts

WORDS = "first AV Pearson −0.5 ≤ é ẁ ≠ § … → Жβ"


@pytest.fixture(autouse=True)
def made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The small font is made here, whatever an earlier run has left."""
    monkeypatch.setattr("matplotlib.get_cachedir", lambda: str(tmp_path))
    fonts.cache_clear()
    yield
    fonts.cache_clear()


def drawn(text: str, weight: str, folder: Path) -> tuple[bytes, int]:
    """The pixels, and how often the PDF names the small font."""
    figure = canvas(4, 1)
    figure.text(0.1, 0.5, text, weight=weight)
    figure.savefig(folder / "words.pdf", metadata={"CreationDate": None})
    figure.canvas.draw()
    return bytes(figure.canvas.buffer_rgba()), (folder / "words.pdf").read_bytes().count(SMALL.encode())


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_the_small_font_draws_what_the_whole_one_draws_and_leaves_it_the_rest(weight: str, tmp_path: Path) -> None:
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")  # a letter that no font has
        (pixels, small), (rare, _) = drawn(WORDS, weight, tmp_path), drawn("⟨ ﬁ", weight, tmp_path)
        with mpl.rc_context({"font.family": ["DejaVu Sans"]}):
            (as_whole, none), (rare_as_whole, _) = drawn(WORDS, weight, tmp_path), drawn("⟨ ﬁ", weight, tmp_path)
    assert pixels == as_whole
    assert rare == rare_as_whole
    assert small > 0 == none
    assert len(list(tmp_path.glob(f"{SMALL}-*"))) == len(list(tmp_path.glob("*.ttf"))) == 2


def test_where_no_font_can_be_written_the_whole_one_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.get_cachedir", lambda: str(tmp_path / "absent"))
    with style():
        assert mpl.rcParams["font.family"] == ["DejaVu Sans"]
