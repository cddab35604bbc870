"""Claims about reports, on results folders written by hand."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.behaviour import accuracy_data
from benchmark.analysis.comparisons import agreement_table, compared
from benchmark.analysis.sections import reference_for, sections
from benchmark.statistics.agreement import pearson
from benchmark.store.cell import Accuracy, Cell
from benchmark.store.folder import Results, read_cell, record_run, write_cell
from reports.agreement.layer_map import layer_map
from reports.agreement.scatter import scatter
from reports.contents import contents as report_contents
from reports.report import write_report
from reports.run_tables import strongest_data
from reports.terminal import terminal_summary
from reports.writing.blocks import Leaf, flat
from reports.writing.drawing import wrapped
from reports.writing.markdown import markdown

LAYERS, HEADS = 4, 5
METHODS = {
    "activation-patching": {"reference": True},
    "attribution-patching": {},
    "random": {"metric_units": False},
    "activation-difference": {"signed": False, "metric_units": False},
}


def scores(name: str, n_pairs: int, seed: int = 0, index: int = HEADS) -> np.ndarray:
    rng = np.random.default_rng([seed, *name.encode()])
    truth = np.random.default_rng(seed).normal(size=(LAYERS, index))
    values = truth + rng.normal(size=(n_pairs, LAYERS, index)) * 0.3
    return (np.abs(values) if name == "activation-difference" else values).astype(np.float32)


def add_cell(folder: Path, name: str = "activation-patching", task: str = "ioi", n_pairs: int = 4, **changes) -> Path:
    """Write one cell; `changes` reach into its key's method, or name kinds, error, metric, values."""
    kinds = changes.pop("kinds", ["head"])
    error = changes.pop("error", None)
    metric = changes.pop("metric", "logit_diff")
    given = changes.pop("values", None)
    model = changes.pop("model", "pocket")
    missing = changes.pop("missing", None)  # of what the scores must sum to
    method = {"name": name, "label": name, "options": {}, "direction": "noising", "replacement": "counterfactual"}
    method |= {"signed": True, "reference": False, "metric_units": True, "seed": 0} | METHODS.get(name, {}) | changes
    key = {
        "model": {"name": model, "revision": None, "digest": "d" * 64, "prepend_bos": False},
        "dtype": "float32",
        "processing": "none",
        "task": {"name": task, "metric": metric, "dataset_digest": "x", "split": "evaluation"},
        "pair_ids": [f"{task}-{i}" for i in range(n_pairs)],
        "means": None,
        "method": method,
        "kinds": kinds,
    }
    info = {
        "key": key,
        "task_title": f"The {task} task",
        "audit": {"rows": n_pairs + 3, "kept": n_pairs, "dropped": {"lengths differ": 2, "clean equals corrupted": 1}},
        "accuracy": {"right": n_pairs - 1, "of": n_pairs},
        "filter": {"min_metric": None, "left_out": 0},
        "provenance": {"versions": {"torch": "2.13.0"}, "commit": "abc123", "device": "cpu", "seconds": 1.25},
    }
    arrays = {"clean_metric": np.full(n_pairs, 3, np.float32), "corrupted_metric": np.full(n_pairs, -1, np.float32)}
    if missing is not None:
        arrays["completeness_error"] = np.full(n_pairs, missing, np.float32)
    for kind in kinds:
        index = HEADS if kind == "head" else 8
        values = scores(name, n_pairs, index=index) if given is None else given
        arrays |= {f"{kind}.values": values, f"{kind}.probability": np.ones(values.shape[1:], np.float32)}
    if error:
        info, arrays = {"key": key, "error": error}, {}
    return write_cell(folder, Cell.from_json(info, arrays))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    results = tmp_path / "results"
    results.mkdir()
    record_run(results, {"asked": {}, "resolved": {}})
    return results


@pytest.fixture
def grid(folder: Path) -> Path:
    for name in METHODS:
        add_cell(folder, name)
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def markdown_of(results: Results) -> str:
    """The report's words and tables; no picture is drawn."""
    return markdown(report_contents(results, compared(results))[0])


