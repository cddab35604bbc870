"""Claims about two results folders side by side, on folders written by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.settings import facts
from benchmark.analysis.side_by_side import OTHER_PAIRS, SideBySide, matched, side_by_side
from benchmark.errors import BenchmarkError
from benchmark.statistics.agreement import statistic
from benchmark.statistics.halves import halves
from benchmark.store.cell import PairFacts
from benchmark.store.folder import Results, read_cell, record_run, write_cell
from reports.run_tables import what_was_run
from tests.reports.test_reports import add_cell

PAIRS, SHAPE = 20, (3, 4)
NAMES = ("activation-patching", "attribution-patching", "random")


def scores(name: str, seed: int = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng([seed, *name.encode()])
    truth = np.random.default_rng(7).normal(size=shape)
    return (truth + 0.5 * rng.normal(size=(PAIRS, *shape))).astype(np.float32)


def written(
    folder: Path, rows: slice = slice(None), seed: int = 0, digest: str = "d" * 64, dataset: str = "x",
    shape: tuple[int, int] = SHAPE, names: tuple[str, ...] = NAMES, **changes: Any,
) -> Results:  # fmt: skip
    """A run of some of twenty pairs, in ten clusters, by three methods."""
    folder.mkdir(exist_ok=True)
    record_run(folder, {"asked": {}, "resolved": {}})
    pairs = tuple(PairFacts(f"p{i}", "", f"c{i // 2}") for i in range(PAIRS))[rows]
    for name in names:
        values = scores(name, seed, shape)[rows]
        cell = read_cell(add_cell(folder, name, n_pairs=len(pairs), values=values, **changes))
        for file in cell.folder.iterdir():
            file.unlink()
        cell.folder.rmdir()
        key = replace(
            cell.key, model=replace(cell.key.model, digest=digest), pair_ids=tuple(pair.id for pair in pairs),
            task=replace(cell.key.task, dataset_digest=dataset),
        )  # fmt: skip
        write_cell(folder, replace(cell, key=key, pairs=pairs))
    return Results(folder)


def row(found: SideBySide, method: str) -> pd.Series:
    return found.methods.set_index("method").loc[method]


def test_two_copies_are_the_same_to_the_bit_and_one_last_bit_is_seen(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    found = side_by_side(a, b)
    assert found.identical
    assert found.differing.empty
    assert len(found.methods) == len(NAMES)
    cell = next(cell for cell in b.cells if cell.key.method.name == "random")
    values = cell.arrays["head.values"].copy()
    values[3, 1, 2] = np.nextafter(values[3, 1, 2], np.float32(9))
    write_cell(b.folder, replace(cell, arrays=cell.arrays | {"head.values": values}))
    found = side_by_side(a, Results(b.folder))
    assert not found.identical
    assert list(row(found, "random")[["same_bits", "n_shared"]]) == [False, PAIRS]
    ulp = abs(float(values[3, 1, 2]) - float(cell.arrays["head.values"][3, 1, 2]))
    assert row(found, "random").largest_pair_difference == ulp
    assert row(found, "random").largest_difference == pytest.approx(ulp / PAIRS, rel=1e-3)
    assert row(found, "attribution-patching").same_bits


def test_numbers_are_those_of_an_obvious_version(tmp_path: Path) -> None:
    """B holds fewer pairs in another order: whatever is of both is over the pairs that both have, row by row."""
    a, b = written(tmp_path / "a"), written(tmp_path / "b", slice(17, None, -1), seed=1)
    found = row(side_by_side(a, b, top_k=3), "attribution-patching")
    kept = np.arange(18)
    means = {
        (side, name): scores(name, seed)[kept].mean(0, dtype=np.float64).ravel()
        for side, seed in (("a", 0), ("b", 1))
        for name in NAMES
    }
    r = {side: np.corrcoef(means[side, NAMES[0]], means[side, NAMES[1]])[0, 1] for side in "ab"}
    whole = [scores(name).mean(0, dtype=np.float64).ravel() for name in NAMES[:2]]
    assert found.value_a == pytest.approx(np.corrcoef(*whole)[0, 1])
    assert found.value_b == pytest.approx(r["b"])
    assert found.difference == pytest.approx(r["b"] - r["a"])
    draws = []
    for first in halves(18, [f"c{i // 2}" for i in range(18)]).first:
        for half in (first, ~first):
            draws.append(
                np.subtract(
                    *(
                        np.corrcoef(*(scores(name, seed)[kept][half].mean(0).ravel() for name in NAMES[:2]))[0, 1]
                        for seed in (1, 0)
                    )
                )
            )
    assert found.difference_high - found.difference_low == pytest.approx(2 * 2.306 * np.std(draws), rel=1e-3)  # t of 8
    x, y = means["a", NAMES[1]], means["b", NAMES[1]]
    assert found.scores_pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    tops = [set(np.argsort(-abs(z))[:3]) for z in (x, y)]
    assert found.scores_top_k == pytest.approx(len(tops[0] & tops[1]) / 3)
    assert found.largest_difference == pytest.approx(abs(x - y).max())
    assert (found.n_shared, found.n_pairs_a, found.n_pairs_b) == (18, 20, 18)


def test_other_rows_give_no_interval_of_a_difference(tmp_path: Path) -> None:
    a = written(tmp_path / "a")
    for name, b in (("rows", written(tmp_path / "b", dataset="y")), ("few", written(tmp_path / "c", slice(0, 6)))):
        found = row(side_by_side(a, b), "attribution-patching")
        assert np.isnan(found.difference_low)
        assert np.isnan(found.difference) == (name == "rows")
        wanted = OTHER_PAIRS if name == "rows" else "no interval: 6 pairs in 3 clusters, and it takes 16 in 8"
        assert found.difference_note == wanted
        assert found.value_a < 1
        assert not np.isnan(found.low_a)


def test_models_of_other_shapes_are_compared_by_agreement_alone(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a"), written(tmp_path / "b", digest="e" * 64, shape=(5, 6), model="larger")
    found = side_by_side(a, b)
    assert {*found.differing.what} == {"model", "weights"}
    one = row(found, "attribution-patching")
    assert one.difference_low < one.difference < one.difference_high
    assert one.difference == pytest.approx(one.value_b - one.value_a)
    assert (one.n_components_a, one.n_components_b) == (12, 30)
    assert np.isnan(one.scores_pearson)
    assert one.scores_note == (
        "other weights (3 x 4 and 5 x 6 heads): a component of one model has no counterpart in the other"
    )
    assert not found.identical


def test_methods_are_matched_across_settings_and_what_has_no_counterpart_is_named(tmp_path: Path) -> None:
    a = written(tmp_path / "a")
    b = written(tmp_path / "b", names=NAMES[:2], replacement="mean", options={"steps": 8})
    found = side_by_side(a, b)
    assert list(found.methods.method) == list(NAMES[:2])
    assert set(found.methods.replacement_b) == {"mean"}
    differing = found.differing.set_index("what")
    assert list(differing.loc["replacement"]) == ["counterfactual", "mean"]
    assert differing.loc["options of attribution-patching"].b == '{"steps": 8}'
    assert "options of random" not in differing.index
    assert found.alone == ("A: random on heads of ioi",)
    written(tmp_path / "c")
    more = side_by_side(a, written(tmp_path / "c", task="sva", dataset="y"))
    assert list(more.differing.what) == ["tasks"]  # nothing of what another task brings along
    assert more.alone == ("B: heads of sva",)
    written(tmp_path / "b")  # both replacements in one folder: the one like A's is A's counterpart
    assert set(side_by_side(a, Results(tmp_path / "b")).methods.replacement_b) == {"counterfactual"}


def test_couples_are_made_by_the_strictest_criterion_first_and_never_of_two() -> None:
    whole = [lambda x: x, lambda x: x[0]]
    assert matched(["ab", "cd"], ["cx", "ab"], whole) == ([("ab", "ab"), ("cd", "cx")], ([], []))
    assert matched(["ab", "ac"], ["ad"], whole) == ([], (["ab", "ac"], ["ad"]))


def test_without_anything_in_common_an_error_says_what_each_holds(tmp_path: Path) -> None:
    a = written(tmp_path / "a")
    for folder, changes, said in (
        ("b", {"task": "sva"}, r"no task in common: A holds ioi; B holds sva\. Give"),
        ("c", {"names": ("hisp",)}, r"no method in common .* B holds hisp on heads of ioi\. Run"),
        ("d", {"kinds": ["neuron"]}, "no method in common on the same task and kind .* on neurons of ioi"),
        ("e", {"names": ()}, "e holds no finished cell"),
    ):
        with pytest.raises(BenchmarkError, match=said):
            side_by_side(a, written(tmp_path / folder, **changes))


def test_the_statistic_is_that_of_sizes_where_a_method_has_no_signs(tmp_path: Path) -> None:
    a, b = (
        written(tmp_path / name, seed=seed, names=(NAMES[0], "activation-difference")) for seed, name in enumerate("ab")
    )
    found = row(side_by_side(a, b), "activation-difference")
    means = [abs(scores(name, 1).mean(0, dtype=np.float64).ravel()) for name in (NAMES[0], "activation-difference")]
    assert found.version == "by_size"
    assert found.value_b == pytest.approx(statistic("pearson", "signed").value(*means))
    assert found.difference == pytest.approx(found.value_b - found.value_a)


def test_what_differs_between_tasks_stands_beside_their_names_and_a_report_says_all_of_it(tmp_path: Path) -> None:
    results = written(tmp_path / "a", names=NAMES[:1])
    [cell] = results.cells
    task = replace(cell.key.task, name="sva", metric="prob_diff", min_metric=1.0)
    key = replace(cell.key, task=task, method=replace(cell.key.method, options={"neurons": 3}))
    versions = replace(cell.provenance, versions={"torch": "9.9"}, quadrature="trapezoid")
    write_cell(results.folder, replace(cell, key=key, provenance=versions))
    both = Results(results.folder)
    found = facts(both.cells)
    assert (found["metric"], found["pairs"]) == ("ioi logit_diff, sva prob_diff", str(PAIRS))
    assert found["least metric asked"] == "sva 1.0"  # of the other task none
    table = what_was_run(both).data.set_index("what").value
    assert table["options"] == f'{NAMES[0]} {{"neurons": 3}}'
    assert table["quadrature"] == f"{NAMES[0]} trapezoid"
    assert "torch 2.13.0, 9.9" in table["versions"].split("; ")
    assert not [name for name in table.index if name.startswith(("options of", "quadrature of", "version of"))]
    assert {name: table.get(name) for name in found if " of " not in name} == {
        name: value for name, value in found.items() if " of " not in name
    }
