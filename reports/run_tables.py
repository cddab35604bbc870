"""The tables that say what was run, whether the model can do it, what it found, and what it cost."""

import numpy as np
import pandas as pd

from benchmark.analysis.behaviour import accuracy_data
from benchmark.analysis.resolution import noise
from benchmark.analysis.sections import Scored, Section
from benchmark.analysis.settings import facts
from benchmark.components import FEATURE_KINDS, plural, titled
from benchmark.store.folder import Results
from benchmark.words import counted
from reports.writing import captions
from reports.writing.blocks import Table, number
from reports.writing.captions import distinct
from reports.writing.references import Reference, references

_STATISTICS = {  # sources of what a report computes, beside those of what was run
    "agreement of tops": "krishna2022",
    "rank-biased overlap": "webber2010",
    "disattenuation": "spearman1904",
    "adjusted p": "holm1979",
    "cost to find": "kramar2024",
    "inclusion frequency": "meinshausen2010; parekh2026",
}
_FAMILIES = {"options": "options", "quadrature": "quadrature", "version": "versions"}  # said of each method or package
_PLACES = ("1st", "2nd", "3rd", "4th", "5th")
_REPLACEMENTS = {"resample": "chan2022; conmy2023"}  # the others are as old as patching
_FINDING = {"AUROC": "hanley1982"}  # of planted models alone


def what_was_run(results: Results) -> Table:
    """Everything that a reader needs to repeat the run, each line with all values that the folder's cells have."""
    of_files = distinct(
        f"{cell.pairs_file} ({cell.task_title}; sha256 of its rows {cell.key.task.dataset_digest[:12]})"
        for cell in results.all_cells
        if cell.pairs_file
    )
    said = {"tasks left out": [distinct(_left_out(results))], "file of pairs": [of_files]}
    for name, value in facts(results.all_cells).items():
        what, _, whose = name.partition(" of ")
        family = what in _FAMILIES
        said.setdefault(_FAMILIES.get(what, name), []).append(f"{whose} {value}" if family else value)
    rows = [{"what": name, "value": "; ".join(values)} for name, values in said.items() if any(values)]
    data = pd.DataFrame(rows, columns=["what", "value"])
    return Table("run", "All that it takes to repeat the run.", "", data, data)


def _left_out(results: Results) -> list[str]:
    """Each task of which a tokenizer carries no row, with the models that left it out and the reasons."""
    models: dict[tuple[str, str], list[str]] = {}
    for run in results.runs:
        for left_out in run.get("resolved", {}).get("left_out", {}).items():
            models.setdefault(left_out, []).append(run["resolved"]["model"]["name"])
    return [
        f"{task} (the tokenizer of {distinct(those)} carries none of its rows: {reasons})"
        for (task, reasons), those in models.items()
    ]


def accuracy_table(found: list[Section]) -> Table:
    data = accuracy_data(found)
    asked = data.min_metric.notna().any()
    shown = pd.DataFrame(
        {
            "task": row.task,
            "right": f"{row.right} of {row.n}" if row.n else "-",
            "accuracy": number(row.accuracy, ".3f"),
            "95% interval": f"{row.low:.3f} to {row.high:.3f}" if row.n else "-",
        }
        | ({"least metric asked": number(row.min_metric, "g"), "left out by it": str(row.left_out)} if asked else {})
        | {"pairs scored": str(row.pairs)}
        for row in data.itertuples()
    )
    caption = "Accuracy: the share of pairs with a clean metric above 0 and above the corrupted one, before any filter."
    return Table("accuracy", caption, f"Wilson's 95% intervals. {captions.made_by(found)}", shown, data)


def audit_table(found: list[Section]) -> Table:
    rows = []
    for section in found:
        audit = section.audit
        reasons = sorted(audit.dropped.items()) if audit else []
        dropped = "; ".join(f"{reason}: {count}" for reason, count in reasons)
        counts = (audit.rows, audit.kept) if audit else (None, None)
        rows.append({"task": section.title, "rows": counts[0], "kept": counts[1], "dropped": dropped or "none"})
    data = pd.DataFrame(rows)
    shown = data.assign(rows=data["rows"].map(_whole), kept=data.kept.map(_whole))
    caption = "Rows of each dataset that became pairs under the model's tokenizer."
    return Table("audit", caption, captions.made_by(found), shown.rename(columns={"rows": "rows looked at"}), data)


def _whole(value: float) -> str:
    return number(value, ".0f")


def strongest_data(section: Section, methods: list[Scored], count: int = 5) -> pd.DataFrame:
    """The strongest components of every method: rank, name, mean score, and share of the gap f(clean)-f(corrupted)."""
    return pd.DataFrame(
        {
            "method": method.label,
            "rank": rank,
            "component": method.component(number),
            "score": method.vector[number],
            "share": method.vector[number] / section.gap if method.metric_units and section.gap else np.nan,
            "noise": (small := noise(method)) is not None and bool(small[number]),
        }
        for method in methods
        for rank, number in enumerate(method.strongest(count), 1)
    )