def contents_of(results: Results) -> list[Leaf]:
    """Every block, those that are folded too."""
    return list(flat(report_contents(results, compared(results))[0]))


def test_every_two_methods_are_compared_on_their_mean_scores(grid):
    table = agreement_table(compared(Results(grid)))
    assert len(table[["method_a", "method_b"]].drop_duplicates()) == 6
    row = table.query("method_b == 'attribution-patching' and statistic == 'pearson' and version == 'signed'").iloc[0]
    means = [scores(n, 4).mean(0, dtype=float).ravel() for n in ("activation-patching", "attribution-patching")]
    assert row.method_a == "activation-patching"
    assert row.value == pytest.approx(pearson(*means))
    assert (row.n_pairs, row.n_components, row.component, row.metric) == (4, LAYERS * HEADS, "head", "logit_diff")
    assert (grid / row.cell_a / "cell.json").is_file()
    assert (grid / row.cell_b / "cell.json").is_file()


def test_an_unsigned_method_gets_no_signed_statistic(grid):
    table = agreement_table(compared(Results(grid)))
    unsigned = table[(table.method_a == "activation-difference") | (table.method_b == "activation-difference")]
    assert set(unsigned.version) == {"by_size"}
    assert "sign_agreement_top_k" not in set(unsigned.statistic)


def test_top_k_can_be_chosen(grid):
    table = agreement_table(compared(Results(grid), top_k=3))
    assert set(table.k.dropna()) == {3}
    assert set(table.loc[table.statistic.str.contains("top_k"), "k"]) == {3}


def test_k_is_one_for_all_methods_and_fits_the_one_that_measured_least(grid):
    values = scores("random", 4)
    values[:, 1:] = np.nan
    values[:, 0, 4] = np.nan
    add_cell(grid, "random", values=values)
    assert set(agreement_table(compared(Results(grid))).k.dropna()) == {2}  # half of 4


def test_settings_are_never_mixed_and_told_apart_by_what_differs(grid, tmp_path):
    for name in METHODS:
        add_cell(grid, name, n_pairs=6)
        add_cell(grid, name, n_pairs=6, metric="prob_diff")
    found = sections(Results(grid))
    assert [s.slug for s in found] == sorted({s.slug for s in found}, key=[s.slug for s in found].index)
    assert {s.slug for s in found} == {"ioi-4-pairs-logit_diff", "ioi-6-pairs-logit_diff", "ioi-6-pairs-prob_diff"}
    table = agreement_table(compared(Results(grid)))
    assert len(table) == 3 * len(table[table.n_pairs == 4])
    folders = {cell.folder.name: cell.setting[:8] for cell in Results(grid).cells}
    for column in ("cell_a", "cell_b"):
        assert [folders[Path(cell).name] for cell in table[column]] == list(table.setting)


def test_settings_that_differ_in_nothing_readable_get_a_digest(folder):
    cell = read_cell(add_cell(folder))
    write_cell(folder, replace(cell, key=replace(cell.key, pair_ids=("other-1", "other-2", "other-3", "other-4"))))
    slugs = [section.slug for section in sections(Results(folder))]
    assert len(set(slugs)) == 2
    assert all(slug.startswith("ioi-") and len(slug) == len("ioi-abcd") for slug in slugs)


def test_labels_name_a_direction_only_where_the_folder_mixes_them(grid):
    assert {m.label for m in sections(Results(grid))[0].scored("head")} == set(METHODS)
    add_cell(grid, "activation-patching", direction="denoising")
    methods = sections(Results(grid))[0].scored("head")
    labels = [method.label for method in methods]
    assert "activation-patching [denoising]" in labels
    assert "attribution-patching [noising]" in labels
    assert reference_for(methods[labels.index("random [noising]")], methods).label == "activation-patching [noising]"


def test_the_same_method_with_another_seed_is_another_column(grid):
    add_cell(grid, "random", seed=1)
    labels = [method.label for method in sections(Results(grid))[0].scored("head") if "random" in method.label]
    assert len(set(labels)) == 2
    assert "seed 1" in " ".join(labels)


