"""The tables that say how far methods agree: an overview, and for each section one table a question."""

from typing import Any

import numpy as np
import pandas as pd

from benchmark.frontier import on_frontier
from benchmark.inference import Concordance
from reports import captions
from reports.blocks import Table, number, with_interval
from reports.comparisons import Comparisons, primary
from reports.sections import Scored

_P = "z.3f"
_SCORES = {"signed": "signed", "by_size": "sizes"}


def overview(parts: list[Comparisons], stem: str) -> Table:
    """The primary statistic of every method and task against the reference: the table that a paper prints first."""
    rows = []
    for part in parts:
        for method, reference, found in part.against_reference:
            main = primary(found)
            top = found[(found.statistic == "top_k_overlap") & (found.version == "by_size")].iloc[0]
            rows.append(
                {"task": part.section.short, "method": method.label, "reference": reference.label}
                | {name: main[name] for name in ("version", "value", "low", "high", "ceiling", "disattenuated")}
                | {"p_within_layer_holm": main["p_within_layer_holm"], "k": top.k}
                | {"top_k": top.value, "top_k_low": top.low, "top_k_high": top.high, "top_k_chance": top.chance}
                | {"n_pairs": part.section.n_pairs, "n_components": main["n_components"]}
            )
    data = pd.DataFrame(rows)
    shown = pd.DataFrame(
        {
            "task": row.task,
            "method": row.method,
            "n": str(row.n_components),
            "scores": _SCORES[row.version],
            "Pearson": with_interval(row.value, row.low, row.high),
            "ceiling": number(row.ceiling),
            "disattenuated": number(row.disattenuated),
            "p, within layers": number(row.p_within_layer_holm, _P),
            "top-k overlap": with_interval(row.top_k, row.top_k_low, row.top_k_high),
            "by chance": number(row.top_k_chance),
        }
        for row in data.itertuples()
    )
    references = captions.distinct(data.reference)
    return Table(
        stem,
        f"Agreement with {references} on {parts[0].kind}s: the primary statistic (Pearson of mean scores, by size "
        "where a method is unsigned), the ceiling that noise sets to it, its value without that noise, and the share "
        f"that the two tops of {captions.distinct(map(int, data.k))} by size have in common.",
        captions.about(parts, captions.intervals(parts), captions.null(parts)),
        _without_empty(shown),
        data,
    )


def reference_table(part: Comparisons, stem: str) -> Table:
    """The primary statistic of each method against its reference, with all that puts it in proportion."""
    rows = []
    for method, reference, found in part.against_reference:
        main = primary(found)
        side = "a" if part.methods.index(method) < part.methods.index(reference) else "b"
        within = found[(found.statistic == "pearson_within_layer") & (found.version == main["version"])]
        rows.append(
            {"method": method.label, "against": reference.label, "reliability": main[f"reliability_{side}"]}
            | {name: main[name] for name in _PROPORTIONS}
            | {"within_layer": float(within.value.iloc[0]) if len(within) else np.nan}
            | {"note": _notes(part, found)}
        )
    for reference in part.references if not part.halves.refusal else []:
        rows += [
            {"method": f"layer means of {reference.label} (floor)", "against": reference.label}
            | {"version": floor.version, "half_disjoint": floor.value, "note": floor.note}
            for floor in part.floor(reference)
            if floor.statistic == "pearson" and floor.version == ("signed" if reference.signed else "by_size")
        ]
    data = pd.DataFrame(rows)
    several = data.against.nunique() > 1
    notes = [f"{row['method']}: {row['note']}." for row in rows if row["note"]]
    shown = pd.DataFrame(
        {"method": row["method"]}
        | ({"against": row["against"]} if several else {})
        | {
            "n": number(row["n_components"], ".0f"),
            "scores": _SCORES[row["version"]],
            "Pearson": with_interval(row["value"], row["low"], row["high"]),
            "reliability": number(row["reliability"]),
            "ceiling": number(row["ceiling"]),
            "different pairs": number(row["disjoint"]),
            "disattenuated": number(row["disattenuated"]),
            "half, same pairs": number(row["half_same"]),
            "half, different pairs": number(row["half_disjoint"]),
            "within layers": number(row["within_layer"]),
            "p, free": number(row["p_free_holm"], _P),
            "p, within layers": number(row["p_within_layer_holm"], _P),
        }
        for row in data.to_dict("records")
    )
    return Table(
        stem,
        f"Agreement with {captions.distinct(data.against)} on the {part.kind}s of {part.section.title}: Pearson of "
        "mean scores, the primary statistic; its ceiling (root of the two reliabilities); agreement on different "
        "pairs, and that over the ceiling (disattenuated); on halves of the pairs, the same and different ones; and "
        f"with each layer's mean taken off.",
        captions.about([part], captions.intervals([part]), captions.null([part]), *notes),
        _without_empty(shown),
        data,
    )


_PROPORTIONS = (
    "version", "value", "low", "high", "n_components", "ceiling", "disjoint", "disattenuated", "half_same",
    "half_disjoint", "p_free", "p_free_holm", "p_within_layer", "p_within_layer_holm",
)  # fmt: skip


