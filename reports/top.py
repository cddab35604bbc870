"""The strongest components as text, as CSV and as a page with a link for each feature that has one."""

from pathlib import Path

import pandas as pd

from benchmark.analysis.top import quick_list
from benchmark.components import plural, titled
from benchmark.words import counted
from reports.writing import captions
from reports.writing.blocks import Block, Heading, Paragraph, Table, with_interval
from reports.writing.html import html

_OF_ONE = ["model", "task", "method", "direction", "replacement", "mean_of"]
_MEAN = {"scores": "mean score", "magnitudes": "mean |score|"}
FACTS = (
    "Mean over the pairs, with its 95% interval over pairs or clusters where there are enough; no interval is "
    "adjusted for the choice of the largest. Errors are what the dictionaries leave over."
)


def lines(found: pd.DataFrame, kind: str) -> str:
    """A table a method, as text."""
    parts = []
    for names, group in found.groupby(_OF_ONE, sort=False):
        shown = _shown(group)
        parts.append(f"{_title(names, kind)}\n{shown.to_string(index=False, justify='left')}")
        if link := quick_list(group.page, _title(names, kind)):
            parts.append(f"All of them: {link}")
    return "\n\n".join(parts)


def write_top(found: pd.DataFrame, kind: str, out: Path) -> Path:
    """Write `top.csv` and `top.html`; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    found.to_csv(out / "top.csv", index=False, lineterminator="\n")
    blocks: list[Block] = [Heading(f"Strongest {plural(kind)}", 1), Paragraph(FACTS)]
    for place, (names, group) in enumerate(found.groupby(_OF_ONE, sort=False)):
        title = _title(names, kind)
        blocks.append(Heading(title, 2))
        if link := quick_list(group.page, title):
            blocks.append(Paragraph(f"All of them side by side: {link}"))
        caption = f"{counted(len(group), 'component')}, the largest first. {captions.MEAN_OF[names[-1]]}"
        blocks.append(Table(f"top-{place}", caption, "", _shown(group), group))
    (out / "top.html").write_text(html(blocks, {}), encoding="utf-8")
    return out / "top.html"


def _title(names: tuple[str, ...], kind: str) -> str:
    model, task, method, direction, replacement, mean_of = names
    by = f"{method} ({direction}, {replacement})"
    return f"{titled(kind)} of {model} on {task} by {by}" + ", mean magnitudes" * (mean_of == "magnitudes")


def _shown(group: pd.DataFrame) -> pd.DataFrame:
    scores = group.score, group.low, group.high
    shown = pd.DataFrame(
        {
            "component": group.component.str.ljust(group.component.str.len().max()),
            "layer": group.layer,
            "number": group["index"].astype(str).where(~group.component.str.endswith("-error"), "-"),
            _MEAN[group.mean_of.iloc[0]]: [with_interval(*row, "z.4g") for row in zip(*scores, strict=True)],
            "not 0 in": [f"{some} of {every} pairs" for some, every in zip(group.in_pairs, group.pairs, strict=True)],
            "page": group.page,
        }
    )
    return shown if group.page.any() else shown.drop(columns="page")
