"""The matrix that a report begins with: task by method, the primary statistic, marked where it can't be trusted."""

from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons, at_floor, is_decided, primary
from benchmark.analysis.evidence import Evidence
from benchmark.components import plural, titled
from benchmark.statistics.proportion import CHANCE
from reports.run_tables import sampled
from reports.writing import captions
from reports.writing.blocks import Look, Table, number, with_interval

MARKS = {
    "†": "one pair decides: no interval",
    "‡": "not converged",
    "#": "scores are mere rounding",
    "§": "too few pairs for an interval",
    "¶": "the model isn't shown to be better than a guess",
}
_OF_TASK = "§¶"  # beside the task, the others beside a number
STRONGEST = 3  # components of the reference that are named


def overview(parts: list[Comparisons], found: Evidence, stem: str) -> Table:
    """A row a task, a column a method; with the components that are strongest by the reference."""
    data = overview_data(parts)
    first = parts[0]
    same = found.agreement[(found.agreement.model == first.section.model) & (found.agreement.kind == first.kind)]
    known = {(row.task, row.method): row for row in same.itertuples()}
    methods = list(dict.fromkeys(data.method))
    sizes = data.groupby("method").version.agg(lambda versions: set(versions) == {"by_size"})
    of_some = " of those measured" * bool(sampled([part.references[0] for part in parts]))
    strongest = f"strongest {plural(first.kind)}{of_some}"
    rows, looks, used = [], {}, set()
    for place, (task, group) in enumerate(data.groupby("task", sort=False)):
        of_task = _marks_of_task(str(task), first.section.model, known, found)
        used |= set(of_task)
        row = {"task": f"{task} {of_task}".strip()}
        values = {one.method: one for one in group.itertuples()}
        for column, method in enumerate(methods, 1):
            one: Any = values.get(method)
            marks = _marks(one, known[task, method].refusal, first.section.model, found) if one else ""
            used |= set(marks)
            heading = f"{method} (by size)" if sizes[method] else method
            row[heading] = f"{with_interval(one.value, one.low, one.high)} {marks}".strip() if one else "-"
            if one and not np.isnan(one.value):
                strong = bool(known[task, method].leads)
                tone = float(np.sign(one.value) * one.value**2)
                looks[place, column] = Look(tone, strong, _hover(one, marks + of_task, known[task, method]))
        rows.append(row | {strongest: _strongest(parts, str(task))})
    marks = "; ".join(f"{mark} {words}" for mark, words in MARKS.items() if mark in used)
    legend = f"{marks}." if marks else ""
    bold = "Bold: the best, and what isn't told apart from it. " if any(one.strong for one in looks.values()) else ""
    return Table(
        stem,
        f"{titled(first.kind)}: Pearson with `{captions.distinct(data.reference)}`. {bold}{legend}".strip(),
        captions.about(parts, captions.intervals(parts), captions.null(parts)),
        pd.DataFrame(rows),
        data,
        looks=looks,
    )


def overview_data(parts: list[Comparisons]) -> pd.DataFrame:
    """A row a task and method: the primary statistic, its ceiling, its p, and the overlap of the tops."""
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
    return pd.DataFrame(rows)


def _marks_of_task(task: str, model: str, known: dict[tuple[str, str], Any], found: Evidence) -> str:
    few = any(row.refusal for (name, _), row in known.items() if name == task)
    guesses = found.behaviour[(found.behaviour.model == model) & (found.behaviour.task == task)].low <= CHANCE
    return "§" * few + "¶" * bool(guesses.any())


def _marks(row: Any, refusal: str, model: str, found: Evidence) -> str:
    gone = found.unconverged
    gone = gone[(gone.model == model) & (gone.task == row.task) & (gone.method == row.method)]
    rounding = gone.rounding.astype(bool)
    return "†" * bool(row.decided and not refusal) + "‡" * bool((~rounding).any()) + "#" * bool(rounding.any())


def _hover(row: Any, marks: str, known: Any) -> str:
    interval = "no interval" if np.isnan(row.low) else f"95% interval {number(row.low)} to {number(row.high)}"
    size = " by size" * (row.version == "by_size")
    words = [f"{row.method} on {row.task}: Pearson{size} {number(row.value, 'z.3f')}, {interval}"]
    if not np.isnan(known.behind) and known.behind > 0:
        words.append(
            f"behind the best by {number(known.behind)} [{number(known.behind_low)}, {number(known.behind_high)}]"
        )
    words += [f"overlap of the tops of {row.k:.0f}: {number(row.top_k)}, by chance {number(row.top_k_chance)}"]
    return ". ".join([*words, *(MARKS[mark] for mark in marks)]) + "."


def _strongest(parts: list[Comparisons], task: str) -> str:
    part = next(part for part in parts if part.section.short == task)
    reference = part.references[0]
    return ", ".join(
        f"{reference.component(place)} {reference.vector[place]:.2g}" for place in reference.strongest(STRONGEST)
    )