def _notes(part: Comparisons, rows: pd.DataFrame) -> str:
    """What is said of any statistic, but for the refusal of intervals, which the caption says once."""
    notes = [note for notes in rows.note for note in notes.split("; ")]
    return captions.distinct((note for note in notes if note != part.halves.refusal), "; ")


def panel_table(part: Comparisons, stem: str) -> Table:
    """Every statistic of every method against its reference: a row a statistic, a column a method."""
    columns: dict[str, dict[str, str]] = {}
    frames = []
    chances: dict[str, str] = {}
    for method, reference, found in part.against_reference:
        frames.append(found.assign(method=method.label, against=reference.label))
        for row in found.to_dict("records"):
            name = captions.statistic_name(row["statistic"], row["version"])
            columns.setdefault(name, {})[_column(part, method, reference)] = with_interval(
                row["value"], row["low"], row["high"]
            )
            chances[name] = number(row["chance"])
    shown = pd.DataFrame.from_dict(columns, orient="index").fillna("-")
    shown.insert(len(shown.columns), "by chance", [chances[name] for name in shown.index])
    shown = shown.rename_axis("statistic").reset_index()
    kept = ["method", "against", "statistic", "version", "k", "value", "low", "high", "chance", "n_components", "note"]
    return Table(
        stem,
        f"The panel against {captions.distinct(reference.label for reference in part.references)} on the {part.kind}s "
        f"of {part.section.title}; top k: k = {part.k}.",
        captions.about([part], captions.intervals([part])),
        shown,
        pd.concat(frames, ignore_index=True)[kept],
    )


def _column(part: Comparisons, method: Scored, reference: Scored) -> str:
    return method.label if len(part.references) == 1 else f"{method.label} against {reference.label}"


def frontier_data(parts: list[Comparisons]) -> pd.DataFrame:
    """What each method costs and how far it agrees with the reference, a row a method and section.

    Passes are rows of a batch a pair, forward and backward; a cell's cost is for all kinds that it scored. The
    reference agrees with itself by definition.
    """
    rows = []
    for part in parts:
        agreement = {method.label: primary(found) for method, _, found in part.against_reference}
        own = {"value": 1.0, "low": np.nan, "high": np.nan}
        for method in part.methods:
            main: dict[str, Any] = agreement.get(method.label, own if method.reference else {})
            if main:
                rows.append(
                    {"task": part.section.short, "method": method.label, "reference": method.reference}
                    | _cost(method, part.section.n_pairs)
                    | {name: main[name] for name in own}
                )
    data = pd.DataFrame(rows)
    for cost in ("passes", "seconds"):
        data[f"on_frontier_by_{cost}"] = np.concatenate(
            [on_frontier(group[cost].tolist(), group.value.tolist()) for _, group in data.groupby("task", sort=False)]
        )
    return data


def _cost(method: Scored, n_pairs: int) -> dict[str, Any]:
    provenance = method.cell.info.get("provenance", {})
    passes = provenance.get("passes") or {}
    forward, backward = (passes.get(name, np.nan) / n_pairs for name in ("forward", "backward"))
    seconds = provenance.get("seconds", np.nan) / n_pairs
    kinds = "+".join(method.cell.kinds)
    return {"kinds": kinds, "forward": forward, "backward": backward, "passes": forward + backward, "seconds": seconds}


def frontier_table(data: pd.DataFrame, parts: list[Comparisons], stem: str) -> Table:
    """Who is on the frontier of cost and agreement with the reference, from `frontier_data`."""
    shown = pd.DataFrame(
        {
            "task": row.task,
            "method": row.method,
            "forward a pair": number(row.forward, ".1f"),
            "backward a pair": number(row.backward, ".1f"),
            "seconds a pair": number(row.seconds, ".2g"),
            "Pearson": with_interval(row.value, row.low, row.high),
            "frontier by passes": "yes" if row.on_frontier_by_passes else "no",
            "by seconds": "yes" if row.on_frontier_by_seconds else "no",
        }
        for row in data.itertuples()
    )
    return Table(
        stem,
        f"Cost against agreement with the reference on {parts[0].kind}s. On the frontier: no method is cheaper and "
        "agrees at least as well, or costs the same and agrees better. A pass is one row of a batch; a cell's cost "
        f"counts for all kinds that it scored.",
        captions.about(parts, captions.intervals(parts)),
        shown,
        data,
    )


def _without_empty(shown: pd.DataFrame) -> pd.DataFrame:
    """Without the columns in which no row has anything to say."""
    said = [name for name in shown.columns if not shown[name].isin(["-", ""]).all()]
    return shown[said]


def concordance_words(found: Concordance) -> str:
    """Kendall's W in a sentence."""
    words = with_interval(found.w, found.low, found.high)
    how = "signed scores" if found.version == "signed" else "sizes"
    note = f" ({found.note})" * bool(found.note)
    return (
        f"Kendall's W of all {found.n_methods} methods in units of the metric, on the ranks of {how} of "
        f"{found.n_components} components: {words}; independent methods reach {number(found.chance)} on average{note}."
    )
