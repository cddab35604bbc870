"""Claims about variances of a few numbers each: drawn towards a common one, they are nearer to the truth than alone."""

import numpy as np
import pytest

from benchmark.statistics.moderated import moderated


def drawn(rng: np.random.Generator, groups: int, numbers: int, common: float, like: float) -> tuple[np.ndarray, ...]:
    """True variances, scaled inverse chi-squared about the common one as of `like` numbers, and those that are seen."""
    true = np.full(groups, common) if np.isinf(like) else common * like / rng.chisquare(like, groups)
    return true, true * rng.chisquare(numbers, groups) / numbers


@pytest.mark.parametrize("like", [4.0, 16.0, np.inf])
def test_they_are_nearer_to_the_truth_than_each_alone(like: float) -> None:
    rng = np.random.default_rng(0)
    alone, better = [], []
    for _ in range(200):
        true, seen = drawn(rng, 32, 8, 0.3, like)
        alone.append(np.log(seen / true).std())
        better.append(np.log(moderated(seen, 8) / true).std())
    assert np.mean(better) < {4.0: 0.85, 16.0: 0.65, np.inf: 0.3}[like] * np.mean(alone)


def test_what_many_groups_tell_is_the_truth_that_they_were_drawn_from() -> None:
    """By the average that it is: of two groups' results, what the common variance is and how much it counts."""
    _, seen = drawn(np.random.default_rng(1), 100_000, 8, 0.3, 16.0)
    found = moderated(seen, 8)
    slope = (found[1] - found[0]) / (seen[1] - seen[0])
    assert slope == pytest.approx(8 / (8 + 16), rel=0.03)
    assert (found[0] - slope * seen[0]) / (1 - slope) == pytest.approx(0.3, rel=0.02)


def test_where_they_differ_by_chance_at_most_all_are_the_same() -> None:
    assert moderated(np.array([1.0, 1.1, 0.9, 1.0]), 8).tolist() == pytest.approx([1.0] * 4)


@pytest.mark.parametrize("quiet", [1e-2, 1e-4, 1e-6])
def test_a_group_that_is_quiet_by_nature_stays_so(quiet: float) -> None:
    """8 numbers come out three times too small, in root mean square, one time in a thousand."""
    _, seen = drawn(np.random.default_rng(0), 32, 8, 1.0, np.inf)
    seen[0] *= quiet
    found = moderated(seen, 8)
    assert 1 < (found[0] / seen[0]) ** 0.5 < 3.1
    assert np.median(found[1:]) == pytest.approx(1, abs=0.3)


def test_a_single_one_and_a_zero_stay_and_a_zero_says_nothing_of_the_others() -> None:
    assert moderated(np.array([0.2]), 8).tolist() == [0.2]
    assert moderated(np.array([0.0, 0.2]), 8).tolist() == [0.0, 0.2]
    found = moderated(np.array([1.0, 0.0, 4.0, 30.0]), 8)
    assert found[1] == 0
    assert found[[0, 2, 3]].tolist() == moderated(np.array([1.0, 4.0, 30.0]), 8).tolist()
    assert moderated(np.array([1.0, np.inf, 4.0, 30.0]), 8).tolist() == [found[0], np.inf, *found[2:]]


def test_the_unit_doesnt_matter_and_many_numbers_leave_each_as_it_is() -> None:
    seen = np.array([1.0, 3.0, 9.0, 2.0])
    np.testing.assert_allclose(moderated(1e-12 * seen, 8), 1e-12 * moderated(seen, 8), rtol=1e-9)
    np.testing.assert_allclose(moderated(seen, 100_000), seen, rtol=1e-3)
