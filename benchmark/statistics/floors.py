"""What a predictor that knows nothing but layers reaches: a floor for agreement on different pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from benchmark.statistics.agreement import Layer, Statistic, applicable, default_statistics
from benchmark.statistics.halves import Halves
from benchmark.statistics.score_rows import ScoreRows, Version, layer_means

Scores = Float[np.ndarray, "pair component"]
Draws = list[Float[np.ndarray, " split"]]


@dataclass(frozen=True)
class Floor:
    """What a predictor that knows nothing but layers reaches by one statistic."""

    statistic: str
    version: Version
    value: float
    note: str


def layer_floor(
    scores: Scores,
    layer: Layer,
    splits: Halves,
    k: int,
    signed: bool = True,
    statistics: Sequence[Statistic] | None = None,
) -> list[Floor]:
    """Agreement of a method on one half with its own layer means of the other half, mean over halves and splits.

    Every component is predicted by the mean score (by size: the mean size) of its layer, so a method that comes no
    nearer to this one, on opposite halves (`half_disjoint`), has shown no more than which layers matter.
    """
    kept = ~np.isnan(scores).any(axis=0)
    layer, values = layer[kept], scores[:, kept].astype(np.float64)
    chosen = applicable(statistics or default_statistics(len(layer)), signed, False)
    draws: dict[Statistic, Draws] = {s: [] for s in chosen}
    for weights in splits.weights(len(layer)) if len(layer) else ():
        means = [half @ values for half in weights]
        for s in chosen:
            for own, other in (means, means[::-1]):
                predicted = layer_means(other if s.needs_signs else np.abs(other), layer)[:, layer]
                draws[s].append(s.rows(ScoreRows.of(own, s.version), ScoreRows.of(predicted, s.version), k))
    return [_floor(s, drawn, splits.refusal) for s, drawn in draws.items()]


def _floor(s: Statistic, drawn: Draws, refusal: str) -> Floor:
    if not drawn:
        return Floor(s.name, s.version, np.nan, refusal or "no component is measured")
    value = float(np.concatenate(drawn).mean())
    return Floor(s.name, s.version, value, "undefined in some half-samples" if np.isnan(value) else "")
