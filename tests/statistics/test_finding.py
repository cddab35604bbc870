"""Claims about the cost to find the true top: by hand, against all orders and against drawn ones."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError
from benchmark.statistics.finding import Finding, cost_to_find, random_order

small = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n).map(lambda x: np.array(x, float))] * 2)
)


def patches_until_found(order: tuple[int, ...], truth: np.ndarray, k: int) -> int:
    """The obvious version: patch one after the other until k of those patched are as strong as any k can be."""
    best = np.sort(truth)[::-1][:k]
    for count in range(k, len(order) + 1):
        if (np.sort(truth[list(order[:count])])[::-1][:k] == best).all():
            return count
    raise AssertionError


def over_all_orders(scores: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """v_k of every order in which no component stands before one with a larger score."""
    orders = [o for o in permutations(range(len(scores))) if (np.diff(scores[list(o)]) <= 0).all()]
    return np.array([patches_until_found(order, truth, k) for order in orders])


def test_a_perfect_order_takes_k_patches_and_costs_1_whatever_signs_and_scale() -> None:
    exact = np.random.default_rng(0).normal(size=40)
    found = cost_to_find(-0.01 * exact, exact)
    assert found.patches.tolist() == found.low.tolist() == found.high.tolist() == found.k.tolist() == [*range(1, 41)]
    assert [found.cost(k) for k in (1, 5, 40)] == pytest.approx([1, 1, 1], rel=1e-12)


def test_the_reversed_order_takes_all_patches_at_every_k() -> None:
    exact = np.arange(1.0, 21)
    found = cost_to_find(exact[::-1], exact)
    assert found.patches.tolist() == [20] * 20
    assert found.cost(2) == pytest.approx(np.exp((np.log(20) + np.log(10) / 2) / 1.5))
    assert cost_to_find(exact[::-1], exact, depth=3).k.tolist() == [1, 2, 3]


def test_ties_by_hand() -> None:
    """Patched: a; then b, c, d in random order; then e, which has no score. True order: a, c, b, e, d."""
    scores, exact = np.array([3.0, 1.0, -1.0, 1.0, np.nan]), np.array([9.0, 5.0, 7.0, 1.0, -3.0])
    found = cost_to_find(scores, exact)
    assert found.patches == pytest.approx([1, 1 + 2, 1 + 2 * 4 / 3, 5, 5])  # one of three: the 2nd; two: the 8/3rd
    assert (found.low.tolist(), found.high.tolist()) == ([1, 2, 3, 5, 5], [1, 4, 4, 5, 5])
    logs = [0, np.log([2, 3, 4]).mean() - np.log(2)]
    assert found.cost(2) == pytest.approx(np.exp((logs[0] + logs[1] / 2) / 1.5))


@given(small)
def test_every_k_is_the_mean_over_all_orders_that_ties_leave_open(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = case
    found = cost_to_find(scores, truth)
    assert len(found.k) == (truth > 0).sum()
    for place, k in enumerate(found.k):
        drawn = over_all_orders(scores, truth, int(k))
        assert found.patches[place] == pytest.approx(drawn.mean(), rel=1e-9)
        assert found.log_ratio[place] == pytest.approx(np.log(drawn / k).mean(), rel=1e-9, abs=1e-9)


def test_a_random_order_has_the_closed_form_and_what_drawn_orders_take() -> None:
    rng, exact, k = np.random.default_rng(0), np.arange(1.0, 33), np.arange(1, 33)
    chance = random_order(exact)
    assert chance.patches == pytest.approx(k * 33 / (k + 1))
    drawn = [cost_to_find(rng.permutation(32).astype(float), exact, 6) for _ in range(600)]
    assert chance.patches[:6] == pytest.approx(np.mean([one.patches for one in drawn], axis=0), rel=0.05)
    assert np.log(chance.cost(5)) == pytest.approx(np.mean([np.log(one.cost(5)) for one in drawn]), abs=0.05)
    inside = np.mean([(one.patches >= chance.low[:6]) & (one.patches <= chance.high[:6]) for one in drawn], axis=0)
    assert (inside > 0.93).all()


def test_thousands_of_components_lose_nothing_to_rounding() -> None:
    exact = np.random.default_rng(0).normal(size=20_000)
    chance = random_order(exact, depth=100)
    assert chance.patches == pytest.approx(chance.k * 20_001 / (chance.k + 1), rel=1e-6)


def test_where_no_component_has_an_effect_there_is_no_cost_and_fewer_than_k_are_what_counts() -> None:
    nothing = cost_to_find(np.ones(4), np.zeros(4))
    assert len(nothing.k) == 0
    assert np.isnan(nothing.cost(2))
    one = cost_to_find(np.array([1.0, 2, 0]), np.array([5.0, 0, 0]))
    assert (one.patches.tolist(), one.cost(3)) == ([2], pytest.approx(2))


def test_an_unmeasured_exact_effect_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="1 of 3 weren't measured"):
        cost_to_find(np.ones(3), np.array([1.0, np.nan, 2.0]))


def test_a_cost_weighs_the_first_ranks_most() -> None:
    ratios = np.log([2.0, 1.0, 1.0]), np.log([1.0, 1.0, 2.0])
    costs = [Finding(np.arange(1, 4), *[np.zeros(3)] * 3, log_ratio=one).cost(3) for one in ratios]
    assert costs == pytest.approx([2 ** (6 / 11), 2 ** (2 / 11)])
