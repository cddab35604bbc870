"""What findings are made of: who agrees best, and what stands in the way of believing it, a data frame a question.

`reports/findings.py` puts them into words.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmark.analysis.behaviour import CONVERGED, ROUNDING, accuracy_data, missing_share
from benchmark.analysis.comparisons import Comparisons, is_decided, primary
from benchmark.analysis.resolution import below
from benchmark.analysis.sections import Scored
from benchmark.components import FEATURE_KINDS, plural
from benchmark.statistics.agreement import statistic
from benchmark.statistics.influence import influence
from benchmark.statistics.score_rows import ScoreRows, Version
from benchmark.statistics.size import relative_size
from benchmark.store.folder import Results

FLOORS = ("random", "activation-difference", "write-norm")  # they see no metric

AGREEMENT = (
    "model", "kind", "task", "method", "reference", "version", "value", "low", "high", "decided", "floor", "ranked",
    "behind", "behind_low", "behind_high", "leads", "n_pairs", "n_components", "refusal", "sample",
)  # fmt: skip
SIZE = ("model", "kind", "task", "method", "reference", "size", "low", "high")
LARGEST = ("model", "kind", "task", "method", "component", "share")
DECIDING = ("model", "kind", "task", "method", "share", "pairs", "refusal", "n_pairs", "alone")
UNCONVERGED = ("model", "task", "method", "share", "rounding")
BEHAVIOUR = ("model", "task", "right", "of", "accuracy", "low", "high")
FORMAT = ("model", "kind", "task", "method", "reference", "dtype", "resolution", "share", "in_top", "k", "rests")
ABSENT = ("what", "task", "name", "why")


@dataclass(frozen=True)
class Evidence:
    """The frames; `agreement` is empty where nothing was held against a reference.

    `agreement`: a row a method and task, its primary statistic with the reference; `ranked` says whether it may be
    called best, `behind` how far it is from the best one (a floor by size), where there are others; `leads` whether it
    is not told apart from that; tasks that share clusters of pairs have the same `sample`.
    `size`: a row a method whose scores are amounts of the metric, how large they are beside the reference's. `largest`:
    a row a reference, the component that holds most of its sum of squares.
    `deciding`: a row a method, the largest share of its mean scores that one pair or cluster holds.
    `unconverged`: methods whose scores miss the sum that they must have by a share of the gap, or are mere rounding.
    `behaviour`: how often the model is right. `absent`: what is not there, and why. `format`: a row a method whose
    scores are differences of runs, with how many of them are noise of the number format, and whether they are mostly or
    in their top.
    """

    agreement: pd.DataFrame
    size: pd.DataFrame
    largest: pd.DataFrame
    deciding: pd.DataFrame
    unconverged: pd.DataFrame
    behaviour: pd.DataFrame
    absent: pd.DataFrame
    format: pd.DataFrame


def evidence(results: Results, parts: list[Comparisons]) -> Evidence:
    """All that findings need of a folder and its comparisons (of models of which nothing is known)."""
    samples = _samples(parts)
    return Evidence(
        _frame((row | {"sample": samples[part.section.slug]} for part in parts for row in _agreement(part)), AGREEMENT),
        _frame((row for part in parts for row in _size(part)), SIZE),
        _frame((row for part in parts for row in _most_of_it(part)), LARGEST),
        _frame((row for part in parts for row in _deciding(part)), DECIDING),
        _frame(_unconverged(parts), UNCONVERGED),
        _behaviour(parts),
        _frame([*_not_there(results), *_unmeasured(parts)], ABSENT),
        _frame((row for part in parts for row in _below(part)), FORMAT),
    )


def _samples(parts: list[Comparisons]) -> dict[str, int]:
    """A number a section, the same for those that share a cluster of pairs, as two metrics of one task do.

    Pairs without a cluster are each their own, as for intervals.
    """
    clusters: dict[str, set[str]] = {}
    for section in (part.section for part in parts):
        names = section.clusters or [""] * section.n_pairs
        own = [f"{section.key.task.name} {name}" for name in section.key.pair_ids]
        clusters[section.slug] = {name or alone for name, alone in zip(names, own, strict=True)}
    found: list[set[str]] = []
    for labels in clusters.values():
        others = [one for one in found if one & labels]
        found = [*(one for one in found if one not in others), labels.union(*others)]
    return {name: next(n for n, one in enumerate(found) if one & labels) for name, labels in clusters.items()}


def _frame(rows: Iterable[dict[str, object]], columns: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(columns))


def _whose(part: Comparisons, method: Scored) -> dict[str, Any]:
    """What tells the row of a method from others."""
    return {"model": part.section.model, "kind": part.kind, "task": part.section.short, "method": method.label}


def _agreement(part: Comparisons) -> list[dict[str, Any]]:
    """Who may be called best: whoever scores with signs and an interval, sees the metric and isn't the reference."""
    rows: list[dict[str, Any]] = []
    able: list[tuple[dict[str, Any], Scored, Scored]] = []
    for method, reference, found in part.against_whole:
        main = primary(found)
        floor = method.cell.key.method.name in FLOORS
        ranked = main["version"] == "signed" and not floor and not _exact(method)
        row = (
            _whose(part, method)
            | {"reference": reference.label} | {name: main[name] for name in ("version", "value", "low", "high")}
            | {"decided": is_decided(main), "floor": floor, "ranked": ranked, "leads": False}
            | {"n_pairs": part.section.n_pairs, "n_components": main["n_components"], "refusal": part.halves.refusal}
        )  # fmt: skip
        rows.append(row)
        if (ranked or floor) and not np.isnan(main["low"]):
            able.append((row, method, reference))
    rivals = [one for one in able if one[0]["ranked"]]
    if not rivals:
        return rows
    best = max(rivals, key=lambda one: float(one[0]["value"]))
    for row, method, reference in able if len(rivals) > 1 else [one for one in able if one[0]["floor"]]:
        version: Version = "by_size" if row["floor"] else "signed"
        family = 1 if row["floor"] else len(rivals) - 1
        behind, low, high = difference(part, best[1:], (method, reference), version, family)
        row |= {"behind": behind, "behind_low": low, "behind_high": high, "leads": bool(row["ranked"] and low <= 0)}
    return rows


