"""Claims about the report as a whole: every way of writing it says the same, and says how each number came to be."""

import base64
import csv
import io
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.comparisons import Comparisons, compared, primary, value_of
from benchmark.analysis.frontier import frontier_data
from benchmark.statistics.faithfulness import log_sizes, mib_sizes
from benchmark.store.cell import PairFacts, Rows
from benchmark.store.circuit import Circuit, CircuitKey, Source
from benchmark.store.folder import Results, read_cell, record_run, write_cell, write_circuit
from reports.agreement.forest import forest, forest_data
from reports.agreement.frontier import cost_frontier
from reports.agreement.overlap_curves import curves_data, curves_figure
from reports.report import write_report
from reports.terminal import terminal_summary
from reports.writing.captions import intervals
from reports.writing.latex import latex
from tests.fixtures import undrawn
from tests.reports.test_renderers import Cells
from tests.reports.test_reports import HEADS, LAYERS, METHODS, add_cell, contents_of, digests, markdown_of

PAIRS = 24
# one picture of each sort of two speaks for all, which are saved in one place; as SVG all are drawn
DRAWN = {f"{stem}.{ending}" for stem in ("ioi-head-maps", "ioi-neuron-layers") for ending in ("pdf", "png")}
CITED = {"task": "wang2022", "method": "@misc{own2031, title = {Our own}, year = {2031}, url = {https://example.org}}"}


def add_full_cell(folder: Path, name: str, task: str = "ioi", kinds: tuple[str, ...] = ("head",)) -> None:
    """A cell of 24 pairs in 12 clusters and 2 templates, with cost and citations."""
    cell = read_cell(add_cell(folder, name, task=task, n_pairs=PAIRS, kinds=list(kinds)))
    pairs = tuple(PairFacts(f"{task}-{i}", f"t{i // 12}", f"c{i // 2}", 9) for i in range(PAIRS))
    cost = {"activation-patching": 40, "attribution-patching": 4, "random": 2, "activation-difference": 3}[name]
    origin = replace(
        cell.provenance, passes=Rows(cost * PAIRS, 0), seconds=cost / 10,
        versions={"attribution-bench": "9.8.7", "torch": "2.13.0"},
    )  # fmt: skip
    write_cell(folder, replace(cell, pairs=pairs, provenance=origin, citations=CITED))


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    record_run(folder, {"asked": {}, "resolved": {}})
    for task in ("ioi", "sva"):
        for name in METHODS:
            add_full_cell(folder, name, task)
    add_circuits(folder, "ioi")
    add_full_cell(folder, "activation-patching", "ioi", ("neuron",))
    add_full_cell(folder, "attribution-patching", "ioi", ("neuron",))
    return folder


def add_circuits(folder: Path, task: str) -> None:
    """Circuits of heads by each method's scores and by chance, with two replacements: curves that rise by chance."""
    rng, count, top = np.random.default_rng(0), LAYERS * HEADS, 2
    cells = [one for one in Results(folder).cells if one.task == task and one.kinds == ("head",)]
    by_scores = [
        Source("scores", one.key.method.label, one.identity[1:], (one.key.digest,), one.key.method.reference,
               arrays=(one.scores_sha256,))
        for one in cells
    ]  # fmt: skip
    by_chance = [Source("random", "random"), replace(by_scores[0], sort="matched", label="matched")]
    sizes = tuple(sorted({*log_sizes(count), *mib_sizes(count), top}))
    facts = tuple(PairFacts(f"q{i}", f"t{i // 12}", f"c{i // 2}") for i in range(PAIRS))
    key = CircuitKey(
        cells[0].key.model, cells[0].key.task, by_scores[0], ("signed",), ("head",), count, "noising", "", sizes, top,
        tuple(pair.id for pair in facts), "discovery",
    )  # fmt: skip
    for replacement in ("counterfactual", "zero"):
        for source in (*by_scores, *by_chance):
            values = np.sort(rng.uniform(0, 4, (3, 1, len(sizes), PAIRS)), axis=2)
            arrays = {
                "players": np.array([(0, *divmod(i, HEADS)) for i in range(count)], dtype=np.int32),
                "order": rng.permutation(count)[None].astype(np.int32),
                "kept": values[0], "rest": values[1], "without": values[2][:, :top],
                "nothing": np.zeros(PAIRS), "everything": np.full(PAIRS, 3.0), "corrupted": np.zeros(PAIRS),
            }  # fmt: skip
            own = replace(key, source=source, replacement=replacement, top=top * (source in by_scores))
            write_circuit(folder, Circuit(own, pairs=facts, arrays=arrays))


