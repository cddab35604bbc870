"""Claims about intervals over pairs, noise ceilings and floors. tests/performance/coverage.py has more on coverage."""

import numpy as np
import pytest
from scipy import stats

from benchmark.analysis.frontier import on_frontier
from benchmark.errors import BenchmarkError
from benchmark.statistics.agreement import SHORT_PANEL, STATISTICS, panel
from benchmark.statistics.correlation import concordance as kendalls_w
from benchmark.statistics.floors import layer_floor
from benchmark.statistics.inference import RELIABLE, compare, concordance, halves, self_overlap_band


def study(seed=0, pairs=32, components=40, noise=0.5, methods=2):
    """Methods that agree on five components out of all, each with its own noise from pair to pair."""
    rng = np.random.default_rng(seed)
    truth = np.where(np.arange(components) < 5, 2.0, 0.0) + 0.3 * rng.normal(size=components)
    return [truth + noise * rng.normal(size=(pairs, components)) for _ in range(methods)]


def primary(scores, splits, **options):
    rows = compare(scores, [True] * len(scores), splits, 5, **options)
    return next(r for r in rows if (r.statistic, r.version) == ("pearson", "signed"))


def test_halves_divide_the_pairs_and_keep_clusters_whole():
    clusters = [f"c{i // 3}" for i in range(48)]
    first = halves(48, clusters).first
    assert set(first.sum(axis=1)) == {24}
    assert (first.reshape(-1, 16, 3).all(axis=2) | ~first.reshape(-1, 16, 3).any(axis=2)).all()
    assert len({row.tobytes() for row in first}) > 90
    assert first.mean(axis=0) == pytest.approx(0.5, abs=0.2)


def test_every_template_is_divided_evenly():
    templates = ["often"] * 22 + ["rarely"] * 3 + ["twice"] * 7
    first = halves(32, None, templates).first
    for name in set(templates):
        of = np.array([t == name for t in templates])
        assert (abs(first[:, of].sum(axis=1) - of.sum() / 2) <= 0.5).all()


def test_pairs_without_a_cluster_are_their_own():
    assert halves(20, [""] * 20).n_clusters == 20
    assert halves(20, ["x", "x"] + [""] * 18).n_clusters == 19


@pytest.mark.parametrize(("pairs", "clusters", "fine"), [(16, 8, True), (15, 15, False), (40, 7, False)])
def test_too_few_pairs_or_clusters_give_no_interval_and_say_so(pairs, clusters, fine):
    splits = halves(pairs, [f"c{i % clusters}" for i in range(pairs)])
    row = primary(study(pairs=pairs), splits)
    assert np.isfinite([row.low, row.high, row.half_disjoint]).all() == fine
    assert np.isfinite(row.value)
    assert ("no interval" in row.note) == (not fine)
    assert np.isfinite(concordance(study(pairs=pairs), splits, "signed").low) == fine
    assert len(self_overlap_band(study(pairs=pairs)[0], splits).k) == (40 if fine else 0)


def test_clusters_must_name_every_pair():
    with pytest.raises(BenchmarkError, match="20 pairs"):
        halves(20, ["a"] * 19)


def test_half_samples_spread_as_the_mean_of_all_pairs_does():
    values = np.random.default_rng(0).normal(size=40)
    (first, second) = next(halves(40, splits=4000).weights(1))
    assert np.std(np.concatenate([first @ values, second @ values])) == pytest.approx(stats.sem(values), rel=0.05)


def test_a_row_is_the_panel_and_half_numbers_are_the_obvious_loop():
    scores = study()
    splits = halves(32, splits=7)
    rows = compare(scores, [True, True], splits, 5)
    means = [s.mean(axis=0) for s in scores]
    expected = {(p.statistic, p.version): p for p in panel(*means, 5)}
    a, b = scores
    for row in rows:
        name = (row.statistic, row.version)
        assert row.value == expected[name].value
        same, disjoint, self_a, self_b = [], [], [], []
        for f in splits.first:
            a1, a2, b1, b2 = a[f].mean(0), a[~f].mean(0), b[f].mean(0), b[~f].mean(0)
            at = {"k": 5, "statistics": [s for s in STATISTICS if (s.name, s.version) == name]}
            same += [panel(a1, b1, **at)[0].value, panel(a2, b2, **at)[0].value]
            disjoint += [panel(a1, b2, **at)[0].value, panel(a2, b1, **at)[0].value]
            self_a.append(panel(a1, a2, **at)[0].value)
            self_b.append(panel(b1, b2, **at)[0].value)
        assert (row.half_same, row.half_disjoint) == pytest.approx((np.mean(same), np.mean(disjoint))), name
        assert (row.half_self_a, row.half_self_b) == pytest.approx((np.mean(self_a), np.mean(self_b))), name
        reach = stats.t.ppf(0.975, 31) * np.std(same)
        assert row.low == pytest.approx(max(row.value - reach, -1 if row.low < 0 else 0)), name
        assert row.high == pytest.approx(min(row.value + reach, 1)), name


