"""Claims about samples of components, held against whole populations that are redrawn from."""

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from benchmark.errors import BenchmarkError
from benchmark.statistics.agreement import statistic
from benchmark.statistics.estimation import agreement_estimates, effect_sizes, most_above, shares_above, top_k_bounds
from benchmark.statistics.sampling import CANDIDATE, OUTSIDE, PER_STRATUM, Sample, draw, stratify


def tau_a(x: np.ndarray, y: np.ndarray) -> float:
    signs = [np.sign((x[i] - x[j]) * (y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    return float(np.mean(signs))


def heavy_tailed(layers: int = 6, width: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Effects with Student's t of 3 degrees of freedom, and scores that follow them loosely."""
    rng = np.random.default_rng(seed)
    effects = rng.standard_t(3, (layers, width)) * rng.lognormal(0, 1, (layers, 1))
    return effects, effects * rng.lognormal(0, 0.5, effects.shape) + 0.3 * rng.standard_t(3, effects.shape)


def drawn(effects: np.ndarray, stratum: np.ndarray, seed: int) -> Sample:
    measured = draw(stratum, seed).ravel() > 0
    return Sample(np.where(measured, effects.ravel(), np.nan), stratum.ravel())


class TestTheDraw:
    def test_the_largest_sizes_are_candidates_and_the_budget_is_spent(self) -> None:
        _, scores = heavy_tailed()
        stratum = stratify(scores, 100)
        candidates, rest = np.abs(scores[stratum == CANDIDATE]), np.abs(scores[stratum > CANDIDATE])
        assert candidates.min() >= rest.max()
        assert len(candidates) == 100 - 12 * PER_STRATUM
        assert np.count_nonzero(draw(stratum, 0)) == 100

    def test_strata_have_equal_sizes_and_keep_to_one_layer_or_two_neighbours(self) -> None:
        _, scores = heavy_tailed()
        stratum = stratify(scores, 100)
        sizes = np.bincount(stratum[stratum > CANDIDATE])[1:]
        assert sizes.max() - sizes.min() <= 1
        for number in range(1, stratum.max() + 1):
            layers = np.unique(np.nonzero(stratum == number)[0])
            assert np.ptp(layers) <= 1

    def test_inside_a_layer_strata_follow_the_score(self) -> None:
        scores = np.random.default_rng(0).normal(size=(1, 80))
        stratum = stratify(scores, 40)[0]
        groups = [scores[0, stratum == number] for number in range(1, stratum.max() + 1)]
        assert all(lower.max() <= upper.min() for lower, upper in pairwise(groups))

    def test_with_no_more_components_than_the_budget_all_are_measured(self) -> None:
        _, scores = heavy_tailed(2, 20)
        assert (draw(stratify(scores, 40), 0) == 1).all()

    def test_components_without_a_score_are_outside_and_never_drawn(self) -> None:
        _, scores = heavy_tailed()
        scores[2] = np.nan
        stratum = stratify(scores, 100)
        assert (stratum[2] == OUTSIDE).all()
        assert (stratum[[0, 1, 3, 4, 5]] >= 0).all()
        assert not draw(stratum, 0)[2].any()

    def test_every_component_is_drawn_as_often_as_its_probability_says(self) -> None:
        _, scores = heavy_tailed(2, 20)
        stratum = stratify(scores, 16)
        draws = np.stack([draw(stratum, seed) for seed in range(3000)])
        probability = np.where(stratum == CANDIDATE, 1, PER_STRATUM / np.bincount(stratum.ravel())[stratum])
        np.testing.assert_allclose((draws > 0).mean(0), probability, atol=0.04)
        np.testing.assert_allclose(draws.max(0), probability, rtol=1e-6)

    def test_the_same_seed_draws_the_same_and_another_another(self) -> None:
        stratum = stratify(heavy_tailed()[1], 100)
        assert np.array_equal(draw(stratum, 1), draw(stratum, 1))
        assert not np.array_equal(draw(stratum, 1), draw(stratum, 2))


def every_sample() -> tuple[np.ndarray, np.ndarray, list[Sample]]:
    """A population with a candidate and two strata, and all samples of two of three and two of four from them."""
    effects = np.array([9.0, 1.0, -2.0, 0.5, 0.3, 4.0, -1.0, 0.3])
    other = np.array([7.0, 1.5, -1.0, 0.0, 2.0, 3.0, -2.0, 0.5])
    stratum = np.array([0, 1, 1, 1, 2, 2, 2, 2])
    samples = []
    for one, two in product(combinations((1, 2, 3), 2), combinations((4, 5, 6, 7), 2)):
        measured = np.isin(np.arange(8), [0, *one, *two])
        samples.append(Sample(np.where(measured, effects, np.nan), stratum))
    return effects, other, samples


class TestEstimates:
    def test_means_second_moments_and_tau_a_are_unbiased_over_all_samples(self) -> None:
        effects, other, samples = every_sample()
        truths = {
            ("mean", "signed"): effects.mean(),
            ("mean", "by_size"): np.abs(effects).mean(),
            ("mean_square", "by_size"): (effects**2).mean(),
            ("tau_a", "signed"): tau_a(effects, other),
            ("tau_a", "by_size"): tau_a(np.abs(effects), np.abs(other)),
        }
        found: dict[tuple[str, str], list[float]] = {}
        for sample in samples:
            for one in effect_sizes(sample) + agreement_estimates(sample, other):
                found.setdefault((one.statistic, one.version), []).append(one.value)
        for name, truth in truths.items():
            assert np.mean(found[name]) == pytest.approx(truth, abs=1e-12), name

    def test_the_variance_of_a_mean_is_unbiased_over_all_samples(self) -> None:
        effects, _, samples = every_sample()
        means = [effect_sizes(sample)[0].value for sample in samples]
        variances = [sample.covariances(*(sample.effects[sample.measured] / 8,) * 2).sum() for sample in samples]
        assert np.mean(variances) == pytest.approx(np.var(means))
        assert samples[0].known_variance(effects / 8) == pytest.approx(np.var(means))

    def test_where_all_are_measured_estimates_are_the_truth_without_width(self) -> None:
        effects, scores = (values.ravel() for values in heavy_tailed())
        found = agreement_estimates(Sample(effects, np.zeros(len(effects), int)), scores)
        want = [np.corrcoef(effects, scores)[0, 1], tau_a(effects, scores)]
        want += [np.corrcoef(abs(effects), abs(scores))[0, 1], tau_a(abs(effects), abs(scores))]
        assert [one.value for one in found] == pytest.approx(want)
        assert all(one.low == pytest.approx(one.value) == one.high for one in found)

    def test_tau_a_is_kendalls_where_nothing_is_tied(self) -> None:
        x, y = np.random.default_rng(0).normal(size=(2, 700))  # more than one block of the table
        found = agreement_estimates(Sample(x, np.zeros(700, int)), y)[1]
        assert found.value == pytest.approx(stats.kendalltau(x, y).statistic)

    def test_an_unsigned_method_has_estimates_by_size_only(self) -> None:
        effects, scores = heavy_tailed()
        sample = drawn(effects, stratify(scores, 100), 0)
        assert {one.version for one in agreement_estimates(sample, np.abs(scores.ravel()), False)} == {"by_size"}

    def test_a_mean_size_is_never_said_to_be_less_than_what_was_measured(self) -> None:
        effects = np.array([5.0, 0.0, 0.0, 0.0, 9.0] + [np.nan] * 40)
        size = effect_sizes(Sample(effects, np.array([0] + [1] * 44)))[1]
        assert size.low == pytest.approx(14 / 45)
        assert size.low < size.value < size.high

    def test_the_influence_of_pearson_is_its_slope_in_each_weight(self) -> None:
        """Against numerical differentiation: one component's weight a little larger, the others' as they are."""
        x, y = np.random.default_rng(1).standard_t(3, (2, 50))
        stratum = np.repeat([1, 2], 25)
        measured = np.arange(50) % 5 < 3
        sample = Sample(np.where(measured, x, np.nan), stratum)

        def weighted(weights: np.ndarray) -> float:
            covariance = np.cov(x[measured], y[measured], aweights=weights)
            return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))

        steps = 1e-6 * np.eye(measured.sum())
        slopes = np.array([(weighted(sample.weights + s) - weighted(sample.weights - s)) / 2e-6 for s in steps])
        r = weighted(sample.weights)
        narrow = np.where(measured, y, y[measured].mean())  # no score stands out among those not drawn
        found = agreement_estimates(sample, narrow)[0]
        want = sample.interval(np.arctanh(r), slopes / (1 - r**2))
        assert (found.value, found.low, found.high) == pytest.approx((r, *np.tanh(want)), abs=1e-6)

    def test_large_scores_that_were_not_drawn_widen_the_interval_of_pearson(self) -> None:
        x, y = np.random.default_rng(1).standard_t(3, (2, 50))
        measured = np.arange(50) % 5 < 3
        sample = Sample(np.where(measured, x, np.nan), np.repeat([1, 2], 25))
        inside = np.where(measured, y, y[measured].mean())
        outside = np.where(np.arange(50) == 4, 30, inside)
        narrow, wide = (agreement_estimates(sample, scores)[0] for scores in (inside, outside))
        assert narrow.value == wide.value
        assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)

    def test_constant_scores_have_no_estimate(self) -> None:
        effects, scores = heavy_tailed()
        sample = drawn(effects, stratify(scores, 100), 0)
        assert all(np.isnan(one.value) for one in agreement_estimates(sample, np.ones(effects.size)))

    def test_scores_of_some_components_only_are_refused(self) -> None:
        effects, scores = heavy_tailed()
        sample = drawn(effects, stratify(scores, 100), 0)
        with pytest.raises(BenchmarkError, match="of every component"):
            agreement_estimates(sample, np.where(scores.ravel() > 0, scores.ravel(), np.nan))

    def test_a_stratum_with_one_measured_component_is_refused(self) -> None:
        sample = Sample(np.array([1.0, np.nan, 2.0]), np.array([1, 1, 0]))
        with pytest.raises(BenchmarkError, match="fewer than 2 measured"):
            effect_sizes(sample)

    @pytest.mark.parametrize(
        ("statistic", "least", "width"), [("mean", 0.9, 0.3), ("tau_a", 0.9, 0.2), ("pearson", 0.85, 0.1)]
    )
    def test_intervals_cover_the_truth_over_redraws(self, statistic: str, least: float, width: float) -> None:
        effects, scores = heavy_tailed()
        stratum = stratify(scores, 200)
        truth = {
            "mean": effects.mean(),
            "tau_a": tau_a(effects.ravel(), scores.ravel()),
            "pearson": np.corrcoef(effects.ravel(), scores.ravel())[0, 1],
        }[statistic]
        covered, widths = [], []
        for seed in range(300):
            sample = drawn(effects, stratum, seed)
            estimates = effect_sizes(sample) + agreement_estimates(sample, scores.ravel())
            found = next(one for one in estimates if (one.statistic, one.version) == (statistic, "signed"))
            covered.append(found.low <= truth <= found.high)
            widths.append(found.high - found.low)
        assert least <= np.mean(covered) <= 0.995
        assert np.median(widths) < width


class TestTopK:
    @given(
        effects=arrays(float, 8, elements=st.integers(1, 10**6), unique=True),
        scores=arrays(float, 8, elements=st.integers(1, 10**6), unique=True),
        measured=arrays(bool, 8),
        k=st.integers(1, 5),
    )
    def test_bounds_are_the_extremes_over_all_orders_of_the_unmeasured(
        self, effects: np.ndarray, scores: np.ndarray, measured: np.ndarray, k: int
    ) -> None:
        """Each unmeasured component stands below all measured ones or above them: all ways, by the statistic itself."""
        overlap = statistic("top_k_overlap", "by_size")
        measured[: 2 if measured.sum() < 2 else 0] = True
        hidden = np.flatnonzero(~measured)
        sample = Sample(np.where(measured, effects, np.nan), np.where(measured, 0, 1 + np.arange(8)))
        found = top_k_bounds(sample, scores, k)
        values = []
        for above in product([False, True], repeat=len(hidden)):
            filled = effects.copy()
            filled[hidden] = np.where(above, 1e7 + np.arange(len(hidden)), 1e-3 * (1 + np.arange(len(hidden))))
            values.append(overlap.value(filled, scores, k))
        assert found.low <= min(values) + 1e-12
        assert found.high >= max(values) - 1e-12
        assert found.high == pytest.approx(max(values))
        if np.count_nonzero(measured) >= k:
            assert found.low == pytest.approx(min(values))

    def test_if_none_is_missed_the_overlap_is_that_of_the_measured(self) -> None:
        effects, scores = (values.ravel() for values in heavy_tailed())
        measured = np.abs(effects) >= np.sort(np.abs(effects))[-50]
        sample = Sample(np.where(measured, effects, np.nan), np.where(measured, 0, 1 + np.arange(len(effects))))
        found = top_k_bounds(sample, scores, 20)
        assert found.if_none_missed == statistic("top_k_overlap", "by_size").value(effects, scores, 20)
        assert found.low <= found.if_none_missed <= found.high

    def test_ties_and_zeros_of_the_other_method_keep_the_bounds_certain(self) -> None:
        rng = np.random.default_rng(0)
        overlap = statistic("top_k_overlap", "by_size")
        for _ in range(300):
            effects, scores = rng.integers(0, 4, (2, 9)).astype(float)
            measured = rng.random(9) < 0.6
            sample_effects = np.where(measured, effects, np.nan)
            if measured.sum() < 2:
                continue
            found = top_k_bounds(Sample(sample_effects, np.where(measured, 0, 1 + np.arange(9))), scores, 3)
            value = overlap.value(effects, scores, 3)
            assert np.isnan(value) or found.low - 1e-12 <= value <= found.high + 1e-12


class TestSharesAbove:
    def test_the_bound_is_clopper_and_pearsons_for_one_large_stratum(self) -> None:
        """Where hardly anything is drawn, drawing without replacement is as good as with it."""
        for found in (0, 1, 7):
            high = stats.binomtest(found, 200, alternative="less").proportion_ci(0.95, method="exact").high
            assert most_above(found, 200, 10**6, 200 / 10**6) / 10**6 == pytest.approx(high, rel=1e-3)

    @pytest.mark.parametrize("sizes", [(6, 6, 6), (5, 7, 9), (4, 8, 8)])
    def test_whatever_is_hidden_the_bound_fails_in_at_most_5_percent_of_draws(self, sizes: tuple[int, ...]) -> None:
        """All ways of marking components, each with the exact distribution of the number found."""
        fraction, total = PER_STRATUM / max(sizes), sum(n for n in sizes if n > PER_STRATUM)
        open_sizes = [n for n in sizes if n > PER_STRATUM]
        n_drawn = PER_STRATUM * len(open_sizes)
        bound = [most_above(found, n_drawn, total, fraction) for found in range(n_drawn + 1)]
        worst = 0.0
        for marked in product(*(range(n + 1) for n in open_sizes)):
            chances = np.array([1.0])
            for n, hidden in zip(open_sizes, marked, strict=True):
                chances = np.convolve(chances, stats.hypergeom(n, hidden, PER_STRATUM).pmf(range(PER_STRATUM + 1)))
            worst = max(worst, sum(p for found, p in enumerate(chances) if bound[found] < sum(marked)))
        assert 0.005 < worst <= 0.05

    def test_nothing_is_refuted_where_the_inequality_does_not_reach(self) -> None:
        assert most_above(39, 40, 1000, 0.04) == 999

    def test_of_unequal_strata_the_one_drawn_from_least_counts(self) -> None:
        effects = np.array([1.0, 1.0] + [np.nan] * 8 + [1.0, 1.0] + [np.nan] * 18)
        one = shares_above(Sample(effects, np.repeat([1, 2], [10, 20])), [2.0])[0]
        assert one.count == most_above(0, 4, 30, 0.1) > most_above(0, 4, 30, 0.2)

    def test_it_counts_only_unmeasured_components_and_only_what_was_drawn_at_random(self) -> None:
        effects = np.array([9.0, 8.0] + [1.0, 3.0] * 5 + [np.nan] * 90)
        stratum = np.array([0, 0] + [1] * 100)
        one = shares_above(Sample(effects, stratum), [2.0])[0]
        assert (one.found, one.drawn) == (5, 10)
        assert one.count == most_above(5, 10, 100, 0.1) - 5
        assert one.share == one.count / 90

    def test_with_nothing_left_out_nothing_can_be_missed(self) -> None:
        assert shares_above(Sample(np.arange(9.0), np.zeros(9, int)), [1.0])[0].share == 0

    def test_coverage_over_redraws_of_a_heavy_tailed_population(self) -> None:
        effects, scores = heavy_tailed()
        stratum = stratify(scores, 200)
        candidates = np.sort(np.abs(effects[stratum == CANDIDATE]))
        sizes = [float(np.median(np.abs(effects))), float(candidates[len(candidates) // 2])]
        right = []
        for seed in range(300):
            sample = drawn(effects, stratum, seed)
            hidden = np.abs(effects.ravel()[~sample.measured])
            right.append([np.sum(hidden > one.size) <= one.count for one in shares_above(sample, sizes)])
        assert (np.mean(right, axis=0) >= 0.95 - 0.03).all()
