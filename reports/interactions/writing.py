"""Interactions as text, as CSV, as pictures and as a page."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.statistics.interaction import WORDS
from benchmark.words import counted
from reports.interactions.picture import matrix
from reports.writing.blocks import Block, Heading, Paragraph, Picture, Table, number, with_interval
from reports.writing.drawing import save
from reports.writing.html import html

if TYPE_CHECKING:
    from benchmark.interactions.effects import Interactions

SHOWN, PRINTED = 40, 10  # rows on the page and in a terminal
WIDTH = 120  # characters of a line in a terminal
_FORM = "z.3f"


def corner(found: "Interactions") -> str:
    """At what corner of F these numbers are, and what they can't say."""
    taken, rest = ("out", "live") if found.noising else ("restored", "corrupted")
    more, less = WORDS[found.noising]
    return (
        f"Interaction of a couple: the effect of one, plus that of the other, less that of both {taken}, while all "
        f"else is {rest}. With others {taken} too it may be another one. Reading: with one {taken}, the other does "
        f"more ({more}) or less ({less}), or one of them more and the other less (mixed). None is given where the "
        "interaction is below 1% of the largest effect or its interval holds 0. The couples are among the "
        f"{counted(len(found.components), 'component')} that are strongest by {found.ranked}. A component that it "
        f"doesn't see isn't here, such as a backup that sleeps. {_intervals(found)}"
    )


def condition(found: "Interactions") -> str:
    """The same of effects given others."""
    taken = "out" if found.noising else "restored"
    return (
        f"Effect of each component while {_names(found)} are {taken} (of one of these, while the others are), and how "
        "much it grew by that. All components are looked at of kinds that a layer has few of, else the strongest. "
        f"{_intervals(found)}"
    )


def lines(title: str, found: "Interactions") -> str:
    """The largest of both tables, as text."""
    couples, given = (_worth_it(frame, found) for frame in (found.couples(), found.conditional()))
    said = [f"{_head(title, found)}", _text(_couples(couples[:PRINTED])), fill(corner(found), WIDTH)]
    if found.others:
        said += ["", _text(_conditional(given[:PRINTED])), fill(condition(found), WIDTH)]
    return "\n".join(said)


def write(found: Sequence[tuple[str, "Interactions"]], out: Path) -> Path:
    """Write `couples.csv`, `conditional.csv`, `figures/` and `interactions.html`; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    blocks: list[Block] = [Heading("Interactions of components", 1)]
    pictures: dict[str, tuple[Path, float]] = {}
    for title, one in found:
        stem = one.pairs.task.replace("/", "-")
        couples, given, values = one.couples(), one.conditional(), one.matrix()
        shown, shown_given = (_worth_it(frame, one)[:SHOWN] for frame in (couples, given))
        draw = partial(matrix, values, one.pairs.metric.name, one.least)
        blocks += [
            Heading(_head(title, one), 2),
            Paragraph(corner(one)),
            Picture(stem, "Interaction of every two components, the strongest first.", "", draw, values),
            Table(f"{stem}-couples", "The largest interactions.", "", _couples(shown), couples),
        ]
        if one.others:
            caption, table = f"Effects given {_names(one)}.", _conditional(shown_given)
            blocks.append(Table(f"{stem}-conditional", caption, "", table, given, note=condition(one)))
        figure = draw()
        save(figure, out / "figures" / stem)
        pictures[stem] = out / "figures" / f"{stem}.svg", float(figure.get_size_inches()[0])
    for name in ("couples", "conditional"):
        frames = [_whose(one, getattr(one, name)()) for _, one in found]
        pd.concat(frames).to_csv(out / f"{name}.csv", index=False, lineterminator="\n")
    (out / "interactions.html").write_text(html(blocks, pictures), encoding="utf-8")
    return out / "interactions.html"


def _worth_it(frame: pd.DataFrame, found: "Interactions") -> pd.DataFrame:
    """The rows whose interaction or growth is no rounding."""
    return frame[frame.filter(["interaction", "growth"]).abs().max(axis=1) >= max(found.least, 1e-12)]


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False) if len(table) else "Nothing of 1% of the largest effect or more."


def _head(title: str, found: "Interactions") -> str:
    many = counted(len(found.pairs), "pair")
    return (
        f"{title} ({found.pairs.task}), {found.model.name}: {many}, {found.direction} with {found.replacement}, "
        f"{found.pairs.metric.name}"
    )


def _intervals(found: "Interactions") -> str:
    if found.splits.refusal:
        return found.splits.refusal[0].upper() + found.splits.refusal[1:] + "."
    return (
        "Brackets: 95% interval of the mean over pairs or clusters, each by itself: none is adjusted for the choice of "
        "the largest."
    )


def _names(found: "Interactions") -> str:
    return ", ".join(map(found.name, found.given))


def _whose(found: "Interactions", frame: pd.DataFrame) -> pd.DataFrame:
    facts = {
        "model": found.model.name, "task": found.pairs.task, "direction": found.direction,
        "replacement": found.replacement, "ranked_by": found.ranked, "given": " ".join(map(found.name, found.given)),
        "pairs": len(found.pairs),
    }  # fmt: skip
    return pd.concat([pd.DataFrame(facts, index=frame.index), frame], axis=1)


def _couples(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "couple": frame.a + " " + frame.b,
            "effect": [number(value, _FORM) for value in frame.effect_a],
            "effect of other": [number(value, _FORM) for value in frame.effect_b],
            "both": [number(value, _FORM) for value in frame.effect_both],
            "interaction": _bracketed(frame, "interaction"),
            "reading": frame.reading,
        }
    )


def _conditional(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "component": frame.component,
            "effect": [number(value, _FORM) for value in frame.effect],
            "effect given these": [number(value, _FORM) for value in frame.effect_given],
            "growth": _bracketed(frame, "growth"),
            "reading": frame.reading,
        }
    )


def _bracketed(frame: pd.DataFrame, column: str) -> list[str]:
    return [with_interval(*row, _FORM) for row in zip(frame[column], frame.low, frame.high, strict=True)]
