"""Claims about the agreement statistics: equal to obvious versions, honest under ties and where undefined."""

import doctest
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from benchmark.errors import BenchmarkError
from benchmark.statistics import agreement
from benchmark.statistics.agreement import (
    SHORT_PANEL,
    STATISTICS,
    default_k,
    default_statistics,
    panel,
    pearson,
    primary_version,
    statistic,
    undefined,
)
from benchmark.statistics.score_rows import ScoreRows

# Small whole numbers: many ties and zeros, and scaling is exact.
vectors = st.integers(4, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(-4, 4), min_size=n, max_size=n).map(np.array)] * 2, st.integers(1, n))
)


def values(a, b, k, layer=None):
    return {(s.statistic, s.version): s.value for s in panel(a.astype(float), b.astype(float), k, layer=layer)}


def value(name, version, a, b, k=1, layer=None):
    return statistic(name, version).value(np.array(a, dtype=float), np.array(b, dtype=float), k, layer)


def top_k_membership(scores, k):
    places = ScoreRows.of(np.asarray(scores)[None], "signed").places(k)
    shares = np.zeros(len(scores))
    shares[places.columns] = places.membership(k)[0]
    return shares


@pytest.mark.parametrize("seed", range(5))
def test_correlations_equal_scipys_also_with_ties(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-3, 4, (2, 40)).astype(float)
    found = values(a, b, 5)
    assert pearson(a, b) == found["pearson", "signed"] == pytest.approx(stats.pearsonr(a, b).statistic)
    assert found["spearman", "signed"] == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found["kendall", "signed"] == pytest.approx(stats.kendalltau(a, b).statistic)
    sizes = np.abs(a), np.abs(b)
    assert found["kendall", "by_size"] == pytest.approx(stats.kendalltau(*sizes).statistic)


@pytest.mark.parametrize("n", [63, 64, 65, 300])
def test_order_is_counted_alike_whatever_number_of_words_the_bits_fill(n):
    a, b = np.random.default_rng(n).normal(size=(2, n))
    assert value("kendall", "signed", a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


def test_a_method_can_be_compared_row_by_row():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 30)).round(1)
    layer = np.repeat(np.arange(5), 6)
    for s in STATISTICS:
        rows = s.rows(ScoreRows.of(a, s.version), ScoreRows.of(b, s.version), 4, layer)
        assert rows == pytest.approx([s.value(x, y, 4, layer) for x, y in zip(a, b, strict=True)]), s


def test_pairwise_rank_agreement_counts_the_pairs_ordered_alike():
    # Of three pairs by size one is tied in both methods, one in the first only, and one is ordered alike.
    assert value("pairwise_rank_agreement", "by_size", [1, 1, 2], [1, 1, 2]) == 1
    assert value("pairwise_rank_agreement", "by_size", [1, 1, 2], [1, 2, 2]) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert value("pairwise_rank_agreement", "by_size", [1, 2, 3], [3, -2, 1]) == 0


@given(st.permutations(range(1, 9)), st.permutations(range(1, 9)))
def test_pairwise_rank_agreement_is_tau_moved_to_between_0_and_1_without_ties(a, b):
    tau = stats.kendalltau(a, b).statistic
    assert value("pairwise_rank_agreement", "by_size", a, b) == pytest.approx((tau + 1) / 2)


def test_agreement_within_layers_takes_out_what_layers_explain():
    rng = np.random.default_rng(0)
    layer = np.repeat(np.arange(10), 12)
    depth = layer**2.0
    a, b = depth + rng.normal(size=(2, 120))
    assert value("pearson", "signed", a, b) > 0.99
    assert abs(value("pearson_within_layer", "signed", a, b, layer=layer)) < 0.25
    left = [x - np.array([x[layer == i].mean() for i in range(10)])[layer] for x in (a, b)]
    assert value("pearson_within_layer", "signed", a, b, layer=layer) == pytest.approx(stats.pearsonr(*left).statistic)


def test_scores_that_differ_between_layers_only_have_no_agreement_within():
    layer = np.repeat(np.arange(4), 7)
    a, b = 0.1 + layer / 7, np.random.default_rng(0).normal(size=28)
    assert any(a[layer == i].mean() != a[layer == i][0] for i in range(4))  # rounding leaves something within
    record = next(r for r in panel(a, b, 3, layer=layer) if r.statistic == "pearson_within_layer")
    assert np.isnan(record.value)
    assert "constant within every layer" in record.note
    assert not [r for r in panel(a, b, 3) if r.statistic == "pearson_within_layer"]


def test_the_primary_statistic_uses_signs_where_both_methods_have_them():
    assert primary_version(True, True) == "signed"
    assert primary_version(True, False) == primary_version(False, True) == "by_size"


