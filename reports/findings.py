"""What a report says first: a few sentences, each from numbers, none of which says more than its interval allows.

To add one: a function here that takes the evidence and gives findings, and its line in `FINDINGS`. What it needs of the
folder is a frame of `benchmark/analysis/evidence.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import pandas as pd

from benchmark.analysis.evidence import Evidence
from benchmark.components import SHORT_DTYPES, plural, titled
from benchmark.statistics.halves import FEWEST_CLUSTERS, FEWEST_PAIRS
from benchmark.statistics.influence import DECIDES
from benchmark.statistics.over_tasks import mean_interval
from benchmark.statistics.proportion import CHANCE
from benchmark.words import counted
from reports.writing.blocks import number, with_interval

MOST_KINDS = 2  # models and kinds of component that have a finding of their own
MOST = 6
FORMAT = "number format"
NAMED = 3  # methods or tasks that a sentence names
OTHER_SIZE = 2.0  # times as large as the reference, or as small: a correlation sees nothing of it
HAIR = 0.01  # of Pearson: what two digits don't show
MOST_OF_IT = 0.9  # of the sum of squares: a component that holds more makes a correlation

Said = tuple[str, pd.DataFrame]  # a sentence and the rows that it rests on


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
        ranked = rows[rows.ranked.astype(bool) & rows.value.notna()]
        if len(ranked):
            said.append(Finding("agrees best", f"**{where}:** {_means(ranked)} {_told(ranked)}", ranked))
    if said and len(groups) > MOST_KINDS:
        last = said[-1]
        more = f"{last.text} {counted(len(groups) - MOST_KINDS, 'more matrix', 'more matrices')} below."
        said[-1] = Finding(last.name, more, last.numbers)
    return said


def _means(ranked: pd.DataFrame) -> str:
    """The highest mean values over the tasks with their intervals, and where each is lowest."""
    means = ranked.groupby("method").value.mean().sort_values(ascending=False)
    tasks, references = list(dict.fromkeys(ranked.task)), listed(dict.fromkeys(ranked.reference))
    named = []
    for name, value in means[:NAMED].items():
        rows = ranked[ranked.method == name]
        values, lows, highs = (rows[column].to_numpy(float) for column in ("value", "low", "high"))
        mean = with_interval(value, *mean_interval(values, lows, highs, rows["sample"].tolist()))
        least = rows.loc[rows.value.idxmin()]
        lowest = with_interval(least.value, least.low, least.high)
        words = [f"of {len(rows)} tasks" if len(rows) > 1 else f"on {least.task} alone"] * (len(rows) < len(tasks))
        words += [f"least on {least.task}, {lowest}"] * (len(rows) > 1 and lowest not in (number(value), mean))
        named.append(f"{_code(name)} {mean}" + f" ({'; '.join(words)})" * bool(words))
    over = f"mean Pearson with {references} over {len(tasks)} tasks" if len(tasks) > 1 else (
        f"Pearson with {references} on {tasks[0]}")  # fmt: skip
    return f"{'highest ' * (len(means) > NAMED)}{over}: {', '.join(named)}."


def _told(ranked: pd.DataFrame) -> str:
    """On which tasks one method is told from all others as the best, by the interval of the difference."""
    if ranked.method.nunique() == 1:
        return "Nothing else can be ranked." if ranked.low.notna().any() else "It has no interval."
    if ranked.low.isna().all():
        return "None has an interval, so none can be called best."
    compared = ranked[ranked.behind.notna()]
    tasks = compared.task.nunique()
    if not tasks:
        return "On no task do two of them have an interval, so none can be called best."
    leading = compared[compared.leads.astype(bool)]
    alone = leading[leading.groupby("task").method.transform("size") == 1]
    if alone.empty:
        where = f" on any of {tasks} tasks{' with intervals' * (tasks < ranked.task.nunique())}" if tasks > 1 else ""
        return f"None is told from all others as the best{where}."
    each = "; ".join(f"{_code(name)} on {_some(rows.task)}" for name, rows in alone.groupby("method", sort=False))
    ahead = compared[compared.behind > 0].groupby("task").behind.min().reindex(alone.task)
    if (ahead < HAIR).any():
        each += f" (by less than {HAIR} on {_some(ahead[ahead < HAIR].index)})"
    if len(alone) == tasks and alone.method.nunique() == 1:
        where = f" on {_all(tasks)}" if tasks > 1 else ""
        return f"{_code(alone.method.iloc[0])} is told from all others as the best{where}."
    among = f"{len(alone)} of {counted(tasks, 'task')}" + " with intervals" * (tasks < ranked.task.nunique())
    return f"The best is told from the others on {among}: {each}."


def says_little(found: Evidence) -> list[Finding]:
    """Where a high correlation says less than it seems to."""
    said = [one for one in (_other_size(found), _one_component(found), _reached_by_a_floor(found)) if one]
    if not said:
        return []
    words, numbers = " ".join(text for text, _ in said), pd.concat([rows for _, rows in said], ignore_index=True)
    return [Finding("says little", f"**What a correlation hides:** {words}", numbers)]


def _other_size(found: Evidence) -> Said | None:
    """Whose scores are at most half, or at least twice, as large as the reference's (by the interval)."""
    data = found.size[found.size["size"] > 0]
    small = data[data.high.fillna(data["size"]) <= 1 / OTHER_SIZE].sort_values("size")
    large = data[data.low.fillna(data["size"]) >= OTHER_SIZE].sort_values("size", ascending=False)
    said = []
    for rows, word in ((small, "half or less"), (large, "twice or more")):
        for (kind, method), mine in rows.groupby(["kind", "method"], sort=False):
            most = mine.iloc[0]
            size = with_interval(most["size"], most.low, most.high, ".0f" if most["size"] >= 10 else ".2g")
            also = f" ({word} on {len(mine)} tasks)" * (len(mine) > 1)
            than = f"{size} times as large as {_code(most.reference)}'s on {plural(kind)} of {most.task}"
            said.append(f"{_code(method)}'s scores are {than}{also}")
    more = f"; likewise in {counted(len(said) - NAMED, 'more case')}" * (len(said) > NAMED)
    return (f"{'; '.join(said[:NAMED])}{more}.", pd.concat([small, large])) if said else None


