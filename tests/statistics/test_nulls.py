"""Claims about permutation tests: exact on small cases, blind to layers where they should be, adjusted by Holm."""

import doctest
import itertools

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis import frontier
from benchmark.statistics import nulls
from benchmark.statistics.agreement import pearson
from benchmark.statistics.nulls import enough_permutations, holm, permutation_tests

LAYER = np.repeat(np.arange(10), 8)


def test_p_values_come_near_those_of_every_permutation():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6))
    layer = np.array([0, 0, 0, 1, 1, 1])
    [test] = permutation_tests(np.stack([a, b]), [True, True], layer, permutations=20_000)
    orders = [list(order) for order in itertools.permutations(range(6))]
    reach = np.array([pearson(a[order], b) for order in orders])
    within = np.array([set(order[:3]) == {0, 1, 2} for order in orders])
    value = pearson(a, b)
    assert test.value == pytest.approx(value)
    assert test.p_free == pytest.approx(np.mean(reach >= value - 1e-9), abs=0.015)
    assert test.p_within_layer == pytest.approx(np.mean(reach[within] >= value - 1e-9), abs=0.015)
    assert test.within_layer_mean == pytest.approx(reach[within].mean(), abs=0.02)
    assert test.free_95 == pytest.approx(np.quantile(reach, 0.95), abs=0.05)


def test_a_trend_over_layers_passes_the_free_null_and_not_the_one_within_layers():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        means = LAYER / 2 + rng.normal(size=(2, 80))
        found += permutation_tests(means, [True, True], LAYER, permutations=199)
    assert all(test.p_free < 0.05 for test in found)
    assert np.mean([test.p_within_layer < 0.05 for test in found]) < 0.15
    assert np.mean([test.within_layer_mean for test in found]) > 0.5


def test_independent_scores_are_rejected_as_often_as_promised():
    rng = np.random.default_rng(0)
    found = [permutation_tests(rng.normal(size=(2, 80)), [True, True], LAYER, permutations=99)[0] for _ in range(300)]
    for name in ("p_free", "p_within_layer"):
        p = [getattr(test, name) for test in found]
        assert stats.kstest(p, "uniform").pvalue > 0.001, name


def test_the_smallest_p_value_is_one_over_the_permutations_and_one():
    a = np.random.default_rng(0).normal(size=80)
    [test] = permutation_tests(np.stack([a, 2 * a]), [True, True], LAYER, permutations=999)
    assert test.p_free == test.p_within_layer == 1 / 1000


def test_a_layer_of_one_component_stays_where_it_is():
    means = np.random.default_rng(0).normal(size=(2, 6))
    [test] = permutation_tests(means, [True, True], np.arange(6), permutations=50)
    assert test.p_within_layer == 1
    assert test.within_layer_mean == pytest.approx(test.value)


def test_unsigned_methods_are_tested_by_size_and_undefined_ones_not_at_all():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(4, 80))
    means[1] = np.abs(means[1])
    means[2] = 0.0
    means[3, :10] = np.nan
    found = {(t.a, t.b): t for t in permutation_tests(means, [True, False, True, True], LAYER, permutations=99)}
    assert list(found) == list(itertools.combinations(range(4), 2))
    assert found[0, 1].version == "by_size"
    assert found[0, 1].value == pytest.approx(pearson(np.abs(means[0]), means[1]))
    assert found[0, 3].value == pytest.approx(pearson(means[0, 10:], means[3, 10:]))
    assert np.isnan(found[0, 2].p_free)
    assert "constant" in found[0, 2].note


def test_one_comparison_alone_is_tested_as_among_others():
    means = np.random.default_rng(0).normal(size=(3, 80))
    together = permutation_tests(means, [True] * 3, LAYER, permutations=99)
    alone = permutation_tests(means[:2], [True] * 2, LAYER, permutations=99)
    assert vars(together[0]) == pytest.approx(vars(alone[0])) or together[0] == alone[0]


def test_holm_adjusts_step_by_step_and_leaves_out_what_is_undefined():
    p = [0.01, np.nan, 0.02, 0.03, 0.9, 0.02]
    assert holm(p) == pytest.approx([0.05, np.nan, 0.08, 0.08, 0.9, 0.08], nan_ok=True)
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1, 1]


def test_there_are_permutations_enough_for_holm_to_reject_in_the_family():
    for family in (1, 15, 90, 500):
        assert holm([1 / (1 + enough_permutations(family))] + [1.0] * (family - 1))[0] <= 0.0101
    means = np.random.default_rng(0).normal(size=(2, 12))
    [test] = permutation_tests(means, [True, True], np.zeros(12, dtype=int), family=90)
    assert test.permutations == enough_permutations(90) >= 1800


@pytest.mark.parametrize("module", [nulls, frontier])
def test_the_examples_in_the_docstrings_are_true(module):
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("unequal", [False, True])
def test_noise_is_told_from_signal_as_often_as_promised(unequal):
    rng = np.random.default_rng(0)
    level = np.exp(rng.normal(size=32)) if unequal else 1.0
    shared = rng.normal(size=(1, 32))

    def noise():
        return level * rng.normal(size=(32, 32)) + rng.normal(size=(32, 1)) * shared  # correlated over components

    found = [nulls.noise_test(noise(), np.arange(32), flips=199) for _ in range(300)]
    assert np.mean([p <= 0.05 for p in found]) == pytest.approx(0.05, abs=0.03)
    assert np.mean([p <= 0.5 for p in found]) == pytest.approx(0.5, abs=0.08)
    assert nulls.noise_test(noise() + rng.normal(size=32), np.arange(32)) == 0.001


def test_every_sign_of_few_clusters_gives_the_noise_test_by_hand():
    rng = np.random.default_rng(4)
    scores, cluster = rng.normal(size=(12, 5)) + 0.2 * rng.normal(size=5), np.arange(12) // 2
    centred = scores - scores.mean(axis=1, keepdims=True)
    lengths = [
        np.linalg.norm((np.repeat(signs, 2)[:, None] * centred).mean(axis=0))
        for signs in itertools.product((-1, 1), repeat=6)
    ]
    expected = np.mean(np.array(lengths) >= np.linalg.norm(centred.mean(axis=0)) * (1 - 1e-9))
    assert nulls.noise_test(scores, cluster, flips=20_000) == pytest.approx(expected, abs=0.015)
    with_gap = np.column_stack([scores, np.where(np.arange(12) == 1, np.nan, 5.0)])
    assert nulls.noise_test(with_gap, cluster, flips=200) == nulls.noise_test(scores, cluster, flips=200)


def test_one_pair_alone_is_not_told_from_noise():
    scores = 0.01 * np.random.default_rng(0).normal(size=(32, 20))
    scores[3] += np.arange(20)
    assert nulls.noise_test(scores, np.arange(32)) > 0.05
    assert nulls.noise_test(np.zeros((32, 20)), np.arange(32)) == 1
