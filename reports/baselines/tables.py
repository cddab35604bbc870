"""The tables of the baselines experiment: the 6 x 6 matrix, what matching is worth, and why methods part."""

from dataclasses import asdict
from itertools import combinations
from typing import Any

import pandas as pd

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.matched_baselines import SHOWN, Experiment
from benchmark.components import BASELINES, plural, titled
from benchmark.statistics.matched_baselines import Estimate
from reports.agreement.agreement_map import matrix
from reports.baselines.words import verdict
from reports.writing import captions
from reports.writing.blocks import Table, number, with_interval

_CONTRASTS = {
    "matched": "matched",
    "unmatched": "unmatched",
    "matching": "effect of matching",
    **{f"matching, {a} and {b}": f"by {a} and {b}" for a, b in combinations(BASELINES, 2)},
    "same method": "same method, other baseline",
    "matching less method": "matched less same method",
}


def matrix_table(part: Comparisons, stem: str) -> Table:
    """Pearson below the diagonal, top-k overlap above it, each with its interval."""
    labels = [method.label for method in part.methods]
    below, above = (
        [matrix(part, one.name, one.version, column) for column in ("value", "low", "high")] for one in SHOWN
    )
    rows = []
    for i, label in enumerate(labels):
        row = {"": f"{label} ({i + 1})"}
        for j in range(len(labels)):
            chosen = below if j < i else above
            row[str(j + 1)] = "1" if i == j else with_interval(*(values[i, j] for values in chosen))
        rows.append(row)
    data = part.rows[
        ["method_a", "method_b", "statistic", "version", "k", "value", "low", "high", "n_components", "note"]
    ]
    caption = (
        f"{int(part.rows.n_components.iloc[0])} {plural(part.kind)}, each method with each baseline: Pearson below the "
        f"diagonal, overlap of the top {part.k} by size above it."
    )
    facts = captions.about([part], captions.intervals([part]))
    return Table(stem, caption, facts, pd.DataFrame(rows), data)


def matching_table(tasks: list[Experiment], stem: str) -> Table:
    rows, shown = [], []
    for one in tasks:
        for measure in SHOWN:
            found = one.contrasts[measure.name]
            title = "Pearson" if measure.name == "pearson" else f"top-{one.part.k} overlap"
            shown.append(
                {"task": one.section.short, "statistic": title}
                | {words: _interval(found[name]) for name, words in _CONTRASTS.items()}
                | {"so matching is": verdict(found["matching"])}
            )
            rows += [
                {"task": one.section.short, "statistic": measure.name, "version": measure.version, "contrast": name}
                | asdict(estimate) | {"k": one.part.k, "n_pairs": one.section.n_pairs}
                for name, estimate in found.items()
            ]  # fmt: skip
    parts = [one.part for one in tasks]
    caption = (
        f"{titled(parts[0].kind)}: agreement of activation patching and integrated gradients with the same baseline "
        "and with different ones, and of one method with itself."
    )
    meaning = (
        "Means over 3 cells with the same baseline and 6 with different ones, their difference, and the same from two "
        "baselines alone. Beside it one method with different baselines (6 cells), and how much nearer the other "
        "method with the same baseline is."
    )
    facts = captions.about(parts, meaning, captions.intervals(parts), _shared_draws(parts))
    return Table(stem, caption, facts, pd.DataFrame(shown), pd.DataFrame(rows))


def _shared_draws(parts: list[Comparisons]) -> str:
    some = any(not part.halves.refusal for part in parts)
    return (
        "A difference has an interval of its own, from the same splits for all six; none is adjusted." if some else ""
    )


def _interval(one: Estimate, form: str = "z.2f") -> str:
    return with_interval(one.value, one.low, one.high, form)


def parting_table(tasks: list[Experiment], stem: str) -> Table:
    rows: list[dict[str, Any]] = []
    shown = []
    for one in tasks:
        for baseline, found in one.partings.items():
            names = [name for name, value in vars(found).items() if isinstance(value, Estimate)]
            rows += [
                {"task": one.section.short, "baseline": baseline, "quantity": name}
                | asdict(getattr(found, name)) | {"n_components": found.n_components, "n_pairs": one.section.n_pairs}
                for name in names
            ]  # fmt: skip
            shown.append(
                {
                    "task": one.section.short,
                    "baseline": baseline,
                    "size of exact": number(found.size.value, ".2g"),
                    "curvature": _interval(found.curvature),
                    "interactions": _interval(found.interactions),
                    "difference": _interval(found.difference),
                    "share of curvature": _interval(found.curvature_share),
                    "share of interactions": _interval(found.interactions_share),
                    "share of covariance": _interval(found.covariance_share),
                    "their correlation": _interval(found.correlation),
                }
            )
    parts = [one.part for one in tasks if one.partings]
    caption = (
        f"{titled(parts[0].kind)}, why methods part: curvature (attribution less activation patching) and interactions "
        "(integrated gradients less activation patching), in sizes of activation patching."
    )
    meaning = (
        "Curvature C along a component's own axis, interactions I within the site: root mean squares over components, "
        "as multiples of activation patching's own, which is the size of exact in units of the metric. Then "
        "attribution patching - integrated gradients = C - I: the shares of Var(C), Var(I) and -2 Cov(C, I) in its "
        "variance over components."
    )
    facts = captions.about(parts, meaning, captions.intervals(parts))
    return Table(stem, caption, facts, pd.DataFrame(shown), pd.DataFrame(rows))