def _one_component(found: Evidence) -> Said | None:
    """Where one component holds nearly all of the reference's sum of squares."""
    data = found.largest[found.largest.share >= MOST_OF_IT]
    said = []
    for kind, rows in data.groupby("kind", sort=False):
        most = rows.loc[rows.share.idxmax()]
        also = f" ({MOST_OF_IT:.0%} or more on {len(rows)} tasks)" * (len(rows) > 1)
        said.append(f"one of the {plural(kind)} of {most.task} holds {most.share:.1%} of the sum of squares{also}")
    text = "; ".join(said[:NAMED])
    return (f"{text[0].upper()}{text[1:]}: a correlation there is about that one.", data) if said else None


def _reached_by_a_floor(found: Evidence) -> Said | None:
    """Where a method that sees no metric isn't told from the best one, by size."""
    data = found.agreement[found.agreement.floor.astype(bool) & (found.agreement.behind_low <= 0)]
    if data.empty:
        return None
    most = data.loc[data.value.idxmax()]
    more = f"; likewise in {counted(len(data) - 1, 'more case')}" * (len(data) > 1)
    words = (
        f"{_code(most.method)}, which sees no metric, isn't told from the best on {plural(most.kind)} of {most.task} "
        f"(by size: {with_interval(most.value, most.low, most.high)}){more}."
    )
    return words, data


def one_pair(found: Evidence) -> list[Finding]:
    """What one pair, or cluster of pairs, decides; or that none does; or that too few pairs can't tell."""
    data = found.deciding[found.deciding.share.notna()]
    if data.empty:
        return []
    if data.alone.all():
        return [Finding("one pair", "**One pair** is all there is: every number here is that pair's.", data)]
    told = data[data.refusal == ""]
    if told.empty:
        few = counted(int(data.n_pairs.max()), "pair") + " a task" * (data.task.nunique() > 1)
        takes = f"{few}, and an interval takes {FEWEST_PAIRS} in {FEWEST_CLUSTERS} clusters"
        words = f"{takes}. Every number is a first look, and what rests on one pair isn't known."
        return [Finding("one pair", f"**Too few pairs:** {words}", data)]
    deciding = told[told.share > DECIDES].sort_values("share", ascending=False)
    if deciding.empty:
        most = _held(told.loc[told.share.idxmax()])
        return [Finding("one pair", f"**No one pair decides:** at most, {most}.", told)]
    named = "; ".join(_held(row) for _, row in deciding[:NAMED].iterrows())
    more = f"; likewise in {counted(len(deciding) - NAMED, 'more case')}" * (len(deciding) > NAMED)
    words = f"{named}{more}. No interval is given there: other pairs would show something else."
    return [Finding("one pair", f"**One pair decides:** {words}", deciding)]