def test_one_method_run_for_several_kinds_is_one_column_a_kind(grid):
    add_cell(grid, "activation-patching", kinds=["head", "neuron"])
    (section,) = sections(Results(grid))
    assert [method.label for method in section.scored("head")].count("activation-patching") == 1
    assert [method.label for method in section.scored("neuron")] == ["activation-patching"]
    assert all(method.cell.kinds == ("head",) for method in section.scored("head"))


def test_the_report_holds_everything_that_it_points_to(grid, tmp_path):
    add_cell(grid, "attribution-patching", task="sva", error="Out of memory:\n| try fewer pairs")
    damaged = add_cell(grid, "random", task="sva")
    (damaged / "scores.safetensors").write_bytes(b"")
    parts = []
    path = write_report(Results(grid), tmp_path / "report", progress=parts.append).with_suffix(".md")
    text = path.read_text()
    for picture in ("ioi-head-agreement", "ioi-head-maps", "ioi-head-scatter"):
        assert f"figures/{picture}.png" in text
        assert picture in parts
        assert (path.parent / f"figures/{picture}.pdf").read_bytes().startswith(b"%PDF")
        assert (path.parent / f"figures/{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert "attribution-patching noising counterfactual, head: Out of memory: | try fewer pairs" in text
    assert "damaged: cells/pocket/sva/random" in text
    assert str(tmp_path) not in text
    assert "clean equals corrupted: 1; lengths differ: 2" in text
    assert "3 of 4 | 0.750 | 0.301 to 0.954" in text  # Wilson's interval by its formula
    assert "abc123" in text
    assert "torch 2.13.0" in text
    stored = pd.read_csv(path.parent / "agreement.csv", keep_default_na=False, na_values={"value": [""]})
    table = agreement_table(compared(Results(grid)))
    assert list(stored.columns) == list(table.columns)
    assert list(stored.cell_b) == list(table.cell_b)
    assert stored.value.to_numpy() == pytest.approx(table.value.to_numpy(), nan_ok=True)


@pytest.mark.usefixtures("without_pictures")
def test_a_second_report_leaves_no_picture_of_cells_that_are_gone(folder, tmp_path):
    add_cell(folder)
    other = add_cell(folder, "random", task="sva")
    write_report(Results(folder), tmp_path / "report")
    assert "figures/sva-head-maps.png" in digests(tmp_path / "report")
    (other / "cell.json").unlink()
    write_report(Results(folder), tmp_path / "report")
    assert not [name for name in digests(tmp_path / "report") if "sva" in name]


def test_a_folder_where_everything_failed_still_gets_a_report(folder):
    add_cell(folder, error="no such model")
    text = markdown_of(Results(folder))
    assert "no such model" in text
    assert agreement_table(compared(Results(folder))).empty
    assert "1 cell failed" in terminal_summary(Results(folder))


def test_methods_in_units_of_the_metric_share_one_scale_and_floors_say_that_they_do_not(grid):
    (section,) = sections(Results(grid))
    methods = section.scored("head")
    figure = layer_map(section, methods)
    panels = {
        axis.get_title().replace("\n", " "): axis.collections[0].get_clim() for axis in figure.axes[: len(methods)]
    }
    in_units = [np.abs(m.mean).max() for m in methods if m.metric_units]
    assert panels["activation-patching"] == panels["attribution-patching"] == (-max(in_units), max(in_units))
    assert len([title for title in panels if "own scale" in title]) == 2


def test_each_scatter_point_is_a_component_of_reference_and_method(grid):
    (section,) = sections(Results(grid))
    methods = {method.label: method for method in section.scored("head")}
    figure = scatter(list(methods.values()))
    points = figure.axes[0].collections[0].get_offsets()
    expected = np.column_stack([methods["activation-patching"].vector, methods["attribution-patching"].vector])
    assert figure.axes[0].get_title() == "attribution-patching"
    assert np.asarray(points) == pytest.approx(expected)


def test_the_strongest_heads_are_named_by_layer_and_head_with_their_share_of_the_gap(folder):
    values = np.zeros((2, LAYERS, HEADS), np.float32)
    values[:, 3, 1], values[:, 0, 4] = -2.0, 1.0
    add_cell(folder, n_pairs=2, values=values)
    (section,) = sections(Results(folder))
    table = strongest_data(section, section.scored("head"), count=2)
    assert list(table.component) == ["L3H1", "L0H4"]
    assert list(table.share) == [-0.5, 0.25]  # of a gap of 3 - (-1)


def test_unmeasured_components_are_left_out_and_said_so(grid):
    values = scores("activation-patching", 4)
    values[:, 0] = np.nan
    values[:, 1, 0] = 100.0
    add_cell(grid, "activation-patching", values=values)
    table = agreement_table(compared(Results(grid)))
    assert set(table.loc[table.method_a == "activation-patching", "n_components"]) == {15}
    text = markdown_of(Results(grid))
    assert "measured 15 of 20 heads" in text
    assert "| L1H0 100" in text


def test_the_terminal_shows_agreement_with_the_reference_and_accuracy(grid):
    text = terminal_summary(Results(grid))
    assert "heads against activation-patching" in text
    assert "accuracy 0.75 [0.30, 0.95] of 4 pairs" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("activation-difference"))
    assert row.split()[1:4] == ["-", "-", "-"]
    assert row.split()[-1] == "-"


