"""The tables that say how far methods agree: an overview, and for each section one table a question."""

import re

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons, at_floor, is_decided, primary
from benchmark.analysis.sections import Scored
from benchmark.components import plural
from benchmark.statistics.inference import Concordance
from benchmark.statistics.influence import DECIDES
from reports.writing import captions
from reports.writing.blocks import Table, number, with_interval

_SCORES = {"signed": "signed", "by_size": "sizes"}


_AT_FLOOR = ("p_free_at_floor", "p_within_layer_at_floor")


def _p(value: float, at_floor: bool) -> str:
    """An adjusted p; `<=` where it rests on the least p that the permutations can give."""
    return "<= " * at_floor + number(value, "z.3f")


def overview(parts: list[Comparisons], stem: str) -> Table:
    """The primary statistic of every method and task against the reference: the table that a paper prints first."""
    rows = []
    for part in parts:
        for method, reference, found in part.against_whole:
            main = primary(found)
            top = found[(found.statistic == "top_k_overlap") & (found.version == "by_size")].iloc[0]
            rows.append(
                {"task": part.section.short, "method": method.label, "reference": reference.label}
                | {name: main[name] for name in ("version", "value", "low", "high", "ceiling", "disattenuated")}
                | {"p_within_layer_holm": main["p_within_layer_holm"], "at_floor": at_floor(main, "p_within_layer")}
                | {"k": top.k, "decided": is_decided(main)}
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
            "p, within layers": _p(row.p_within_layer_holm, row.at_floor),
            "top-k overlap": with_interval(row.top_k, row.top_k_low, row.top_k_high),
            "by chance": number(row.top_k_chance),
        }
        for row in data.itertuples()
    )
    references = captions.distinct(data.reference)
    return Table(
        stem,
        f"Agreement with {references} on {plural(parts[0].kind)}: the primary statistic (Pearson of mean scores, by "
        "size where a method is unsigned), the ceiling that noise sets to it, its value without that noise, and the "
        f"share that the two tops of {captions.distinct(map(int, data.k))} by size have in common.",
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
            | {"largest_share": main[f"largest_share_{side}"]}
            | {name: at_floor(main, name.removesuffix("_at_floor")) for name in _AT_FLOOR}
            | {"within_layer": float(within.value.iloc[0]) if len(within) else np.nan}
            | {"note": _notes(part, found)}
        )
    for reference in part.references if not part.halves.refusal else []:
        rows += [
            {"method": f"layer means of {reference.label} (floor)", "against": reference.label}
            | {"version": floor.version, "half_disjoint": floor.value, "note": floor.note}
            | dict.fromkeys(_AT_FLOOR, False)
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
            "one pair": number(row["largest_share"]),
            "p, free": _p(row["p_free_holm"], row["p_free_at_floor"]),
            "p, within layers": _p(row["p_within_layer_holm"], row["p_within_layer_at_floor"]),
        }
        for row in data.to_dict("records")
    )
    return Table(
        stem,
        f"Agreement with {captions.distinct(data.against)} on the {plural(part.kind)} of {part.section.title}: Pearson "
        "of mean scores, the primary statistic; its ceiling (root of the two reliabilities); agreement on different "
        "pairs, and that over the ceiling (disattenuated); on halves of the pairs, the same and different ones; and "
        "with each layer's mean taken off. One pair: the largest share of the method's mean scores that one pair (or "
        f"cluster) holds; above {DECIDES} there is no interval.",
        captions.about([part], captions.intervals([part]), captions.null([part]), *notes),
        _without_empty(shown),
        data,
    )


_PROPORTIONS = (
    "version", "value", "low", "high", "n_components", "ceiling", "disjoint", "disattenuated", "half_same",
    "half_disjoint", "p_free", "p_free_holm", "p_within_layer", "p_within_layer_holm",
)  # fmt: skip


def _notes(part: Comparisons, rows: pd.DataFrame) -> str:
    """What is said of any statistic, but for why there are no intervals, which the caption says once."""
    said = (part.halves.refusal or "no interval: one ", "no interval: one ")
    notes = [note for notes in rows.note for note in notes.split("; ") if not note.startswith(said)]
    names = {f"method_{side}": part.methods[int(rows[side].iloc[0])].label for side in "ab"}
    return re.sub("method_[ab]", lambda found: names[found[0]], captions.distinct(notes, "; "))


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
        f"The panel against {captions.distinct(reference.label for reference in part.references)} on the "
        f"{plural(part.kind)} of {part.section.title}; top k: k = {part.k}.",
        captions.about([part], captions.intervals([part])),
        shown,
        pd.concat(frames, ignore_index=True)[kept],
    )


def _column(part: Comparisons, method: Scored, reference: Scored) -> str:
    return method.label if len(part.references) == 1 else f"{method.label} against {reference.label}"


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