def _held(row: Any) -> str:
    """Which pair, or cluster, holds how much of a method's mean scores."""
    ids = row.pairs.split()
    who = f"pair {ids[0]} holds" if len(ids) == 1 else f"the {len(ids)} pairs with {ids[0]} hold"
    return f"{who} {row.share:.0%} of the mean scores of {_code(row.method)} on {plural(row.kind)} of {row.task}"


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


def number_format(found: Evidence) -> list[Finding]:
    """A reference that was computed in 16 bits, by name; and what rests on scores that the number format blurs."""
    data, said = found.format, []
    short = data[data.reference.astype(bool) & data.dtype.isin(SHORT_DTYPES)]
    for dtype, rows in short.groupby("dtype"):
        names = listed(_code(name) for name in dict.fromkeys(rows.method))
        said.append(f"{names}, which others are held against, was computed in {dtype}: a reference takes float32.")
    resting = data[data.rests.astype(bool)]
    for (method, kind, dtype), rows in list(resting.groupby(["method", "kind", "dtype"], sort=False))[:NAMED]:
        top = f", and {int(rows.in_top.max())} of its top {rows.k.max()}," * bool(rows.in_top.max())
        most = f"up to {rows.share.max():.0%}" if len(rows) > 1 else f"{rows.share.max():.0%}"
        said.append(
            f"Of {_code(method)} on {plural(kind)} of {_some(rows.task)}, {most} of the mean scores{top} are below the "
            f"metric's resolution: noise of {dtype}, and so is what agrees with them."
        )
    numbers = data[data.rests.astype(bool) | data.index.isin(short.index)]
    return [Finding(FORMAT, f"**The number format:** {' '.join(said)}", numbers)] if said else []


def at_chance(found: Evidence) -> list[Finding]:
    """Whether the model can do the tasks, by Wilson's interval of its accuracy."""
    data = found.behaviour
    if data.empty:
        return []
    fails = data[data.low <= CHANCE]
    if fails.empty:
        least = data.loc[data.accuracy.idxmin()]
        interval = with_interval(least.accuracy, least.low, least.high)
        words = f"better than a guess on {least.task}: accuracy {interval}."
        if len(data) > 1:
            most = f" on {least.task} to {number(data.accuracy.max())}" * bool(data.accuracy.max() > least.accuracy)
            words = f"better than a guess on {_all(len(data))}: accuracy {interval}{most}."
        return [Finding("at chance", f"**The model** is {words}", data)]
    named = "; ".join(
        f"{row.task} (right on {row.right} of {counted(row.of, 'pair')}, 95% interval {row.low:.2f} to {row.high:.2f}"
        + (": worse than a guess" if row.high < CHANCE else "")
        + ")"
        for row in fails[:NAMED].itertuples()
    )
    more = f" and {len(fails) - NAMED} more" * (len(fails) > NAMED)
    on = f"{len(fails)} of {len(data)} tasks: {named}{more}" if len(data) > 1 else named
    words = f"isn't shown to be better than a guess on {on}. Agreement there says little."
    return [Finding("at chance", f"**The model** {words}", data)]


def is_missing(found: Evidence) -> list[Finding]:
    """What was planned and isn't there, what a tokenizer can't carry, and what a reference left unmeasured."""
    data = found.absent
    said = []
    for (what, name), rows in data[data.what.isin(("failed", "missing"))].groupby(["what", "name"], sort=False):
        verb = "failed" if what == "failed" else "isn't finished"
        why = f" ({shorten(rows.why.iloc[0].rstrip('.'), 90, placeholder=' ...')})"
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


# in reading order; of more than `MOST` findings, that of the number format aside, the last are not said
FINDINGS = (agrees_best, one_pair, number_format, not_converged, at_chance, is_missing, says_little)


def findings(found: Evidence) -> list[Finding]:
    """All that there is to say, in reading order."""
    said = [one for function in FINDINGS for one in function(found)]
    return said[: MOST + sum(one.name == FORMAT for one in said)]


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _some(tasks: Iterable[str]) -> str:
    names = list(dict.fromkeys(tasks))
    return listed(names) if len(names) <= NAMED else f"{len(names)} tasks"


def _all(tasks: int) -> str:
    return "both tasks" if tasks == 2 else f"all {tasks} tasks"


def _code(name: Any) -> str:
    return f"`{name}`"
