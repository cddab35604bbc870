"""Faithfulness and the areas under it, against what is known of trivial curves and a loop over pairs."""

import numpy as np
import pytest

from benchmark.statistics.faithfulness import (
    MIB_SHARES,
    above_random,
    cmd,
    cpr,
    faithfulness,
    log_area,
    log_sizes,
    mib_sizes,
    resampled,
)
from benchmark.statistics.halves import halves


def test_mib_area_of_two_trivial_curves() -> None:
    """What its leaderboard gives to a circuit that is nothing until it is all, and to one that is always all."""
    nothing = np.array([0.0] * 9 + [1.0])
    assert (cpr(nothing), cmd(nothing)) == (pytest.approx(0.25), pytest.approx(0.749))
    assert (cpr(np.ones(10)), cmd(np.ones(10))) == (pytest.approx(0.999), pytest.approx(0))


def test_both_areas_sum_to_the_width_unless_the_circuit_exceeds_the_model() -> None:
    rng = np.random.default_rng(0)
    below, above = rng.uniform(0, 1, (50, 10)), rng.uniform(0.5, 2, (50, 10))
    np.testing.assert_allclose(cpr(below) + cmd(below), 0.999)
    assert (cpr(above) + cmd(above) > 0.999 + 1e-6).all()


def test_sizes_are_those_of_the_grids() -> None:
    assert mib_sizes(157) == [0, 0, 0, 1, 3, 7, 15, 31, 78, 157]  # GPT-2's nodes
    for components in (1, 2, 3, 32, 144, 46080):
        sizes = log_sizes(components)
        assert sizes == sorted(set(sizes))
        assert (sizes[0], sizes[-1]) == (0, components)
        assert len(sizes) <= 17
    assert len(mib_sizes(32)) == len(MIB_SHARES) == 10


def test_faithfulness_is_a_ratio_of_means_and_not_a_mean_of_ratios() -> None:
    nothing, everything = np.array([0.0, 1.0]), np.array([1.0, 10.0])
    values = np.array([[0.5, 1.0], [1.0, 10.0], [0.0, 1.0]])
    phi = faithfulness(values, nothing, everything)
    np.testing.assert_array_equal(phi, [0.5 / 10, 1, 0])
    weights = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 2.0]])
    draws = faithfulness(values, nothing, everything, weights)
    np.testing.assert_allclose(draws, [[0.5, 1, 0], phi, [0, 1, 0]])
    assert np.isnan(faithfulness(values, nothing, nothing)).all()


def test_area_over_the_logarithm_of_the_size() -> None:
    sizes = [1, 2, 4, 8]
    assert log_area(np.ones(4), sizes) == pytest.approx(1)
    assert log_area(np.array([0, 0, 0, 1.0]), sizes) == pytest.approx(1 / 6)  # half of the last of three octaves
    assert log_area(np.array([0.3]), [1]) == 0.3
    beyond, short = np.array([0.5, 1.4, 1.6, 1]), np.array([-0.5, -0.5, -0.5, 1])
    assert log_area(beyond, sizes) == log_area(np.minimum(beyond, 1), sizes)  # to exceed the model is no merit
    assert log_area(short, sizes) == pytest.approx(-0.5 * 2 / 3 + 0.25 / 3)  # to work against it is a fault
    np.testing.assert_allclose(above_random(np.array([0.2, 0.8, 0.5]), np.array(0.2), np.array(0.8)), [0, 1, 0.5])
    assert np.isnan(above_random(np.array(0.5), np.array(0.8), np.array(0.8)))


def test_draws_are_the_half_samples_that_intervals_elsewhere_come_from() -> None:
    splits = halves(20, [f"c{place // 2}" for place in range(20)])
    weights = resampled(splits)
    assert weights.shape == (2 * len(splits.first), 20)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_array_equal(weights[:, 0] > 0, weights[:, 1] > 0)  # clusters stay together
    assert resampled(halves(8)).shape == (0, 8)