def test_blocks_of_splits_change_nothing(monkeypatch):
    scores, splits = study(methods=3), halves(32)
    whole = compare(scores, [True] * 3, splits, 5)
    monkeypatch.setattr("benchmark.statistics.halves._BLOCK", 300)
    assert len(list(splits.weights(100))) > 30
    for one, other in zip(compare(scores, [True] * 3, splits, 5), whole, strict=True):
        for name in ("low", "high", "half_disjoint", "half_self_b"):
            assert getattr(one, name) == pytest.approx(getattr(other, name)), one


def test_the_interval_covers_what_studies_of_this_size_find_and_not_the_population():
    found = [
        primary(study(seed, pairs=16, noise=2.0), halves(16, splits=40), statistics=SHORT_PANEL) for seed in range(60)
    ]
    # The five components are the same in every study; their noise is not.
    mean = np.mean([row.value for row in found])
    assert np.mean([row.low <= mean <= row.high for row in found]) >= 0.85
    assert np.mean([row.high < 0.97 for row in found]) > 0.9


def test_disattenuation_recovers_the_agreement_without_noise():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    other = 0.8 * truth + 0.6 * rng.normal(size=400)
    shared = rng.normal(size=(32, 400))
    noisy = [t + 4 * (shared + rng.normal(size=(32, 400))) for t in (truth, other)]
    row = primary(noisy, halves(32), statistics=SHORT_PANEL)
    assert row.disattenuated == pytest.approx(np.corrcoef(truth, other)[0, 1], abs=0.1)
    assert row.value > row.disjoint + 0.1  # the same pairs share noise
    assert row.disjoint == pytest.approx(row.disattenuated * row.ceiling)
    assert row.ceiling == pytest.approx(np.sqrt(row.reliability_a * row.reliability_b))
    # A study's reliability is its correlation with another study of as many pairs.
    others = [truth + 4 * np.sqrt(2) * rng.normal(size=(32, 400)).mean(axis=0, keepdims=True) for _ in range(20)]
    repeated = np.mean([np.corrcoef(noisy[0].mean(0), again[0])[0, 1] for again in others])
    assert row.reliability_a == pytest.approx(repeated, abs=0.05)
    assert row.half_self_a < repeated - 0.08


@pytest.mark.parametrize("unequal", [False, True])
def test_noise_alone_has_no_ceiling_but_in_a_twentieth_of_studies(unequal):
    """By the reliability alone it would have one in 22% of these studies, and in 33% where components are unequal."""
    rng = np.random.default_rng(0)
    level = np.exp(rng.normal(size=32)) if unequal else 1.0
    known = study(components=32)[0]
    found, lax = [], []
    for seed in range(100):
        noise = level * rng.normal(size=(32, 32))
        order = [known, noise] if seed % 2 else [noise, known]
        row = primary(order, halves(32, splits=50, seed=seed), statistics=SHORT_PANEL[:1])
        found.append(np.isfinite(row.ceiling))
        lax.append(min(row.reliability_a, row.reliability_b) > RELIABLE)
        if not found[-1]:
            assert np.isnan([row.ceiling, row.disjoint, row.disattenuated]).all()
            assert "no ceiling" in row.note
    assert np.mean(found) <= 0.1
    assert np.mean(lax) >= 0.15


def test_only_pearson_of_signed_scores_is_stepped_up():
    for row in compare(study(), [True, True], halves(32), 5):
        assert np.isnan(row.disattenuated) == ((row.statistic, row.version) != ("pearson", "signed"))


def test_unmeasured_components_and_unsigned_methods_are_compared_as_the_panel_does():
    scores = study(methods=3)
    scores[1][:, 3:9] = np.nan
    scores[2] = np.abs(scores[2])
    rows = compare(scores, [True, True, False], halves(32), 5)
    assert [(r.a, r.b) for r in rows] == sorted((r.a, r.b) for r in rows)
    assert {(r.a, r.b): r.n_components for r in rows} == {(0, 1): 34, (0, 2): 40, (1, 2): 34}
    assert {r.version for r in rows if r.b == 2} == {"by_size"}
    assert all(np.isfinite(r.low) for r in rows)