@pytest.fixture(scope="module")
def report(grid: Path) -> Path:
    with undrawn(DRAWN, svg=True):
        return write_report(Results(grid), grid / "report").parent


@pytest.fixture(scope="module")
def part(grid: Path) -> Comparisons:
    return compared(Results(grid))[0]


def blocks(report: Path, kind: str) -> list[dict]:
    return [block for block in json.loads((report / "report.json").read_text())["blocks"] if block["block"] == kind]


def test_every_table_is_in_every_way_of_writing_the_report(report: Path) -> None:
    lines = [line for line in (report / "report.md").read_text().splitlines() if line.startswith("| ")]
    markdown = [
        cell.replace("\\|", "|")
        for line in lines
        if not line.startswith("| ---")
        for cell in re.split(r" (?<!\\)\| ", line[2:-2] + " ")
    ]
    assert [cell.strip() for cell in markdown] == [
        cell.strip() for cell in Cells((report / "report.html").read_text()).cells
    ]
    stems = [block["stem"] for block in blocks(report, "table")]
    assert len(stems) == len(set(stems)) > 10
    for ending in ("tex", "csv"):
        written = {path.stem for path in (report / "tables").glob(f"*.{ending}")}
        assert written == {*stems, "all-head-compact", "all-neuron-compact"}


def test_the_json_holds_the_numbers_of_every_table_unrounded(report: Path) -> None:
    for block in blocks(report, "table"):
        (header, *rows) = csv.reader(io.StringIO((report / "tables" / f"{block['stem']}.csv").read_text()))
        assert header == [str(name) for name in block["columns"]]
        assert rows == [["" if cell is None else str(cell) for cell in row] for row in block["rows"]]


def test_every_picture_is_there_twice_and_its_numbers_are_in_the_json(report: Path) -> None:
    stems = [block["stem"] for block in blocks(report, "picture")]
    endings = ("agreement", "maps", "scatter", "curves")
    assert {f"{task}-head-{ending}" for task in ("ioi", "sva") for ending in endings} <= set(stems)
    assert {"all-head-forest", "all-head-frontier", "all-neuron-forest", "ioi-neuron-layers"} <= set(stems)
    for ending in ("pdf", "png", "svg"):
        assert {path.stem for path in (report / "figures").glob(f"*.{ending}")} == set(stems)
    assert all(block["rows"] for block in blocks(report, "picture"))
    packed = re.findall(r'<img data-svg="([^"]*)"', (report / "report.html").read_text())
    svgs = [zlib.decompress(base64.b64decode(one)).decode() for one in packed]
    assert sorted(svgs) == sorted((report / f"figures/{stem}.svg").read_text() for stem in stems)
    assert all(one.startswith("<?xml") and "<metadata>" not in one for one in svgs)


