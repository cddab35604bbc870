"""Markdown from tables: nothing here computes a number that stands in a report."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from benchmark.store import Results
from reports.sections import Scored, Section

HEADINGS = {
    "pearson/signed": "Pearson",
    "spearman/signed": "Spearman",
    "kendall/signed": "Kendall",
    "pearson/by_size": "Pearson by size",
    "spearman/by_size": "Spearman by size",
    "kendall/by_size": "Kendall by size",
    "top_k_overlap/signed": "top-k overlap, signed",
    "top_k_overlap/by_size": "top-k overlap by size",
    "sign_agreement_top_k/by_size": "sign agreement in the top k by size",
}

HOW_TO_READ = """\
- A **score** is an amount of the metric. Positive: the component's clean activation pushes the metric towards the clean
  answer. All statistics are over the components' *mean* scores over the pairs.
- **By size** means by |mean score|; without these words scores are taken with their sign. An unsigned method has sizes
  only.
- **Pearson** is led by the strongest components. **Spearman and Kendall** (tau-b) weigh all components alike, and most
  of those have scores near zero: over all components they mostly measure the order of noise. Read the panel, never one
  of them.
- **Top-k overlap** is the share of the k strongest components that two methods have in common; independent methods
  reach k/n on average. Components tied at rank k share the places left; one that scores 0 has none.
- **Sign agreement** is the share of k of the components that are in both methods' top k by size *and* have the same
  sign, so it never exceeds the overlap by size.
- **Accuracy** is the share of pairs with a clean metric above 0 and above the corrupted metric, before any filter; its
  interval is Wilson's, 95%.
- **Share** is mean score / mean gap f(clean) - f(corrupted). Shares needn't sum to 1.
- **Completeness error** is a pair's largest difference between the sum of scores and what they must sum to; a dash
  where the method claims no completeness.
- These are point values on the pairs that were run. With few pairs, other pairs may well give other values,
  and this version gives no intervals yet. Methods share the pairs' noise, so they may agree on more than the truth.
"""


def markdown_table(table: pd.DataFrame) -> str:
    """A pipe table of a frame whose values are already text; the first column to the left, the others to the right."""
    if table.empty:
        return "none"
    lines = [[str(name) for name in table.columns], ["---", *["---:"] * (table.shape[1] - 1)]]
    lines += [[_escaped(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: Any, form: str = ".3f") -> str:
    """A number in the given form; a dash where there is none."""
    return "-" if value is None or pd.isna(value) else format(value, form)


def what_was_run(results: Results, found: list[Section]) -> str:
    """Everything that a reader needs to repeat the run, each line with all values that the folder's cells have."""
    keys = [cell.info["key"] for cell in results.all_cells]
    origins = [cell.info.get("provenance", {}) for cell in results.cells]
    versions: dict[str, list[str]] = {}
    for origin in origins:
        for package, version in origin.get("versions", {}).items():
            versions.setdefault(package, []).append(version)
    facts = {
        "model": _distinct(_model(key["model"]) for key in keys),
        "tasks": _distinct(key["task"]["name"] for key in keys),
        "pairs": _distinct(f"{section.n_pairs} ({section.key['task']['name']})" for section in found),
        "split": _distinct(key["task"].get("split") for key in keys),
        "metric": _distinct(key["task"]["metric"] for key in keys),
        "methods": _distinct(key["method"]["label"] for key in keys),
        "direction": _distinct(key["method"]["direction"] for key in keys),
        "replacement": _distinct(key["method"]["replacement"] for key in keys),
        "components": _distinct(kind for key in keys for kind in key["kinds"]),
        "dtype": _distinct(key["dtype"] for key in keys),
        "weight processing": _distinct(key["processing"] for key in keys),
        "device": _distinct(origin.get("device") for origin in origins),
        "threads": _distinct(origin.get("threads") for origin in origins),
        "commit": _distinct(_commit(origin) for origin in origins),
        "versions": ", ".join(f"{package} {_distinct(versions[package], ' / ')}" for package in sorted(versions)),
    }
    rows = [{"what": name, "value": value} for name, value in facts.items() if value]
    return markdown_table(pd.DataFrame(rows)).replace("---:", "---")


def accuracy_markdown(table: pd.DataFrame) -> str:
    return markdown_table(
        pd.DataFrame(
            {
                "task": row.task,
                "right": f"{row.right} of {row.n}" if row.n else "-",
                "accuracy": number(row.accuracy),
                "95% interval": f"{row.low:.3f} to {row.high:.3f}" if row.n else "-",
                "min. metric asked": number(row.min_metric, "g"),
                "left out by it": row.left_out,
                "pairs scored": row.pairs,
            }
            for row in table.itertuples()
        )
    )


