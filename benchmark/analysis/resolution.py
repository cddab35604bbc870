"""Which scores lie below the metric's resolution, where a number format leaves nothing but noise.

The resolution is what two runs differ by that ought to be the same (`engine.resolution`), so it speaks of scores that
are differences of runs. Slopes are no such differences: methods that went backward are left out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import Scored
from benchmark.components import FEATURE_KINDS, plural
from benchmark.store.cell import Cell, CellKey

MOSTLY = 0.5  # a larger share of mean scores below the resolution, and an order over all components is noise


@dataclass(frozen=True)
class Below:
    """How much of a method's mean scores is noise: the `share` of them below `resolution`, and how many of its `k`
    largest."""

    resolution: float
    share: float
    in_top: int
    k: int
    dtype: str

    @property
    def rests(self) -> bool:
        """Whether what is said of these scores rests on noise: the top, or most of the others, are below."""
        return self.in_top > 0 or self.share > MOSTLY


def format_of(key: CellKey) -> str:
    """The number format of a cell, in a word.

    >>> from benchmark.store.cell import MethodKey, ModelKey, TaskKey
    >>> key = CellKey(ModelKey("m"), TaskKey("t", "m"), MethodKey("a", "a", "noising", "zero"), (), (), matmul="tf32")
    >>> format_of(key)
    'tf32'
    """
    return key.dtype if key.matmul == "ieee" else key.matmul


def of_mean(cell: Cell) -> float:
    """The resolution of a mean over the pairs: noise of one pair is independent of another's. NaN: not stored."""
    found = cell.resolution
    if found is None or not len(found):
        return float("nan")
    return float(np.sqrt(np.square(found, dtype=np.float64).sum()) / len(found))


def noise(method: Scored) -> Bool[np.ndarray, " component"] | None:
    """Which mean scores are below the resolution; None where they are no differences of two runs.

    A 0 of float32 is none of them: there, a component whose activation doesn't change scores exactly 0. In fewer bits
    it may be an effect that was rounded away.
    """
    cell, spent = method.cell, method.cell.provenance.passes
    resolution = of_mean(cell)
    if np.isnan(resolution) or not method.metric_units or method.elsewhere or spent is None or spent.backward:
        return None
    below: Bool[np.ndarray, " component"] = np.abs(method.vector) < resolution  # NaN: not measured, nor below
    return below if _zeros_count(method) else below & (method.vector != 0)


def _zeros_count(method: Scored) -> bool:
    return format_of(method.cell.key) not in ("float32", "float64") and method.kind not in FEATURE_KINDS


def below(method: Scored, k: int) -> Below | None:
    """How much of a method's mean scores is noise; None where that isn't known."""
    small = noise(method)
    if small is None:
        return None
    there: Float[np.ndarray, " component"] = method.vector[~np.isnan(method.vector)]
    count = len(there) if _zeros_count(method) else int((there != 0).sum())
    in_top = int(small[method.strongest(k)].sum())
    return Below(of_mean(method.cell), float(small.sum()) / max(1, count), in_top, k, format_of(method.cell.key))


def marked(method: Scored, k: int) -> str:
    """The method's label, with a star where what is said of its scores rests on noise."""
    one = below(method, k)
    return method.label + "*" * bool(one is not None and one.rests)


def below_resolution(part: Comparisons) -> list[str]:
    """A sentence for each method whose scores are mostly, or in their top, below the resolution."""
    return [
        f"{method.label}: {one.share:.0%} of its mean scores of {plural(part.kind)} are below the metric's resolution "
        f"({one.resolution:.2g}), {one.in_top} of its top {one.k} among them: that is noise of {one.dtype}."
        for method in part.methods
        if (one := below(method, part.k)) is not None and one.rests
    ]
