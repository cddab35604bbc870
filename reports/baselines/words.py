"""What the baselines experiment says, in words that claim no more than the numbers do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from benchmark.analysis.behaviour import CONVERGED, missing_share
from benchmark.analysis.matched_baselines import Experiment
from benchmark.components import REPLACEMENTS
from benchmark.statistics.matched_baselines import Estimate, Parting
from reports.writing.blocks import counted, with_interval

Side = Literal["above", "below", "open", "negligible", "unknown", "undefined"]
NEGLIGIBLE = 0.01  # a difference of agreements of which words make nothing, however sure it is
_TALLY: dict[Side, str] = {
    "above": "above 0",
    "below": "below 0",
    "open": "not told from 0",
    "negligible": f"within {NEGLIGIBLE} of 0",
}


def side(one: Estimate) -> Side:
    """Where an estimate lies by its interval: above or below 0, not told from 0, all but 0, or nothing known."""
    if np.isnan(one.value):
        return "undefined"
    if np.isnan(one.low):
        return "unknown"
    if max(abs(one.low), abs(one.high)) < NEGLIGIBLE:
        return "negligible"
    return "above" if one.low > 0 else "below" if one.high < 0 else "open"


def task_words(found: Experiment) -> str:
    """The statement on one task and kind of component."""
    effects = found.matching
    effect = effects["matching"]
    if np.isnan(effect.value):
        return f"The effect of matching baselines is {effect.note}."
    words = [
        f"With the same baseline, activation patching and integrated gradients agree at {_plain(effects['matched'])} "
        f"on average (Pearson, {found.part.kind}s), with different ones at {_plain(effects['unmatched'])}: matching is "
        f"worth **{_signed(effect)}**. {_VERDICTS[side(effect)].format(note=effect.note)}",
        f"By two baselines alone: {_by_pair(effects)}.{_uneven(effects)}",
        _method_words(effects),
    ]
    return " ".join([*words, *_parting_words(found.partings)])


_VERDICTS: dict[Side, str] = {
    "above": "Matched baselines agree more.",
    "below": "Matched baselines agree less.",
    "open": "The interval includes 0: these pairs don't show that matching changes the agreement.",
    "negligible": "That is next to nothing: the interval lies within 0.01 of 0.",
    "unknown": "Take it as a first look ({note}).",
}


def _by_pair(effects: Mapping[str, Estimate]) -> str:
    return "; ".join(f"{name.removeprefix('matching, ')} {_signed(effects[name])}" for name in _pairs(effects))


def _pairs(effects: Mapping[str, Estimate]) -> list[str]:
    return [name for name in effects if name.startswith("matching, ")]


def _uneven(effects: Mapping[str, Estimate]) -> str:
    """Whether one odd baseline makes the effect: it is shown for some pairs of baselines and not for others."""
    shown = [name for name in _pairs(effects) if side(effects[name]) == "above"]
    common = [baseline for baseline in REPLACEMENTS if all(baseline in name for name in shown)]
    if not shown or len(shown) == len(_pairs(effects)):
        return ""
    if len(shown) == 2 and common:
        return f" Both comparisons that show it have the baseline {common[0]}, so that one alone may make the effect."
    return f" Only {' and '.join(name.removeprefix('matching, ') for name in shown)} show it."


def _method_words(effects: Mapping[str, Estimate]) -> str:
    same, gap = effects["same method"], effects["matching less method"]
    verdict = {
        "above": "The baseline matters more than the method.",
        "below": "The method matters more than the baseline.",
        "negligible": "Neither the baseline nor the method matters more.",
        "open": "Which of the two matters more, the baseline or the method, these pairs don't tell.",
    }.get(side(gap), "")
    return f"One method with different baselines agrees with itself at {_plain(same)}. {verdict}".strip()


def _parting_words(partings: Mapping[str, Parting]) -> list[str]:
    if not partings:
        return []
    each = [
        f"{baseline}: C {found.curvature.value:.0%}, I {found.interactions.value:.0%}{_larger(found.excess)}"
        for baseline, found in partings.items()
    ]
    return [f"Sizes of curvature C and interactions I against activation patching's: {'; '.join(each)}."]


def _larger(excess: Estimate) -> str:
    return {"above": " (I larger)", "below": " (C larger)", "open": " (not told apart)"}.get(side(excess), "")


def together_words(tasks: Sequence[Experiment]) -> str:
    """The statement over all tasks of one model and kind."""
    effects = [one.matching["matching"] for one in tasks]
    known = [effect for effect in effects if not np.isnan(effect.value)]
    kind, model = tasks[0].part.kind, tasks[0].section.model
    where = f"the {kind}s of {model} on {counted(len(tasks), 'task')}"
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
    counts = dict.fromkeys(REPLACEMENTS, 0)
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
    sides = [side(one) for one in estimates]
    counts = [f"{words} in {sides.count(name)}" for name, words in _TALLY.items() if name in sides]
    if not counts:
        return ""
    without = len(sides) - sum(name in _TALLY for name in sides)
    return f"{', '.join([*counts, *[f'without an interval in {without}'] * bool(without)])} of {len(sides)}"


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


def _plain(one: Estimate) -> str:
    return with_interval(one.value, one.low, one.high)


def _signed(one: Estimate) -> str:
    return with_interval(one.value, one.low, one.high, "+z.2f")
