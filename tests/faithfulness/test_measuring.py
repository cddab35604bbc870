"""From a results folder to stored circuits and their numbers: the other split, resumed, keyed by the scores."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmark import BenchmarkError, Results, load_model, load_task, run
from benchmark.analysis.circuits import BY_CHANCE, circuit_curves, circuit_members, circuit_numbers, games, outdated
from benchmark.analysis.comparisons import compared
from benchmark.analysis.judges import overall, two_judges
from benchmark.cli import main
from benchmark.components import COUNTERFACTUAL, Way
from benchmark.faithfulness import measuring
from benchmark.faithfulness.measuring import circuits
from benchmark.faithfulness.values import Values
from benchmark.running.bench import Bench
from benchmark.store.folder import read_circuit, write_cell, write_circuit
from reports.circuits.curves import faithfulness_curves
from reports.circuits.section import (
    MARKS,
    NO_SHARE,
    circuits_blocks,
    detail_table,
    judged_words,
    measured_words,
    one_ranking,
    outdated_words,
    share_table,
    terminal_lines,
)
from reports.writing.blocks import Heading, Paragraph, Picture, Table, flat

pytestmark = pytest.mark.usefixtures("loaded_once")

METHODS = (
    "activation-patching",
    "attribution-patching",
    "activation-difference",
    "two-sided",
    "hisp",
    "random",
)
FEW: dict[str, Any] = {"ways": (COUNTERFACTUAL,), "draws": 3, "search": False}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads and MLPs of pocket on one task, scored on 16 pairs of the evaluation split."""
    folder = tmp_path_factory.mktemp("scored") / "results"
    run("pocket", folder, tasks=("ioi",), methods=METHODS, components=("head", "mlp", "embedding"), pairs=16)
    return folder


@pytest.fixture(scope="module")
def bars() -> list[dict[str, float]]:
    """Of each bar its length and what was done; and the sets that were planned and run meanwhile."""
    return []