def test_the_first_screen_says_what_was_compared_what_was_found_and_where_it_agrees(grid: Path, report: Path) -> None:
    headline, bullets = (next(iter(blocks(report, kind))) for kind in ("paragraph", "bullets"))
    assert headline["text"] == (
        "pocket: 3 methods against `activation-patching` on heads and neurons; 2 tasks, n = 24 pairs each; noising, "
        "counterfactual replacement."
    )
    found = json.loads((report / "report.json").read_text())["findings"]
    assert bullets["items"] == [one["text"] for one in found]
    assert {"agrees best", "one pair", "at chance", "missing"} <= {one["name"] for one in found}
    lines = (report / "report.md").read_text().splitlines()
    assert lines.index(f"- {found[0]['text']}") < 6
    printed = terminal_summary(Results(grid))
    assert all(re.sub(r"\*\*|`", "", one["text"])[:60] in printed for one in found)


def test_a_cell_of_the_matrix_shows_its_number_and_tells_its_interval(report: Path, part: Comparisons) -> None:
    main = next(primary(rows) for method, _, rows in part.against_reference if method.label == "attribution-patching")
    page = (report / "report.html").read_text()
    number, low, high = (f"{main[name]:.2f}" for name in ("value", "low", "high"))
    [cell] = re.findall(r'<td class="" style="--tone:([\d.]+)" data-tip="([^"]*)">(.*?)</td>', page)[:1]
    assert float(cell[0]) == pytest.approx(main["value"] ** 2, abs=0.01)
    assert f"95% interval {low} to {high}" in cell[1]
    assert cell[2] == f'{number}<span class="interval"> [{low}, {high}]</span>'
    assert "[" in (report / "tables/all-head-agreement.tex").read_text()  # where nobody can point, it is written out


def test_captions_are_short_and_how_numbers_are_made_is_said_once(report: Path) -> None:
    told = blocks(report, "table") + blocks(report, "picture")
    assert {"circuits-head-shares", "circuits-head-numbers", "circuits-head-curves"} < {one["stem"] for one in told}
    assert max(len(re.sub(r"`", "", block["caption"])) for block in told) <= 200
    for page in ("report.md", "report.html"):
        text = (report / page).read_text()
        assert text.count("by half-sampling") == text.count("adjusted by Holm") == 1
        assert text.count("the share of the behaviour that it keeps") == text.count("Benchmark at its ten sizes") == 1
    page = (report / "report.html").read_text()
    assert page.count('href="#methods"') > 10
    assert page.count('id="methods"') == 1


def test_headings_of_columns_are_words_and_n_is_the_number_of_pairs(report: Path) -> None:
    page = (report / "report.html").read_text()
    headings = {re.sub("<.*?>", "", one) for one in re.findall(r"<th [^>]*>(.*?)</th>", page)}
    assert not [name for name in headings if len(name) < 3 or "@" in name or "(abs)" in name]
    words = re.sub(r"<script>.*|<style>.*?</style>", "", page, flags=re.DOTALL)
    assert set(re.findall(r"\bn = (\S+ \w+)", words)) == {"24 pairs"}


def test_pdf_fonts_are_embedded_as_truetype(report: Path) -> None:
    for name in (name for name in DRAWN if name.endswith(".pdf")):
        data = (report / "figures" / name).read_bytes()
        assert b"/FontFile2" in data
        assert b"/Type3" not in data


def test_captions_of_agreement_say_how_it_came_to_be(report: Path) -> None:
    captions = {block["stem"]: block["facts"] for block in blocks(report, "table") + blocks(report, "picture")}
    for stem in ("ioi-head-reference", "all-head-agreement", "all-head-forest", "ioi-head-panel"):
        caption = captions[stem]
        assert "n = 24 pairs" in caption
        assert "in 12 clusters" in caption
        assert "half-sampling" in caption
        assert "pocket (weights dddddddddddd); attribution-bench 9.8.7." in caption
    comparisons = 2 * 3 + 1  # with the reference: of three methods on two tasks, and of one on neurons
    for stem in ("ioi-head-reference", "all-head-agreement"):
        assert f"adjusted by Holm over the {comparisons} p-values of that null" in captions[stem]
        assert re.search(r"against \d{3,} permutations of the components", captions[stem])


