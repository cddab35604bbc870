"""Claims about relative size: it sees what correlations don't, and its interval covers what it should."""

import numpy as np
import pytest

from benchmark.statistics.halves import halves
from benchmark.statistics.size import relative_size

RNG = np.random.default_rng(0)
EXACT = RNG.normal(size=(32, 40)) * 0.2 + RNG.normal(size=40)


@pytest.mark.parametrize("factor", [0.01, -1.0, 30.0])
def test_a_method_times_a_number_is_so_many_times_as_large(factor: float) -> None:
    assert relative_size(factor * EXACT, EXACT)[0] == pytest.approx(abs(factor))
    value, low, high = relative_size(factor * EXACT, EXACT, halves(32))
    assert low == pytest.approx(high) == pytest.approx(value)  # the same in every half


def test_signs_and_order_don_t_matter_and_what_one_has_not_measured_counts_for_neither() -> None:
    assert relative_size(EXACT[:, ::-1], -EXACT)[0] == pytest.approx(1)
    scores, exact = np.hstack([EXACT, 9 * EXACT]), np.hstack([EXACT, EXACT * np.nan])
    assert relative_size(scores, exact)[0] == pytest.approx(1)


def test_where_all_exact_scores_are_0_there_is_no_size() -> None:
    assert np.isnan(relative_size(EXACT, 0 * EXACT)[0])


def test_few_pairs_have_no_interval() -> None:
    assert np.isnan(relative_size(EXACT[:8], EXACT[:8], halves(8))[1:]).all()


def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(1), 0
    true = rng.normal(size=30)
    for _ in range(100):
        exact, scores = (factor * true + rng.normal(size=(32, 30)) * factor * 0.5 for factor in (1.0, 0.3))
        _, low, high = relative_size(scores, exact, halves(32, splits=50))
        held += low <= 0.3 <= high
    assert 85 <= held <= 100