@pytest.fixture(scope="module")
def measured(scored: Path, bars: list[dict[str, float]]) -> Path:
    run_sets, plan_cells = Values._run, measuring.planned
    seen = {"planned": 0.0, "run": 0.0, "done": 0.0}

    def planned(*asked: Any) -> list[Any]:
        cells = list(plan_cells(*asked))
        seen.update(planned=sum(one.sets for one in cells), run=0.0, done=0.0)
        return cells

    def noted(values: Values, sets: np.ndarray) -> np.ndarray:
        seen["run"] += len(sets)
        return run_sets(values, sets)

    @contextmanager
    def bar(length: float, what: str, unit: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(advance=lambda done: seen.update(done=seen["done"] + done))
        bars.append({"length": length, **seen})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(measuring, "planned", planned)
        patched.setattr(Values, "_run", noted)
        patched.setattr(measuring, "bar", bar)
        circuits(scored, **FEW)
    return scored


def test_orders_are_from_one_split_and_circuits_from_the_other(measured: Path) -> None:
    results = Results(measured)
    used = {pair for cell in results.cells for pair in cell.key.pair_ids}
    assert {one.kinds for one in games(results)} == {"head", "mlp", "head+mlp+embedding"}
    for one in results.circuits:
        assert (one.key.task.split, one.key.scored_on) == ("discovery", "evaluation")
        assert not used & {*one.key.pair_ids}
    heads = next(one for one in games(results) if one.kinds == "head")
    names = [heads.labels[one.key.digest] for one in heads.circuits]
    assert names == [*METHODS[:2], "two-sided", "random", "activation-difference", "hisp",
                     "random orders, layers and signs kept", "random orders"]  # fmt: skip
    alone = next(one for one in games(results) if one.kinds == "mlp")
    assert not alone.of("matched")  # each is the only one of its layer: nothing to draw
    assert heads.means["nothing"] == pytest.approx(heads.means["corrupted"], abs=1e-3)  # pocket: only heads look back
    [exact] = [one for one in heads.circuits if one.key.source.reference]
    scores = results.scores("ioi", "activation-patching", "head").mean(0).ravel()
    np.testing.assert_array_equal(exact.order[0], np.argsort(-scores))
    np.testing.assert_array_equal(exact.order[1], np.argsort(-np.abs(scores)))
    assert exact.names()[int(exact.order[0, 0])] == "L0H3"


def test_a_bar_is_as_long_as_what_is_done_if_no_set_comes_twice(measured: Path, bars: list[dict[str, float]]) -> None:
    """But for the runs of both prompts that all others begin from, 16 pairs of each."""
    assert len(bars) == 3
    for one in bars:
        assert one["run"] < one["planned"]
        assert one["done"] == pytest.approx(one["length"] * one["run"] / one["planned"], rel=0.05, abs=32)


def test_numbers_of_the_best_and_of_chance_are_the_ends_of_the_scale(measured: Path) -> None:
    numbers = circuit_numbers(Results(measured))
    for _, game in numbers.groupby("kinds"):
        assert game[game.sort == "scores"].share.max() == pytest.approx(1)
        assert game[game.sort == "random"].share.tolist() == [pytest.approx(0)]
        assert (game.cpr + game.cmd >= 0.999 - 1e-9).all()
    exact = numbers[(numbers.kinds == "head") & numbers.reference & (numbers.ranking == "absolute")].iloc[0]
    assert exact.at_top == pytest.approx(1, abs=0.05)
    assert abs(exact.rest_at_top) < 0.1
    assert exact.cpr_low < exact.cpr < exact.cpr_high
    assert (numbers.share_high <= 1).all()
    assert (numbers.cmd_low >= 0).all()
    curves = circuit_curves(Results(measured))
    assert (curves[curves["size"] == 0].phi == 0).all()
    assert (curves[curves["size"] == curves.components].phi == 1).all()
    members = circuit_members(Results(measured))
    first = members[(members.kinds == "head") & (members.place == 1) & (members.source == "activation-patching")]
    assert set(first.component) == {"L0H3"}
    assert (first.leaving > 0.9).all()


def test_two_judges_are_agreement_and_faithfulness(measured: Path) -> None:
    results = Results(measured)
    judges = {one.game.kinds: one for one in two_judges(results, compared(results, tested=False))}
    assert set(judges) == {"head", "mlp"}
    heads = judges["head"].table.set_index("method")
    assert set(heads.index) == {*METHODS} - {"activation-patching", "random", "activation-difference"}
    assert heads.agreement["attribution-patching"] > 0.99
    assert np.isnan(judges["head"].correlation)  # one head is enough, and all put it first: nothing to order
    found = judges["mlp"].correlation
    assert 0.5 < found <= 1
    low, high = judges["mlp"].interval
    assert low <= found <= high + 1e-9
    assert overall([judges["head"], judges["mlp"]]) == (found, low, high)
    said = judged_words([judges["head"], judges["mlp"]])
    assert "on average over 1 task" in said
    assert "On ioi all are as good to one of the two judges" in said
    assert re.search(r"finds the best circuit on \d of 1;", said)  # where all are as good, to find one is no merit
    tied = pd.DataFrame({"method": [*"abcd"], "agreement": [1.0, 1.0, 0.5, 0.2], "share": [0.9, 0.8, 0.7, 0.6]})
    assert "drawn by chance would on 0.5." in judged_words([replace(judges["mlp"], table=tied)])  # two draws of four


def test_two_judges_claim_nothing_of_fewer_than_three_methods(measured: Path) -> None:
    results = Results(measured)
    judges = {one.game.kinds: one for one in two_judges(results, compared(results, tested=False))}
    few = replace(judges["mlp"], table=judges["mlp"].table[:2], correlation=float("nan"))
    assert judged_words([few]).endswith(
        "aren't compared. That takes 3 methods, exact patching and those that see no metric aside; here: 2."
    )
    assert "finds the best" not in judged_words([judges["head"]])
    blind = judges["mlp"].table.assign(agreement=[float("nan"), *judges["mlp"].table.agreement[1:]])
    assert "order 2 methods" in judged_words([replace(judges["mlp"], table=blind)])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every set that is run, with its number of pairs and what is done to the others."""
    found: list[bytes] = []
    run_sets = Values._run

    def noted(self: Values, sets: np.ndarray) -> np.ndarray:
        values = run_sets(self, sets)
        found.extend(f"{self.request.replacement} {self.pairs.ids}".encode() + row.tobytes() for row in sets)
        return values

    monkeypatch.setattr(Values, "_run", noted)
    return found


def test_what_is_stored_is_not_measured_again(measured: Path, tmp_path: Path, asked: list[bytes]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder)
    places = sorted(folder.glob("circuits/*/*/*"))
    circuits(folder, **FEW)
    assert not asked
    assert not (folder / "values").exists()
    damaged = next(place for place in places if read_circuit(place).key.source.label == "random")
    (damaged / "scores.safetensors").write_bytes(b"x")
    assert len(Results(folder).circuits) == len(places) - 1
    with pytest.warns(UserWarning, match="measured again"):
        circuits(folder, **FEW)
    assert 0 < len(asked) == len({*asked})
    assert len(Results(folder).circuits) == len(places)
    circuits(folder, **FEW | {"pairs": 8, "components": (("head",),)})  # other pairs: other cells
    assert len(sorted(folder.glob("circuits/*/*/*"))) == len(places) + 8


def test_a_killed_run_loses_one_order_at_most(
    scored: Path, tmp_path: Path, asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed within a method's second order and within a search: what was run before is not run again."""
    folder, kept = tmp_path / "copy", []
    shutil.copytree(scored, folder, ignore=shutil.ignore_patterns("circuits"))
    wanted: dict[str, Any] = FEW | {"components": (("mlp",),), "methods": ("attribution-patching",), "search": True}
    write = Values.of
    for calls in (3, 11):

        def killed(self: Values, sets: np.ndarray, left: list[int] = [0] * calls) -> np.ndarray:
            left.pop()
            return write(self, sets)

        monkeypatch.setattr(Values, "of", killed)
        with pytest.raises(IndexError):
            circuits(folder, **wanted)
        kept.append(len(Results(folder).circuits))
    assert kept == [0, 2]
    monkeypatch.setattr(Values, "of", write)
    found = circuits(folder, **wanted)
    assert len(asked) == len({*asked})
    assert len(found.circuits) == 3
    assert not (folder / "values").exists()
    asked.clear()
    whole = tmp_path / "whole"
    shutil.copytree(scored, whole, ignore=shutil.ignore_patterns("circuits"))
    for one, other in zip(circuits(whole, **wanted).circuits, found.circuits, strict=True):
        assert one.key == other.key
        for name, array in one.arrays.items():
            np.testing.assert_allclose(array, other.arrays[name], atol=1e-5)


def test_a_search_is_made_on_the_pairs_that_were_scored_and_is_no_worse_than_its_first_step(
    scored: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(scored, tmp_path / "results")  # others find no random orders of its way
    results = circuits(folder, ways=(Way("noising", "zero"),), draws=0, search=True, components=(("mlp",),))
    [found] = [one for one in results.circuits if one.key.source.sort == "greedy"]
    assert set(found.key.source.pairs) == set(results.cells[0].key.pair_ids)
    assert sorted(found.order[0]) == [0, 1, 2, 3]


def test_a_sample_has_no_circuit_and_errors_of_dictionaries_stay(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    methods = ("activation-patching:neurons=2", "attribution-patching")
    run("pocket", folder, tasks=("ioi",), methods=methods, components=("neuron", "mlp-feature"), pairs=2)
    with pytest.warns(UserWarning, match=r"activation-patching:neurons=2 scored \d+ of 2048 neurons"):
        found = circuits(folder, **FEW)
    neurons = [one for one in found.circuits if one.key.kinds == ("neuron",)]
    assert {one.key.source.label for one in neurons} == {"attribution-patching", "random"}
    [features, *_] = [one for one in found.circuits if one.key.kinds == ("mlp-feature",)]
    assert "error" not in " ".join(features.names())
    measured = ~np.isnan(found.cells[0].values("mlp-feature")).all(axis=0)
    assert features.key.components > measured[:, :-1].sum()  # those that move on the other split take part too


def test_other_tops_and_more_random_orders_take_the_place_of_the_first(measured: Path, tmp_path: Path) -> None:
    """What is shown of a game was measured at the same sizes, with the top that is asked for, and no circuit twice."""
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder)
    few: dict[str, Any] = FEW | {"components": (("mlp",),)}
    circuits(folder, **few | {"top": 3})
    found = circuits(folder, **few | {"draws": 5})
    for tops, top in (({("mlp", 3)}, 3), ({("mlp", 2), ("head", 3)}, 2)):  # of four, both are on the grid of sizes
        [game] = [one for one in games(found, tops) if (one.kinds, one.key.way) == ("mlp", COUNTERFACTUAL)]
        assert len({one.key.sizes for one in game.circuits}) == 1
        assert {one.key.top for one in game.circuits} == {top, 0}
        labels = [one.key.source.label for one in game.circuits]
        assert labels.count("activation-patching") == 1
        numbers = circuit_numbers(found, tops)
        numbers = numbers[(numbers.kinds == "mlp") & (numbers.sort == "scores")]
        assert numbers[numbers.replacement == "counterfactual"].above.notna().all()
        [random] = [one for one in game.circuits if one.key.source.sort == "random"]
        assert len(random.key.rankings) == 5
    parts = compared(found, 3, tested=False)
    blocks = flat(circuits_blocks(found, parts))
    [shown] = [block for block in blocks if isinstance(block, Table) and block.stem == "circuits-mlp-numbers"]
    assert set(shown.shown.top) == {"3", "-"}


def test_players_are_in_the_key_and_circuits_of_lost_scores_are_not_shown(measured: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder)
    key = Results(folder).circuits[0].key
    assert replace(key, players="other").digest != key.digest
    exact = next(cell for cell in Results(folder).cells if cell.key.method.reference)
    shutil.rmtree(exact.folder)
    sources = {one.key.source.label for game in games(Results(folder)) for one in game.circuits}
    assert "activation-patching" not in sources
    assert "random, layers and signs kept" not in sources
    assert "attribution-patching" in sources
    shutil.rmtree(folder / "cells")
    left = [{one.key.source.sort for one in game.circuits} for game in games(Results(folder))]
    assert not left  # neither random orders nor a search are a game by themselves
    circuits_blocks(Results(folder), [])


def shown(folder: Path) -> dict[str, np.ndarray]:
    """The order of each method among MLPs, as a report shows it."""
    [mlps] = [one for one in games(Results(folder)) if one.kinds == "mlp" and one.key.way == COUNTERFACTUAL]
    return {one.key.source.label: one.order for one in mlps.of("scores")}


def test_circuits_of_scores_that_have_changed_since_are_not_shown_until_they_are_measured_again(
    measured: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder)
    before = shown(folder)
    [cell] = [one for one in Results(folder).cells if one.key.method.name == "attribution-patching"]
    turned = {name: -array if name.endswith(".values") else array for name, array in cell.arrays.items()}
    write_cell(folder, replace(cell, arrays=turned))  # as `run --force` does with a method that has changed
    assert {*before} - {*shown(folder)} == {"attribution-patching"}
    count = outdated(Results(folder))
    assert f"{count} circuits are left out" in " ".join(outdated_words(Results(folder)))
    found = circuits(folder, **FEW)
    after = shown(folder)
    np.testing.assert_array_equal(after.pop("attribution-patching")[0], before.pop("attribution-patching")[0][::-1])
    assert {*after} == {*before}
    assert count - outdated(found) == 3  # of heads, MLPs, and all kinds together


def test_two_versions_of_a_method_are_both_shown_under_the_names_that_agreement_has_for_them(
    measured: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder)
    [cell] = [one for one in Results(folder).cells if one.key.method.name == "attribution-patching"]
    turned = {name: -array if name.endswith(".values") else array for name, array in cell.arrays.items()}
    other = replace(cell.key, method=replace(cell.key.method, code="other"))
    write_cell(folder, replace(cell, key=other, arrays=turned))
    found = circuits(folder, **FEW | {"components": (("mlp",),)})
    [mlps] = [one for one in games(found) if one.kinds == "mlp" and one.key.way == COUNTERFACTUAL]
    part = next(part for part in compared(found, tested=False) if part.kind == "mlp")
    assert sorted(mlps.labels[one.key.digest] for one in mlps.of("scores")) == sorted(one.label for one in part.methods)
    of = {mlps.labels[one.key.digest]: one.order[0] for one in mlps.of("scores")}
    first, second = (f"attribution-patching [seed 0, {key.variant[:4]}]" for key in (cell.key, other))
    np.testing.assert_array_equal(of[first], of[second][::-1])


def test_circuits_of_a_version_that_stored_no_digest_of_the_scores_are_read_and_not_shown(
    measured: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(measured, folder, ignore=shutil.ignore_patterns("circuits"))
    for one in Results(measured).circuits:
        write_circuit(folder, replace(one, key=replace(one.key, source=replace(one.key.source, arrays=()))))
    found = Results(folder)
    assert len(found.circuits) == len(Results(measured).circuits)
    assert not games(found)
    assert "left out" in " ".join(terminal_lines(found, [], 500))


def test_the_section_is_there_with_and_without_judges_and_random_orders(measured: Path, tmp_path: Path) -> None:
    results = Results(measured)
    parts = compared(results, tested=False)
    headings = [block.text for block in flat(circuits_blocks(results, parts)) if isinstance(block, Heading)]
    assert "Heads of pocket" in headings
    assert "Heads, MLP outputs and embeddings of pocket" in headings
    assert circuits_blocks(results, [])  # nobody to judge
    said = "\n".join(terminal_lines(results, parts, 118))
    assert "Two judges" in said
    assert "too few pairs" not in said
    shutil.copytree(measured, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "circuits")
    bare = circuits(tmp_path / "copy", **FEW | {"draws": 0, "components": (("mlp",),)})
    assert Paragraph(NO_SHARE) in list(flat(circuits_blocks(bare, parts)))
    assert "[" not in "\n".join(terminal_lines(bare, parts, 118))  # no table of dashes, no interval


def test_where_nothing_says_that_there_is_a_behaviour_to_keep_words_and_marks_say_so(measured: Path) -> None:
    """Faithfulness is a ratio: below 16 pairs, or with a gap that isn't told from 0, it may be one of noise."""
    numbers = circuit_numbers(Results(measured))
    heads = numbers[numbers.kinds == "head"]
    assert heads.told.all()
    for told, words, mark in ((None, "too few pairs", "§"), (False, "says nothing", "≠")):
        other = heads.assign(told=[told] * len(heads))
        assert words in measured_words(other)
        assert words not in measured_words(heads)
        table = share_table(other, "")
        assert list(table.shown) == ["method", f"ioi {mark}"]
        assert mark in table.caption
        assert list(share_table(heads, "").shown) == ["method", "ioi"]


def test_where_all_is_as_good_as_nothing_there_is_no_number_and_no_curve(measured: Path, tmp_path: Path) -> None:
    results = Results(measured)
    for one in results.circuits:
        write_circuit(tmp_path, replace(one, arrays=one.arrays | {"everything": one.nothing}))
    shutil.copytree(measured / "cells", tmp_path / "cells")
    shutil.copy(measured / "run.json", tmp_path)
    flat_out = Results(tmp_path)
    numbers = circuit_numbers(flat_out)
    assert numbers[["share", "cpr", "cmd", "above", "redundant"]].isna().all(axis=None)
    assert not [block for block in flat(circuits_blocks(flat_out, [])) if isinstance(block, Picture)]
    assert [block for block in flat(circuits_blocks(results, [])) if isinstance(block, Picture)]


def test_what_is_told_of_a_table_is_right_in_number_split_and_name(measured: Path) -> None:
    numbers = circuit_numbers(Results(measured))
    heads = numbers[numbers.kinds == "head"]
    assert "measured on 1 pair a task of the discovery split" in measured_words(heads.assign(pairs=1))
    other = heads.assign(case="ioi, other", scored_on="discovery", measured_on="evaluation", pairs=4)
    both = measured_words(pd.concat([heads, other]))
    assert "Ranked on the discovery or evaluation split, measured on 4 to 16 pairs a task of the other split" in both
    only = heads[heads.source.isin(["two-sided", "random orders"])]
    assert "only one order is known" in measured_words(only)
    assert "exact patching has no order" in measured_words(heads[~heads.reference])
    assert "known" not in measured_words(heads)
    curves = circuit_curves(Results(measured))
    figure = faithfulness_curves(one_ranking(curves[curves.kinds == "head"]))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(legend) == len({*legend}) == len(METHODS) + 4
    assert {"random", "random orders, 90%", "random orders, layers and signs kept, 90%"} < {*legend}


def test_bands_hold_what_most_random_orders_keep_of_either_sort(measured: Path) -> None:
    curves = circuit_curves(Results(measured))
    curves = one_ranking(curves[(curves.kinds == "head") & (curves.replacement == "counterfactual")])
    axis = faithfulness_curves(curves).axes[0]
    bands = {str(band.get_label()): band.get_paths()[0].get_extents() for band in axis.collections}
    assert {*bands} == {f"{name}, 90%" for name in BY_CHANCE.values()}
    for sort, name in BY_CHANCE.items():
        rows, box = curves[(curves.sort == sort) & (curves["size"] > 0)], bands[f"{name}, 90%"]
        assert (box.y0, box.y1) == pytest.approx((rows.low.min(), rows.high.max()))
        assert rows.low.min() < rows.high.max()


def test_a_caption_of_circuits_has_two_lines_at_most_whatever_it_must_say(measured: Path) -> None:
    numbers = circuit_numbers(Results(measured))
    heads = numbers[(numbers.kinds == "head") & (numbers.replacement == "counterfactual")].assign(most=2.0)
    cases = [heads.assign(case=str(told), told=[told] * len(heads)) for told in (None, False, True)]
    ways = [one.assign(replacement=name) for one in cases for name in ("counterfactual", "mean", "zero")]
    caption = share_table(pd.concat(ways), "").caption
    assert all(f"{mark} {words}" in caption for mark, words in MARKS.items())
    assert "of 3 ways" in caption
    assert len(caption) <= 200


def test_numbers_stand_with_their_range_over_the_ways_in_which_there_is_something_to_keep(measured: Path) -> None:
    numbers = circuit_numbers(Results(measured))
    heads = numbers[(numbers.kinds == "head") & (numbers.replacement == "counterfactual")].assign(told=True)
    others = [
        heads.assign(replacement=name, cpr=cpr, told=told)
        for name, cpr, told in (("mean", 9, True), ("zero", 99, False))
    ]
    shown = detail_table(heads, pd.concat([heads, *others]), "").shown
    assert [text.rpartition("; ")[2] for text in shown.CPR] == [f"{cpr:.2f} to 9.00" for cpr in heads.cpr]
    assert ";" not in "".join(detail_table(heads, heads, "").shown.CPR)


def test_orders_of_two_seeds_are_told_apart(measured: Path, tmp_path: Path) -> None:
    for name in ("cells", "circuits"):
        shutil.copytree(measured / name, tmp_path / name)
    shutil.copy(measured / "run.json", tmp_path)
    for one in Results(measured).circuits:
        if one.key.source.sort in BY_CHANCE:
            write_circuit(tmp_path, replace(one, key=replace(one.key, source=replace(one.key.source, seed=1))))
    found = Results(tmp_path)
    numbers = circuit_numbers(found)
    heads = numbers[(numbers.kinds == "head") & numbers.ranking.eq("")]
    assert sorted(heads.source) == sorted(f"{name} [seed {seed}]" for name in BY_CHANCE.values() for seed in (0, 1))
    curves = circuit_curves(found)
    axis = faithfulness_curves(one_ranking(curves[curves.kinds == "head"])).axes[0]
    [mean] = [line for line in axis.lines if str(line.get_label()) == "random orders, mean"]
    assert (np.diff(mean.get_xdata()) > 0).all()


def test_rows_that_have_changed_since_are_refused_and_a_run_keeps_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of pairs of one split only there is nothing to measure: the scores stand all the same."""
    prompts = [one.prompt for one in load_task("ioi").pairs(load_model("pocket"), limit=2).pairs]
    cells = [(one.clean, str(one.corrupted), str(one.correct), one.incorrect[0]) for one in prompts]
    rows = [",".join(f'"{cell}"' for cell in row) for row in cells]
    file, folder = tmp_path / "two.csv", tmp_path / "results"
    head = "clean,corrupted,correct,incorrect,split\n"
    file.write_text(head + f"{rows[0]},evaluation\n")
    command = ["run", "--pairs-file", str(file), "--methods", "attribution-patching", "--components", "mlp"]
    assert main([*command, "--out", str(folder), "--circuits"]) == 0
    assert "No circuit of" in capsys.readouterr().err
    assert (folder / "report" / "report.html").is_file()
    file.write_text(head + f"{rows[0]},discovery\n{rows[1]},evaluation\n")
    with pytest.raises(BenchmarkError, match="aren't those that were scored"):
        circuits(folder, **FEW)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--task", "iio"], "--task iio: .* holds ioi.* Did you mean 'ioi'"),
        (["--methods", "magic"], "--methods magic: .* holds activation-difference"),
        (["--components", "neuron"], "--components neuron: .* holds scores of embedding, head, mlp only"),
        (["--components", "head+heads"], "--components heads: choose from head, neuron"),
        (["--ways", "noising/nil"], "--ways noising/nil: choose from noising/counterfactual"),
        (["--pairs", "0"], "at least 1"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    scored: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["circuits", str(scored), *options]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_scores_of_other_weights_are_refused(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Bench.model

    def other(self: Bench, source: Any) -> Any:
        found = load(self, source)
        monkeypatch.setattr(found, "digest", "0" * 64)  # until the end of this test: others are lent it too
        return found

    monkeypatch.setattr(Bench, "model", other)
    with pytest.raises(BenchmarkError, match="scores of another 'pocket'"):
        circuits(scored, **FEW)


def test_a_run_with_circuits_measures_its_own_cells_in_their_way_and_says_so(
    tmp_path: Path, without_report: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """What else the folder holds has no circuit by it: neither another method nor another way."""
    folder = tmp_path / "results"
    run("pocket", folder, tasks=("ioi",), methods=("random",), components=("mlp", "head"), pairs=2)
    command = ["run", "--task", "ioi", "--methods", "attribution-patching", "--components", "mlp", "--pairs", "2"]
    assert main([*command, "--out", str(folder), "--circuits", "--replacement", "zero"]) == 0
    said = "1 method on 1 task, MLP outputs, noising with zero"
    assert said in " ".join(capsys.readouterr().err.split())
    assert circuit_numbers(Results(folder)).told.isna().all()  # of 2 pairs nothing is known
    assert "too few pairs" in "\n".join(terminal_lines(Results(folder), [], 500))
    found = Results(folder).circuits
    assert {(one.key.kinds, tuple(one.key.way)) for one in found} == {(("mlp",), ("noising", "zero"))}
    assert {one.key.source.label for one in found} == {"attribution-patching", "random", "greedy search"}
    assert len(found) == 3
