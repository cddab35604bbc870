"""Planted models: which methods find what is known to be there. `docs/litmus.md` explains the table."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.litmus import detections
from benchmark.analysis.sections import Section, sections
from benchmark.statistics.detection import EXACT, NOTHING
from benchmark.store.folder import Results
from benchmark.words import counted
from reports.litmus.map import VERDICTS, litmus_map
from reports.writing import captions
from reports.writing.blocks import Block, Bullets, Fold, Picture, Table, number

HOW_TO_READ = (
    f"**exact** (=): every component that matters outranks every other, and no score is off by more than {EXACT:.0%} "
    "of the largest effect. **finds** (+): the ranking is right; sizes aren't judged, because no single number is "
    "the effect, because the scores are no amounts of the metric, or because zero and mean ask for another effect. "
    "**wrong size** (~): the ranking is right, a score isn't. **wrong sign** (!): a component that matters has a "
    "score of the other sign. **misses** (x): something that doesn't matter ranks as high as something that does. "
    "**not judged** (-): the method left components unmeasured, or none of the kinds that were asked for tells "
    "anything apart. **failed** (E): the method raised an error.",
    f"Ranks are by size; scores below {NOTHING:.0%} of the gap f(clean) - f(corrupted), or of the largest score where "
    "scores are no amounts of the metric, count as 0. All pairs of a planted model are alike, so there are no "
    "intervals.",
)


def together(results: Results) -> list[Block]:
    """What every method sees and doesn't see, and why; empty where no planted model was scored."""
    data = detections(results)
    if data.empty:
        return []
    told = [section for section in sections(results) if section.cells[0].truth]
    counts = captions.distinct((counted(n, "pair") for n in sorted({section.n_pairs for section in told})), " or ")
    facts = f"{counts or 'no pairs'} a model, all alike; {captions.made_by(told[:1]).rpartition('; ')[2]}"
    tables = [_table(group, str(setting), facts) for setting, group in data.groupby("setting", sort=False)]
    caption = (
        "What each method (rows) sees of each planted model (columns). = exact, + finds, ~ wrong size, ! wrong sign, x "
        "misses, - not judged, E failed; empty: not asked or not possible."
    )
    return [
        Bullets(seen(data)),
        Picture("litmus", caption, facts, partial(litmus_map, data), data),
        Fold("What is planted, and why methods part", (_lessons(told, list(dict.fromkeys(data.litmus))),)),
        Fold("Every verdict", (_summary(data, facts), *tables)),
        Fold("What the verdicts mean", (Bullets(HOW_TO_READ),)),
    ]


def seen(data: pd.DataFrame) -> tuple[str, ...]:
    """A sentence a method: on which planted models it fails, with counterfactual replacement."""
    sentences = []
    asked = data[data.setting.str.endswith("counterfactual")]
    for method, rows in asked.groupby("method", sort=False):
        parts = []
        for verdict in ("misses", "wrong sign", "wrong size", "not judged", "failed"):
            failed = rows[rows.verdict == verdict]
            if len(failed) == len(rows):
                parts.append(f"{verdict} everywhere")
                continue
            directions = failed.setting.str.split(",").str[0].groupby(failed.litmus, sort=False).agg(list)
            where = [name if len(set(d)) == 2 else f"{name} ({d[0]})" for name, d in directions.items()]
            if where:
                parts.append(f"{verdict} on {', '.join(where)}")
        sentences.append(f"**{method}**: {'; '.join(parts) or 'no failure'}.")
    return tuple(sentences)


def _table(rows: pd.DataFrame, setting: str, facts: str) -> Table:
    shown = rows.assign(said=[_said(row) for row in rows.to_dict("records")])
    wide = shown.pivot(index="litmus", columns="method", values="said").fillna("-")
    wide = wide.loc[list(dict.fromkeys(rows.litmus)), list(dict.fromkeys(rows.method))]
    caption = (
        f"{setting}: the verdict, with the average precision where a method misses, the largest error over the largest "
        "effect where a size is wrong, how many signs are wrong."
    )
    return Table(
        f"litmus-{setting.replace(', ', '-')}", caption, facts, wide.reset_index().rename_axis(None, axis=1), rows
    )