def test_p_values_are_adjusted_over_all_comparisons_with_a_reference(report: Path) -> None:
    table = pd.read_csv(report / "agreement.csv")
    tested = table[table.permutations.notna()]
    assert len(tested) == 7
    assert set(tested.method_a) | set(tested.method_b) == set(METHODS)
    assert "activation-patching" in set(tested.method_a)
    for name in ("p_free", "p_within_layer"):
        ordered = tested.sort_values(name)
        largest = 0.0
        for rank, (p, adjusted) in enumerate(zip(ordered[name], ordered[f"{name}_holm"], strict=True)):
            largest = max(largest, min(1.0, (7 - rank) * p))
            assert adjusted == pytest.approx(largest)
        assert (tested[f"{name}_holm"] > tested[name]).any()


def test_heads_get_the_full_panel_with_intervals_and_neurons_a_short_one(report: Path) -> None:
    def panel(kind: str) -> pd.DataFrame:
        return pd.read_csv(report / "tables" / f"ioi-{kind}-panel.csv")

    heads, neurons = panel("head"), panel("neuron")
    signed = heads[heads.method == "attribution-patching"]
    assert {"pearson", "spearman", "kendall", "rank_biased_overlap", "top_k_overlap"} <= set(signed.statistic)
    assert {"rank_agreement_top_k", "sign_agreement_top_k", "signed_rank_agreement_top_k"} <= set(signed.statistic)
    assert ((signed.low <= signed.high) | signed.value.isna()).all()
    assert signed.low.notna().mean() > 0.8
    assert set(neurons.statistic) == {"pearson", "top_k_overlap", "sign_agreement_top_k"}


