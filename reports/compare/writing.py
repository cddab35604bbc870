"""Two results folders side by side as text, page, Markdown, LaTeX and CSV."""

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

import pandas as pd

from benchmark.analysis.circuits_side_by_side import CircuitsSideBySide, circuits_side_by_side
from benchmark.analysis.sections import slug
from benchmark.analysis.side_by_side import OTHER_PAIRS, SideBySide
from benchmark.components import plural
from benchmark.words import counted
from reports.circuits.section import MARKS, kind_words, mark_of, one_ranking, way_words
from reports.writing.blocks import Block, Bullets, Heading, Paragraph, Table, number, with_interval
from reports.writing.captions import distinct
from reports.writing.html import html
from reports.writing.latex import latex
from reports.writing.markdown import markdown

NUMBERS = {"cpr": "CPR", "cmd": "CMD", "area": "area"}  # of circuits
AREAS = (
    "CPR and CMD: the Mechanistic Interpretability Benchmark's areas under faithfulness and between it and 1 (0: what "
    "the model does, no less and no more); area: that under faithfulness, at most 1, over log size."
)
WIDTH = 120  # characters of a line in a terminal


def lines(found: SideBySide) -> str:
    """All tables as text, what differs first."""
    said = []
    for block in _blocks(found, circuits_side_by_side(found.a, found.b)):
        match block:
            case Heading():
                said.append(block.text)
            case Paragraph():
                said.append(fill(block.text.replace("**", "").replace("`", ""), WIDTH))
            case Bullets():
                said.append("\n".join(f"- {item}" for item in block.items))
            case Table():
                notes = fill(f"{block.caption} {block.facts}".strip(), WIDTH)
                said.append(f"{notes}\n{_aligned(block.shown, block.numeric())}")
    return "\n\n".join(said)


