"""The picture of a circuit that forms over training checkpoints."""

from pathlib import Path

import numpy as np

from benchmark.analysis.comparisons import compared
from benchmark.store.folder import Results, record_run
from reports.agreement.formation import STRONGEST, courses, formation, formation_data
from tests.reports.test_reports import HEADS, LAYERS, add_cell, markdown_of


def trained(folder: Path, steps: tuple[int, ...]) -> Results:
    """Scores that grow with the step, in one fixed pattern of heads."""
    pattern = np.random.default_rng(0).normal(size=(1, LAYERS, HEADS)).astype(np.float32)
    for step in steps:
        for name in ("activation-patching", "attribution-patching"):
            noise = np.random.default_rng([step, len(name)]).normal(size=(4, LAYERS, HEADS)).astype(np.float32)
            add_cell(folder, name, model=f"pocket@step-{step}", values=pattern * np.float32(step / 10) + noise)
    record_run(folder, {"asked": {}, "resolved": {}})
    return Results(folder)


def test_checkpoints_become_one_course_in_the_order_of_their_steps(tmp_path: Path) -> None:
    results = trained(tmp_path, (100, 0, 10, 1))
    ((name, course),) = courses(compared(results)).items()
    assert name == ("pocket", "ioi", "logit_diff")
    assert list(course) == [0, 1, 10, 100]


def test_the_lines_are_the_agreement_and_the_strongest_heads_of_the_last_step(tmp_path: Path) -> None:
    results = trained(tmp_path, (0, 1, 10, 100))
    (course,) = courses(compared(results)).values()
    figure = formation(formation_data(course), "logit_diff")
    pearson, overlap, effects = figure.axes[:3]
    (line,) = pearson.lines[:1]
    want = [course[step].of("pearson", "signed").value.item() for step in (0, 1, 10, 100)]
    np.testing.assert_allclose(line.get_ydata(), want)
    assert want[-1] > 0.9 > abs(want[0])
    assert len(overlap.lines) == 2  # one method and the zero line
    final = next(c for c in results.cells if c.model == "pocket@step-100" and c.identity[0] == "activation-patching")
    sizes = np.sort(np.abs(final.values("head").mean(0)).ravel())[::-1][:STRONGEST]
    np.testing.assert_allclose([abs(line.get_ydata()[-1]) for line in effects.lines[:STRONGEST]], sizes, rtol=1e-5)


def test_a_report_shows_it_from_three_checkpoints_on(tmp_path: Path) -> None:
    assert "Over training" not in markdown_of(trained(tmp_path / "few", (0, 100)))
    text = markdown_of(trained(tmp_path / "many", (0, 10, 100)))
    assert "![pocket-ioi-formation]" in text
    assert "figures/pocket-ioi-formation.png" in text
