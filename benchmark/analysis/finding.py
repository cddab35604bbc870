"""Cost to find the true top of exact patching, of every method that is held against a reference of all components."""

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.frontier import frontier_data
from benchmark.analysis.sections import Scored
from benchmark.components import FEATURE_KINDS
from benchmark.statistics.finding import cost_to_find, random_order

COSTS = ("task", "method", "reference", "n_components", "k", "cost", "chance", "first", "all", "own")
CURVES = ("task", "method", "k", "patches", "low", "high", "chance", "chance_low", "chance_high")


def measured_all(reference: Scored) -> bool:
    """Whether it measured every component of its kind; the errors of dictionaries are none."""
    mean = reference.mean[:, :-1] if reference.kind in FEATURE_KINDS else reference.mean
    return not np.isnan(mean).any()


def finding_data(parts: list[Comparisons]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a method and section, and a row for each k of its curve; without references that measured a part only.

    `cost` and `chance` are the relative cost over the section's top k, of the method and of a random order; `first` and
    `all` the patches until the strongest and all k are found; `own` what the method itself cost, in exact patches (of
    the average cost that one had in the reference's cell). `patches`, `low`, `high` are v_k and, for ties, where 95% of
    it lies. Where the exact scores find fewer than k components, `k` is that number.
    """
    costs, curves = [], []
    passes = frontier_data(parts).set_index(["task", "method"]).passes if parts else pd.Series(dtype=float)
    for part in parts:
        task = part.section.short
        for method, reference, _ in part.against_whole:
            if not measured_all(reference):
                continue
            kept = ~np.isnan(reference.vector)
            exact = reference.vector[kept]
            found, chance = cost_to_find(method.vector[kept], exact), random_order(exact)
            k = min(part.k, len(found.k))
            patches = found.patches[:k]
            costs.append(
                {"task": task, "method": method.label, "reference": reference.label, "n_components": len(exact), "k": k}
                | {"cost": found.cost(k), "chance": chance.cost(k)}
                | {"first": patches[0] if k else np.nan, "all": patches[-1] if k else np.nan}
                | {"own": passes[task, method.label] / (passes[task, reference.label] / _patched(reference))}
            )
            line = {"k": found.k, "patches": found.patches, "low": found.low, "high": found.high}
            grey = {"chance": chance.patches, "chance_low": chance.low, "chance_high": chance.high}
            curves.append(pd.DataFrame({"task": task, "method": method.label} | line | grey))
    frame = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=list(CURVES))
    return pd.DataFrame(costs, columns=list(COSTS)), frame


def _patched(reference: Scored) -> int:
    """How many components its cell measured, of all kinds: what the cell cost is for all of them."""
    return sum(int((~np.isnan(reference.cell.values(kind)[0])).sum()) for kind in reference.cell.kinds)
