"""How often each component is in a method's top k when the pairs are drawn anew, for all methods of a comparison."""

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import Scored
from benchmark.statistics.inclusion import inclusion, label

COLUMNS = ("method", "component", "layer", "index", "score", "frequency", "label", "in_top")


def resampled(part: Comparisons) -> list[Scored]:
    """The methods in units of the metric whose pairs can be drawn anew: not those of which one pair decides."""
    if part.halves.refusal:
        return []
    decided = {method.label for method, _ in part.deciding}
    return [one for one in part.methods if one.metric_units and one.per_pair and one.label not in decided]


def inclusion_data(part: Comparisons) -> pd.DataFrame:
    """A row a method and component that is ever in the method's top k, the most frequent first.

    `score` is the mean over all pairs, `in_top` whether its size is among their k largest; a component without a row
    is in no draw's top. No rows where the pairs are too few.
    """
    frames = [pd.DataFrame(columns=list(COLUMNS))]
    for method in resampled(part):
        frequency = inclusion(method.scores, part.halves, part.k)
        top = set(method.strongest(part.k))
        seen = np.flatnonzero(frequency > 0)
        order = seen[np.lexsort((-np.abs(method.vector[seen]), -frequency[seen]))]
        frames.append(
            pd.DataFrame(
                {
                    "method": method.label,
                    "component": [method.component(int(place)) for place in order],
                    "layer": order // method.mean.shape[1],
                    "index": order % method.mean.shape[1],
                    "score": method.vector[order],
                    "frequency": frequency[order],
                    "label": [label(float(one)) for one in frequency[order]],
                    "in_top": [int(place) in top for place in order],
                }
            )
        )
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)
