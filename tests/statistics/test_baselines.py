"""Claims about the baselines experiment's statistics, on known grids and on a model without curvature."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.cli import main
from benchmark.components import BASELINES
from benchmark.running.plugins import load_method
from benchmark.statistics.agreement import statistic
from benchmark.statistics.inference import compare, halves
from benchmark.statistics.matched_baselines import contrasts, parting
from benchmark.store.folder import Results
from tests.tiny import PAIRS, linear_model, tiny_pairs

PEARSON, TOP = statistic("pearson", "signed"), statistic("top_k_overlap", "by_size")
FEW, MANY = halves(4), halves(32)
COMPONENTS = 12


def constant(six: np.ndarray, pairs: int = 4) -> np.ndarray:
    """The same scores on every pair: `[method, baseline, component]` becomes a grid."""
    return np.repeat(six[:, :, None], pairs, axis=2)


def noisy(seed: int = 0, pairs: int = 32, noise: float = 1.0) -> np.ndarray:
    """What all six share, what each baseline adds, what each method adds, and noise from pair to pair."""
    rng = np.random.default_rng(seed)
    truth, method, baseline = (rng.normal(size=shape) for shape in ((1, 1, 30), (2, 1, 30), (1, 3, 30)))
    return (truth + 0.3 * method + 0.7 * baseline)[:, :, None] + noise * rng.normal(size=(2, 3, pairs, 30))


def by_hand(grid: np.ndarray) -> dict[str, float]:
    """The contrasts, cell by cell."""
    means = grid.mean(axis=2)

    def r(m: int, a: int, n: int, b: int) -> float:
        return float(stats.pearsonr(means[m, a], means[n, b]).statistic)

    matched = np.mean([r(0, b, 1, b) for b in range(3)])
    unmatched = np.mean([r(0, a, 1, b) for a, b in product(range(3), repeat=2) if a != b])
    within = [np.mean([r(m, 0, m, 1), r(m, 0, m, 2), r(m, 1, m, 2)]) for m in (0, 1)]
    pairs = {
        f"matching, {BASELINES[a]} and {BASELINES[b]}": (r(0, a, 1, a) + r(0, b, 1, b) - r(0, a, 1, b) - r(0, b, 1, a))
        / 2
        for a, b in ((0, 1), (0, 2), (1, 2))
    }
    return pairs | {
        "matched": matched,
        "unmatched": unmatched,
        "matching": matched - unmatched,
        "within activation patching": within[0],
        "within integrated gradients": within[1],
        "same method": np.mean(within),
        "method": np.mean(within) - unmatched,
        "matching less method": matched - np.mean(within),
    }


def test_every_contrast_is_what_it_is_cell_by_cell() -> None:
    grid = noisy()
    found = contrasts(grid, MANY, PEARSON, 5)
    expected = by_hand(grid)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
        assert found[name].low < value < found[name].high, name


def test_scores_that_know_only_their_baseline_give_the_full_effect_of_matching() -> None:
    """Three uncorrelated baselines: matched cells agree at 1, all others at 0."""
    columns = np.linalg.qr(np.c_[np.ones(COMPONENTS), np.random.default_rng(0).normal(size=(COMPONENTS, 3))])[0]
    six = np.repeat(columns[:, 1:].T[None], 2, axis=0)
    found = contrasts(constant(six), FEW, PEARSON, 3)
    ones = ("matched", "matching", "matching less method")
    for name, estimate in found.items():
        expected = float(name in ones or name.startswith("matching, "))
        assert estimate.value == pytest.approx(expected, abs=1e-12), name


def test_scores_that_know_only_their_method_give_no_effect_of_matching() -> None:
    columns = np.linalg.qr(np.c_[np.ones(COMPONENTS), np.random.default_rng(0).normal(size=(COMPONENTS, 2))])[0]
    six = np.repeat(columns[:, 1:].T[:, None], 3, axis=1)
    found = contrasts(constant(six), FEW, PEARSON, 3)
    values = {name: round(estimate.value, 9) for name, estimate in found.items()}
    assert values["same method"] == values["method"] == 1
    assert values["matched"] == values["unmatched"] == values["matching"] == 0
    assert values["matching less method"] == -1


def test_a_baseline_that_is_only_noisier_is_no_effect_of_matching() -> None:
    """Zero's scores carry noise of their own in both methods: its agreements fall, matched or not."""
    rng = np.random.default_rng(0)
    n = 200_000
    truth = rng.normal(size=n)
    noise = np.array([0.1, 2.0, 0.1])[None, :, None]
    six = truth + noise * rng.normal(size=(2, 3, n))
    found = contrasts(constant(six, 2), halves(2), PEARSON, 5)
    assert stats.pearsonr(six[0, 0], six[1, 1]).statistic < 0.5  # zero is odd indeed
    # cells agree at 1 / (s_a s_b), so a pair of baselines keeps (1/s_a - 1/s_b)^2 / 2 and no more
    s = np.sqrt(1 + noise.ravel() ** 2)
    expected = np.mean([(1 / s[a] - 1 / s[b]) ** 2 / 2 for a, b in ((0, 1), (0, 2), (1, 2))])
    assert found["matching"].value == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("measure", [PEARSON, TOP])
