"""What a report says first: a few sentences, each from numbers, none of which says more than its interval allows.

To add one: a function here that takes the evidence and gives findings, and its line in `FINDINGS`. What it needs of the
folder is a frame of `benchmark/analysis/evidence.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.evidence import Evidence
from benchmark.components import plural, titled
from benchmark.statistics.influence import DECIDES
from benchmark.statistics.proportion import CHANCE
from benchmark.words import counted
from reports.writing.blocks import number, with_interval

MOST_KINDS = 2  # models and kinds of component that have a finding of their own
NAMED = 3  # methods or tasks that a sentence names


@dataclass(frozen=True)
class Finding:
    """One sentence or two, and the rows that it rests on."""

    name: str
    text: str
    numbers: pd.DataFrame


def agrees_best(found: Evidence) -> list[Finding]:
    """For each model and kind: whose scores agree best with the reference, and on which task it agrees least."""
    groups = list(found.agreement.groupby(["model", "kind"], sort=False))
    said = []
    for (model, kind), rows in groups[:MOST_KINDS]:
        where = titled(str(kind)) + f" of {model}" * (found.agreement.model.nunique() > 1)
        ranked = rows[rows.ranked & rows.value.notna()]
        if len(ranked):
            words = _leaders(ranked) if ranked.low.notna().any() else _highest(ranked)
            said.append(Finding("agrees best", f"**{where}:** {words}", ranked))
    if said and len(groups) > MOST_KINDS:
        last = said[-1]
        more = f"{last.text} {counted(len(groups) - MOST_KINDS, 'more kind')} of component below."
        said[-1] = Finding(last.name, more, last.numbers)
    return said


def _leaders(ranked: pd.DataFrame) -> str:
    """Where there are intervals: on how many tasks each method leads, or isn't told apart from the one that does."""
    known = ranked[ranked.low.notna()]
    tasks = known.task.nunique()
    references = listed(dict.fromkeys(known.reference))
    if known.method.nunique() == 1:
        return f"{_code(known.method.iloc[0])} agrees with {references} at {_range(known)}. {_least(known)}"
    counts = known.groupby("method").agg(leads=("leads", "sum"), mean=("value", "mean"))
    counts = counts[counts.leads > 0].sort_values(["leads", "mean"], ascending=False)
    first = counts.index[counts.leads == counts.leads.max()]
    alone = known[known.leads].groupby("task").method.agg(list)
    of = f"{tasks} of {counted(ranked.task.nunique(), 'task')} with an interval"
    of = counted(tasks, "task") if tasks == ranked.task.nunique() else of
    if len(first) == 1 and (alone.map(len) == 1).all() and len(counts) == 1:
        words = f"{_code(first[0])} agrees best with {references} on {'all ' * (tasks > 1)}{of}"
    else:
        names = listed(_code(name) for name in first[:NAMED])
        more = f" and {len(first) - NAMED} more" * (len(first) > NAMED)
        each = " each" * (len(first) > 1)
        words = (
            f"{names}{more} agree{'s' * (len(first) == 1)} best with {references}, or {'are' if each else 'is'} not told "
            f"from the best,{each} on {counts.leads.max()} of {of}"
        )
        if len(rest := counts.index[len(first) :][:NAMED]):
            words += "; " + ", ".join(f"{_code(name)} on {counts.leads[name]}" for name in rest)
    leading = known[known.method.isin(first[:1])]
    return f"{words}. {_least(leading)}"


def _highest(ranked: pd.DataFrame) -> str:
    """Where there is no interval: the highest mean values, which are no ranking."""
    means = ranked.groupby("method").value.mean().sort_values(ascending=False)
    tasks = ranked.task.nunique()
    over = f"mean Pearson over {tasks} tasks" if tasks > 1 else f"Pearson on {ranked.task.iloc[0]}"
    names = ", ".join(f"{_code(name)} {number(value)}" for name, value in means[:NAMED].items())
    why = distinct_reasons(ranked)
    words = f"no method can be called best, since no number has an interval ({why}). Highest {over}: {names}."
    return f"{words} {_least(ranked[ranked.method == means.index[0]])}" if tasks > 1 else words


def _least(rows: pd.DataFrame) -> str:
    """On which task a method agrees least."""
    if rows.task.nunique() < 2:
        return f"Pearson {with_interval(*_interval(rows.iloc[0]))} on {rows.task.iloc[0]}."
    least = rows.loc[rows.value.idxmin()]
    value = with_interval(*_interval(least))
    best = number(rows.value.max())
    return f"{_code(least.method)} agrees least on {least.task}: Pearson {value}, elsewhere up to {best}."


def one_pair(found: Evidence) -> list[Finding]:
    """What one pair, or cluster of pairs, decides; or that none does; or that too few pairs can't tell."""
    data = found.deciding[found.deciding.share.notna()]
    if data.empty:
        return []
    if data.alone.all():
        return [Finding("one pair", "**One pair** is all there is: every number here is that pair's.", data)]
    told = data[data.refusal == ""]
    if told.empty:
        words = f"{distinct_reasons(data)}. Every number is a first look, and what one pair decides isn't known."
        return [Finding("one pair", f"**Too few pairs:** {words}", data)]
    deciding = told[told.share > DECIDES].sort_values("share", ascending=False)
    if deciding.empty:
        most = told.loc[told.share.idxmax()]
        words = f"{_holder(most)} at most {most.share:.0%} of a method's mean scores ({_of(most)})."
        return [Finding("one pair", f"**No one pair decides:** {words}", told)]
    tasks = deciding.groupby("task", sort=False).first()
    named = "; ".join(f"on {task}, {_holder(row)} {row.share:.0%} of the mean scores of {_of(row)}"
                      for task, row in tasks[:NAMED].iterrows())  # fmt: skip
    more = f"; likewise on {counted(len(tasks) - NAMED, 'more task')}" * (len(tasks) > NAMED)
    words = f"{named}{more}. There is no interval there: other pairs would show something else."
    return [Finding("one pair", f"**One pair decides** on {counted(len(tasks), 'task')}: {words}", deciding)]


