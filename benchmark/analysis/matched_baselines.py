"""The baselines experiment in a results folder: both methods with every baseline, and what comes of them."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import Scored, Section
from benchmark.components import BASELINES, COUNTERFACTUAL
from benchmark.statistics.agreement import FEWEST, statistic
from benchmark.statistics.inference import compare
from benchmark.statistics.matched_baselines import Estimate, Parting, contrasts, parting

SHOWN = (statistic("pearson", "signed"), statistic("top_k_overlap", "by_size"))  # the first in all words


@dataclass(frozen=True)
class Experiment:
    """One task and kind of component. `part` holds the six alone: activation patching first, baselines in order."""

    part: Comparisons
    contrasts: dict[str, dict[str, Estimate]]  # by statistic, then by name
    partings: dict[str, Parting]  # by baseline; empty where attribution patching wasn't run with all
    decided: bool  # one pair decides the scores of one of the methods

    @property
    def section(self) -> Section:
        return self.part.section

    @property
    def matching(self) -> dict[str, Estimate]:
        """The contrasts of the primary statistic."""
        return self.contrasts[SHOWN[0].name]


def experiments(parts: Iterable[Comparisons]) -> list[Experiment]:
    """Every task and kind with both methods under all baselines, on at least three components measured by all six."""
    return [found for part in parts if (found := _experiment(part)) is not None]


def _experiment(part: Comparisons) -> Experiment | None:
    patching = _with_every_baseline(part, "activation-patching", _measured)
    integrated = _with_every_baseline(part, "integrated-gradients", _steps)
    if not patching or not integrated:
        return None
    six, gradients = [*patching, *integrated], _with_every_baseline(part, "attribution-patching", _measured)
    measured = ~np.isnan(np.stack([method.vector for method in six])).any(axis=0)
    if measured.sum() < FEWEST:
        return None
    scores = [method.scores[:, measured] for method in six]
    rows = pd.DataFrame(map(asdict, compare(scores, [True] * len(six), part.halves, part.k, statistics=SHOWN)))
    rows["method_a"], rows["method_b"] = ([six[place].label for place in rows[side]] for side in "ab")
    grid = np.stack([np.stack(scores[:3]), np.stack(scores[3:])])
    return Experiment(
        replace(part, methods=six, rows=rows),
        {one.name: contrasts(grid, part.halves, one, part.k) for one in SHOWN},
        {
            baseline: parting(exact.scores, first_order.scores, path.scores, part.halves)
            for baseline, exact, path, first_order in zip(BASELINES, patching, integrated, gradients, strict=False)
        },
        bool(replace(part, methods=[*six, *gradients]).deciding),
    )


def _with_every_baseline(part: Comparisons, name: str, better: Callable[[Scored], float]) -> list[Scored]:
    """A method's noising scores with each baseline and the same options; of several options the better, else none."""
    found: dict[str, dict[str, Scored]] = {}
    for method in part.methods:
        label, direction, baseline = method.cell.identity
        key = method.cell.key.method
        if key.name == name and direction == COUNTERFACTUAL.direction and key.options.get("path", "site") == "site":
            found.setdefault(label, {})[baseline] = method
    whole = [[one[baseline] for baseline in BASELINES] for one in found.values() if one.keys() >= set(BASELINES)]
    return max(whole, key=lambda three: better(three[0]), default=[])


def _measured(method: Scored) -> float:
    return float((~np.isnan(method.vector)).sum())


def _steps(method: Scored) -> float:
    steps = method.cell.key.method.options.get("steps", 0)
    return np.inf if steps == "adaptive" else float(steps)