def test_without_a_reference_the_terminal_shows_a_matrix(folder):
    add_cell(folder, "attribution-patching")
    add_cell(folder, "random")
    lines = terminal_summary(Results(folder)).splitlines()
    first, second = (next(line for line in lines if line.strip().startswith(f"[{i}]")) for i in (1, 2))
    assert first.split()[-2] == "1.00"
    assert first.split()[-1] == second.split()[-2]


def test_accuracy_without_pairs_is_a_blank(folder):
    write_cell(folder, replace(read_cell(add_cell(folder)), accuracy=Accuracy(0, 0)))
    assert accuracy_data(sections(Results(folder))).accuracy.isna().all()


def test_reports_never_load_a_model_library():
    code = "import sys, reports.report, reports.terminal; sys.exit('transformer_lens' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("activation-patching", 20, ["activation-patching"]),
        ("integrated-gradients:steps=8:path=joint", 22, ["integrated-gradients", "steps=8:path=joint"]),
        ("activation-difference", 12, ["activation-", "difference"]),
        ("random [noising]\nown scale", 30, ["random [noising]", "own scale"]),
    ],
)
def test_labels_break_at_colons_and_spaces_first(text, width, lines):
    assert wrapped(text, width).split("\n") == lines


def test_an_integral_that_has_not_converged_is_warned_of(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    for name, error in (
        ("activation-patching", None),
        ("integrated-gradients", 0.6),
        ("integrated-gradients:steps=64", 0.1),
    ):
        cell = read_cell(add_cell(folder, name))
        if error is not None:
            cell.arrays["completeness_error"] = np.full(4, error, np.float32)  # the gap is 4
        write_cell(folder, cell)
    record_run(folder, {"asked": {}, "resolved": {}})
    warning = "integrated-gradients has not converged: its completeness error is 15% of the gap; give it more steps."
    results = Results(folder)
    assert f"  ! {warning}" in terminal_summary(results)
    text = markdown_of(results)
    assert f"**{warning}**" in text
    assert "steps=64 has not converged" not in text


def test_a_table_of_one_run_leaves_the_others_cells_out(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    chosen = add_cell(folder, "activation-patching")
    add_cell(folder, "attribution-patching", direction="denoising")
    record_run(folder, {"asked": {}, "resolved": {}})
    results = Results(folder)
    assert len(results.only([chosen.name[-8:]]).cells) == 1
    assert "denoising" in terminal_summary(results)
    assert "denoising" not in terminal_summary(results.only([chosen.name[-8:]]))
