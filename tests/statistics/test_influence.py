"""Claims about pairs that decide a method's scores: they are found, and what depends on them has no interval."""

from unittest.mock import patch

import numpy as np
import pytest

from benchmark.statistics.agreement import statistic
from benchmark.statistics.inference import Comparison, compare, concordance, halves
from benchmark.statistics.influence import DECIDES, influence
from benchmark.statistics.matched_baselines import contrasts, parting

PEARSON = (statistic("pearson", "signed"),)


def study(strong: float = 0.0, pairs: int = 32, components: int = 40, seed: int = 0) -> np.ndarray:
    """Scores of pairs that agree, but for pair 7, which has `strong` times scores of its own."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=components) + 0.3 * rng.normal(size=(pairs, components))
    scores[7] += strong * rng.normal(size=components)
    return scores


def compared(a: np.ndarray, b: np.ndarray, **of_halves: object) -> Comparison:
    return compare([a, b], [True, True], halves(len(a), **of_halves), 5, None, PEARSON)[0]  # type: ignore[arg-type]


def test_a_share_is_how_fast_the_mean_vectors_length_follows_the_pairs_weight() -> None:
    scores = study(20)
    found = influence(scores, np.arange(32))
    assert found.pairs == (7,)

    def log_length(weight: float) -> float:
        return float(np.log(np.linalg.norm((scores.sum(axis=0) + (weight - 1) * scores[7]) / 32)))

    assert found.share == pytest.approx((log_length(1 + 1e-5) - log_length(1 - 1e-5)) / 2e-5, rel=1e-6)


def test_shares_of_all_clusters_sum_to_1_and_equal_pairs_share_evenly() -> None:
    scores, cluster = study(3), np.arange(32) // 4
    mean = scores.mean(axis=0)
    shares = [scores[cluster == c].sum(axis=0) @ mean / 32 / (mean @ mean) for c in range(8)]
    assert sum(shares) == pytest.approx(1)
    found = influence(scores, cluster)
    assert found.share == pytest.approx(max(shares))
    assert found.pairs == (4, 5, 6, 7)
    assert influence(np.ones((20, 5)), np.arange(20)).share == pytest.approx(1 / 20)


def test_unmeasured_components_don_t_count_and_scores_of_0_are_decided_by_none() -> None:
    scores = study(20)
    with_gaps = np.column_stack([scores, np.full(32, np.nan), np.where(np.arange(32) == 3, np.nan, 9.0)])
    assert influence(with_gaps, np.arange(32)) == influence(scores, np.arange(32))
    nothing = influence(np.zeros((32, 4)), np.arange(32))
    assert np.isnan(nothing.share)
    assert not nothing.decides
    assert not influence(np.full((32, 4), np.nan), np.arange(32)).decides


@pytest.mark.parametrize("place", [0, 1])
def test_where_one_pair_decides_either_method_the_interval_is_withheld_with_the_reason(place: int) -> None:
    two = [study(seed=3), study(seed=3)]
    two[place] = two[place] + study(40) * (np.arange(32) == 7)[:, None]
    row = compared(*two)
    share = influence(two[place], np.arange(32)).share
    assert share > DECIDES
    assert (row.largest_share_a, row.largest_share_b)[place] == pytest.approx(share)
    assert np.isfinite([row.value, row.half_same]).all()
    assert np.isnan([row.low, row.high, row.ceiling, row.disattenuated]).all()
    assert row.note == f"no interval: one pair decides, with {share:.0%} of method_{'ab'[place]}'s mean scores"
    fine = compared(study(seed=3), study(seed=4))
    assert np.isfinite([fine.low, fine.high]).all()
    assert not fine.note


def test_a_cluster_counts_as_one_as_it_does_in_the_splits() -> None:
    scores = study(seed=1)
    scores[4:8] += 5 * np.random.default_rng(9).normal(size=40)
    assert np.isfinite(compared(scores, study(seed=2)).low)
    row = compared(scores, study(seed=2), clusters=[f"c{i // 4}" for i in range(32)])
    assert "no interval: one cluster of pairs decides, with" in row.note
    assert np.isnan(row.low)


def test_everything_that_such_scores_take_part_in_is_withheld() -> None:
    scores, decided, splits = study(), study(60), halves(32)
    assert np.isfinite(concordance([scores, study(seed=4)], splits, "signed").low)
    w = concordance([scores, decided], splits, "signed")
    assert (np.isnan(w.low), "one pair decides" in w.note) == (True, True)
    grid = np.stack([np.stack([study(seed=3 * i + j) for j in range(3)]) for i in range(2)])
    assert all(np.isfinite(one.low) for one in contrasts(grid, splits, PEARSON[0], 5).values())
    grid[1, 2] = decided
    for one in contrasts(grid, splits, PEARSON[0], 5).values():
        assert np.isnan(one.low)
        assert "of integrated gradients (mean)'s mean scores" in one.note
    found = parting(scores, decided, study(seed=5), splits)
    assert np.isnan(found.curvature.low)
    assert "of attribution patching's mean scores" in found.curvature.note


def test_rare_strong_pairs_make_intervals_miss_and_are_found_where_a_sample_holds_them() -> None:
    """A strong pair in 64 on average. Samples that happen to hold none give no sign of it, and miss."""
    rng = np.random.default_rng(2)
    truth, first, second = 0.3 * rng.normal(size=32), *rng.normal(size=(2, 32))
    second = 0.7 * (first + second)

    def draw(strong: float) -> list[np.ndarray]:
        size = ((rng.random(64) < strong) * 5 * rng.standard_exponential(64))[:, None]
        return [truth + size * effect + 0.1 * rng.normal(size=(64, 32)) for effect in (first, second)]

    mean = np.mean([np.corrcoef(*(scores.mean(axis=0) for scores in draw(1 / 64)))[0, 1] for _ in range(400)])
    with patch("benchmark.statistics.influence.DECIDES", np.inf):
        rows = [compared(*draw(1 / 64), splits=40, seed=seed) for seed in range(100)]
    covered = np.mean([row.low <= mean <= row.high for row in rows])
    assert covered < 0.7
    assert np.mean([max(row.largest_share_a, row.largest_share_b) > DECIDES for row in rows]) > 0.05
    ordinary = [influence(draw(0)[0], np.arange(64)) for _ in range(100)]
    assert not any(one.decides for one in ordinary)
