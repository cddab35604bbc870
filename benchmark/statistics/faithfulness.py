"""Faithfulness of circuits: how much of the behaviour is left when only some components are kept, over their number.

`V(K)` is the metric with the components of K live and the other moving ones replaced (or, denoising, with K restored on
the corrupted prompt). Over pairs of prompts E,

    phi(K) = (E V(K) - E V(nothing)) / (E V(all) - E V(nothing)),

one ratio of means: phi(all) = 1 and phi(nothing) = 0. Areas under phi over the size of K are those of the Mechanistic
Interpretability Benchmark (Mueller et al. 2025, arXiv:2504.13151) and one over the logarithm of the size, in which what
exceeds the model doesn't count.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from benchmark.statistics.halves import Halves

MIB_SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
SIZES = 16  # of a logarithmic grid, from 1 to all

Values = Float[np.ndarray, "*set pair"]
Curve = Float[np.ndarray, "*curve size"]


def log_sizes(components: int) -> list[int]:
    """Sizes of circuits, evenly spaced in their logarithm: nothing, 1, ..., all.

    >>> log_sizes(32)
    [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32]
    """
    return sorted({0, *(round(size) for size in np.geomspace(1, max(1, components), SIZES).tolist())})


def mib_sizes(components: int) -> list[int]:
    """The sizes of MIB's grid: shares of all, cut to whole numbers, so that small models have some of them twice.

    >>> mib_sizes(157)
    [0, 0, 0, 1, 3, 7, 15, 31, 78, 157]
    """
    return [int(share * components) for share in MIB_SHARES]


def faithfulness(values: Values, nothing: Float[np.ndarray, " pair"], everything: Float[np.ndarray, " pair"],
                 weights: Float[np.ndarray, "draw pair"] | None = None) -> np.ndarray:  # fmt: skip
    """phi of each set, `[*set]`; with `weights` of the pairs, of each draw of them, `[draw, *set]`.

    NaN where nothing and all give the same mean. Values are taken in double precision.
    """
    if weights is None:
        return np.asarray(faithfulness(values, nothing, everything, np.ones((1, len(nothing))))[0])
    shares = weights / weights.sum(axis=1, keepdims=True)
    low = nothing.astype(np.float64)
    kept = np.einsum("...p,dp->d...", values - low, shares)  # no BLAS: all pairs' sums in one order, so that 1 is 1
    gap = np.einsum("...p,dp->d...", everything - low, shares).reshape(-1, *[1] * (kept.ndim - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(gap != 0, kept / gap, np.nan)


def cpr(phi: Curve) -> np.ndarray:
    """MIB's area under phi at its ten shares, by trapezoids from .001 to 1. At most .999 where phi never exceeds 1."""
    return _trapezoids(phi, np.array(MIB_SHARES))


def cmd(phi: Curve) -> np.ndarray:
    """MIB's area between phi and 1 at its ten shares: 0 is perfect."""
    return _trapezoids(np.abs(1 - phi), np.array(MIB_SHARES))


def log_area(phi: Curve, sizes: Sequence[int]) -> np.ndarray:
    """Mean of min(phi, 1) over the logarithm of the size: 1 where the first component is enough, and all that follow.

    What exceeds the model counts as the model: to push further isn't to keep more. `phi[..., 0]` is that of `sizes[0]`,
    which is at least 1. With a single component there is one size, and no area: min(phi, 1) itself.
    """
    kept = np.minimum(phi, 1)
    if len(sizes) == 1:
        return np.asarray(kept[..., 0])
    return np.asarray(_trapezoids(kept, np.log(sizes)) / np.log(sizes[-1] / sizes[0]))


def above_random(area: np.ndarray, random: np.ndarray, best: np.ndarray) -> np.ndarray:
    """The area above that of random sets, as a share of the best known one; NaN where the best is no better."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(best > random, (area - random) / (best - random), np.nan)


def resampled(splits: Halves) -> Float[np.ndarray, "draw pair"]:
    """Weights of the pairs in each half-sample: what intervals of all curves are made from, jointly."""
    both = [half for weights in splits.weights(1) for half in weights]
    return np.concatenate(both) if both else np.zeros((0, len(splits.cluster)))


def _trapezoids(heights: np.ndarray, places: Float[np.ndarray, " size"]) -> np.ndarray:
    return np.asarray(((heights[..., 1:] + heights[..., :-1]) / 2 * np.diff(places)).sum(axis=-1))
