"""Claims about how a picture is drawn and saved."""

import warnings
from pathlib import Path

import matplotlib as mpl

from reports.writing.drawing import canvas, style


def test_the_small_font_draws_what_the_whole_one_draws_and_leaves_it_the_rest(tmp_path: Path) -> None:
    words = "first AV Pearson −0.5 ≤ é ≠ § … → Жβ"

    def drawn(text: str) -> tuple[bytes, int]:
        figure = canvas(4, 1)
        figure.text(0.1, 0.5, text)
        figure.savefig(tmp_path / "words.pdf", metadata={"CreationDate": None})
        figure.canvas.draw()
        return bytes(figure.canvas.buffer_rgba()), (tmp_path / "words.pdf").read_bytes().count(b"DejaVuSansSmall")

    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")  # a letter that no font has
        (pixels, small), (rare, _) = drawn(words), drawn("⟨ ﬁ")
        with mpl.rc_context({"font.family": ["DejaVu Sans"]}):
            (as_whole, none), (rare_as_whole, _) = drawn(words), drawn("⟨ ﬁ")
    assert pixels == as_whole
    assert rare == rare_as_whole
    assert small > 0 == none
