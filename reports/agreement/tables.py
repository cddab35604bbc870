"""The tables that say how far methods agree on one task: noise and nulls, and the panel of statistics."""

import re

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons, at_floor, primary
from benchmark.analysis.resolution import below_resolution, marked
from benchmark.analysis.sections import Scored
from benchmark.components import titled
from benchmark.statistics.inference import Concordance
from benchmark.statistics.influence import DECIDES
from reports.writing import captions
from reports.writing.blocks import Table, number, with_interval

_SCORES = {"signed": "signed", "by_size": "sizes"}
_COLUMNS = (
    "Ceiling: root of the two reliabilities. Different pairs: agreement had the methods been run on different ones; "
    "over the ceiling that is the disattenuated agreement. Within layers: each layer's mean taken off. Largest share: "
    f"of the method's mean scores, held by one pair or cluster; above {DECIDES} that is too much for an interval."
)
_AT_FLOOR = ("p_free_at_floor", "p_within_layer_at_floor")


def _p(value: float, at_floor: bool) -> str:
    """An adjusted p; `<=` where it rests on the least p that the permutations can give."""
    return "<= " * at_floor + number(value, "z.3f")


def reference_table(part: Comparisons, stem: str) -> Table:
    """The primary statistic of each method against its reference, with all that puts it in proportion."""
    rows = []
    for method, reference, found in part.against_reference:
        main = primary(found)
        side = "a" if part.methods.index(method) < part.methods.index(reference) else "b"
        within = found[(found.statistic == "pearson_within_layer") & (found.version == main["version"])]
        rows.append(
            {
                "method": method.label,
                "against": reference.label,
                "reliability": main[f"reliability_{side}"],
            }
            | {name: main[name] for name in _PROPORTIONS}
            | {"largest_share": main[f"largest_share_{side}"]}
            | {name: at_floor(main, name.removesuffix("_at_floor")) for name in _AT_FLOOR}
            | {"within_layer": float(within.value.iloc[0]) if len(within) else np.nan}
            | {"note": _notes(part, found)}
        )
    for reference in part.references if not part.halves.refusal else []:
        rows += [
            {"method": f"layer means of {reference.label}", "against": reference.label}
            | {"version": floor.version, "half_disjoint": floor.value, "note": floor.note}
            | dict.fromkeys(_AT_FLOOR, False)
            for floor in part.floor(reference)
            if floor.statistic == "pearson" and floor.version == ("signed" if reference.signed else "by_size")
        ]
    data = pd.DataFrame(rows)
    several, sizes = data.against.nunique() > 1, (data.version == "by_size").any()
    counts = data.n_components.dropna().unique()
    notes = [f"{row['method']}: {row['note']}." for row in rows if row["note"]]
    notes += [f"*: {words}" for words in below_resolution(part)]
    stars = {one.label: marked(one, part.k) for one in part.methods}
    shown = pd.DataFrame(
        {"method": stars.get(row["method"], row["method"])}
        | ({"against": stars[row["against"]]} if several else {})
        | {
            "components": number(row["n_components"], ".0f") if len(counts) > 1 else "-",
            "scores": _SCORES[row["version"]] if sizes else "-",
            "reliability": number(row["reliability"]),
            "ceiling": number(row["ceiling"]),
            "different pairs": number(row["disjoint"]),
            "disattenuated": number(row["disattenuated"]),
            "halves, same pairs": number(row["half_same"]),
            "halves, different pairs": number(row["half_disjoint"]),
            "within layers": number(row["within_layer"]),
            "largest share": number(row["largest_share"]),
            "p, free": _p(row["p_free_holm"], row["p_free_at_floor"]),
            "p, within layers": _p(row["p_within_layer_holm"], row["p_within_layer_at_floor"]),
        }
        for row in data.to_dict("records")
    )
    return Table(
        stem,
        f"{titled(part.kind)}: what noise, layers and chance say of Pearson with {captions.distinct(data.against)}"
        + (f" over {counts[0]:.0f} of them." if len(counts) == 1 else "."),
        captions.about([part], _COLUMNS, captions.intervals([part]), captions.null([part]), *notes),
        _without_empty(shown),
        data,
        note=" ".join(notes),
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
        for row in found[~(found.primary & (found.version == "signed"))].to_dict("records"):
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
        f"{titled(part.kind)}: the other statistics, against "
        f"{captions.distinct(reference.label for reference in part.references)}; k = {part.k}.",
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
