"""From what plugins give as their `citation` to `references.bib` and a readable list of sources.

A citation is a key of the bibliography beside this file (`wang2022`), several of them separated by semicolons, a whole
BibTeX entry, or any words.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from reports.writing.latex import escaped

_START = re.compile(r"@\w+\s*\{\s*([^,\s]+)\s*,")
_FIELD = re.compile(r"(\w+)\s*=\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|\"([^\"]*)\"|(\d+))")


@dataclass(frozen=True)
class Reference:
    """One source: its key, its BibTeX entry, and the line that a reader sees."""

    key: str
    entry: str
    line: str


@lru_cache
def known() -> dict[str, Reference]:
    """The bibliography that comes with the package, by key."""
    return {one.key: one for one in _entries(Path(__file__).with_name("references.bib").read_text(encoding="utf-8"))}


def references(citation: str) -> list[Reference]:
    """The sources that one plugin names; none where it names nothing.

    >>> [source.key for source in references("sundararajan2017; hanna2024")]
    ['sundararajan2017', 'hanna2024']
    >>> references("A. Author 2031, in preparation")[0].line
    'A. Author 2031, in preparation'
    """
    if entries := _entries(citation):
        return entries
    parts = [" ".join(part.split()) for part in citation.split(";")]
    return [known().get(part) or _in_words(part) for part in parts if part]


def _entries(text: str) -> list[Reference]:
    """Every entry of a BibTeX text; each starts a line of its own."""
    found = [part.strip() for part in re.split(r"(?m)^(?=\s*@\w+\s*\{)", text)]
    return [Reference(start[1], entry, _line(entry)) for entry in found if (start := _START.match(entry))]


def _line(entry: str) -> str:
    """`Authors (year). Title. Where.` from an entry's fields."""
    fields = {name.lower(): re.sub(r"[{}]", "", "".join(values)) for name, *values in _FIELD.findall(entry)}
    authors = [" ".join(reversed(name.split(", ", 1))) for name in fields.get("author", "").split(" and ")]
    named = f"{authors[0]} et al." if len(authors) > 3 else " and ".join(authors)
    place = [f"{name}:{fields[field]}" for name, field in (("arXiv", "eprint"), ("doi", "doi")) if field in fields]
    place = place[:1] or [fields[name] for name in ("url", "howpublished", "note") if name in fields]
    return ". ".join([f"{named} ({fields.get('year', 'no year')})".strip(), fields.get("title", "No title"), *place])


def _in_words(words: str) -> Reference:
    """A source that is no BibTeX: a `@misc` entry that holds the words, under a key made of the first ones."""
    key = "-".join(re.findall(r"[a-z0-9]+", words.lower())[:4]) or "source"
    return Reference(key, f"@misc{{{key},\n  note = {{{escaped(words)}}},\n}}", words)
