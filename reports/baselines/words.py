"""What the baselines experiment says, in words that claim no more than the numbers do."""

from collections.abc import Iterable, Sequence

import numpy as np

from benchmark.analysis.behaviour import CONVERGED, missing_share
from benchmark.analysis.matched_baselines import Experiment
from benchmark.components import BASELINES, plural
from benchmark.statistics.matched_baselines import Estimate
from benchmark.words import counted

NEGLIGIBLE = 0.01  # a difference of agreements of which words make nothing, however sure it is
VERDICTS = ("above 0", "below 0", "not told from 0", f"within {NEGLIGIBLE} of 0")


def verdict(one: Estimate) -> str:
    """Which of `VERDICTS` the interval of an estimate allows; a dash where it has none."""
    if np.isnan(one.low):
        return "-"
    if max(abs(one.low), abs(one.high)) < NEGLIGIBLE:
        return VERDICTS[3]
    return VERDICTS[0] if one.low > 0 else VERDICTS[1] if one.high < 0 else VERDICTS[2]


def together_words(tasks: Sequence[Experiment]) -> str:
    """The statement over all tasks of one model and kind."""
    effects = [one.matching["matching"] for one in tasks]
    known = [effect for effect in effects if not np.isnan(effect.value)]
    kind, model = tasks[0].part.kind, tasks[0].section.model
    where = f"the {plural(kind)} of {model} on {counted(len(tasks), 'task')}"
    if not known:
        return f"The effect of matching baselines on {where} is undefined: {effects[0].note}."
    gaps = [one.matching["matching less method"] for one in tasks]
    partings = [found for one in tasks for found in one.partings.values()]
    told = _told(effects)
    decided = [one.section.short for one in tasks if one.decided]
    words = [
        f"Over {where}: with the same baseline, activation patching and integrated gradients agree at "
        f"{_range(one.matching['matched'] for one in tasks)} (mean Pearson of a task), with different baselines at "
        f"{_range(one.matching['unmatched'] for one in tasks)}. Matching is worth {_range(known, '+z.2f')}"
        + (f"; by its 95% interval it is {told}." if told else f" ({_reasons(effects)}: take it as a first look)."),
        f"One method with different baselines agrees with itself at "
        f"{_range(one.matching['same method'] for one in tasks)}; matched agreement less that is "
        f"{_range(gaps, '+z.2f')}" + (f", {_told(gaps)}." if _told(gaps) else "."),
    ]
    if partings:
        excess = _told([found.excess for found in partings])
        words.append(
            f"Curvature C is {_range((p.curvature for p in partings), '.0%')} of activation patching's size, "
            f"interactions I {_range((p.interactions for p in partings), '.0%')}, over {len(partings)} cases (task and "
            "baseline)" + (f"; I less C is {excess}." if excess else ".")
        )
    if unconverged := _unconverged(tasks):
        words.append(unconverged)
    if decided:
        words.append(f"One pair decides in {len(decided)} of {counted(len(tasks), 'task')}: {', '.join(decided)}.")
    if any(np.isnan(one.low) for one in effects + gaps) and told:
        words.append("What has no interval is in no range here.")
    if told:
        words.append("Every interval is 95% by itself; none is adjusted for how many there are.")
    return " ".join(words)


def _unconverged(tasks: Sequence[Experiment]) -> str:
    """On how many tasks the integral of each baseline hadn't converged; empty where all had."""
    counts = dict.fromkeys(BASELINES, 0)
    for one in tasks:
        for method in one.part.methods:
            counts[method.cell.identity[2]] += missing_share(one.section, method.cell) > CONVERGED
    if not any(counts.values()):
        return ""
    each = ", ".join(f"{baseline} on {count}" for baseline, count in counts.items() if count)
    return (
        f"Integrated gradients had not converged ({each} of {counted(len(tasks), 'task')}): there I, and what the "
        "methods disagree by, hold errors of quadrature."
    )


def _told(estimates: Sequence[Estimate]) -> str:
    """`above 0 in 5, not told from 0 in 1 of 6`; empty where no estimate has an interval."""
    found = [verdict(one) for one in estimates]
    counts = [f"{words} in {found.count(words)}" for words in VERDICTS if words in found]
    if not counts:
        return ""
    without = [f"without an interval in {found.count('-')}"] * ("-" in found)
    return f"{', '.join(counts + without)} of {len(found)}"


def _reasons(estimates: Sequence[Estimate]) -> str:
    return "; ".join(dict.fromkeys(one.note for one in estimates if one.note))


def _range(estimates: Iterable[Estimate], form: str = "z.2f") -> str:
    """The smallest and the largest of the estimates that have an interval, or of all where none has."""
    defined = [one for one in estimates if not np.isnan(one.value)]
    values = [one.value for one in [one for one in defined if not np.isnan(one.low)] or defined]
    if not values:
        return "an undefined value"
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
