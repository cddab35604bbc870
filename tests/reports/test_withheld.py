"""Claims about what a report holds back, and says that it does: intervals, p-values, costs, verified samples."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.behaviour import only_rounding
from benchmark.analysis.comparisons import Comparisons, compared, primary
from benchmark.analysis.evidence import evidence
from benchmark.analysis.frontier import frontier_data
from benchmark.analysis.matched_baselines import experiments
from benchmark.analysis.sections import sections
from benchmark.components import BASELINES
from benchmark.running.runner import run
from benchmark.statistics.sampling import draw, stratify
from benchmark.store.cell import PairFacts, Rows
from benchmark.store.folder import Results, read_cell, record_run, write_cell
from reports.agreement.figures import frontier_picture, pictures
from reports.agreement.forest import forest, forest_data
from reports.agreement.frontier import frontier_words
from reports.agreement.overview import overview, overview_data
from reports.agreement.tables import reference_table
from reports.baselines.words import together_words
from reports.contents import contents
from reports.terminal import terminal_summary
from reports.writing.blocks import flat
from tests.reports import test_baseline_report as baselines
from tests.reports.test_reports import add_cell, scores

PAIRS = 24


def strong(name: str, pairs: int = PAIRS, place: int = 7) -> np.ndarray:
    """Scores of which one pair holds nearly all."""
    values = scores(name, pairs)
    values[place] += 5000 * np.random.default_rng(5).normal(size=values.shape[1:]).astype(np.float32)
    return values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    for name in ("activation-patching", "integrated-gradients"):
        add_cell(tmp_path, name, n_pairs=PAIRS)
    return tmp_path


def texts(folder: Path) -> dict[str, str]:
    """What the report says in words, by the stem of the table or picture; paragraphs under ``."""
    results = Results(folder)
    found: dict[str, str] = {}
    for block in flat(contents(results, compared(results))[0]):
        stem = getattr(block, "stem", "")
        words = f"{block.caption} {block.note} {block.facts}" if stem else getattr(block, "text", "")  # type: ignore[union-attr]
        found[stem] = f"{found.get(stem, '')}\n{words}"
    return found


def test_where_one_pair_decides_every_caption_the_forest_and_the_terminal_say_so(folder: Path) -> None:
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=strong("attribution-patching"))
    said = (
        "One pair decides on heads, and no interval is given: pair ioi-7 holds 100% of the mean scores of attribution-"
    )
    found = texts(folder)
    for stem in (
        "",
        "all-head-agreement",
        "all-head-forest",
        "ioi-head-reference",
        "ioi-head-panel",
        "ioi-head-agreement",
    ):
        assert said in found[stem], stem
    assert f"  ! {said}" in terminal_summary(Results(folder))
    [part] = compared(Results(folder))
    [row] = overview([part], evidence(Results(folder), [part]), "x").shown.to_dict("records")
    assert re.fullmatch(r"-?\d\.\d\d †", row["attribution-patching"])
    assert re.fullmatch(r"\d\.\d\d \[.*\]", row["integrated-gradients"])
    table = reference_table(part, "x")
    assert "no interval" not in table.facts.replace(said, "")  # said once, not for each method again
    assert table.shown.set_index("method")["largest share"]["attribution-patching"] == "1.00"
    markers = [[line.get_marker() for line in axis.lines] for axis in forest(forest_data([part])).axes]
    assert [of.count("x") for of in markers] == [1]


def test_a_cluster_that_decides_is_called_one(folder: Path) -> None:
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=strong("attribution-patching"))
    for cell in Results(folder).cells:
        write_cell(folder, replace(cell, pairs=tuple(PairFacts(f"ioi-{i}", "t", f"c{i // 2}") for i in range(PAIRS))))
    words = terminal_summary(Results(folder))
    assert "One pair or one cluster of pairs decides on heads" in words
    assert "the 2 pairs with ioi-6 hold 100% of the mean scores of attribution-patching." in words


def test_with_too_few_pairs_that_is_the_reason_and_no_pair_is_blamed(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    for name in ("activation-patching", "attribution-patching"):
        add_cell(tmp_path, name, n_pairs=8, values=strong(name, 8))
    assert "decides" not in "".join(texts(tmp_path).values()) + terminal_summary(Results(tmp_path))


def test_a_note_names_the_method_and_not_its_column(folder: Path) -> None:
    noise = np.random.default_rng(3).normal(size=(PAIRS, 4, 5)).astype(np.float32)
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=noise)
    [part] = compared(Results(folder))
    assert "no ceiling: the scores of attribution-patching are not told from noise" in reference_table(part, "x").facts


def test_the_baselines_experiment_names_the_tasks_where_one_pair_decides_and_leaves_them_out_of_its_ranges(
    tmp_path: Path,
) -> None:
    baselines.grid(tmp_path, ("ioi", "sva2"))
    whole = together_words(experiments(compared(Results(tmp_path), tested=False)))
    assert "decides" not in whole
    for baseline in BASELINES:
        values = baselines.scores("sva2", "activation-patching", baseline, PAIRS)
        values[3] = 300 * np.random.default_rng(2).normal(size=values.shape[1:])
        baselines.add(tmp_path, "sva2", "activation-patching", baseline, values=values)
    found = experiments(compared(Results(tmp_path), tested=False))
    words = together_words(found)
    assert "One pair decides in 1 of 2 tasks: sva2. What has no interval is in no range here." in words
    assert "above 0 in 1, without an interval in 1 of 2" in words
    matched = next(one for one in found if one.section.short == "ioi").matching["matched"].value
    assert f"agree at {matched:.2f} (mean Pearson" in words
    assert [one.decided for one in found] == [False, True]


def test_the_family_of_p_values_counts_no_comparison_without_one(folder: Path) -> None:
    assert compared(Results(folder))[0].family == 1
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=np.ones((PAIRS, 4, 5), np.float32))
    [part] = compared(Results(folder))
    assert part.family == 1
    [row] = [primary(rows) for method, _, rows in part.against_reference if method.label == "attribution-patching"]
    assert np.isnan(row["p_free"])
    assert "adjusted by Holm over the 1 p-values" in texts(folder)["all-head-agreement"]


def test_a_p_that_no_permutation_reached_is_shown_as_a_bound(folder: Path) -> None:
    noise = np.random.default_rng(3).normal(size=(PAIRS, 4, 5)).astype(np.float32)
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=noise)
    [part] = compared(Results(folder))
    table, data = reference_table(part, "x"), overview_data([part]).set_index("method")
    shown = table.shown.set_index("method")
    [main] = [primary(rows) for method, _, rows in part.against_reference if method.label == "integrated-gradients"]
    assert main["p_within_layer"] == 1 / (1 + main["permutations"])
    assert shown["p, within layers"]["integrated-gradients"] == f"<= {2 / (1 + main['permutations']):.3f}"
    assert (
        shown["p, within layers"]["attribution-patching"] == f"{data.p_within_layer_holm['attribution-patching']:.3f}"
    )
    assert table.numeric()[list(table.shown.columns).index("p, within layers")]


def test_a_map_of_more_methods_than_have_room_for_intervals_says_where_these_are(folder: Path) -> None:
    for number in range(4):
        add_cell(folder, "random", n_pairs=PAIRS, seed=number, label=f"random:{number}", options={"n": number})
    for more, has_room in ((0, True), (1, False)):
        for number in range(more):
            add_cell(folder, "attribution-patching", n_pairs=PAIRS, seed=number)
        [part] = compared(Results(folder))
        [picture] = [one for one in pictures(part, "x") if one.stem == "x-agreement"]
        small = [text for axis in picture.draw().axes for text in axis.texts if " to " in text.get_text()]
        assert bool(small) == has_room == ("Brackets" in picture.facts) == ("agreement.csv" not in picture.caption)


def test_no_dot_of_the_forest_lies_outside_its_axis(folder: Path) -> None:
    data = forest_data(compared(Results(folder)))
    data.loc[0, ["disjoint", "value"]] = 1.4, -0.7
    axis = forest(data).axes[0]
    low, high = axis.get_xlim()
    assert low < -0.7
    assert high > 1.4


def cost(path: Path, forward: float, backward: float, whole: float | None) -> None:
    cell = read_cell(path)
    spent = {"passes": Rows(forward * PAIRS, backward * PAIRS), "whole_forwards": whole and whole * PAIRS}
    write_cell(path.parents[3], replace(cell, provenance=replace(cell.provenance, seconds=1.0, **spent)))


def frontier(folder: Path) -> tuple[pd.DataFrame, list[Comparisons]]:
    parts = compared(Results(folder))
    return frontier_data(parts), parts


def test_the_frontier_counts_whole_forwards_where_all_cells_store_them_and_says_so(folder: Path) -> None:
    for name, forward, whole in (("activation-patching", 90, 30), ("integrated-gradients", 20, 19)):
        cost(add_cell(folder, name, n_pairs=PAIRS), forward, 5, whole)
    data, parts = frontier(folder)
    assert data.set_index("method").passes.to_dict() == {"activation-patching": 35, "integrated-gradients": 24}
    picture = frontier_picture(data, parts, "x")
    assert "Passes are whole forwards and backward rows" in picture.facts
    assert picture.draw().axes[0].get_xlabel() == "whole forwards + backward, a pair"
    cost(add_cell(folder, "attribution-patching", n_pairs=PAIRS), 4, 1, None)
    data, parts = frontier(folder)
    assert set(data.passes) == {95, 25, 5}
    assert "Passes are forward and backward rows of a batch" in frontier_words(data)


def test_scores_from_elsewhere_cost_nobody_knows_what_and_are_on_no_frontier(folder: Path) -> None:
    for name in ("activation-patching", "integrated-gradients"):
        cost(add_cell(folder, name, n_pairs=PAIRS), 90, 5, 50)
    cost(add_cell(folder, "external", n_pairs=PAIRS, label="external:mine", elsewhere=True), 2, 0, 2)
    data, parts = frontier(folder)
    row = data.set_index("method").loc["external:mine"]
    assert np.isnan(row.passes)
    assert not row.on_frontier_by_passes
    assert not row.on_frontier_by_seconds
    assert "The cost of external:mine is unknown" in frontier_words(data)
    names = [text.get_text() for text in frontier_picture(data, parts, "x").draw().legends[0].get_texts()]
    assert names == ["activation-patching", "integrated-gradients"]


def test_a_verified_sample_stands_in_no_overview_and_has_no_p_value(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    known = np.random.default_rng(0).standard_t(3, (1, 3, 200)).astype(np.float32).repeat(PAIRS, axis=0)
    label = "activation-patching:neurons=verified:budget=80"
    target = add_cell(tmp_path, "activation-patching", n_pairs=PAIRS, label=label, kinds=["neuron"], values=known)
    add_cell(tmp_path, "attribution-patching", n_pairs=PAIRS, kinds=["neuron"], values=known + 0.1)
    cell = read_cell(target)
    [whole] = compared(Results(tmp_path))
    assert whole.against_whole
    cell.arrays["neuron.stratum"] = stratum = stratify(known[0], 80)
    cell.arrays["neuron.values"] = np.where(draw(stratum, 0) > 0, known, np.nan).astype(np.float32)
    write_cell(tmp_path, cell)
    [part] = compared(Results(tmp_path))
    assert part.against_whole == []
    assert part.family == 0
    assert part.rows.p_free.isna().all()
    found = texts(tmp_path)
    assert not [stem for stem in found if stem.startswith("all-")]
    assert f"{label} measured a sample of the neurons" in found[""]
    assert "p: the primary" not in found["ioi-neuron-reference"]
    assert [stem for stem in found if stem.endswith("-estimates")]
    assert f"  ! {label}: agreement with it below is over the neurons that it measured" in terminal_summary(
        Results(tmp_path)
    )


def test_scores_that_are_rounding_are_called_so(tmp_path: Path) -> None:
    """kl is at its largest at the clean prompt, where its slope is 0."""
    asked: dict[str, Any] = {"tasks": ("ioi",), "components": ("head",), "pairs": 2, "device": "cpu", "metric": "kl"}
    run("pocket", tmp_path, methods=("activation-patching", "attribution-patching", "integrated-gradients"), **asked)
    [section] = sections(Results(tmp_path))
    [said] = only_rounding(section)
    assert said.startswith("attribution-patching gives heads at most")
    assert said in terminal_summary(Results(tmp_path))