def _holder(row: Any) -> str:
    ids = row.pairs.split()
    return f"pair {ids[0]} holds" if len(ids) == 1 else f"the {len(ids)} pairs with {ids[0]} hold"


def _of(row: Any) -> str:
    return f"{_code(row.method)} on {plural(row.kind)}"


def not_converged(found: Evidence) -> list[Finding]:
    """Which methods' integrals missed what they must sum to, and whose scores are mere rounding."""
    data, said = found.unconverged, []
    missed = data[~data.rounding.astype(bool)]
    if len(missed):
        said += [
            f"{_code(name)} on {_some(rows.task)}"
            + (f" (missing up to {rows.share.max():.0%} of the gap)" if rows.share.notna().any() else "")
            for name, rows in missed.groupby("method")
        ]
    words = f"**Not converged:** {'; '.join(said)}." if said else ""
    rounded = data[data.rounding.astype(bool)]
    if len(rounded):
        names = "; ".join(f"{_code(name)} on {_some(rows.task)}" for name, rows in rounded.groupby("method"))
        words += f" **Mere rounding:** {names}."
    return [Finding("not converged", words.strip(), data)] if words else []


def at_chance(found: Evidence) -> list[Finding]:
    """Whether the model can do the tasks, by Wilson's interval of its accuracy."""
    data = found.behaviour
    if data.empty:
        return []
    fails = data[data.low <= CHANCE]
    told = counted(len(data), "task")
    if fails.empty:
        shares = _span(data.accuracy)
        least = data.loc[data.accuracy.idxmin()]
        words = f"better than a guess on {'all ' * (len(data) > 1)}{told}: right on {shares} of the pairs, least on "
        words += f"{least.task}, {with_interval(least.accuracy, least.low, least.high)}."
        return [Finding("at chance", f"**The model** is {words}", data)]
    named = "; ".join(
        f"{row.task} (right on {row.right} of {row.of}, {row.low:.2f} to {row.high:.2f}"
        + (", worse than a guess" if row.high < CHANCE else "")
        + ")"
        for row in fails[:NAMED].itertuples()
    )
    more = f" and {len(fails) - NAMED} more" * (len(fails) > NAMED)
    words = f"isn't shown to be better than a guess on {len(fails)} of {told}: {named}{more}. Agreement there says little."
    return [Finding("at chance", f"**The model** {words}", data)]


def is_missing(found: Evidence) -> list[Finding]:
    """What was planned and isn't there, what a tokenizer can't carry, and what a reference left unmeasured."""
    data = found.absent
    said = []
    for (what, name), rows in data[data.what.isin(("failed", "missing"))].groupby(["what", "name"], sort=False):
        verb = "failed" if what == "failed" else "was never computed"
        why = f" ({rows.why.iloc[0][:90]})" * (what == "failed")
        said.append(f"{_code(name)} {verb} on {_some(rows.task)}{why}")
    if damaged := int((data.what == "damaged").sum()):
        said.append(f"{counted(damaged, 'cell')} {'is' if damaged == 1 else 'are'} damaged")
    left_out = data[data.what == "left out"]
    if len(left_out):
        said.append(f"the tokenizer carries no row of {_some(left_out.task)}")
    unmeasured = data[data.what == "unmeasured"]
    for (name, why), _ in unmeasured.groupby(["name", "why"], sort=False):
        said.append(f"{_code(name)} measured {why}, and agreement is over these")
    if not said:
        return [Finding("missing", "**Missing:** nothing; every planned cell is here.", data)]
    return [Finding("missing", f"**Missing:** {'; '.join(said[:5])}{'; and more' * (len(said) > 5)}.", data)]


FINDINGS = (agrees_best, one_pair, not_converged, at_chance, is_missing)


def findings(found: Evidence) -> list[Finding]:
    """All that there is to say, in reading order."""
    return [one for function in FINDINGS for one in function(found)]


def distinct_reasons(rows: pd.DataFrame) -> str:
    """Why there are no intervals: the one reason, or each."""
    reasons = list(dict.fromkeys(reason.removeprefix("no interval: ") for reason in rows.refusal if reason))
    if not reasons:
        return "one pair decides"
    return reasons[0] if len(reasons) == 1 else f"{counted(int(rows.n_pairs.max()), 'pair')} a task or fewer are too few"


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _some(tasks: Iterable[str]) -> str:
    names = list(dict.fromkeys(tasks))
    return listed(names) if len(names) <= NAMED else f"{len(names)} tasks"


def _code(name: Any) -> str:
    return f"`{name}`"


def _interval(row: Any) -> tuple[float, float, float]:
    return row.value, row.low, row.high


def _range(rows: pd.DataFrame) -> str:
    return f"Pearson {_span(rows.value)}"


def _span(values: pd.Series) -> str:
    low, high = number(np.min(values)), number(np.max(values))
    return low if low == high else f"{low} to {high}"