def test_constant_scores_stay_undefined_and_an_undefined_half_undoes_the_interval():
    scores = study()
    assert np.isnan(primary([scores[0], np.ones((32, 40))], halves(32)).value)
    rare = np.zeros((32, 40))
    rare[0, 7] = 1.0  # found on a single pair: every half without it is constant
    row = primary([scores[0], rare], halves(32))
    assert np.isfinite(row.value)
    assert np.isnan([row.low, row.half_same]).all()
    assert "undefined in 100 of 200" in row.note


def test_nothing_measured_in_both_is_undefined():
    a, b = study()
    a[:, :20], b[:, 20:] = np.nan, np.nan
    assert np.isnan(primary([a, b], halves(32)).value)


@pytest.mark.parametrize("ties", [False, True])
def test_kendalls_w_is_friedmans_statistic_over_its_largest(ties):
    m, n = 4, 25
    scores = np.random.default_rng(0).normal(size=(m, n)) + np.linspace(0, 2, n)
    scores = scores.round() if ties else scores
    friedman = stats.friedmanchisquare(*scores.T).statistic / (m * (n - 1))
    assert kendalls_w(scores[:, None])[0] == pytest.approx(friedman)


def test_concordance_is_1_for_one_order_and_has_a_chance_level():
    rng = np.random.default_rng(0)
    order = rng.normal(size=40)
    alike = concordance([np.tile(scale * order, (32, 1)) for scale in (1.0, 2.0, 5.0)], halves(32), "signed")
    assert (alike.w, alike.low, alike.high, alike.n_methods) == (pytest.approx(1), pytest.approx(1), 1, 3)
    found = [concordance(list(rng.normal(size=(3, 16, 40))), halves(16, splits=2), "signed") for _ in range(100)]
    assert np.mean([one.w for one in found]) == pytest.approx(found[0].chance, abs=0.02)
    assert np.isnan(concordance([np.ones((16, 9))] * 2, halves(16), "signed").w)


def test_self_overlap_is_the_top_of_one_half_in_the_other():
    scores, splits = study(noise=0.2)[0], halves(32, splits=5)
    band = self_overlap_band(scores, splits)
    tops = [[set(np.argsort(-abs(scores[half].mean(0)))[:7]) for half in (f, ~f)] for f in splits.first]
    assert band.mean[6] == pytest.approx(np.mean([len(x & y) / 7 for x, y in tops]))
    assert (band.low <= band.high).all()


def test_the_layer_floor_predicts_what_layers_explain_and_nothing_else():
    rng = np.random.default_rng(0)
    layer = np.repeat(np.arange(8), 10)
    by_layer = np.array([0.0, 0, 1, 2, 1, 4, 3, 5])[layer]
    noise = 0.5 * rng.normal(size=(32, 80))
    own = rng.permutation(by_layer)  # the same scores, and nothing that a layer tells
    floors = [
        {(f.statistic, f.version): f.value for f in layer_floor(scores + noise, layer, halves(32), 5)}
        for scores in (by_layer, own)
    ]
    assert floors[0]["pearson", "signed"] > 0.95
    predicted = np.array([own[layer == i].mean() for i in range(8)])[layer]
    assert floors[1]["pearson", "signed"] == pytest.approx(np.corrcoef(own, predicted)[0, 1], abs=0.05)
    refused = layer_floor(by_layer + noise[:8], layer, halves(8), 5)
    assert all(np.isnan(f.value) and "no interval" in f.note for f in refused)


def test_layer_means_of_noise_predict_no_other_half():
    layer = np.repeat(np.arange(8), 10)
    found = []
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(size=(32, 80))
        found.append(layer_floor(scores, layer, halves(32, splits=10), 5, statistics=SHORT_PANEL[:1])[0].value)
    assert abs(np.mean(found)) < 0.05  # with the same half's means it would be about 0.3


def test_the_frontier_holds_who_is_beaten_by_nobody():
    assert on_frontier([1, 1, 2, 9], [0.5, 0.6, 0.6, 0.9]) == [False, True, False, True]
    assert on_frontier([1, 1], [0.5, 0.5]) == [True, True]
    assert on_frontier([np.nan, 5, 1], [0.9, np.nan, 0.1]) == [False, False, True]