def _size(part: Comparisons) -> list[dict[str, object]]:
    """Without an interval where one pair decides the scores, as everywhere."""
    rows: list[dict[str, object]] = []
    for method, reference, found in part.against_whole:
        if method.metric_units and reference.metric_units and method.cell.key.method.name not in FLOORS:
            halves = None if is_decided(primary(found)) else part.halves
            size, low, high = relative_size(method.scores, reference.scores, halves)
            rows.append(_whose(part, method) | {"reference": reference.label, "size": size, "low": low, "high": high})
    return rows


def _most_of_it(part: Comparisons) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for one in part.references:
        squares = np.nan_to_num(one.vector) ** 2
        if squares.any():
            largest = int(squares.argmax())
            rows.append(
                _whose(part, one)
                | {"component": one.component(largest), "share": float(squares[largest] / squares.sum())}
            )
    return rows


def _exact(method: Scored) -> bool:
    """Whether it equals exact patching by construction, so that its agreement is no merit (docs/definitions.md)."""
    key = method.cell.key.method
    return key.name == "integrated-gradients" and key.options.get("path") == "component"


def difference(
    part: Comparisons, one: tuple[Scored, Scored], other: tuple[Scored, Scored], version: Version, family: int
) -> tuple[float, float, float]:
    """How much further one method agrees with its reference than another: Pearson less Pearson, with its interval.

    The interval is over the same half-samples for both, and wide enough for a `family` of them.
    """
    if one == other:
        return 0.0, 0.0, 0.0
    scores = [method.scores for method in (*one, *other)]
    kept = ~np.isnan(np.stack([values.mean(axis=0) for values in scores])).any(axis=0)
    whole = [values[:, kept].astype(np.float64) for values in scores]
    correlation = statistic("pearson", version)

    def apart(weights: Float[np.ndarray, "row pair"]) -> Float[np.ndarray, " row"]:
        a, b, c, d = (ScoreRows.of(weights @ values, version) for values in whole)
        return np.asarray(correlation.rows(a, b, 1) - correlation.rows(c, d, 1))

    n_pairs = len(whole[0])
    value = float(apart(np.full((1, n_pairs), 1 / n_pairs))[0])
    draws = np.concatenate([apart(half) for halves in part.halves.weights(int(kept.sum())) for half in halves])
    return value, *part.halves.interval(value, draws, -2.0, 2.0, max(1, family))


