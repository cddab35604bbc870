"""Claims about tops: rank-biased overlap and the curves over k, against a library, obvious versions and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranked_overlap import rbo
from scipy import stats

from benchmark.statistics.agreement import statistic
from benchmark.statistics.score_rows import ScoreRows
from benchmark.statistics.tops import overlap_curves

CURVES = {
    "overlap": "top_k_overlap",
    "rank": "rank_agreement_top_k",
    "sign": "sign_agreement_top_k",
}
tied_vectors = st.integers(4, 9).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n).map(np.array)] * 2)
)


def ranking(scores):
    return [i for i in np.argsort(-scores, kind="stable") if scores[i] > 0]


@pytest.mark.parametrize(("n", "zeros"), [(5, 0), (60, 0), (60, 20), (300, 0)])
def test_rank_biased_overlap_equals_the_librarys(n, zeros):
    a, b = np.abs(np.random.default_rng(n).normal(size=(2, n)))
    a[:zeros] = 0
    own = statistic("rank_biased_overlap", "signed").value(a, b)
    assert own == pytest.approx(rbo(ranking(a), ranking(b), p=0.9), abs=1e-8)
    assert 0 < own < 1


def test_tied_components_share_the_places_that_they_hold():
    # x and y share the first two places of a, and stand in this order in b.
    a, b = np.array([2.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0])
    assert statistic("rank_agreement_top_k", "by_size").value(a, b, 1) == 0.5
    assert statistic("rank_agreement_top_k", "by_size").value(a, b, 3) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert statistic("signed_rank_agreement_top_k", "by_size").value(a, -b, 3) == 0
    overlaps = 0.1 * 0.5 + 0.9 * 1  # half of x at k = 1, all from k = 2 on
    assert statistic("rank_biased_overlap", "by_size").value(a, b) == pytest.approx(overlaps)


@given(tied_vectors)
def test_each_point_of_a_curve_is_the_statistic_at_that_k(case):
    a, b = (x.astype(float) for x in case)
    curves = overlap_curves(a, b, draws=2)
    for field, name in CURVES.items():
        points = [statistic(name, "by_size").compute(*_rows(a, b), int(k))[0] for k in curves.k]
        assert getattr(curves, field).value == pytest.approx(points, nan_ok=True), field


def _rows(a, b):
    return ScoreRows.of(a[None], "by_size"), ScoreRows.of(b[None], "by_size")


def test_chance_of_overlap_is_hypergeometric_and_of_rank_agreement_one_in_n():
    n = 50
    a, b = np.random.default_rng(0).normal(size=(2, n))
    curves = overlap_curves(a, b, draws=20_000)
    in_both = stats.hypergeom(n, curves.k, curves.k)
    assert curves.overlap.chance == pytest.approx(curves.k / n, abs=0.01)
    assert curves.rank.chance == pytest.approx(1 / n, abs=0.005)
    assert np.mean(curves.overlap.high == in_both.ppf(0.975) / curves.k) > 0.9
    assert np.mean(curves.overlap.low == in_both.ppf(0.025) / curves.k) > 0.9


def test_chance_of_sign_agreement_follows_the_signs_that_the_tops_have():
    n, k = 40, 10
    a, b = np.abs(np.random.default_rng(0).normal(size=(2, n)))
    a[np.argsort(-a)[:k:2]] *= -1
    curves = overlap_curves(a, b, draws=20_000)
    assert curves.sign.chance[k - 1] == pytest.approx(k / n / 2, abs=0.01)
    assert overlap_curves(np.abs(a), b, draws=500).sign.chance[k - 1] == pytest.approx(k / n, abs=0.02)


def test_chance_is_that_of_dealing_the_scores_out_anew_also_with_ties_and_zeros():
    rng = np.random.default_rng(0)
    a, b = rng.integers(-3, 4, (2, 30)).astype(float)
    curves = overlap_curves(a, b, draws=4000)
    dealt = [overlap_curves(rng.permutation(a), b, draws=1) for _ in range(1000)]
    for field in CURVES:
        level = np.mean([getattr(one, field).value for one in dealt], axis=0)
        assert getattr(curves, field).chance == pytest.approx(level, abs=0.02), field


def test_the_curves_of_many_neurons_are_those_of_their_tops():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5000))
    a[:50] += 6
    b[20:70] += 6
    curves = overlap_curves(a, b)
    assert len(curves.k) == 200
    tops = [set(np.argsort(-np.abs(x))[:50]) for x in (a, b)]
    assert curves.overlap.value[49] == len(tops[0] & tops[1]) / 50
    assert curves.overlap.chance[49] == pytest.approx(0.01, abs=0.002)


def test_unmeasured_components_are_left_out_of_the_curves():
    a, b = np.random.default_rng(0).normal(size=(2, 12))
    a[3] = np.nan
    whole = overlap_curves(np.delete(a, 3), np.delete(b, 3))
    assert overlap_curves(a, b).overlap.value.tolist() == whole.overlap.value.tolist()
