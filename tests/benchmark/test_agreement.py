"""Claims about the agreement statistics: equal to obvious versions, honest under ties and where undefined."""

import doctest
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchmark import agreement
from benchmark.agreement import (
    STATISTICS,
    default_k,
    kendall,
    panel,
    pearson,
    sign_agreement_top_k,
    spearman,
    top_k_membership,
    top_k_overlap,
    undefined,
)
from benchmark.errors import BenchmarkError

# Small whole numbers: many ties and zeros, and scaling is exact.
vectors = st.integers(4, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-4, 4), min_size=n, max_size=n).map(np.array)] * 2, st.integers(1, n))
)


def values(a, b, k):
    return {(s.statistic, s.version): s.value for s in panel(a.astype(float), b.astype(float), k)}


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipys_also_with_ties(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-3, 4, (2, 40)).astype(float)
    assert pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert kendall(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


@pytest.mark.parametrize("seed", range(5))
def test_top_k_statistics_equal_set_arithmetic_where_nothing_ties(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 30))
    k = 7
    tops = [set(np.argsort(-x)[:k]) for x in (a, b)]
    tops_by_size = [set(np.argsort(-np.abs(x))[:k]) for x in (a, b)]
    both = tops_by_size[0] & tops_by_size[1]
    found = values(a, b, k)
    assert found["top_k_overlap", "signed"] == pytest.approx(len(tops[0] & tops[1]) / k)
    assert found["top_k_overlap", "by_size"] == pytest.approx(len(both) / k)
    same = sum(a[i] * b[i] > 0 for i in both)
    assert found["sign_agreement_top_k", "by_size"] == pytest.approx(same / k)


def test_by_size_and_signed_are_different_statistics():
    a = np.array([5.0, -4.0, 1.0, 0.5])
    found = values(a, -a, 2)
    assert found["pearson", "signed"] == pytest.approx(-1)
    assert found["pearson", "by_size"] == pytest.approx(1)
    assert found["top_k_overlap", "signed"] == 0  # {5, 1} against {4, -0.5}
    assert found["top_k_overlap", "by_size"] == 1
    assert found["sign_agreement_top_k", "by_size"] == 0


@given(vectors)
def test_every_statistic_is_symmetric_and_unchanged_by_positive_scaling(case):
    a, b, k = case
    found = values(a, b, k)
    assert values(b, a, k) == pytest.approx(found, nan_ok=True)
    assert values(4 * a, b, k) == pytest.approx(found, nan_ok=True)


@given(vectors)
def test_a_method_agrees_with_itself_wherever_the_statistic_is_defined(case):
    a, _, k = case
    for name, value in values(a, a, k).items():
        assert np.isnan(value) or value == pytest.approx(1), name


@given(vectors, st.randoms(use_true_random=False))
def test_numbering_the_components_otherwise_changes_nothing(case, random):
    a, b, k = case
    order = random.sample(range(len(a)), len(a))
    assert values(a[order], b[order], k) == pytest.approx(values(a, b, k), nan_ok=True)


@given(vectors)
def test_sign_agreement_never_exceeds_overlap_by_size(case):
    a, b, k = case
    found = values(a, b, k)
    assume(not np.isnan(found["top_k_overlap", "by_size"]))
    assert found["sign_agreement_top_k", "by_size"] <= found["top_k_overlap", "by_size"] + 1e-12


@given(vectors)
def test_membership_counts_to_k_and_is_the_mean_over_all_ways_to_break_ties(case):
    scores, _, k = case
    scores = scores[:6].astype(float)
    found = [i for i in range(len(scores)) if scores[i] > 0]
    membership = top_k_membership(scores, k)
    assert membership.sum() == pytest.approx(min(k, len(found)))
    ways = np.zeros((0, len(scores)))
    for order in itertools.permutations(range(len(scores))):
        ranked = sorted(found, key=lambda i, order=order: (-scores[i], order[i]))
        ways = np.vstack([ways, np.isin(np.arange(len(scores)), ranked[:k])])
    assert membership == pytest.approx(ways.mean(0))


def test_methods_do_not_agree_on_the_zeros_that_fill_up_their_tops():
    a, b = np.zeros(100), np.zeros(100)
    a[50], b[60] = 1.0, 1.0
    assert top_k_overlap(a, b, 2) == 0  # breaking ties by index would say 0.5
    assert sign_agreement_top_k(a, a, 2) == 1
    record = next(r for r in panel(a, b, 2) if r.statistic == "top_k_overlap")
    assert "method_b scores only 1 components above 0" in record.note


