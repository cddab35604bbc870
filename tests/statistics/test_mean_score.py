"""Mean scores and their intervals."""

import numpy as np
import pytest
from scipy import stats

from benchmark.statistics.halves import halves
from benchmark.statistics.mean_score import mean_scores


def test_without_clusters_the_interval_is_students() -> None:
    scores = np.random.default_rng(0).normal(1.0, 2.0, (20, 5))
    mean, low, high = mean_scores(scores, halves(20))
    for column in range(5):
        wanted = stats.ttest_1samp(scores[:, column], 0).confidence_interval(0.95)
        assert (low[column], high[column]) == pytest.approx(tuple(wanted), rel=1e-12)
    assert mean == pytest.approx(scores.mean(0))


def test_pairs_of_a_cluster_count_as_one() -> None:
    """Each pair four times in a cluster of its own says no more than each once."""
    once = np.random.default_rng(1).normal(size=(16, 3))
    names = [f"c{number}" for number in range(16)]
    alone = mean_scores(once, halves(16, names))
    repeated = mean_scores(np.repeat(once, 4, axis=0), halves(64, list(np.repeat(names, 4))))
    for one, other in zip(alone, repeated, strict=True):
        assert other == pytest.approx(one, rel=1e-12)


def test_too_few_pairs_have_a_mean_and_no_interval() -> None:
    mean, low, high = mean_scores(np.ones((8, 2)), halves(8))
    assert (mean == 1).all()
    assert np.isnan([low, high]).all()


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    """With clusters that share much, where an interval that takes pairs for independent holds it far less often."""
    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(12), 4)
    shared, own = rng.normal(size=(12, 4000)), rng.normal(size=(48, 4000))
    scores = 0.3 + shared[cluster] + 0.5 * own
    _, low, high = mean_scores(scores, halves(48, [str(c) for c in cluster]))
    assert 0.93 < ((low < 0.3) & (high > 0.3)).mean() < 0.97
    _, low, high = mean_scores(scores, halves(48))
    assert ((low < 0.3) & (high > 0.3)).mean() < 0.8