def _deciding(part: Comparisons) -> list[dict[str, object]]:
    """Of every method but floors, over what its reference measured too; `alone`: there is one pair and no more."""
    ids, others = part.section.key.pair_ids, {method.label: other for method, other, _ in part.against_reference}
    found = []
    for method in (one for one in part.methods if one.cell.key.method.name not in FLOORS):
        kept = ~np.isnan(others.get(method.label, method).vector)
        found.append((method, influence(method.scores[:, kept], part.halves.cluster)))
    return [
        _whose(part, method)
        | {"share": one.share, "pairs": " ".join(ids[place] for place in one.pairs), "refusal": part.halves.refusal}
        | {"n_pairs": part.section.n_pairs, "alone": part.section.n_pairs == 1}
        for method, one in found
    ]


def _unconverged(parts: list[Comparisons]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for section in {part.section.slug: part.section for part in parts}.values():
        for cell in section.cells:
            share = missing_share(section, cell)
            left = [kind for kind in cell.kinds if (some := cell.unfinished(kind)) is not None and some.any()]
            if share > CONVERGED or left:
                rows.append({"model": section.model, "task": section.short, "method": section.label(cell)}
                            | {"share": share, "rounding": False})  # fmt: skip
    for part in parts:
        known = max((_largest(one) for one in part.methods if one.reference), default=0.0)
        rows += [
            {"model": part.section.model, "task": part.section.short, "method": one.label, "share": np.nan}
            | {"rounding": True}
            for one in part.methods
            if one.metric_units and 0 < _largest(one) < ROUNDING * known
        ]
    return rows


def _below(part: Comparisons) -> list[dict[str, object]]:
    return [
        _whose(part, method)
        | {"reference": method.reference, "rests": one.rests} | asdict(one)
        for method in part.methods
        if (one := below(method, part.k)) is not None
    ]  # fmt: skip


def _largest(method: Scored) -> float:
    return float(np.nanmax(np.abs(method.mean), initial=0.0))


def _behaviour(parts: list[Comparisons]) -> pd.DataFrame:
    found = list({part.section.slug: part.section for part in parts}.values())
    if not found:
        return pd.DataFrame(columns=list(BEHAVIOUR))
    data = accuracy_data(found).rename(columns={"n": "of"})
    data["model"], data["task"] = [one.model for one in found], [one.short for one in found]
    return data[data["of"] > 0][list(BEHAVIOUR)].reset_index(drop=True)


def _not_there(results: Results) -> list[dict[str, object]]:
    """Cells that failed, are damaged or were never finished, and tasks that a tokenizer can't carry."""
    rows: list[dict[str, object]] = [
        {"what": "failed", "task": cell.task, "name": cell.identity[0], "why": " ".join(str(cell.error).split())}
        for cell in results.failures
    ]
    rows += [
        {"what": "damaged", "task": "", "name": str(one).replace(f"{results.folder}/", ""), "why": ""}
        for one in results.damaged
    ]
    rows += [
        {"what": "missing", "task": name.partition(" x ")[0], "name": name.partition(" x ")[2], "why": why}
        for name, why in results.missing.items()
    ]
    left_out = {one for run in results.runs for one in run.get("resolved", {}).get("left_out", {}).items()}
    rows += [{"what": "left out", "task": task, "name": "", "why": why} for task, why in sorted(left_out)]
    return rows


def _unmeasured(parts: list[Comparisons]) -> list[dict[str, object]]:
    """References that measured a part of the components: agreement with them is over these."""
    rows: list[dict[str, object]] = []
    for part in (part for part in parts if part.kind not in FEATURE_KINDS):
        for one in part.references:
            measured, every = int((~np.isnan(one.vector)).sum()), one.vector.size
            if measured < every:
                why = f"{measured} of {every} {plural(part.kind)}"
                rows.append({"what": "unmeasured", "task": part.section.short, "name": one.label, "why": why})
    return rows
