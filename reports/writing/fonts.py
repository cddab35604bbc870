"""The fonts of pictures: a part of DejaVu Sans that PDFs take quickly, and the whole of it for what that lacks."""

import os
import tempfile
from functools import cache
from pathlib import Path

import matplotlib as mpl
from fontTools.subset import Options, Subsetter, load_font
from matplotlib import font_manager
from matplotlib.font_manager import FontProperties

SMALL = "DejaVuSansSmall"  # a font's name


@cache
def fonts() -> list[str]:
    """DejaVu Sans, and before it a small one with Latin, Greek and Cyrillic letters and signs only.

    Each PDF subsets its fonts anew, which takes two to three times as long with the whole of DejaVu Sans. What the
    small one lacks is drawn from the whole. It lies in matplotlib's cache; where nothing can be written it isn't there.
    """
    try:
        for weight in ("normal", "bold"):
            path = Path(mpl.get_cachedir(), f"{SMALL}-{weight}-{mpl.__version__}.ttf")
            if not path.is_file():
                _write_small(Path(font_manager.findfont(FontProperties(family="DejaVu Sans", weight=weight))), path)
            font_manager.fontManager.addfont(path)
    except (OSError, RuntimeError):  # RuntimeError: of a damaged file
        return ["DejaVu Sans"]
    return [SMALL, "DejaVu Sans"]


def _write_small(whole: Path, path: Path) -> None:
    """A part of a font, with its kerning and ligatures, under a name of its own."""
    options = Options(layout_features=["kern", "liga"], legacy_kern=True, notdef_outline=True)
    options.drop_tables += ["FFTM"]
    with load_font(whole, options) as font:
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=[*range(0x20, 0x530), *range(0x1E00, 0x1F00), *range(0x2000, 0x2300)])
        subsetter.subset(font)
        for record in font["name"].names:
            if record.nameID in (1, 4, 6):  # family, full name, PostScript name
                record.string = SMALL
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as written:
            font.save(written)
    os.replace(written.name, path)