def audit_markdown(found: list[Section]) -> str:
    rows = []
    for section in found:
        audit = section.noted("audit")
        dropped = "; ".join(f"{reason}: {count}" for reason, count in sorted(audit.get("dropped", {}).items()))
        counts = [number(audit.get(name), "d") for name in ("rows", "kept")]
        rows.append(
            {"task": section.title, "rows looked at": counts[0], "kept": counts[1], "dropped": dropped or "none"}
        )
    return markdown_table(pd.DataFrame(rows))


def reference_markdown(table: pd.DataFrame) -> str:
    """A table a reference, with the overlap that chance gives; the note column only where something is noted."""
    parts = []
    for reference, group in table.groupby("against", sort=False):
        shown = pd.DataFrame(
            {"method": row["method"], "n": row["n_components"], "k": row["k"]}
            | {heading: number(row[name], "z.2f") for name, heading in HEADINGS.items()}
            | {"note": row["note"]}
            for row in group.to_dict("records")
        )
        chance = ", ".join(dict.fromkeys(f"{k / n:.2f}" for k, n in zip(group.k, group.n_components, strict=True)))
        parts.append(f"Agreement with {reference} (top-k overlap by chance: k/n = {chance}):")
        parts.append(markdown_table(shown if group["note"].any() else shown.drop(columns="note")))
    return "\n\n".join(parts)


def strongest_markdown(table: pd.DataFrame) -> str:
    """One row a method, its components from the strongest on."""
    rows = []
    for method, group in table.groupby("method", sort=False):
        row: dict[str, str] = {"method": str(method)}
        for rank, name, score, share in zip(group["rank"], group.component, group.score, group.share, strict=True):
            row[str(rank)] = f"{name} {score:.3g}" + ("" if np.isnan(share) else f" ({share:.0%})")
        rows.append(row)
    return markdown_table(pd.DataFrame(rows).fillna("-"))


def sampled_markdown(methods: list[Scored]) -> str:
    """Which methods measured only a part of the components; empty where all measured all."""
    lines = []
    for method in methods:
        measured, total = int((~np.isnan(method.vector)).sum()), len(method.vector)
        if measured < total:
            lines.append(
                f"{method.label} measured {measured} of {total} {method.kind}s: its strongest are those of a sample."
            )
    return " ".join(lines)


def cost_markdown(table: pd.DataFrame) -> str:
    return markdown_table(
        pd.DataFrame(
            {
                "method": row.method,
                "components": row.kinds,
                "forward rows": number(row.forward, ".0f"),
                "backward rows": number(row.backward, ".0f"),
                "declared a pair": " + ".join(number(n, ".0f") for n in (row.declared_forward, row.declared_backward)),
                "seconds": number(row.seconds, ".1f"),
                "process peak so far, MB": number(None if pd.isna(row.peak_bytes) else row.peak_bytes / 1e6, ".0f"),
                "completeness error, mean": number(row.completeness_mean, ".2g"),
                "largest": number(row.completeness_max, ".2g"),
            }
            for row in table.itertuples()
        )
    )


def trouble_markdown(results: Results) -> str:
    """Cells that failed or were damaged, or that there are none."""
    lines = []
    for cell in results.failures:
        message = " ".join(str(cell.error).split())
        names = ", ".join([cell.model, cell.task, " ".join(cell.identity), "+".join(cell.kinds)])
        lines.append(f"- failed: {names}: {message}")
    prefix = f"{results.folder}/"
    lines += [f"- damaged: {str(damage).replace(prefix, '')}" for damage in results.damaged]
    return "\n".join(lines) or "No cell failed and none is damaged."


def _model(model: dict[str, Any]) -> str:
    revision = f" at {model['revision']}" if model.get("revision") else ""
    bos = "with" if model.get("prepend_bos") else "without"
    return f"{model['name']}{revision} (weights {str(model.get('digest'))[:12]}, {bos} a prepended BOS)"


def _commit(origin: dict[str, Any]) -> str | None:
    return f"{origin['commit']}{' (with changes)' if origin.get('dirty') else ''}" if origin.get("commit") else None


def _distinct(values: Iterable[Any], separator: str = ", ") -> str:
    return separator.join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def _escaped(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
