"""What a run ends with: the findings, and a table for each task."""

import re
from collections.abc import Hashable, Mapping
from itertools import groupby
from textwrap import fill, wrap
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.behaviour import accuracy_data, incomplete, only_rounding
from benchmark.analysis.comparisons import Comparisons, compared, value_of
from benchmark.analysis.evidence import evidence
from benchmark.analysis.litmus import untold
from benchmark.analysis.resolution import below_resolution, marked
from benchmark.analysis.sections import Scored, Section, sections
from benchmark.components import plural
from benchmark.statistics.agreement import STATISTICS
from benchmark.store.folder import Results
from benchmark.words import counted
from reports.agreement.agreement_map import matrix
from reports.circuits.section import terminal_lines
from reports.findings import findings
from reports.litmus.section import litmus_summary
from reports.writing import captions
from reports.writing.blocks import number, with_interval

_SHOWN = tuple(sorted((one for one in STATISTICS if one.column), key=lambda one: one.version == "by_size"))
_PRIMARY = ("pearson", "signed")  # the one column with intervals: a terminal is narrow
_WIDTH = 118  # characters of a line of words
_WIDEST = 13  # characters of a heading in one line


def terminal_summary(results: Results, top_k: int | None = None) -> str:
    """Plain text: each task's accuracy, and every method's agreement with the reference (or, without one, with all)."""
    real = untold(results)
    parts = compared(real, top_k, tested=False, statistics=_SHOWN)
    found = sections(real)
    lines = [litmus_summary(results)] if len(real.cells) < len(results.cells) else []
    if found:
        said = (re.sub(r"\*\*|`", "", one.text) for one in findings(evidence(results, parts)))
        lines += ["", *(fill(f"- {words}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False) for words in said)]
    for section, accuracy in zip(found, accuracy_data(found).to_dict("records"), strict=True):
        lines.append(_headline(section, accuracy))
        lines += [f"  ! {warning}" for warning in [*section.caveats, *incomplete(section), *only_rounding(section)]]
        for part in parts:
            if part.section.slug == section.slug:
                known = [*captions.one_pair_decides([part]), *_samples(part), *below_resolution(part)]
                lines += [f"  ! {words}" for words in known]
                lines += _against_references(part) or [_matrix(part)]
    if found:
        lines.append(
            "Tops are by size; over all components Spearman and Kendall mostly order noise; " + _intervals(parts)
        )
    lines += terminal_lines(results, parts, _WIDTH)
    if results.failures or results.damaged:
        lines.append(
            f"{counted(len(results.failures), 'cell')} failed, {len(results.damaged)} damaged: the report names them. "
            "The same run, given again, computes them."
        )
    if missing := results.missing:
        named = ", ".join(f"{name} ({why})" for name, why in missing.items())
        lines.append(f"{counted(len(missing), 'planned cell')} not finished: {named}. The same run goes on with them.")
    return "\n".join(lines)


def _samples(part: Comparisons) -> list[str]:
    """What a verified sample's row of numbers is not."""
    return [
        f"{method.label}: agreement with it below is over the {plural(part.kind)} that it measured, mostly chosen for "
        f"their size; the report estimates agreement over all."
        for method in part.methods
        if method.sampled
    ]


def _headline(section: Section, accuracy: Mapping[Hashable, Any]) -> str:
    share = "accuracy unknown"
    if accuracy["n"]:
        interval = f"[{accuracy['low']:.2f}, {accuracy['high']:.2f}]"
        share = f"accuracy {accuracy['accuracy']:.2f} {interval} of {counted(accuracy['n'], 'pair')}"
    return f"\n{section.title}: {share}; {counted(section.n_pairs, 'pair')} scored"


def _against_references(part: Comparisons) -> list[str]:
    """One table a reference."""
    grouped = groupby(
        sorted(part.against_reference, key=lambda one: part.methods.index(one[1])), key=lambda one: one[1]
    )
    return [_reference_lines(part, reference, list(group)) for reference, group in grouped]


def _reference_lines(part: Comparisons, reference: Scored, group: list[tuple[Scored, Scored, pd.DataFrame]]) -> str:
    stored = set(zip(part.rows.statistic, part.rows.version, strict=True))
    columns = {(one.name, one.version): one.column for one in _SHOWN if (one.name, one.version) in stored}
    rows = _heads([f"{plural(part.kind)} against {marked(reference, part.k)}", *columns.values()], part.k)
    for method, _, found in group:
        rows.append([marked(method, part.k), *(_value(found, name) for name in columns)])
    components = max(int(found.n_components.max()) for _, _, found in group)
    chance = {("top_k_overlap", "by_size"): number(part.k / components if part.k <= components else None)}
    rows.append([f"by chance ({components} {plural(part.kind)})", *(chance.get(name, "-") for name in columns)])
    return _aligned(rows)


def _heads(words: list[str], k: int) -> list[list[str]]:
    """The first line or lines of a table: long headings of columns go on in a second line."""
    heads = [words[:1], *(wrap(heading.format(k=k), _WIDEST) for heading in words[1:])]
    height = max(map(len, heads))
    return [list(line) for line in zip(*([""] * (height - len(head)) + head for head in heads), strict=True)]


def _value(rows: pd.DataFrame, name: tuple[str, str]) -> str:
    value, low, high = (value_of(rows, *name, column) for column in ("value", "low", "high"))
    return with_interval(value, low, high) if name == _PRIMARY else number(value)


def _intervals(parts: list[Comparisons]) -> str:
    some = any(not part.halves.refusal for part in parts)
    return "; ".join(filter(None, ["brackets: 95% interval" * some, captions.refusal(parts)])) + "."


def _matrix(part: Comparisons) -> str:
    """One statistic of every two methods: signed where all are signed, else by size."""
    methods = part.methods
    if len(methods) < 2:
        return f"  {plural(part.kind)}: one method ({methods[0].label}), so nothing to compare"
    version = "signed" if all(method.signed for method in methods) else "by_size"
    values = matrix(part, "pearson", version)
    title = f"{plural(part.kind)}, Pearson {'of signed scores' if version == 'signed' else 'by size'}"
    rows = [[title, *(f"[{i}]" for i in range(1, len(methods) + 1))]]
    np.fill_diagonal(values, 1.0)
    for i, method in enumerate(methods, 1):
        rows.append([f"[{i}] {method.label}", *(number(value) for value in values[i - 1])])
    return _aligned(rows)


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        numbers = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  " + "  ".join([row[0].ljust(widths[0]), *numbers]))
    return "\n".join(lines)
