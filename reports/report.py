"""The report of a results folder: one list of blocks, written as Markdown, HTML, LaTeX, CSV and JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.comparisons import agreement_table, compared
from benchmark.analysis.evidence import evidence
from benchmark.analysis.litmus import untold
from benchmark.store.folder import Results
from reports.agreement.compact import compact_tables
from reports.contents import contents
from reports.findings import findings
from reports.writing.blocks import Leaf, Picture, Table, flat
from reports.writing.drawing import save, style
from reports.writing.html import html
from reports.writing.latex import latex
from reports.writing.markdown import markdown
from reports.writing.paper import paper

_PAGES = ("report.html", "report.md", "report.json", "references.bib", "agreement.csv", "paper.tex")
_PLACES = {Table: ("tables", ("tex", "csv")), Picture: ("figures", ("pdf", "png", "svg"))}


def _silent(part: str) -> None:
    """No progress wanted."""


def write_report(
    results: Results, out: Path, top_k: int | None = None, progress: Callable[[str], None] | None = None
) -> Path:
    """Write the report into `out` and return the path of `report.html`.

    `progress` is told the name of each part before it is made. The same results folder gives the same bytes.
    """
    tell = progress or _silent
    out.mkdir(parents=True, exist_ok=True)
    _remove_old(out)
    tell("agreement")
    parts = compared(untold(results), top_k)
    blocks, cited = contents(results, parts)
    leaves = list(flat(blocks))
    pictures = [block for block in leaves if isinstance(block, Picture)]
    tables = [*compact_tables(parts), *(block for block in leaves if isinstance(block, Table))]
    sizes = {block.stem: _draw(block, out, tell) for block in pictures}
    for table in tables:
        _write(out / "tables" / f"{table.stem}.tex", latex(table))
        _write(out / "tables" / f"{table.stem}.csv", _csv(table.data))
    tell("pages")
    _write(out / "agreement.csv", _csv(agreement_table(parts)))
    _write(out / "references.bib", "\n\n".join(cited[key].entry for key in sorted(cited)) + "\n" * bool(cited))
    _write(out / "paper.tex", paper(tables, pictures, sizes, cites=bool(cited)))
    _write(out / "report.md", markdown(blocks))
    said = [vars(one) | {"numbers": _numbers(one.numbers)} for one in findings(evidence(results, parts))]
    body = {"findings": said} | _as_json(leaves, tables)
    _write(out / "report.json", json.dumps(body, indent=1, ensure_ascii=False) + "\n")
    drawn = {stem: (out / "figures" / f"{stem}.svg", width) for stem, (width, _) in sizes.items()}
    _write(out / "report.html", html(blocks, drawn))
    return out / "report.html"


def _draw(picture: Picture, out: Path, tell: Callable[[str], None]) -> tuple[float, float]:
    """Draw into `figures/`; its width and height in inches."""
    tell(picture.stem)
    with style():
        figure = picture.draw()
        save(figure, out / "figures" / picture.stem)
    width, height = figure.get_size_inches()
    return float(width), float(height)


def _csv(data: pd.DataFrame) -> str:
    return str(data.to_csv(index=False, lineterminator="\n"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _as_json(blocks: list[Leaf], tables: list[Table]) -> dict[str, Any]:
    """Every block with its words and its numbers unrounded, and the files that the report consists of."""
    files = [*_PAGES, *(f"tables/{table.stem}.{ending}" for table in tables for ending in ("tex", "csv"))]
    found = []
    for block in blocks:
        words: dict[str, Any] = {"block": type(block).__name__.lower()}
        match block:
            case Table() | Picture():
                if isinstance(block, Picture):
                    folder, endings = _PLACES[Picture]
                    files += [f"{folder}/{block.stem}.{ending}" for ending in endings]
                words |= {
                    "stem": block.stem,
                    "caption": block.caption,
                    "note": block.note,
                    "facts": block.facts,
                } | _numbers(block.data)
            case _:
                words |= vars(block)
        found.append(words)
    return {"blocks": found, "files": files}


def _numbers(data: pd.DataFrame) -> dict[str, Any]:
    rows = data.to_dict("split", index=False)["data"]
    return {"columns": list(data.columns), "rows": [[None if pd.isna(cell) else cell for cell in row] for row in rows]}


def _remove_old(out: Path) -> None:
    """Take away an earlier report's files, so that none of a cell that is gone stays beside the new ones."""
    try:
        files = json.loads((out / "report.json").read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):  # no report here, or not one of ours
        return
    for path in (out / name for name in files):
        if path.resolve().is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)
