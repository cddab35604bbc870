"""Claims about what a report says of the cost to find the true top, and of how often components are in tops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis.comparisons import compared
from benchmark.analysis.evidence import evidence
from benchmark.analysis.finding import finding_data
from benchmark.analysis.frontier import frontier_data
from benchmark.analysis.inclusion import inclusion_data
from benchmark.statistics.finding import cost_to_find
from benchmark.store.cell import PairFacts, Rows
from benchmark.store.folder import Results, read_cell, record_run, write_cell
from reports.agreement.figures import frontier_picture
from reports.agreement.inclusion import MOST_DRAWN, drawn_components
from reports.agreement.overview import overview
from reports.contents import contents
from reports.writing.blocks import Leaf, Paragraph, Picture, Table, flat
from tests.reports.test_reports import HEADS, LAYERS, METHODS, add_cell, scores

PAIRS = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    for name in METHODS:
        add_cell(tmp_path, name, n_pairs=PAIRS)
    return tmp_path


def blocks(folder: Path) -> list[Leaf]:
    return list(flat(contents(Results(folder), compared(Results(folder)))[0]))


def stems(found: list[Leaf]) -> dict[str, Table | Picture]:
    return {block.stem: block for block in found if isinstance(block, Table | Picture)}


def words(found: list[Leaf]) -> str:
    return "\n".join(block.text for block in found if isinstance(block, Paragraph))


def test_the_table_holds_each_methods_cost_beside_a_random_orders_and_the_picture_its_curve(folder: Path) -> None:
    found = stems(blocks(folder))
    table, picture = found["all-head-finding"], found["all-head-finding-curves"]
    means = {name: scores(name, PAIRS).mean(0, dtype=float).ravel() for name in METHODS}
    wanted = {name: cost_to_find(means[name], means["activation-patching"]) for name in METHODS}
    rows = table.data.set_index("method")
    assert list(rows.index) == ["attribution-patching", "random", "activation-difference"]
    for name, row in rows.iterrows():
        assert row.cost == pytest.approx(wanted[name].cost(5))
        assert (row["first"], row["all"], row.k) == (wanted[name].patches[0], wanted[name].patches[4], 5)
        assert row.chance == rows.chance.iloc[0] > 3
        curve = picture.data[picture.data.method == name]
        assert curve.patches.to_numpy() == pytest.approx(wanted[name].patches)
    assert isinstance(picture, Picture)
    figure = picture.draw()
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    assert drawn["random"].get_ydata() == pytest.approx(wanted["random"].patches)
    assert list(drawn["perfect"].get_ydata()) == [*range(1, LAYERS * HEADS + 1)]
    assert figure.legends[0].get_window_extent().x0 >= 0  # of one task, so that the picture is narrow


def test_own_cost_is_in_patches_of_the_references_cell(folder: Path) -> None:
    passes = {"activation-patching": (80.0, 0), "attribution-patching": (32.0, 16), "activation-difference": (32.0, 0)}
    for name, (whole, backward) in passes.items():
        cell = read_cell(add_cell(folder, name, n_pairs=PAIRS))
        spent = replace(cell.provenance, passes=Rows(99, backward), whole_forwards=whole)
        write_cell(folder, replace(cell, provenance=spent))
    parts = compared(Results(folder), tested=False)
    own = finding_data(parts)[0].set_index("method").own
    assert own["attribution-patching"] == pytest.approx((32 + 16) / (80 / (LAYERS * HEADS)))
    assert np.isnan(own["random"])
    frontier = frontier_picture(frontier_data(parts), parts, "x").draw()
    assert frontier.legends[0].get_window_extent().x0 >= 0


def test_without_exact_scores_of_all_the_cost_is_not_known_and_the_report_says_so(folder: Path) -> None:
    values = scores("activation-patching", PAIRS)
    values[:, 0, 0] = np.nan
    add_cell(folder, "activation-patching", n_pairs=PAIRS, values=values)
    found = blocks(folder)
    assert not [stem for stem in stems(found) if "finding" in stem]
    assert "strongest heads is not known where activation-patching measured a part of them" in words(found)
    parts = compared(Results(folder))
    assert "strongest heads of those measured" in overview(parts, evidence(Results(folder), parts), "x").shown
    assert "strongest heads is not known" not in words(blocks_of_whole(folder))


def blocks_of_whole(folder: Path) -> list[Leaf]:
    add_cell(folder, "activation-patching", n_pairs=PAIRS)
    return blocks(folder)


def test_each_methods_core_and_contingent_components_stand_in_a_row_with_all_frequencies_in_the_csv(
    folder: Path,
) -> None:
    values = np.zeros((PAIRS, LAYERS, HEADS), np.float32) + np.arange(LAYERS * HEADS).reshape(LAYERS, HEADS) / 1e4
    values[:, 0, :4] = [9, -8, 7, 6]
    values[:, 1, 0] = np.where(np.arange(PAIRS) < 2, 4, 0)  # two pairs in a cluster: in the top of halves that hold it
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=values)
    for cell in Results(folder).cells:
        write_cell(
            folder, replace(cell, pairs=tuple(PairFacts(f"ioi-{i}", cluster="first" * (i < 2)) for i in range(PAIRS)))
        )
    found = stems(blocks(folder))
    table, picture = found["ioi-head-inclusion"], found["ioi-head-inclusion-frequency"]
    row = table.shown.set_index("method").loc["attribution-patching"]
    assert list(row) == ["4", "L0H0, L0H1, L0H2, L0H3", "L1H0 0.50, L3H4 0.50"]
    assert list(table.shown.method) == ["activation-patching", "attribution-patching"]  # floors have units of their own
    assert table.data.groupby("method").frequency.sum().to_list() == pytest.approx([5, 5])
    data = picture.data[picture.data.method == "attribution-patching"].set_index("component")
    assert data.label.to_dict() == dict.fromkeys(["L0H0", "L0H1", "L0H2", "L0H3"], "core") | dict.fromkeys(
        ["L1H0", "L3H4"], "contingent"
    )
    assert data.in_top.sum() == 5
    assert data.in_top["L1H0"]
    texts = [text.get_text() for text in picture.draw().axes[0].texts]
    assert texts.count(".50") == 2


def test_a_method_that_one_pair_decides_and_too_few_pairs_have_no_frequencies(folder: Path) -> None:
    values = scores("attribution-patching", PAIRS)
    values[3] *= 1000
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=values)
    table = stems(blocks(folder))["ioi-head-inclusion"]
    assert list(table.shown.method) == ["activation-patching"]
    assert "One pair decides on heads, and no interval is given: pair ioi-3 holds" in table.facts
    for name in METHODS:
        add_cell(folder, name, task="sva", n_pairs=8)
    found = blocks(folder)
    assert not [stem for stem in stems(found) if stem.startswith("sva-head-inclusion")]
    assert (
        "How often each of the heads is in the top 5 isn't known: 8 pairs in 8 clusters, and it takes 16 in 8."
        in words(found)
    )


def test_too_many_components_to_name_are_drawn_as_lines_and_none_where_the_table_says_all(folder: Path) -> None:
    noisy = np.random.default_rng(0).normal(size=(PAIRS, LAYERS, 30)).astype(np.float32)
    steady = noisy[:1].repeat(PAIRS, axis=0)
    for task, values in (("sva", noisy), ("greater-than", steady)):
        for name in ("activation-patching", "attribution-patching"):
            add_cell(folder, name, n_pairs=PAIRS, task=task, values=values)
    found = stems(blocks(folder))
    picture = found["sva-head-inclusion-frequency"]
    assert isinstance(picture, Picture)
    assert len(drawn_components(picture.data)) > MOST_DRAWN
    assert "in whose top 6 by size" in picture.caption
    line = picture.draw().axes[0].lines[1]
    wanted = picture.data[picture.data.method == "attribution-patching"].frequency
    assert line.get_label() == "attribution-patching"
    assert list(line.get_ydata()) == sorted(wanted, reverse=True)
    assert "greater-than-head-inclusion" in found
    assert "greater-than-head-inclusion-frequency" not in found


def test_frames_of_no_comparison_and_of_too_few_pairs_are_empty(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    add_cell(tmp_path, "activation-patching")
    [part] = compared(Results(tmp_path))
    assert inclusion_data(part).empty
    assert [frame.empty for frame in finding_data([part])] == [True, True]