def strongest_table(section: Section, methods: list[Scored], stem: str) -> Table:
    """One row a method, its components from the strongest on."""
    data = strongest_data(section, methods)
    rows = []
    for method, group in data.groupby("method", sort=False):
        row: dict[str, str] = {"method": str(method)}
        for one in group.itertuples():
            shown = "" if np.isnan(one.share) else f" ({one.share:z.0%})"
            row[_PLACES[one.rank - 1]] = f"{one.component} {one.score:.3g}{'*' * one.noise}{shown}"
        rows.append(row)
    caption = f"{titled(methods[0].kind)}: the strongest of each method, mean score (share of the mean gap)."
    blurred = "*: below the metric's resolution, so noise of the number format. " * bool(data.noise.any())
    note = (sampled(methods) + blurred).strip()
    facts = (
        f"{section.title}, {counted(section.n_pairs, 'pair')}; gap: f(clean) - f(corrupted). "
        f"{captions.MEAN_OF['scores']} {note} {captions.made_by([section])}"
    )
    return Table(stem, caption, facts, pd.DataFrame(rows).fillna("-"), data, note=note)


def sampled(methods: list[Scored]) -> str:
    """Which methods measured only a part of the components; empty where all measured all."""
    lines = []
    for method in methods:
        measured, total = int((~np.isnan(method.vector)).sum()), len(method.vector)
        if measured < total and (method.sampled or method.kind not in FEATURE_KINDS):
            lines.append(
                f"{method.label} measured {measured} of {total} {plural(method.kind)}: its strongest are of a sample. "
            )
    return "".join(lines)


def _declared(forward: float | None, backward: float | None) -> str:
    """Forward + backward rows; a dash where the method declares none."""
    return "-" if pd.isna(forward) else f"{number(forward, '.0f')} + {number(backward, '.0f')}"


def cost_table(section: Section, stem: str) -> Table:
    """What each cell took, and how far its scores are from complete where that is claimed."""
    rows = []
    for cell in sorted(section.cells, key=lambda cell: (section.label(cell), cell.kinds)):
        spent, declared = cell.provenance.passes, cell.provenance.declared_cost_per_pair
        error = np.array([]) if cell.completeness_error is None else cell.completeness_error
        rows.append(
            {
                "method": section.label(cell),
                "kinds": ", ".join(cell.kinds),
                "forward": spent and spent.forward,
                "backward": spent and spent.backward,
                "declared_forward": declared and declared.forward,
                "declared_backward": declared and declared.backward,
                "seconds": cell.provenance.seconds,
                "peak_bytes": cell.provenance.peak_memory_bytes,
                "completeness_mean": float(error.mean()) if error.size else np.nan,
                "completeness_max": float(error.max()) if error.size else np.nan,
            }
        )
    data = pd.DataFrame(rows)
    shown = pd.DataFrame(
        {
            "method": row.method,
            "components": row.kinds,
            "forward rows": number(row.forward, ".0f"),
            "backward rows": number(row.backward, ".0f"),
            "declared a pair": _declared(row.declared_forward, row.declared_backward),
            "seconds": number(row.seconds, ".1f"),
            "process peak so far, MB": number(None if pd.isna(row.peak_bytes) else row.peak_bytes / 1e6, ".0f"),
            "completeness error, mean": number(row.completeness_mean, ".2g"),
            "largest": number(row.completeness_max, ".2g"),
        }
        for row in data.itertuples()
    )
    caption = f"{section.title}: cost of {counted(section.n_pairs, 'pair')}, and completeness error where claimed."
    return Table(stem, caption, captions.made_by([section]), shown, data)


def sources(results: Results, compared: bool, planted: bool) -> tuple[Table, dict[str, Reference]]:
    """Who is to be cited for what was run and for every statistic of the report, and these sources by key.

    `compared`: methods were held against each other; `planted`: against what is known of planted models.
    """
    statistics = (_STATISTICS if compared else {}) | (_FINDING if planted else {})
    used: dict[tuple[str, str], str | None] = {("statistic", name): key for name, key in statistics.items()}
    for cell in results.all_cells:
        for plugin in (("task", cell.key.task.name), ("method", cell.key.method.name)):
            used[plugin] = used.get(plugin) or cell.citations.get(plugin[0])
        if source := _REPLACEMENTS.get(cell.key.method.replacement):
            used["replacement", cell.key.method.replacement] = source
    found: dict[str, Reference] = {}
    rows = []
    for (what, name), citation in sorted(used.items(), key=lambda one: (one[0][0] == "statistic", one[0])):
        named = references(citation or "")
        found |= {source.key: source for source in named}
        nothing = "none given" if citation is not None else "not stored by the version that scored it"
        rows += [{"what": what, "name": name, "key": source.key, "source": source.line} for source in named]
        rows += [{"what": what, "name": name, "key": "-", "source": nothing}] * (not named)
    data = pd.DataFrame(rows)
    caption = "Sources of what was run and of statistics; their entries are in `references.bib`."
    return Table("sources", caption, "", data, data), found
