"""The strongest components and the links to features' pages; what a report says of dictionaries and errors."""

import json
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.comparisons import compared
from benchmark.analysis.sections import sections
from benchmark.analysis.top import page_of, quick_list, top_components
from benchmark.cli import main
from benchmark.errors import BenchmarkError
from benchmark.store.cell import Cell, CellKey, DictionaryFacts, MethodKey, ModelKey, PairFacts, TaskKey
from benchmark.store.folder import Results, record_run, write_cell
from reports.agreement.features import features_section
from reports.top import lines, write_top
from reports.writing import captions
from reports.writing.blocks import Table

PAIRS = 16


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two layers of 4 features and an error, of which 3 and the errors are measured; only the first layer has pages."""
    rng = np.random.default_rng(0)
    values = np.full((PAIRS, 2, 5), np.nan, np.float32)
    values[:, 0, 1] = 0.5 + 0.1 * rng.normal(size=PAIRS)
    values[:, 1, 3] = -2.0 + 0.1 * rng.normal(size=PAIRS)
    values[:, 0, 2] = [0.2] * 3 + [0.0] * (PAIRS - 3)
    values[:, :, 4] = 1.0
    facts = DictionaryFacts("mlp-feature", 0, "d0", 4, 0.9, 2.0, 1.0, 0.8, ("gpt2-small", "0-mlp"))
    for label, factor in (("attribution-patching", 1.0), ("random", 0.01)):
        method = MethodKey(label, label, "noising", "counterfactual", metric_units=label != "random")
        key = CellKey(
            ModelKey("tiny", "d"), TaskKey("ioi", "logit_diff"), method,
            ("mlp-feature",), tuple(f"p{number}" for number in range(PAIRS)), dictionaries={"mlp-feature": "x"},
        )  # fmt: skip
        arrays = {
            "mlp-feature.values": values * factor, "clean_metric": np.ones(PAIRS, np.float32),
            "mlp-feature.probability": (~np.isnan(values[0])).astype(np.float32),
            "corrupted_metric": np.zeros(PAIRS, np.float32),
        }  # fmt: skip
        pairs = tuple(PairFacts(f"p{number}") for number in range(PAIRS))
        write_cell(tmp_path, Cell(key, pairs=pairs, dictionaries=(facts,), arrays=arrays))
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    return Results(tmp_path)


def test_the_largest_mean_scores_come_first_with_what_is_known_of_them(results: Results) -> None:
    found = top_components(results, "mlp-feature", methods=("attribution-patching",))
    assert list(found.component) == ["L1MF3", "L0MF-error", "L1MF-error", "L0MF1", "L0MF2"]
    assert list(found.in_pairs) == [16, 16, 16, 16, 3]
    assert (found.low <= found.score).all()
    assert found.score[4] == pytest.approx(0.2 * 3 / PAIRS)
    assert found.low[4] < 0 < found.high[4]
    pages = dict(zip(found.component, found.page, strict=True))
    assert pages["L0MF1"] == "https://www.neuronpedia.org/gpt2-small/0-mlp/1"
    assert not any(pages[name] for name in ("L1MF3", "L0MF-error", "L1MF-error"))


def test_a_threshold_is_on_the_means_size_and_a_count_is_of_each_method(results: Results) -> None:
    assert (
        list(top_components(results, "mlp-feature", 0.9, methods=("attribution-patching",)).score.abs() > 0.9)
        == [True] * 3
    )
    both = top_components(results, "mlp-feature", count=2, methods=("attribution-patching", "random"))
    assert list(both.groupby("method").size()) == [2, 2]
    assert set(top_components(results, "mlp-feature").method) == {"attribution-patching"}  # in units of the metric
    with pytest.raises(BenchmarkError, match="--threshold 5: no mean score of MLP features there is of that size"):
        top_components(results, "mlp-feature", 5.0)


def test_a_mean_of_magnitudes_lists_what_helps_on_some_pairs_and_hurts_on_others(
    results: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Feature 0.1 becomes 4 on half of the pairs and -3 on the others: 0.5 on the mean, 3.5 in size."""
    for cell in results.cells:
        values = cell.arrays["mlp-feature.values"].copy()
        values[:, 0, 1] = [4, -3] * (PAIRS // 2)
        write_cell(results.folder, replace(cell, arrays={**cell.arrays, "mlp-feature.values": values}))
    changed = Results(results.folder)
    signed = top_components(changed, "mlp-feature", methods=("attribution-patching",)).set_index("component")
    sizes = top_components(changed, "mlp-feature", methods=("attribution-patching",), mean_of="magnitudes").set_index(
        "component"
    )
    assert (signed.score["L0MF1"], sizes.score["L0MF1"]) == (0.5, 3.5)
    assert sizes.index[0] == "L0MF1" != signed.index[0]
    assert sizes.score["L1MF3"] == pytest.approx(-signed.score["L1MF3"])
    assert (sizes.low["L0MF1"], sizes.high["L0MF1"]) == pytest.approx(
        (3.5 - 0.275, 3.5 + 0.275), abs=0.001
    )  # t of 15 degrees of freedom, 2.131, times the root of (15 + 1)/15 x 16 x 0.25, over 16
    wanted = ["top", str(results.folder), "--component", "mlp-feature", "--out", str(tmp_path / "o")]
    for words, said in (([], "mean score"), (["--mean-of", "magnitudes"], "mean |score|")):
        assert main([*wanted, *words]) == 0
        assert said in capsys.readouterr().out
        assert captions.MEAN_OF["magnitudes" if words else "scores"] in unescape(
            (tmp_path / "o" / "top.html").read_text()
        )


def test_scores_that_lie_in_two_cells_are_listed_once(results: Results) -> None:
    first = top_components(results, "mlp-feature", count=2)
    cell = results.cells[0]
    together = replace(cell, key=replace(cell.key, kinds=("head", "mlp-feature")), arrays=dict(cell.arrays))
    together.arrays["head.values"] = np.zeros((PAIRS, 2, 1), np.float32)
    together.arrays["head.probability"] = np.ones((2, 1), np.float32)
    write_cell(results.folder, together)
    pd.testing.assert_frame_equal(top_components(Results(results.folder), "mlp-feature", count=2), first)


def test_what_isnt_there_is_an_error_that_says_what_is(results: Results) -> None:
    with pytest.raises(BenchmarkError, match=r"no scores of heads .* holds MLP features by attribution-patching"):
        top_components(results, "head")


def test_links_are_built_from_names() -> None:
    page = page_of(("pythia-70m-deduped", "3-res-sm"), 19924)
    assert page == "https://www.neuronpedia.org/pythia-70m-deduped/3-res-sm/19924"
    link = urlsplit(quick_list([page, "", page], "strong & odd"))
    asked = parse_qs(link.query)
    assert (link.netloc, link.path, asked["name"]) == ("neuronpedia.org", "/quick-list/", ["strong & odd"])
    assert json.loads(asked["features"][0]) == [
        {"modelId": "pythia-70m-deduped", "layer": "3-res-sm", "index": "19924"}
    ]
    assert quick_list([""], "none") == ""


def test_the_command_prints_a_table_and_writes_a_csv_and_a_page(
    results: Results, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert (
        main(["top", str(results.folder), "--component", "mlp-feature", "--threshold", "0.1", "--out", str(out)]) == 0
    )
    said = capsys.readouterr().out
    assert "MLP features of tiny on ioi by attribution-patching (noising, counterfactual)" in said
    assert "16 of 16 pairs" in said
    assert "https://neuronpedia.org/quick-list/?name=" in said
    stored = pd.read_csv(out / "top.csv")
    assert list(stored.component) == ["L1MF3", "L0MF-error", "L1MF-error", "L0MF1"]
    page = (out / "top.html").read_text()
    assert '<a href="https://www.neuronpedia.org/gpt2-small/0-mlp/1">' in page
    for words in (["--component", "nothing"], ["--component", "mlp-feature", "--top", "0"], ["--component", "head"]):
        assert main(["top", str(results.folder), *words]) == 2


def test_without_pages_there_is_no_column_for_them(results: Results, tmp_path: Path) -> None:
    found = top_components(results, "mlp-feature").assign(page="")
    assert "page" not in lines(found, "mlp-feature")
    assert "quick-list" not in write_top(found, "mlp-feature", tmp_path / "o").read_text()


def test_the_report_compares_features_alone_and_says_what_errors_carry(results: Results) -> None:
    [part] = compared(results, tested=False)
    assert set(part.rows.n_components) == {3}
    dictionaries, errors = features_section(part, "s")
    assert isinstance(dictionaries, Table)
    assert isinstance(errors, Table)
    assert list(dictionaries.shown["variance explained"]) == ["90.0%"]
    shares = errors.data.set_index("layer").share  # of one method: the other one has no units of the metric
    assert shares[0] == pytest.approx(1 / (1 + 0.5 + 0.2 * 3 / PAIRS), abs=0.02)
    assert shares[1] == pytest.approx(1 / 3, abs=0.02)


def test_without_scores_of_errors_nothing_is_said_of_them(results: Results) -> None:
    [part] = compared(results, tested=False)
    for method in part.methods:
        method.cell.arrays["mlp-feature.values"][..., -1] = np.nan
    assert [block.stem for block in features_section(part, "s")] == ["s-dictionaries"]


def test_features_of_other_dictionaries_are_never_compared(results: Results) -> None:
    """They stand in a section of their own; other kinds of the same cells stay together."""
    for cell in results.cells:
        arrays = dict(cell.arrays)
        arrays["head.values"] = np.ones((PAIRS, 2, 1), np.float32)
        arrays["head.probability"] = np.ones((2, 1), np.float32)
        key = replace(cell.key, kinds=("head", "mlp-feature"), dictionaries={"mlp-feature": "y"})
        write_cell(results.folder, replace(cell, key=key, arrays=arrays))
    one, other = sections(Results(results.folder))
    assert [one.kinds, other.kinds] == [["head", "mlp-feature"], ["mlp-feature"]]
    assert [len(part.scored("mlp-feature")) for part in (one, other)] == [2, 2]
    assert one.slug != other.slug
    assert len(one.scored("head")) == 2
