"""Does one pair decide? How much of a method's mean scores its most influential pair, or cluster of pairs, holds.

Half-sampling learns how far a mean would move from how the pairs differ. Where one pair holds much of the mean, a study
of other pairs would have found something else, and no resampling of these can show what.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

DECIDES = 0.3  # docs/statistics.md shows how often intervals cover below and above it


@dataclass(frozen=True)
class Influence:
    """The share of a mean score vector that one cluster holds, and the places of the cluster's pairs."""

    share: float
    pairs: tuple[int, ...]

    @property
    def decides(self) -> bool:
        return self.share > DECIDES

    @property
    def what(self) -> str:
        return "one pair" if len(self.pairs) == 1 else "one cluster of pairs"


def influence(scores: Float[np.ndarray, "pair component"], cluster: Int[np.ndarray, " pair"]) -> Influence:
    """The cluster with the largest share of the mean score vector m, over the components measured on every pair.

    With s the sum of a cluster's scores over the number of all pairs, its share is s . m / |m|^2. The shares of all
    clusters sum to 1; one is above 1 where the others point the other way. It is the derivative of log |m| by the
    cluster's weight: its influence (Hampel 1974, doi:10.1080/01621459.1974.10482962) on how long the mean vector is.
    NaN where all mean scores are 0.

    >>> influence(np.array([[0.0, 0, 1], [8, 0, 1], [0, 0, 1], [0, 0, 1]]), np.arange(4))
    Influence(share=0.85, pairs=(1,))
    """
    kept = scores[:, ~np.isnan(scores).any(axis=0)].astype(np.float64)
    mean = kept.mean(axis=0)
    length = float(mean @ mean)
    if not length:
        return Influence(np.nan, ())
    shares = np.bincount(cluster, kept @ mean) / (len(kept) * length)
    most = int(shares.argmax())
    return Influence(float(shares[most]), tuple(int(pair) for pair in np.flatnonzero(cluster == most)))


def refusal(found: Mapping[str, Influence]) -> str:
    """Why statistics of these methods have no interval: one pair decides the scores of one; empty where none does."""
    deciding = {name: one for name, one in found.items() if one.decides}
    if not deciding:
        return ""
    name, one = max(deciding.items(), key=lambda item: item[1].share)
    return f"no interval: {one.what} decides, with {one.share:.0%} of {name}'s mean scores"