def write(found: SideBySide, out: Path) -> Path:
    """Write `compare.html`, `.md`, `.tex`, `.csv`, `differences.csv` and `circuits.csv`; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    circuits = circuits_side_by_side(found.a, found.b)
    blocks = _blocks(found, circuits)
    tables = [block for block in blocks if isinstance(block, Table)]
    for name, text in {
        "compare.md": markdown(blocks),
        "compare.tex": "\n".join(map(latex, tables)),
        "compare.html": html(blocks, {}),
    }.items():
        (out / name).write_text(text, encoding="utf-8")
    found.methods.to_csv(out / "compare.csv", index=False, lineterminator="\n")
    found.differing.to_csv(out / "differences.csv", index=False, lineterminator="\n")
    circuits.numbers.to_csv(out / "circuits.csv", index=False, lineterminator="\n")
    return out / "compare.html"


def _blocks(found: SideBySide, circuits: CircuitsSideBySide) -> list[Block]:
    blocks: list[Block] = [
        Heading("Two runs side by side", 1),
        Paragraph(f"A: `{found.a.folder}`. B: `{found.b.folder}`."),
        Paragraph(f"**{_verdict(found)}**"),
        *_differing(found),
    ]
    if alone := (*found.alone, *circuits.alone):
        blocks += [Heading("In one folder alone", 2), Bullets(alone)]
    blocks += _agreement(found)
    blocks += _circuits(circuits.numbers)
    blocks += _scores(found)
    return blocks


def _verdict(found: SideBySide) -> str:
    """In a sentence whether the numbers are the same."""
    rows = found.methods
    if found.identical:
        return f"The scores are the same to the bit, in all {counted(len(rows), 'row')} (a method on a task and kind)."
    comparable = rows[rows.scores_note.isna()]
    if not len(comparable):
        return "The models differ, so no score has a counterpart: agreement is compared, not scores."
    equal = f"{int(comparable.same_bits.sum())} of {counted(len(comparable), 'row')}"
    same = f"The scores of {equal} (a method on a task and kind) are the same to the bit"
    if comparable.same_bits.all():
        return f"{same}; one folder holds more than the other, or some have no counterpart."
    worst = comparable.loc[(comparable.largest_difference / comparable.largest_score).fillna(0).idxmax()]
    return (
        f"{same}. The mean scores differ most in {worst.method} on {plural(worst.component)} of {worst.task}: by up to "
        f"{worst.largest_difference:.2g}, where the largest is {worst.largest_score:.2g}."
    )


def _differing(found: SideBySide) -> list[Block]:
    words = Paragraph(f"The same in both: {_together(found.same) or 'nothing that is recorded'}.")
    if found.differing.empty:
        return [Paragraph("Nothing that is recorded differs between the runs."), words]
    shown = found.differing.rename(columns={"a": "A", "b": "B"})
    table = Table("differences", "What differs between the runs.", "", shown, found.differing)
    return [Heading("What differs", 2), table, words]


def _together(names: Iterable[str]) -> str:
    """`model, options of A and B`: names that begin alike stand together."""
    groups: dict[str, list[str]] = {}
    for name in names:
        what, _, whose = name.partition(" of ")
        groups.setdefault(what, []).extend([whose] * bool(whose))
    return ", ".join(what + f" of {' and '.join(whose)}" * bool(whose) for what, whose in groups.items())


def _agreement(found: SideBySide) -> list[Block]:
    rows = found.methods[found.methods.value_a.notna() & found.methods.value_b.notna()]
    blocks: list[Block] = [Heading("Agreement with the reference", 2)]
    if rows.empty:
        why = "No method of both is held against a reference in both over all components, so no agreement is compared."
        return [*blocks, Paragraph(why)]
    for kind, group in rows.groupby("component", sort=False):
        shown = pd.DataFrame(
            {
                "task": _setting(row),
                "method": row.method + " (sizes)" * (row.version == "by_size"),
                "A": with_interval(row.value_a, row.low_a, row.high_a),
                "B": with_interval(row.value_b, row.low_b, row.high_b),
                "B - A": with_interval(row.difference, row.difference_low, row.difference_high, "+z.2f"),
                "shared pairs": str(row.n_shared),
            }
            for row in group.itertuples()
        )
        caption = f"Agreement with {_references(group)} on {plural(kind)} in A and B: Pearson of mean scores."
        blocks.append(Table(f"compare-{kind}-agreement", caption, _facts(group), shown, group))
    return blocks


def _setting(row: tuple) -> str:  # type: ignore[type-arg]
    same = row.setting_a == row.setting_b  # type: ignore[attr-defined]
    return row.setting_a if same else row.task  # type: ignore[attr-defined,no-any-return]


def _references(group: pd.DataFrame) -> str:
    a, b = distinct(group.reference_a), distinct(group.reference_b)
    return a if a == b else f"{a} (A) and {b} (B)"


def _facts(group: pd.DataFrame) -> str:
    """What the columns are, and where and why an interval is missing."""
    said = [
        "Brackets: 95% intervals over pairs by half-sampling.",
        "B - A is over the shared pairs, the same rows of the same dataset, and its interval is of that difference: "
        "both are taken of the same half-samples.",
    ]
    if (group.n_shared != group[["n_pairs_a", "n_pairs_b"]].max(axis=1)).any():
        said.append("A and B are over all pairs of each, so that B - A needn't be their difference.")
    for note, some in group.groupby("difference_note"):
        if note == OTHER_PAIRS:
            said.append("Where A and B share no pair, no interval of a difference is given: see those of A and of B.")
        elif note:
            whole = len(some) == group.task.isin(some.task).sum()
            rows = (
                distinct(some.task) if whole else distinct(f"{row.method} on {row.task}" for row in some.itertuples())
            )
            said.append(f"{rows}: {note}.")
    return " ".join(said)


def _circuits(numbers: pd.DataFrame) -> list[Block]:
    """A table for each choice of kinds and way that both folders have circuits of; signed rankings where there are."""
    blocks: list[Block] = [Heading("Circuits", 2)] if len(numbers) else []
    for (kinds, *way), group in numbers.groupby(["kinds", "direction", "replacement"], sort=False):
        group = one_ranking(group.rename(columns={"order": "source"}))
        cases = group.case_a.where(group.case_a == group.case_b, group.task)
        marks = [mark_of(row.told_a, row.told_b) for row in group.itertuples()]
        legend = "".join(f" {mark} {MARKS[mark]}." for mark in dict.fromkeys("".join(marks)))
        shown = pd.DataFrame(
            {
                "task": f"{case} {mark}".strip(),
                "order": row.source,
                "number": NUMBERS[row.number],
                "A": with_interval(row.value_a, row.low_a, row.high_a),
                "B": with_interval(row.value_b, row.low_b, row.high_b),
                "B - A": with_interval(row.difference, row.difference_low, row.difference_high, "+z.2f"),
            }
            for case, mark, row in zip(cases, marks, group.itertuples(), strict=True)
        )
        said = "B - A is there where both were measured on the same pairs, and its interval is of that difference."
        caption = f"Faithfulness of circuits of {kind_words(str(kinds))} in A and B, {way_words((way[0], way[1]))}."
        facts = f"{AREAS} Brackets: 95% intervals over the measured pairs. {said}{legend}"
        blocks.append(Table(f"compare-{slug(str(kinds), *way)}-circuits", caption, facts, shown, group))
    return blocks


def _scores(found: SideBySide) -> list[Block]:
    blocks: list[Block] = [Heading("Scores of A against scores of B", 2)]
    rows = found.methods
    for (kind, note), group in rows.groupby(["component", "scores_note"], sort=False):
        blocks.append(Paragraph(f"Not for {plural(kind)} on {distinct(group.task)}: {note}."))
    for kind, group in rows[rows.scores_note.isna()].groupby("component", sort=False):
        shown = pd.DataFrame(
            {
                "task": _setting(row),
                "method": row.method + " (sizes)" * (row.scores_version == "by_size"),
                "components": str(row.n_scores),
                "Pearson": number(row.scores_pearson, "z.4f"),
                f"same top {row.k}": number(row.scores_top_k),
                "largest score": number(row.largest_score, ".3g"),
                "largest difference": number(row.largest_difference, ".2g"),
                "of a pair": number(row.largest_pair_difference, ".2g"),
                "same to the bit": "yes" if row.same_bits else "no",
            }
            for row in group.itertuples()
        ).fillna("-")
        caption = f"Mean scores of {plural(kind)} in A against those in B, method by method."
        over = distinct(group.scores_over, " or ")
        facts = (
            f"Over {over}. Tops by size; largest score: |mean score| in A; largest difference: |A - B|"
            " of mean scores, and of one pair's scores."
        )
        blocks.append(Table(f"compare-{kind}-scores", caption, facts, shown, group))
    return blocks


def _aligned(shown: pd.DataFrame, numeric: list[bool]) -> str:
    """Columns of text to the left, of numbers to the right, long texts cut."""
    columns = []
    for right, (name, cells) in zip(numeric, shown.items(), strict=True):
        texts = [str(name), *(text if len(text) <= 48 else f"{text[:45]}..." for text in map(str, cells))]
        width = max(map(len, texts))
        columns.append([text.rjust(width) if right else text.ljust(width) for text in texts])
    return "\n".join("  " + "  ".join(row).rstrip() for row in zip(*columns, strict=True))