def test_no_interval_and_its_reason_where_pairs_are_few(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    for name in METHODS:
        add_cell(tmp_path, name, n_pairs=4)
    text = markdown_of(Results(tmp_path))
    (found,) = compared(Results(tmp_path))
    assert found.halves.refusal
    assert f"**{found.halves.refusal.capitalize()}." in text
    (panel,) = [block for block in contents_of(Results(tmp_path)) if getattr(block, "stem", "") == "ioi-head-panel"]
    assert f"{found.halves.refusal.capitalize()}." in panel.facts
    assert "[" not in latex(panel).split(r"\midrule")[1]
    assert found.halves.refusal in terminal_summary(Results(tmp_path))


def test_why_there_is_no_interval_is_said_once_for_tasks_of_other_numbers_of_clusters(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    for task, clusters in (("ioi", 8), ("sva", 6)):
        for name in ("activation-patching", "attribution-patching"):
            cell = read_cell(add_cell(tmp_path, name, task=task, n_pairs=8))
            facts = tuple(PairFacts(f"{task}-{i}", "", f"c{i % clusters}") for i in range(8))
            write_cell(tmp_path, replace(cell, pairs=facts))
    found = compared(Results(tmp_path), tested=False)
    assert intervals(found) == "No interval: 8 pairs in 6 to 8 clusters, and it takes 16 in 8."
    assert "no interval: 8 pairs in 6 to 8 clusters, and it takes 16 in 8." in terminal_summary(Results(tmp_path))
    assert intervals(found[:1]).lower() == f"{found[0].halves.refusal}."


def test_the_terminal_shows_the_primary_statistics_interval(grid: Path, part: Comparisons) -> None:
    text = terminal_summary(Results(grid))
    (main,) = [primary(rows) for method, _, rows in part.against_reference if method.label == "attribution-patching"]
    assert f"{main['value']:.2f} [{main['low']:.2f}, {main['high']:.2f}]" in text
    assert "no interval" not in text


def test_sources_become_a_bibliography(report: Path) -> None:
    bibliography = (report / "references.bib").read_text()
    assert "@inproceedings{wang2022," in bibliography
    assert "@misc{own2031, title = {Our own}" in bibliography
    sources = (report / "report.md").read_text().split("## Sources")[1]
    assert "| task | ioi | wang2022 | Kevin Ro Wang et al. (2023). Interpretability in the Wild" in sources
    assert "| method | random | own2031 |" in sources


def test_cells_of_older_versions_say_that_they_name_no_source(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    add_cell(tmp_path)
    text = markdown_of(Results(tmp_path))
    assert "| task | ioi | - | not stored by the version that scored it |" in text


def test_a_second_report_is_the_same_bytes_and_deletes_nothing_but_an_earlier_reports_files(
    grid: Path, report: Path, tmp_path: Path
) -> None:
    out = tmp_path / "paper"
    (out / "figures").mkdir(parents=True)
    mine = [out / "figures" / "mine.pdf", tmp_path / "outside.txt"]
    for path in mine:
        path.write_text("mine")
    (out / "report.json").write_text(json.dumps({"files": ["../outside.txt", "figures/gone.pdf", "report.md"]}))
    with undrawn(DRAWN, svg=True):
        write_report(Results(grid), out)
    assert all(path.read_text() == "mine" for path in mine)
    mine[0].unlink()
    assert digests(report) == digests(out)
    assert all((out / "figures" / name).stat().st_size > 2**12 for name in DRAWN)
    assert b"CreationDate" not in (report / "figures/ioi-head-maps.pdf").read_bytes()


def test_the_forest_shows_value_interval_other_pairs_and_ceiling(grid: Path) -> None:
    parts = [part for part in compared(Results(grid)) if part.kind == "head"]
    data = forest_data(parts)
    assert len(data) == 6
    axis = forest(data).axes[0]
    row = data.iloc[0]
    lines = [line.get_xdata() for line in axis.lines[:4]]
    assert [float(x) for x in (*lines[0], lines[1][0], lines[2][0], lines[3][0])] == pytest.approx(
        [row.low, row.high, row.disjoint, row.value, row.ceiling]
    )
    assert 0 < row.ceiling <= 1


def test_overlap_curves_meet_the_table_at_its_k_and_chance_is_k_over_n(part: Comparisons) -> None:
    data = curves_data(part)
    for method, _, rows in part.against_reference:
        curve = data[(data.method == method.label) & (data.measure == "overlap")].set_index("k")
        assert curve.value[part.k] == pytest.approx(value_of(rows, "top_k_overlap", "by_size"))
        assert curve.chance[part.k] == pytest.approx(part.k / (LAYERS * HEADS), abs=0.02)
        assert curve.value[LAYERS * HEADS] == pytest.approx(1)
        assert ((curve.low <= curve.chance) & (curve.chance <= curve.high)).all()
    figure = curves_figure(data)
    shaded = {tuple(np.round(patch.get_facecolor()[0][:3], 2)) for patch in figure.axes[0].collections}
    assert len(shaded) == 2  # chance and self-agreement
    few = curves_figure(data[data.k <= 4])
    few.draw_without_rendering()
    ticks = few.axes[0].xaxis
    assert not [text for text in map(str, ticks.get_ticklabels(which="both")) if "$" in text]  # no powers of ten
    assert matplotlib.colors.to_rgb("0.85") in {tuple(map(float, shade)) for shade in shaded}


def test_the_frontier_holds_who_is_beaten_by_nobody(grid: Path) -> None:
    parts = [part for part in compared(Results(grid)) if part.kind == "head"]
    data = frontier_data(parts)
    for _, group in data.groupby("task"):
        for row in group.itertuples():
            beaten = group[
                (group.passes <= row.passes)
                & (group.value >= row.value)
                & ((group.passes < row.passes) | (group.value > row.value))
            ]
            assert row.on_frontier_by_passes == beaten.empty
    assert set(data.passes) == {40, 4, 2, 3}
    assert data[data.method == "activation-patching"].value.eq(1).all()
    assert len(cost_frontier(data).axes) == 2