def test_thousands_of_neurons_get_the_short_panel_and_too_many_pairs_of_them_an_error():
    a, b = np.random.default_rng(0).normal(size=(2, 9000))
    assert [r.statistic for r in panel(a, b, 50)] == [s.name for s in SHORT_PANEL]
    assert default_statistics(300) == STATISTICS
    with pytest.raises(BenchmarkError, match="SHORT_PANEL"):
        panel(a, b, 50, statistics=STATISTICS)


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
    orders = [np.argsort(-np.abs(x))[:k] for x in (a, b)]
    placed = [i for i, j in zip(*orders, strict=True) if i == j]
    assert found["rank_agreement_top_k", "by_size"] == pytest.approx(len(placed) / k)
    placed = [i for i in placed if a[i] * b[i] > 0]
    assert found["signed_rank_agreement_top_k", "by_size"] == pytest.approx(len(placed) / k)


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
def test_stricter_agreement_never_exceeds_laxer(case):
    a, b, k = case
    found = values(a, b, k)
    assume(not np.isnan(found["top_k_overlap", "by_size"]))
    overlap, rank, sign, signed_rank = (
        found[name, "by_size"]
        for name in ("top_k_overlap", "rank_agreement_top_k", "sign_agreement_top_k", "signed_rank_agreement_top_k")
    )
    assert signed_rank <= min(rank, sign) + 1e-12
    assert max(rank, sign) <= overlap + 1e-12


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
    assert value("top_k_overlap", "signed", a, b, 2) == 0  # breaking ties by index would say 0.5
    assert value("sign_agreement_top_k", "by_size", a, a, 2) == 1
    record = next(r for r in panel(a, b, 2) if r.statistic == "top_k_overlap")
    assert "method_b scores only 1 components above 0" in record.note


def test_methods_do_not_agree_on_negative_scores_among_the_highest():
    a, b = np.array([5.0, 0, 0, 0, -1, -2]), np.array([0, 7.0, 0, 0, -1, -2])
    assert top_k_membership(a, 2).tolist() == [1, 0, 0, 0, 0, 0]
    assert value("top_k_overlap", "signed", a, b, 2) == 0
    assert np.isnan(value("top_k_overlap", "signed", [-1, -2, -3], [-1, -3, -2], 2))


def test_ties_at_rank_k_share_its_places_and_are_noted():
    a, b = np.array([3.0, 2.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0, 0.5])
    assert value("top_k_overlap", "signed", a, b, 2) == pytest.approx(0.75)
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
    assert len(records) == len([s for s in STATISTICS if not s.needs_layers])
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
    assert np.isnan(pearson(a, a))


@pytest.mark.parametrize("signed", [(True, False), (False, True), (False, False)])
def test_an_unsigned_method_gets_no_statistic_of_signs(signed):
    a, b = np.random.default_rng(0).random((2, 10))
    names = [(record.statistic, record.version) for record in panel(a, b, 3, *signed)]
    assert set(names) == {
        (name, "by_size") for name in ("pearson", "spearman", "kendall", "pairwise_rank_agreement")
    } | {(name, "by_size") for name in ("rank_biased_overlap", "top_k_overlap", "rank_agreement_top_k")}


def test_chance_level_is_what_independent_methods_reach():
    rng = np.random.default_rng(1)
    draws = [values(*rng.normal(size=(2, 40)), k=8) for _ in range(400)]
    chance = {(r.statistic, r.version): r.chance for r in panel(*rng.normal(size=(2, 40)), k=8)}
    known = {name: level for name, level in chance.items() if not np.isnan(level)}
    assert {name for name, _ in known} == {"top_k_overlap", "rank_agreement_top_k"}
    for name, level in known.items():
        assert np.mean([draw[name] for draw in draws]) == pytest.approx(level, abs=0.02), name


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
    assert value("top_k_overlap", "signed", a, b, 8) == 1
    assert value("spearman", "signed", a, b) < 0.5


@pytest.mark.parametrize("bad", [{"k": 0}, {"a": np.array([1.0, np.inf, 2.0, 3.0])}])
def test_misuse_is_refused(bad):
    with pytest.raises(BenchmarkError):
        panel(**{"a": np.arange(4.0), "b": np.arange(4.0), "k": 2} | bad)


def test_default_k_never_takes_more_than_half():
    assert all(1 <= default_k(n) <= max(1, n / 2) for n in range(1, 300))


def test_the_examples_in_the_docstrings_are_true():
    found = doctest.testmod(agreement, extraglobs={"np": np})
    assert found.attempted >= 4
    assert not found.failed
