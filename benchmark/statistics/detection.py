"""How well scores find the components that are known to matter, and how far they are off."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

NOTHING = 0.01  # of the gap (or of the largest score, where scores are no amounts of the metric): counts as 0
EXACT = 0.05  # the largest error, as a share of the largest effect, of scores that are called exact


def auroc(sizes: Float[np.ndarray, " component"], matter: Bool[np.ndarray, " component"]) -> float:
    """The chance that a component that matters outranks one that doesn't, ties counting a half; NaN without both.

    The Mann-Whitney statistic over the number of pairs (Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747).
    """
    positive, negative = int(matter.sum()), int((~matter).sum())
    if not positive or not negative:
        return np.nan
    ranks = stats.rankdata(sizes)[matter]
    return float((ranks.sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(sizes: Float[np.ndarray, " component"], matter: Bool[np.ndarray, " component"]) -> float:
    """Precision averaged over the recall that each threshold adds; tied components pass a threshold together.

    With everything tied it is the share that matters. NaN where nothing matters.
    """
    if not matter.any():
        return np.nan
    total = 0.0
    for threshold in np.unique(sizes[matter]):
        passing = sizes >= threshold
        total += (matter & (sizes == threshold)).sum() * matter[passing].mean()
    return float(total / matter.sum())


class Detection(NamedTuple):
    """One method's success on one planted model, over the components that were measured.

    `error` is the largest difference between a score and the effect, over the largest effect; NaN where effects aren't
    known or scores are no amounts of them. `sign_errors` counts components whose score has the wrong sign.
    """

    components: int
    unmeasured: int
    matter: int
    auroc: float
    average_precision: float
    error: float
    sign_errors: float

    @property
    def verdict(self) -> str:
        """`exact`, `finds`, `wrong size`, `wrong sign`, `misses` or `not judged`.

        The last where components weren't measured or nothing could be told apart; `misses` where something that
        doesn't matter ranks as high as something that does.
        """
        if self.unmeasured or np.isnan(self.auroc):
            return "not judged"
        if self.auroc != 1:
            return "misses"
        if self.sign_errors > 0:
            return "wrong sign"
        if np.isnan(self.error):
            return "finds"
        return "exact" if self.error <= EXACT else "wrong size"


def detect(
    scores: Mapping[str, Float[np.ndarray, "layer index"]],
    effects: Mapping[str, Sequence[tuple[int, int, float | None]]],
    gap: float,
    metric_units: bool = True,
    signed: bool = True,
    effects_apply: bool = True,
) -> Detection:
    """Mean scores by kind against known effects: by kind the layer, index and effect of what matters (None: no number).

    Only components of kinds that `effects` names and that were measured take part, all kinds in one ranking by
    size. `gap` is the mean of f(clean) - f(corrupted). `effects_apply=False` where scores estimate something else than
    the known effects, such as those of another replacement.
    """
    found, expected, matter, unmeasured = [], [], [], 0
    for kind, named in effects.items():
        if kind not in scores:
            continue
        amounts, counts = np.zeros(scores[kind].shape), np.zeros(scores[kind].shape, dtype=bool)
        for layer, index, effect in named:
            amounts[layer, index] = np.nan if effect is None else effect
            counts[layer, index] = True
        measured = ~np.isnan(scores[kind])
        unmeasured += int((~measured).sum())
        found.append(scores[kind][measured])
        expected.append(amounts[measured])
        matter.append(counts[measured])
    if not found:
        return Detection(0, 0, 0, np.nan, np.nan, np.nan, np.nan)
    values, known, counted = np.concatenate(found), np.concatenate(expected), np.concatenate(matter)
    sizes = np.abs(values)
    nothing = NOTHING * (abs(gap) if metric_units else sizes.max(initial=0))
    sizes = np.where(sizes < nothing, 0.0, np.round(sizes / (nothing or 1), 3))  # rounding errors break no ties
    judged = effects_apply and metric_units and signed and np.abs(known).max(initial=0) > 0  # no NaN is above 0
    error = float(np.abs(values - known).max() / np.abs(known).max()) if judged else np.nan
    wrong = counted & (sizes > 0) & (values * np.nan_to_num(known, nan=1.0) < 0)
    return Detection(
        len(values), unmeasured, int(counted.sum()), auroc(sizes, counted), average_precision(sizes, counted), error,
        float(wrong.sum()) if signed else np.nan,
    )  # fmt: skip