def test_matching_is_the_mean_of_its_pairs_of_baselines_and_an_interval_is_over_shared_draws(measure) -> None:
    grid = noisy(noise=3.0)
    found = contrasts(grid, MANY, measure, 5)
    pairs = [estimate.value for name, estimate in found.items() if name.startswith("matching, ")]
    assert len(pairs) == 3
    assert found["matching"].value == pytest.approx(np.mean(pairs))
    assert found["matching"].value == pytest.approx(found["matched"].value - found["unmatched"].value)
    shared = np.repeat(grid[:1], 2, axis=0)[:, [0, 0, 0]]  # six copies of one method: they part in no draw
    copies = contrasts(shared, MANY, measure, 5)
    assert copies["matched"].value == pytest.approx(1)
    assert (copies["matching"].low, copies["matching"].high) == pytest.approx((0, 0), abs=1e-12)


def test_a_cell_and_its_interval_are_those_of_every_other_table() -> None:
    """With one couple in a mean, the contrast is the comparison of `statistics.inference`."""
    grid = noisy()
    grid[:, 1:] = grid[:, :1]  # so that the three matched couples are one
    rows = compare([grid[0, 0], grid[1, 0]], [True, True], MANY, 5, statistics=[PEARSON])
    found = contrasts(grid, MANY, PEARSON, 5)["matched"]
    assert (found.value, found.low, found.high) == pytest.approx((rows[0].value, rows[0].low, rows[0].high))


def test_an_interval_of_the_effect_covers_the_mean_of_many_studies() -> None:
    studies = [contrasts(noisy_study(seed), MANY, PEARSON, 5)["matching"] for seed in range(120)]
    target = np.mean([one.value for one in studies])
    covered = np.mean([one.low <= target <= one.high for one in studies])
    assert 0.88 <= covered <= 1.0
    assert np.mean([one.high - one.low for one in studies]) < 8 * np.std([one.value for one in studies])


def noisy_study(seed: int) -> np.ndarray:
    """One study of a population that stays the same: only the pairs are drawn anew."""
    rng = np.random.default_rng(1)
    truth, method, baseline = (rng.normal(size=shape) for shape in ((1, 1, 30), (2, 1, 30), (1, 3, 30)))
    shared = np.random.default_rng([2, seed]).normal(size=(1, 1, 32, 30))  # methods see the same prompts
    own = np.random.default_rng([3, seed]).normal(size=(2, 3, 32, 30))
    return (truth + 0.5 * method + 0.7 * baseline)[:, :, None] + 2 * shared + own


def test_few_pairs_give_a_value_without_an_interval_and_say_why() -> None:
    found = contrasts(noisy(pairs=6), halves(6), PEARSON, 5)["matching"]
    assert np.isfinite(found.value)
    assert np.isnan([found.low, found.high]).all()
    assert "6 pairs" in found.note


def test_only_components_measured_by_all_six_count_and_constant_scores_are_undefined() -> None:
    grid = noisy()
    holes = grid.copy()
    holes[0, 1, :, :4] = np.nan
    found, kept = contrasts(holes, MANY, PEARSON, 5), contrasts(grid[..., 4:], MANY, PEARSON, 5)
    assert found["matching"] == kept["matching"]
    grid[1, 2] = 1.0
    found = contrasts(grid, MANY, PEARSON, 5)
    assert np.isnan(found["matching"].value)
    assert "undefined" in found["matching"].note
    assert np.isfinite(found["matching, counterfactual and zero"].value)


def known_parting(pairs: int = 32, noise: float = 0.0) -> tuple[np.ndarray, ...]:
    """C = (1, -1, 1, -1), I = (2, 2, -2, -2) about scores of size 10: uncorrelated, Var(C) = 1, Var(I) = 4."""
    exact = np.array([10.0, 10.0, 10.0, -10.0])
    c, i = np.array([1.0, -1.0, 1.0, -1.0]), np.array([2.0, 2.0, -2.0, -2.0])
    rng = np.random.default_rng(0)
    return tuple(x + noise * rng.normal(size=(pairs, 4)) for x in (exact, exact + c, exact + i))


