"""Claims about the difference of two agreements, each of a method with its reference, on the same pairs."""

import numpy as np
import pytest
from scipy import stats

from benchmark.statistics.agreement import statistic
from benchmark.statistics.difference import Side, difference
from benchmark.statistics.halves import halves

PEARSON = statistic("pearson", "signed")
PAIRS = 32


def side(seed: int, components: int, noise: float = 1.0) -> Side:
    """A method and its reference that share a truth; what each pair adds to the truth is the same for every seed."""
    rng, truth = np.random.default_rng([seed, 1]), np.random.default_rng(0).normal(size=components)
    common = np.random.default_rng(5).normal(size=(PAIRS, 1, 40))[..., :components]
    both = truth + common + noise * rng.normal(size=(PAIRS, 2, components))
    return both[:, 0].astype(np.float32), both[:, 1].astype(np.float32)


def test_it_is_what_the_obvious_loop_over_half_samples_gives() -> None:
    a, b = side(1, 12), side(2, 20)
    a[0][:, 3] = np.nan  # unmeasured
    clusters = [f"c{i // 2}" for i in range(PAIRS)]
    splits = halves(PAIRS, clusters)
    found = difference(a, b, splits, PEARSON)

    def r(one: Side, rows: np.ndarray) -> float:
        x, y = (each[rows].astype(np.float64).mean(axis=0) for each in one)
        kept = ~np.isnan(x)
        return float(np.corrcoef(x[kept], y[kept])[0, 1])

    draws = [r(b, half) - r(a, half) for first in splits.first for half in (first, ~first)]
    value = r(b, np.arange(PAIRS)) - r(a, np.arange(PAIRS))
    reach = stats.t.ppf(0.975, PAIRS // 2 - 1) * np.std(draws)
    assert (found.value, found.low, found.high) == pytest.approx((value, value - reach, value + reach), abs=1e-9)


def test_what_the_pairs_do_to_both_sides_cancels() -> None:
    """The interval of the difference is far narrower than two intervals that know nothing of each other."""
    a = side(1, 20, noise=0.4)
    b = a[0] * 1.0, a[1] + 0.02 * np.random.default_rng(9).normal(size=a[1].shape).astype(np.float32)
    splits = halves(PAIRS)
    joint = difference(a, b, splits, PEARSON)
    other = difference(a, (b[0][::-1], b[1][::-1]), splits, PEARSON)  # the same pairs, but row i is another one
    assert other.value == pytest.approx(joint.value)
    assert joint.high - joint.low < 0.3 * (other.high - other.low)


def test_a_side_against_itself_differs_by_nothing() -> None:
    found = difference(side(1, 9), side(1, 9), halves(PAIRS), PEARSON)
    assert (found.value, found.low, found.high, found.note) == (0, 0, 0, "")


def test_where_there_is_no_interval_the_reason_names_the_method() -> None:
    a, b = side(1, 9), side(2, 9)
    few = difference((a[0][:4], a[1][:4]), (b[0][:4], b[1][:4]), halves(4), PEARSON)
    assert np.isnan(few.low)
    assert few.note == "no interval: 4 pairs in 4 clusters, and it takes 16 in 8"
    b[1][7] *= 200
    decided = difference(a, b, halves(PAIRS), PEARSON, ("m (A)", "r (A)", "m (B)", "r (B)"))
    assert np.isnan(decided.low)
    assert "of r (B)'s mean scores" in decided.note
    constant = difference((np.ones_like(a[0]), a[1]), b, halves(PAIRS), PEARSON)
    assert np.isnan(constant.value)
    assert constant.note.startswith("undefined: constant scores")
