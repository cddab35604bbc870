"""Claims about the mean over tasks: its interval is the published one, and covers what it should."""

from collections.abc import Hashable, Sequence

import numpy as np
import pytest

from benchmark.statistics import over_tasks
from benchmark.statistics.proportion import wilson


def mean_interval(*numbers: Sequence[float], samples: Sequence[Hashable]) -> tuple[float, float]:
    return over_tasks.mean_interval(*(np.array(one, dtype=float) for one in numbers), samples)


def test_of_two_shares_it_is_newcombes_interval_of_their_difference() -> None:
    """56 of 70 less 48 of 80, Wilson's intervals: 0.0524 to 0.3339 (Newcombe 1998, Stat. Med. 17, 873-890)."""
    (low, high), (other_low, other_high) = wilson(56, 70), wilson(48, 80)
    found = mean_interval([0.8, -0.6], [low, -other_high], [high, -other_low], samples="ab")
    assert [2 * limit for limit in found] == pytest.approx([0.0524, 0.3339], abs=5e-5)


def test_one_task_keeps_its_interval_and_a_task_without_leaves_the_mean_without() -> None:
    assert mean_interval([0.9], [0.7], [0.95], samples="a") == pytest.approx((0.7, 0.95))
    assert np.isnan(mean_interval([0.9, 0.8], [0.7, np.nan], [0.95, np.nan], samples="ab")).all()


def test_the_same_prompts_twice_say_no_more_than_once() -> None:
    assert mean_interval([0.9] * 2, [0.7] * 2, [0.95] * 2, samples="aa") == pytest.approx((0.7, 0.95))
    twice = mean_interval([0.9, 0.9, 0.5], [0.7, 0.7, 0.4], [0.95, 0.95, 0.6], samples="aab")
    assert twice == pytest.approx((2.3 / 3 - np.hypot(0.4, 0.1) / 3, 2.3 / 3 + np.hypot(0.1, 0.1) / 3))


def test_of_shares_it_holds_the_true_mean_about_as_often_as_it_says() -> None:
    rng, tasks = np.random.default_rng(0), np.array([5, 8, 20, 40])
    right = rng.binomial(tasks, 0.9, (400, 4))
    limits = {(int(r), int(n)): wilson(int(r), int(n)) for n in tasks for r in range(n + 1)}
    held = 0
    for row in right:
        lows, highs = np.transpose([limits[int(r), int(n)] for r, n in zip(row, tasks, strict=True)])
        low, high = mean_interval(row / tasks, lows, highs, samples=range(4))
        held += low <= 0.9 <= high
    assert 0.92 <= held / 400 <= 0.99