def _said(row: dict[Any, Any]) -> str:
    more = {
        "misses": number(row["average_precision"]),
        "wrong size": f"{row['error']:.0%}" if not np.isnan(row["error"]) else "",
        "wrong sign": number(row["sign_errors"], ".0f"),
    }
    return " ".join(filter(None, [row["verdict"], more.get(row["verdict"], "")]))


def _summary(data: pd.DataFrame, facts: str) -> Table:
    """A row for every method and setting: how often which verdict, and the measures behind it."""
    grouped = data.groupby(["setting", "method"], sort=False)
    counts = grouped.verdict.value_counts().unstack(fill_value=0).reindex(columns=list(VERDICTS), fill_value=0)
    measures = grouped.agg(
        auroc=("auroc", "mean"), average_precision=("average_precision", "mean"), largest_error=("error", "max"),
        sign_errors=("sign_errors", lambda column: column.sum(min_count=1)),
    )  # fmt: skip
    numbers = counts.join(measures).loc[list(dict.fromkeys(zip(data.setting, data.method, strict=True)))].reset_index()
    shown = numbers.astype(object)
    shown["auroc"] = [number(value) for value in numbers.auroc]
    shown["average_precision"] = [number(value) for value in numbers.average_precision]
    shown["largest_error"] = [number(value, ".0%") for value in numbers.largest_error]
    shown["sign_errors"] = [number(value, ".0f") for value in numbers.sign_errors]
    headings = {"auroc": "AUROC", "average_precision": "average precision", "largest_error": "largest error"}
    caption = (
        "How often each method comes to which verdict, its mean AUROC and average precision, its largest error over "
        "the largest effect, and how many signs it has wrong. A dash: not judged."
    )
    return Table(
        "litmus-summary", caption, facts, shown.rename(columns=headings | {"sign_errors": "wrong signs"}), numbers
    )


def _lessons(told: list[Section], order: list[str]) -> Table:
    rows = {}
    for section in told:
        known = section.cells[0].truth
        assert known is not None
        rows[section.short.removeprefix("litmus/")] = {
            "litmus": section.short.removeprefix("litmus/"),
            "matter": sum(map(len, known.effects.values())),
            "what is planted": known.planted,
            "why methods part": known.lesson,
        }
    data = pd.DataFrame([rows[name] for name in order if name in rows])
    return Table("litmus-lessons", "What is planted, how many components matter, and why methods part.", "", data, data)


def litmus_summary(results: Results) -> str:
    """The verdicts for a terminal, one table a setting."""
    data = detections(results)
    if data.empty:
        return ""
    lines = ["Planted models: = exact, + finds, ~ wrong size, ! wrong sign, x misses, - not judged, E failed"]
    methods = list(dict.fromkeys(data.method))
    lines += [f"  [{place}] {method}" for place, method in enumerate(methods, 1)]
    for setting, rows in data.groupby("setting", sort=False):
        wide = rows.pivot(index="litmus", columns="method", values="verdict").reindex(columns=methods)
        wide = wide.loc[list(dict.fromkeys(rows.litmus))].map(lambda verdict: VERDICTS.get(verdict, ""))
        width = max(map(len, wide.index))
        lines += [
            "",
            f"{setting:<{width + 2}}" + "".join(f"[{place}]".rjust(5) for place in range(1, len(methods) + 1)),
        ]
        lines += [f"  {name:<{width}}" + "".join(mark.rjust(5) for mark in row) for name, row in
                  zip(wide.index, wide.to_numpy(), strict=True)]  # fmt: skip
    return "\n".join([*lines, "", *(sentence.replace("**", "") for sentence in seen(data))])