def test_curvature_and_interactions_of_a_case_worked_by_hand() -> None:
    found = parting(*known_parting(), MANY)
    assert found.size.value == pytest.approx(10)
    assert found.curvature.value == pytest.approx(0.1)
    assert found.interactions.value == pytest.approx(0.2)
    assert found.excess.value == pytest.approx(0.1)
    assert found.difference.value == pytest.approx(np.sqrt(5) / 10)
    shares = (found.curvature_share.value, found.interactions_share.value, found.covariance_share.value)
    assert shares == pytest.approx((0.2, 0.8, 0), abs=1e-12)
    assert found.correlation.value == pytest.approx(0, abs=1e-12)
    assert found.n_components == 4


def test_the_shares_sum_to_one_and_the_correlation_is_scipys() -> None:
    exact, first, path = (noisy(seed)[0, 0] for seed in (1, 2, 3))
    found = parting(exact, first, path, MANY)
    c, i = (first - exact).mean(axis=0), (path - exact).mean(axis=0)
    assert found.curvature_share.value == pytest.approx(np.var(c) / np.var(c - i))
    assert found.covariance_share.value == pytest.approx(-2 * np.cov(c, i, ddof=0)[0, 1] / np.var(c - i))
    assert sum(vars(found)[f"{name}_share"].value for name in ("curvature", "interactions", "covariance")) == (
        pytest.approx(1)
    )
    assert found.correlation.value == pytest.approx(stats.pearsonr(c, i).statistic)
    assert found.curvature.low < found.curvature.value < found.curvature.high


def test_scores_that_part_by_nothing_have_sizes_of_zero_and_no_shares() -> None:
    exact = noisy()[0, 0]
    found = parting(exact, exact, exact * (1 + 1e-8), MANY)
    assert found.curvature.value == 0
    assert found.interactions.value < 1e-7
    assert np.isnan([found.curvature_share.value, found.covariance_share.value, found.correlation.value]).all()
    assert "rounding" in found.correlation.note
    assert parting(exact[:6], exact[:6] * 2, exact[:6], halves(6)).curvature.value == pytest.approx(1)


@pytest.mark.parametrize("replacement", BASELINES)
def test_a_layer_that_acts_linearly_on_the_metric_has_neither_curvature_nor_interactions(replacement: str) -> None:
    """The heads of the linear model's last layer; below them attention and ReLU bend the way, and C isn't 0."""
    model = linear_model()
    pairs = tiny_pairs(model, PAIRS[:2])
    names = {"activation-patching": {}, "attribution-patching": {}, "integrated-gradients": {"steps": 4}}
    scores = [
        load_method(name, **options).scores(model, pairs, ("head",), replacement)["head"].values.numpy()
        for name, options in names.items()
    ]
    last = parting(*(values[:, 1] for values in scores), FEW)
    assert last.size.value > 1e-2
    assert max(last.curvature.value, last.interactions.value) < 1e-5
    first = parting(*(values[:, 0] for values in scores), FEW)
    assert first.curvature.value > 1e-3


@pytest.mark.usefixtures("without_pictures")
def test_the_command_runs_the_grid_and_says_what_it_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [
        f"PromptPair({p.clean!r}, {p.corrupted!r}, {p.correct!r}, {p.incorrect!r}, split={split!r})"
        for p, split in [*((p, "evaluation") for p in PAIRS[:4]), (PAIRS[4], "discovery")]
    ]
    plugin = tmp_path / "t.py"
    plugin.write_text(
        "from benchmark import PromptPair, Task, logit_diff\n"
        f"t = Task('tiny', 'Tiny', logit_diff, 'Tiny.', prompt_pairs=[{', '.join(pairs)}])\n"
    )
    out = tmp_path / "r"
    asked = ["baselines", "--model", str(folder), "--task", "tiny", "--plugin", str(plugin), "--out", str(out)]
    asked += ["--device", "cpu", "--steps", "3", "--components", "neuron"]
    assert main([*asked, "--dry-run"]) == 0
    assert not out.exists()
    assert main(asked) == 0
    printed = capsys.readouterr().out
    assert "activation patching and integrated gradients agree at" in printed
    assert "no interval: 4 pairs" in printed
    cells = Results(out).cells
    assert {cell.identity for cell in cells} == {
        (name, "noising", baseline)
        for name in ("activation-patching:neurons=0", "integrated-gradients:steps=3", "attribution-patching")
        for baseline in BASELINES
    }
    assert all(np.isfinite(cell.values("neuron")).all() for cell in cells)
    assert (out / "report" / "tables" / "baselines-neuron-parting.csv").is_file()
