"""A report as one HTML file that needs no network: pictures (SVG), style and script stand in it."""

import base64
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from reports.writing.blocks import Block, Heading, flat, marked

METHODS = "Methods"  # the section that says how numbers are made; captions point to it
UPRIGHT = 6  # columns of a map from which their headings stand upright
_PARTS = re.compile(r"(.*?)( \[[^\]]*\])?( [^\w\s]+)?", re.DOTALL)
PIXELS_AN_INCH = 115  # of the page; the fonts of pictures are made for print and small


def environment(room: str) -> Environment:
    """The templates of a room of `reports`, which escape what is put into them and refuse unknown names."""
    return Environment(
        loader=PackageLoader("reports", room), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, undefined=StrictUndefined,
    )  # fmt: skip


def html(blocks: list[Block], pictures: Mapping[str, tuple[Path, float]]) -> str:
    """The page; `pictures` says for every stem where its SVG lies and how wide it is in inches."""
    made = environment("writing")
    made.filters |= {"inline": _inline, "linked": _linked, "kind": lambda block: type(block).__name__, "cell": _cell}
    leaves = list(flat(blocks))
    return made.get_template("page.html").render(
        blocks=blocks,
        title=next((block.text for block in leaves if isinstance(block, Heading)), ""),
        methods=any(isinstance(block, Heading) and block.text == METHODS for block in leaves),
        sources={stem: _embedded(path) for stem, (path, _) in pictures.items()},
        widths={stem: round(inches * PIXELS_AN_INCH) for stem, (_, inches) in pictures.items()},
        anchors={block.text: _anchor(block.text) for block in leaves if isinstance(block, Heading)},
        upright=UPRIGHT,
    )  # fmt: skip


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def _cell(text: object) -> Markup:
    """A cell of a map: the number and its marks; the interval is there for those who copy, and shown by the pointer."""
    number, interval, marks = _PARTS.fullmatch(str(text)).groups(default="")  # type: ignore[union-attr]
    found = Markup("{}").format(number)
    if interval:
        found += Markup('<span class="interval">{}</span>').format(interval)
    return found + Markup("<sup>{}</sup>").format(marks) if marks else found


def _embedded(path: Path) -> str:
    """An SVG, deflated: the page's script unpacks it. Of the plain text a page of 60 pictures would be 6 MB."""
    return base64.b64encode(zlib.compress(path.read_bytes(), 9)).decode()


def _inline(text: str) -> Markup:
    tags = {"plain": "{}", "strong": "<strong>{}</strong>", "code": "<code>{}</code>"}
    return Markup("").join(
        Markup("").join(_linked(word) for word in re.split(r"(https://\S+)", words))
        if mark == "plain"
        else Markup(tags[mark]).format(escape(words))
        for mark, words in marked(text)
    )


def _linked(text: object) -> Markup:
    """The text; one that is a web address as a link, named by its host and the ends of its path."""
    words = str(text)
    if not re.fullmatch(r"https://\S+", words):
        return escape(words)
    address = urlsplit(words)
    return Markup('<a href="{}">{}</a>').format(words, f"{address.hostname}{address.path}")
