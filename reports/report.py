"""The report of a results folder: `report.md`, `agreement.csv` and the figures."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmark.store import Results
from reports import markdown as md
from reports.figures import Picture, draw_formation, draw_section, remove_old
from reports.sections import Section, sections
from reports.tables import accuracy_table, against_reference, agreement_table, cost_table, incomplete, strongest_table

FEW_PAIRS = 16  # below this, agreement on other pairs may be quite another


def _silent(part: str) -> None:
    """No progress wanted."""


def write_report(
    results: Results, out: Path, top_k: int | None = None, progress: Callable[[str], None] | None = None
) -> Path:
    """Write the report into `out` and return the path of `report.md`.

    `progress` is told the name of each part before it is made. The same results folder gives the same bytes.
    """
    tell = progress or _silent
    out.mkdir(parents=True, exist_ok=True)
    remove_old(out / "figures")
    tell("agreement")
    found = sections(results)
    table = agreement_table(results, top_k)
    table.to_csv(out / "agreement.csv", index=False, lineterminator="\n")
    parts = [_opening(results, found)]
    if formed := draw_formation(found, table, results, out / "figures"):
        parts += ["## Over training", *map(_shown, formed)]
    for section in found:
        pictures = draw_section(section, table, results, out / "figures", tell)
        parts.append(_section(section, table, results, pictures))
    parts.append(_closing(results))
    path = out / "report.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _opening(results: Results, found: list[Section]) -> str:
    return "\n\n".join(
        [
            "# Attribution benchmark",
            "## What was run",
            md.what_was_run(results, found),
            "## Can the model do the tasks?",
            md.accuracy_markdown(accuracy_table(found)),
            "## Which rows became pairs",
            md.audit_markdown(found),
        ]
    )


def _section(section: Section, table: pd.DataFrame, results: Results, pictures: dict[str, list[Picture]]) -> str:
    parts = [f"## {section.title}", _pairs_line(section)]
    for kind in section.kinds:
        methods = section.scored(kind)
        parts.append(f"### {kind.capitalize()}s")
        agreement = against_reference(table, results, methods)
        if len(agreement):
            parts.append(md.reference_markdown(agreement))
        else:
            parts.append("No reference to hold the methods against: see `agreement.csv` for every two methods.")
        parts.append(f"Strongest components (mean score, share of the gap). {md.sampled_markdown(methods)}".strip())
        parts.append(md.strongest_markdown(strongest_table(section, methods)))
        parts += map(_shown, pictures[kind])
    warnings = [f"**{warning}**" for warning in incomplete(section)]
    return "\n\n".join([*parts, "### Cost and completeness", *warnings, md.cost_markdown(cost_table(section))])


def _shown(picture: Picture) -> str:
    return f"![{picture.caption}](figures/{picture.stem}.png)\n\n*{picture.caption}*"


def _pairs_line(section: Section) -> str:
    few = f" **Fewer than {FEW_PAIRS} pairs: take every number below as a first look.**" * (section.n_pairs < FEW_PAIRS)
    metric = section.key["task"]["metric"]
    return f"{section.n_pairs} pairs; mean f(clean) - f(corrupted) = {md.number(section.gap, '.3f')} ({metric}).{few}"


def _closing(results: Results) -> str:
    trouble = ["## Failed and damaged cells", md.trouble_markdown(results)]
    return "\n\n".join([*trouble, "## How to read this", md.HOW_TO_READ.rstrip()])