def test_methods_do_not_agree_on_negative_scores_among_the_highest():
    a, b = np.array([5.0, 0, 0, 0, -1, -2]), np.array([0, 7.0, 0, 0, -1, -2])
    assert top_k_membership(a, 2).tolist() == [1, 0, 0, 0, 0, 0]
    assert top_k_overlap(a, b, 2) == 0
    assert np.isnan(top_k_overlap(np.array([-1.0, -2, -3]), np.array([-1.0, -3, -2]), 2))


def test_ties_at_rank_k_share_its_places_and_are_noted():
    a, b = np.array([3.0, 2.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0, 0.5])
    assert top_k_overlap(a, b, 2) == pytest.approx(0.75)
    notes = {r.note for r in panel(a, b, 2) if r.k}
    assert notes == {"method_a has components tied at rank 2"}


@pytest.mark.parametrize(
    ("a", "b", "k", "reason"),
    [
        ([1, 1, 1, 1], [1, 2, 3, 4], 2, "constant scores: method_a"),
        ([1, 2, 3, 4], [0, 0, 0, 0], 2, "constant scores: method_b"),
        ([1, 2, np.nan, np.nan], [1, 2, 3, 4], 1, "fewer than 3"),
        ([np.nan] * 4, [1, 2, 3, 4], 1, "fewer than 3"),
    ],
)
def test_what_is_undefined_is_nan_with_its_reason(a, b, k, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = panel(np.array(a, dtype=float), np.array(b, dtype=float), k)
    assert len(records) == len(STATISTICS)
    for record in records:
        assert np.isnan(record.value)
        assert reason in record.note


def test_equal_sizes_are_constant_by_size_only():
    a, b = np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    for record in panel(a, b, 2):
        assert np.isnan(record.value) == (record.version == "by_size"), record


def test_k_beyond_the_components_undoes_the_top_k_statistics_alone():
    a = np.array([1.0, 2.0, 3.0, 5.0])
    for record in panel(a, a, 5):
        if record.k is None:
            assert record.value == pytest.approx(1)
            assert not record.note
        else:
            assert np.isnan(record.value)
            assert "k=5 exceeds the 4" in record.note
            assert np.isnan(record.chance)


def test_only_components_measured_in_both_count():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20))
    a[:3], b[2:6] = np.nan, np.nan
    records = panel(a, b, 4)
    assert {record.n_components for record in records} == {14}
    assert [r.value for r in records] == [r.value for r in panel(a[6:], b[6:], 4)]


def test_statistics_refuse_to_rank_unmeasured_components():
    a = np.array([np.nan, 1.0, 2.0, 3.0])
    assert undefined(a, a)
    for statistic in (top_k_overlap, sign_agreement_top_k):
        assert np.isnan(statistic(a, a, 1))


@pytest.mark.parametrize("signed", [(True, False), (False, True), (False, False)])
def test_an_unsigned_method_gets_no_statistic_of_signs(signed):
    a, b = np.random.default_rng(0).random((2, 10))
    names = [(record.statistic, record.version) for record in panel(a, b, 3, *signed)]
    assert names == [(name, "by_size") for name in ("pearson", "spearman", "kendall", "top_k_overlap")]


def test_chance_level_is_what_independent_methods_reach():
    rng = np.random.default_rng(1)
    draws = [top_k_overlap(*rng.normal(size=(2, 40)), k=8) for _ in range(400)]
    record = next(r for r in panel(*rng.normal(size=(2, 40)), k=8) if r.statistic == "top_k_overlap")
    assert np.mean(draws) == pytest.approx(record.chance, abs=0.02)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_pearson_survives_tiny_and_huge_scores(scale):
    a, b = np.random.default_rng(2).normal(size=(2, 20))
    assert pearson(a * scale, b) == pytest.approx(pearson(a, b))


def test_the_tail_of_noise_moves_spearman_and_not_pearson():
    rng = np.random.default_rng(3)
    truth = np.zeros(144)
    truth[:8] = 3
    a, b = truth + rng.normal(size=(2, 144)) * 0.1
    assert pearson(a, b) > 0.95
    assert top_k_overlap(a, b, 8) == 1
    assert spearman(a, b) < 0.5


@pytest.mark.parametrize("bad", [{"k": 0}, {"a": np.array([1.0, np.inf, 2.0, 3.0])}])
def test_misuse_is_refused(bad):
    with pytest.raises(BenchmarkError):
        panel(**{"a": np.arange(4.0), "b": np.arange(4.0), "k": 2} | bad)


def test_default_k_never_takes_more_than_half():
    assert all(1 <= default_k(n) <= max(1, n / 2) for n in range(1, 300))


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(agreement, extraglobs={"np": np})
    assert found.attempted >= 7
    assert not found.failed
