"""Claims about the report of the baselines experiment, on results folders written by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.comparisons import Comparisons, compared
from benchmark.analysis.matched_baselines import Experiment, experiments
from benchmark.components import BASELINES
from benchmark.statistics.matched_baselines import Estimate
from benchmark.store.folder import Results, record_run
from reports.baselines.section import summary
from reports.baselines.tables import matching_table
from reports.baselines.words import together_words
from reports.report import write_report
from tests.fixtures import undrawn
from tests.reports.test_reports import HEADS, LAYERS, add_cell, contents_of, markdown_of

PAIRS = 24
OWN = {"ioi-head-baselines-map.png", "sva2-head-baselines-map.png"}  # no other report has such pictures
OPTIONS = {"integrated-gradients": {"steps": 8, "path": "site"}}
LABELS = {"integrated-gradients": "integrated-gradients:steps=8"}
NAMES = ("activation-patching", "integrated-gradients", "attribution-patching")


def scores(task: str, name: str, baseline: str, pairs: int, noise: float = 0.5) -> np.ndarray:
    """What all share, what each baseline adds to both methods, and noise."""
    shared = np.random.default_rng(len(task)).normal(size=(LAYERS, HEADS))
    own = np.random.default_rng([9, *baseline.encode()]).normal(size=(LAYERS, HEADS))
    rng = np.random.default_rng([*name.encode(), *baseline.encode(), len(task)])
    return (shared + own + noise * rng.normal(size=(pairs, LAYERS, HEADS))).astype(np.float32)


def add(folder: Path, task: str, name: str, baseline: str, pairs: int = PAIRS, values=None, **changes) -> None:
    given = {"options": OPTIONS.get(name, {}), "label": LABELS.get(name, name)} | changes
    values = scores(task, name, baseline, pairs) if values is None else values
    add_cell(folder, name, task=task, n_pairs=pairs, replacement=baseline, values=values, **given)


def grid(folder: Path, tasks=("ioi", "sva2"), names=NAMES, **changes) -> Path:
    record_run(folder, {"asked": {}, "resolved": {}})
    for task in tasks:
        for name in names:
            for baseline in BASELINES:
                add(folder, task, name, baseline, **changes)
    return folder


def found(folder: Path) -> list[Experiment]:
    return experiments(compared(Results(folder), tested=False))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grid(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def parts(folder: Path) -> list[Comparisons]:
    return compared(Results(folder), tested=False)


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    with undrawn(OWN):
        return write_report(Results(folder), folder / "report").parent


def test_the_effect_of_matching_is_that_of_the_stored_scores(parts: list[Comparisons]) -> None:
    one = experiments(parts)[0]
    assert [(m.cell.key.method.name, m.cell.identity[2]) for m in one.part.methods] == [
        (name, baseline) for name in NAMES[:2] for baseline in BASELINES
    ]
    means = [scores("ioi", name, baseline, PAIRS).mean(0).ravel() for name in NAMES[:2] for baseline in BASELINES]
    r = np.corrcoef(means)
    matched = np.mean([r[b, 3 + b] for b in range(3)])
    unmatched = np.mean([r[a, 3 + b] for a in range(3) for b in range(3) if a != b])
    effect = one.matching["matching"]
    assert effect.value == pytest.approx(matched - unmatched, abs=1e-6)
    assert 0 < effect.low < effect.value < effect.high


def test_the_six_by_six_matrix_holds_every_agreement_with_its_interval(report: Path, folder: Path) -> None:
    means = [scores("ioi", name, baseline, PAIRS).mean(0).ravel() for name in NAMES[:2] for baseline in BASELINES]
    r = np.corrcoef(means)
    blocks = json.loads((report / "report.json").read_text())["blocks"]
    assert {block.get("stem") for block in blocks} >= {"ioi-head-baselines", "ioi-head-baselines-map"}
    data = pd.read_csv(report / "tables" / "ioi-head-baselines.csv")
    assert len(data) == 2 * 15
    values = data[data.statistic == "pearson"].value.to_numpy()
    assert values == pytest.approx(r[np.triu_indices(6, 1)], abs=1e-6)
    assert ((data.low <= data.value) & (data.value <= data.high)).all()
    text = (report / "report.md").read_text()
    row = next(
        line for line in text.splitlines() if line.startswith("| integrated-gradients:steps=8 [counterfactual] (4) ")
    )
    assert row.split(" | ")[1].startswith(f"{r[3, 0]:.2f} [")
    assert row.split(" | ")[4] == "1"
    assert (report / "figures" / "ioi-head-baselines-map.png").is_file()


def test_all_tasks_stand_side_by_side_with_their_curvature_and_interactions(report: Path) -> None:
    matching = pd.read_csv(report / "tables" / "baselines-head-matching.csv")
    assert set(matching.task) == {"ioi", "sva2"}
    assert set(matching.statistic) == {"pearson", "top_k_overlap"}
    parting = pd.read_csv(report / "tables" / "baselines-head-parting.csv").set_index(["task", "baseline", "quantity"])
    exact, path, first = (scores("ioi", name, "zero", PAIRS).mean(0, dtype=np.float64) for name in NAMES)
    size = np.sqrt((exact**2).mean())
    assert parting.value["ioi", "zero", "curvature"] == pytest.approx(np.sqrt(((first - exact) ** 2).mean()) / size)
    assert parting.value["ioi", "zero", "interactions"] == pytest.approx(np.sqrt(((path - exact) ** 2).mean()) / size)
    shares = [parting.value["ioi", "zero", f"{name}_share"] for name in ("curvature", "interactions", "covariance")]
    assert sum(shares) == pytest.approx(1)


def test_the_report_and_the_terminal_state_the_result_in_the_same_words(report: Path, folder: Path) -> None:
    words = summary(Results(folder))
    assert "Over the heads of pocket on 2 tasks" in words
    assert "above 0 in 2 of 2" in words
    assert words in (report / "report.md").read_text()


def test_a_folder_without_the_whole_grid_has_no_experiment(tmp_path: Path) -> None:
    grid(tmp_path, ("ioi",), ("activation-patching", "attribution-patching"))
    for baseline in BASELINES[:2]:
        add(tmp_path, "ioi", "integrated-gradients", baseline)
    for baseline in BASELINES:
        joint = {"steps": 8, "path": "joint"}
        add(tmp_path, "ioi", "integrated-gradients", baseline, label="joint", options=joint)
    assert found(tmp_path) == []
    assert summary(Results(tmp_path)) == ""
    assert "matched baselines" not in markdown_of(Results(tmp_path))


def test_without_attribution_patching_the_reasons_are_left_out_and_of_two_step_counts_the_larger_is_taken(
    tmp_path: Path,
) -> None:
    grid(tmp_path, ("ioi",), NAMES[:2])
    for baseline in BASELINES:
        add(
            tmp_path,
            "ioi",
            "integrated-gradients",
            baseline,
            label="more",
            options={"steps": 32, "path": "site"},
            values=scores("other", "more", baseline, PAIRS),
        )
    [one] = found(tmp_path)
    assert [method.cell.identity[0] for method in one.part.methods[3:]] == ["more"] * 3
    assert one.partings == {}
    assert "Curvature" not in together_words([one])
    assert not [block for block in contents_of(Results(tmp_path)) if "parting" in getattr(block, "stem", "")]


def test_only_components_that_activation_patching_measured_count(tmp_path: Path) -> None:
    grid(tmp_path, ("ioi",), NAMES[1:])
    for baseline in BASELINES:
        values = scores("ioi", "activation-patching", baseline, PAIRS)
        values[:, 1:] = np.nan
        add(tmp_path, "ioi", "activation-patching", baseline, values=values)
    [one] = found(tmp_path)
    assert set(one.part.rows.n_components) == {HEADS}
    assert one.partings["mean"].n_components == HEADS


def verdicts(tasks: list[Experiment]) -> list[str]:
    return list(matching_table(tasks, "stem").shown["so matching is"])


def test_few_pairs_give_no_verdict(tmp_path: Path) -> None:
    [one] = found(grid(tmp_path, ("ioi",), pairs=6))
    assert "(no interval: 6 pairs" in together_words([one])
    assert "take it as a first look" in together_words([one])
    assert "above 0" not in together_words([one])
    assert verdicts([one]) == ["-", "-"]


@pytest.mark.parametrize(
    ("estimate", "verdict", "words"),
    [
        (Estimate(0.2, 0.1, 0.3), "above 0", "above 0 in 1 of 1"),
        (Estimate(-0.2, -0.3, -0.1), "below 0", "below 0 in 1 of 1"),
        (Estimate(0.2, -0.1, 0.5), "not told from 0", "not told from 0 in 1 of 1"),
        (Estimate(0.004, 0.002, 0.006), "within 0.01 of 0", "within 0.01 of 0 in 1 of 1"),
        (Estimate(0.2, note="few"), "-", "(few: take it as a first look)"),
        (Estimate(np.nan, note="undefined: constant"), "-", "is undefined: undefined: constant"),
    ],
)
def test_the_verdict_follows_the_interval(
    parts: list[Comparisons], estimate: Estimate, verdict: str, words: str
) -> None:
    one = experiments(parts)[0]
    one.matching["matching"] = estimate
    assert verdicts([one])[0] == verdict
    assert words in together_words([one])


def test_the_statement_says_where_integrals_had_not_converged(tmp_path: Path) -> None:
    folder = grid(tmp_path, names=("activation-patching", "attribution-patching"))
    for task in ("ioi", "sva2"):
        for baseline, missing in zip(BASELINES, (0.1, 0.3 if task == "ioi" else 0.1, 4.0), strict=True):
            add(folder, task, "integrated-gradients", baseline, missing=missing)  # of a gap of 4
    words = together_words(found(folder))
    assert f"had not converged ({BASELINES[1]} on 1, {BASELINES[2]} on 2 of 2 tasks)" in words


def test_the_statement_is_silent_where_all_integrals_had_converged(parts: list[Comparisons]) -> None:
    assert "converged" not in together_words(experiments(parts))
