"""Which scores lie below the metric's resolution, and when a comparison is said to rest on them."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.analysis.resolution import below, marked, noise, of_mean
from benchmark.analysis.sections import Scored
from benchmark.store.cell import Cell, CellKey, MethodKey, ModelKey, Provenance, Rows, TaskKey

KEY = CellKey(
    ModelKey("m"), TaskKey("ioi", "logit_diff"), MethodKey("exact", "exact", "noising", "zero", reference=True),
    ("head",), ("a", "b"), dtype="bfloat16",
)  # fmt: skip
MEAN = np.array([[4.0, -3.0, 0.4], [0.0, -0.1, np.nan]])  # resolution of the mean: 0.5


def scored(mean: np.ndarray = MEAN, resolution: object = (0.6, 0.8), backward: int = 0, **changes: object) -> Scored:
    arrays = {} if resolution is None else {"resolution": np.array(resolution, np.float32)}
    kind = changes.pop("kind", "head")
    own = {name: changes.pop(name) for name in ("metric_units", "elsewhere") if name in changes}
    key = replace(KEY, method=replace(KEY.method, **own), **changes)
    cell = Cell(key, arrays=arrays, provenance=Provenance(passes=Rows(9, backward)))
    return Scored("exact", cell, str(kind), mean)


def test_the_share_below_counts_what_was_measured_and_the_top_by_size() -> None:
    assert of_mean(scored().cell) == pytest.approx(
        0.5
    )  # of two independent pairs: root of the squares, by their number
    one = below(scored(), 2)
    assert one is not None
    assert (one.share, one.in_top, one.k, one.dtype, one.rests) == (3 / 5, 0, 2, "bfloat16", True)  # mostly
    assert below(scored(), 3).in_top == 1
    few = scored(np.array([[4.0, -3.0, 1.0, 0.1]]))
    assert (below(few, 3).rests, below(few, 4).rests) == (False, True)  # the top
    assert (marked(few, 3), marked(few, 4)) == ("exact", "exact*")


def test_a_zero_is_noise_where_effects_are_rounded_away_and_exact_in_float32() -> None:
    assert noise(scored()).tolist() == [False, False, True, True, True, False]
    for changes in ({"dtype": "float32"}, {"kind": "mlp-feature"}):
        assert noise(scored(**changes)).tolist() == [False, False, True, False, True, False]
    assert below(scored(dtype="float32"), 2).share == 2 / 4
    assert below(scored(dtype="float32", matmul="tf32"), 2).dtype == "tf32"
    assert below(scored(np.zeros((1, 3)), dtype="float32"), 2).share == 0


@pytest.mark.parametrize(
    "changes", [{"resolution": None}, {"backward": 1}, {"metric_units": False}, {"elsewhere": True}], ids=str
)
def test_nothing_is_said_of_scores_that_are_no_differences_of_two_runs(changes: dict[str, object]) -> None:
    """Of old cells, of slopes, of floors in units of their own, and of what other code computed."""
    assert below(scored(**changes), 2) is None
    assert marked(scored(**changes), 2) == "exact"
