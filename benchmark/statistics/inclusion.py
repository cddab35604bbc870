"""Inclusion frequency: how often a component is in a method's top k when the pairs are drawn anew."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from benchmark.errors import BenchmarkError
from benchmark.statistics.halves import Halves
from benchmark.statistics.score_rows import ScoreRows

CORE, NOISE = 0.95, 0.05  # in the top in at least so many draws; in fewer than so many
Label = Literal["core", "contingent", "noise"]


def inclusion(scores: Float[np.ndarray, "pair component"], splits: Halves, k: int) -> Float[np.ndarray, " component"]:
    """The share of half-samples in whose k largest |mean scores| each component is; NaN where it isn't measured.

    The selection probability of stability selection (Meinshausen & Buhlmann 2010, doi:10.1111/j.1467-9868.2010.00740.x)
    over both halves of every split. Half of the pairs, drawn without replacement, differ from all of them by as much
    as a bootstrap sample does. Components tied at rank k share the places left, one that scores 0 has none, so the
    shares sum to k where k components score. Raises BenchmarkError where there are too few pairs to split.
    """
    if splits.refusal:
        raise BenchmarkError(f"No inclusion frequencies: {splits.refusal.removeprefix('no interval: ')}.")
    measured = np.flatnonzero(~np.isnan(scores).any(axis=0))
    if not 1 <= k <= len(measured):
        raise BenchmarkError(f"The top k needs k between 1 and the {len(measured)} components measured, not {k}.")
    kept = scores[:, measured].astype(np.float64)
    total, rows = np.zeros(len(measured)), 0
    for halves in splits.weights(len(measured)):
        for half in halves:
            places = ScoreRows.of(half @ kept, "by_size").places(k)
            total[places.columns] += places.membership(k).sum(axis=0)
            rows += len(half)
    found = np.full(scores.shape[1], np.nan)
    found[measured] = total / rows
    return found


def label(frequency: float) -> Label:
    """
    >>> [label(frequency) for frequency in (1.0, 0.95, 0.94, 0.05, 0.04)]
    ['core', 'core', 'contingent', 'contingent', 'noise']
    """
    return "core" if frequency >= CORE else "noise" if frequency < NOISE else "contingent"
