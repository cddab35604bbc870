"""The table that a run ends with."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmark.store import Results
from reports.agreement_map import matrix
from reports.markdown import number
from reports.sections import Scored, Section, sections
from reports.tables import accuracy_table, against_reference, agreement_table, incomplete

_COLUMNS = {
    "pearson/signed": "Pearson",
    "spearman/signed": "Spearman",
    "kendall/signed": "Kendall",
    "pearson/by_size": "Pearson|.|",
    "top_k_overlap/by_size": "top{k}|.|",
    "sign_agreement_top_k/by_size": "signs@{k}",
}


def terminal_summary(results: Results, top_k: int | None = None) -> str:
    """Plain text: each task's accuracy, and every method's agreement with the reference (or, without one, with all)."""
    table = agreement_table(results, top_k)
    found = sections(results)
    parts = []
    for section, accuracy in zip(found, accuracy_table(found).to_dict("records"), strict=True):
        parts.append(_headline(section, accuracy))
        parts += [f"  ! {warning}" for warning in incomplete(section)]
        for kind in section.kinds:
            methods = section.scored(kind)
            agreement = against_reference(table, results, methods)
            for _, group in agreement.groupby("against", sort=False) if len(agreement) else ():
                parts.append(_reference_lines(kind, group))
            if agreement.empty:
                parts.append(_matrix(table, results, methods))
    if found:
        parts.append("|.| = by size; over all components Spearman and Kendall mostly order noise; no intervals yet.")
    if results.failures or results.damaged:
        parts.append(f"{len(results.failures)} cells failed, {len(results.damaged)} damaged: the report names them.")
    return "\n".join(parts)


def _headline(section: Section, accuracy: Mapping[Hashable, Any]) -> str:
    share = "accuracy unknown"
    if accuracy["n"]:
        interval = f"[{accuracy['low']:.2f}, {accuracy['high']:.2f}]"
        share = f"accuracy {accuracy['accuracy']:.2f} {interval} of {accuracy['n']} pairs"
    return f"\n{section.title}: {share}; {section.n_pairs} pairs scored"


def _reference_lines(kind: str, agreement: pd.DataFrame) -> str:
    n, k = agreement.n_components.max(), agreement.k.max()
    rows = [[f"{kind}s against {agreement.against.iloc[0]}", *(heading.format(k=k) for heading in _COLUMNS.values())]]
    for row in agreement.to_dict("records"):
        rows.append([row["method"], *(number(row[column], "z.2f") for column in _COLUMNS)])
    rows.append([f"by chance (n = {n})", *["-"] * 4, number(k / n if k <= n else None, ".2f"), "-"])
    return _aligned(rows)


def _matrix(table: pd.DataFrame, results: Results, methods: list[Scored]) -> str:
    """One statistic of every two methods: signed where all are signed, else by size."""
    if len(methods) < 2:
        return f"  {methods[0].kind}s: one method ({methods[0].label}), so nothing to compare"
    version = "signed" if all(method.signed for method in methods) else "by_size"
    values = matrix(table, results, methods, "pearson", version)
    title = f"{methods[0].kind}s, Pearson {'of signed scores' if version == 'signed' else 'by size'}"
    rows = [[title, *(f"[{i}]" for i in range(1, len(methods) + 1))]]
    np.fill_diagonal(values, 1.0)
    for i, method in enumerate(methods, 1):
        rows.append([f"[{i}] {method.label}", *(number(value, "z.2f") for value in values[i - 1])])
    return _aligned(rows)


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        numbers = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  " + "  ".join([row[0].ljust(widths[0]), *numbers]))
    return "\n".join(lines)
