"""How often the model is right, and whether a method's scores sum to what the behaviour asks of them."""

import numpy as np
import pandas as pd

from benchmark.analysis.sections import Section
from benchmark.components import plural
from benchmark.statistics.proportion import wilson
from benchmark.store.cell import Cell
from benchmark.words import ran_out

ROUNDING = 1e-5  # of the reference's largest mean score: what is smaller is rounding
CONVERGED = 0.05  # the largest mean completeness error, as a share of the gap, that goes without a warning


def accuracy_data(found: list[Section]) -> pd.DataFrame:
    """Share of pairs that the model gets right, with Wilson's 95% interval."""
    rows = []
    for section in found:
        right, of = section.accuracy.right, section.accuracy.of
        low = high = share = np.nan
        if of:
            (low, high), share = wilson(right, of), right / of
        rows.append(
            {"task": section.title, "right": right, "n": of, "accuracy": share, "low": low, "high": high}
            | {"min_metric": section.filter.min_metric, "left_out": section.filter.left_out}
            | {"pairs": section.n_pairs}
        )
    return pd.DataFrame(rows)


def missing_share(section: Section, cell: Cell) -> float:
    """Mean completeness error as a share of the gap; NaN where the method claims no completeness."""
    error = cell.completeness_error
    return np.nan if error is None or not section.gap else float(error.mean()) / abs(section.gap)


def only_rounding(section: Section) -> list[str]:
    """A warning for each method whose scores are too small, beside the reference's, to be more than rounding."""
    said = []
    for kind in section.kinds:
        methods = [one for one in section.scored(kind) if one.metric_units]
        largest = {one.label: float(np.nanmax(np.abs(one.mean), initial=0.0)) for one in methods}
        known = max((largest[one.label] for one in methods if one.reference), default=0.0)
        said += [
            f"{label} gives {plural(kind)} at most {size:.1g}, where the reference gives {known:.2g}: that is "
            "rounding, and no statistic of it means anything. The slope is 0 there, as kl's is at the clean prompt."
            for label, size in largest.items()
            if 0 < size < ROUNDING * known
        ]
    return said


def incomplete(section: Section) -> list[str]:
    """A warning for each method whose integrals haven't converged: their scores miss the sum that they must have.

    Where a tolerance was asked for, it says for which components and pairs it doesn't hold.
    """
    ran_out_of = {}
    for cell in section.cells:
        for kind in cell.kinds:
            if (unfinished := cell.unfinished(kind)) is not None and unfinished.any():
                ran_out_of[section.label(cell)] = ran_out(plural(kind), unfinished, cell.key.pair_ids)
    shares = {section.label(cell): missing_share(section, cell) for cell in section.cells}
    said = [
        f"{label} has not converged: its completeness error is {share:.0%} of the gap; give it more steps."
        for label, share in sorted(shares.items())
        if share > CONVERGED and label not in ran_out_of
    ]
    return said + [f"{label}: {words}" for label, words in ran_out_of.items()]
