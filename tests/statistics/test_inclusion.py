"""Claims about how often components are in the top: by hand, where all are alike, and against a bootstrap."""

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.statistics.halves import halves
from benchmark.statistics.inclusion import inclusion


def test_what_dominates_every_pair_is_in_every_top_and_what_scores_0_in_none() -> None:
    scores = np.random.default_rng(0).normal(size=(16, 12))
    scores[:, 3] -= 50
    scores[:, 4] = 0
    found = inclusion(scores, halves(16), 4)
    assert (found[3], found[4]) == (1, 0)
    assert found.sum() == pytest.approx(4)


def test_components_that_are_alike_are_in_the_top_k_in_n() -> None:
    """Over many studies: within one, a component that is ahead in it stays ahead in its halves."""
    rng = np.random.default_rng(0)
    found = np.mean([inclusion(rng.normal(size=(16, 10)), halves(16, splits=20), 3) for _ in range(200)], axis=0)
    assert found == pytest.approx(np.full(10, 3 / 10), abs=0.08)


def test_tied_components_share_the_places_left() -> None:
    scores = np.tile([5.0, -1, 1, 1, 0], (16, 1))
    assert inclusion(scores, halves(16), 2) == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])


def test_a_component_that_one_cluster_carries_is_in_the_top_of_the_halves_that_hold_it() -> None:
    """By hand: pairs 0 to 3 lie in one cluster. Its half ranks component 1 first, the other half component 0."""
    scores = np.column_stack([np.ones(16), np.where(np.arange(16) < 4, 9.0, 0.0)])
    clusters = ["large"] * 4 + [""] * 12
    assert inclusion(scores, halves(16, clusters), 1).tolist() == [0.5, 0.5]
    apart = inclusion(scores, halves(16), 1)  # four pairs by themselves: nearly every half has one
    assert apart[1] > 0.9


def test_half_samples_give_what_a_bootstrap_of_the_clusters_gives() -> None:
    rng = np.random.default_rng(3)
    truth, cluster = np.linspace(0.5, 1.2, 12), np.repeat(np.arange(24), 2)
    scores = truth + rng.normal(size=(24, 12))[cluster] + 0.3 * rng.normal(size=(48, 12))
    found = inclusion(scores, halves(48, [str(c) for c in cluster], splits=400), 5)
    by_cluster = scores.reshape(24, 2, 12).mean(axis=1)
    drawn = np.array([by_cluster[rng.integers(24, size=24)].mean(axis=0) for _ in range(3000)])
    ranks = (-np.abs(drawn)).argsort(axis=1).argsort(axis=1)
    assert found == pytest.approx((ranks < 5).mean(axis=0), abs=0.05)
    assert ((found > 0.1) & (found < 0.9)).sum() > 4  # something to compare


def test_unmeasured_components_have_no_frequency_and_change_none() -> None:
    scores = np.random.default_rng(0).normal(size=(16, 6))
    gaps = np.insert(scores, 2, np.nan, axis=1)
    found = inclusion(gaps, halves(16), 3)
    assert np.isnan(found[2])
    assert np.delete(found, 2).tolist() == inclusion(scores, halves(16), 3).tolist()


def test_too_few_pairs_and_a_k_beyond_the_measured_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="8 pairs in 8 clusters, and it takes 16 in 8"):
        inclusion(np.ones((8, 4)), halves(8), 2)
    with pytest.raises(BenchmarkError, match="k between 1 and the 4 components measured, not 5"):
        inclusion(np.ones((16, 4)), halves(16), 5)
