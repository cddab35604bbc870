"""Cells in parts: killed runs lose one part, and the joined cell has the bits of an undisturbed run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from benchmark.engine.memory import Chunk, choose_chunk
from benchmark.engine.model import Model
from benchmark.engine.request import Request, Share
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs
from benchmark.running import capacity
from benchmark.running.bench import Bench
from benchmark.running.cluster import Worker
from benchmark.running.crew import InThisProcess, Teller
from benchmark.running.doing import attempt
from benchmark.running.parts import divided, left, part_rows
from benchmark.running.plan import Asked, Plan
from benchmark.running.plugins import discover
from benchmark.running.provenance import package
from benchmark.running.runner import execute, prepare
from benchmark.running.work import Computed, Failed, ModelSource, Work
from benchmark.store.cell import Rows
from benchmark.store.folder import Results, read_parts, write_part
from benchmark.store.part import Part, joined
from methods.attribution_patching import AttributionPatching
from tests import kills
from tests.running.test_runner import PLUGIN
from tests.tiny import tiny_model, tiny_pairs

Found = TypeVar("Found")
ALL = ("activation-patching", "grad-drop")


class Stopped(Exception):
    pass


class Watched(InThisProcess):
    """Does some pieces, in the order that is asked for, and notes them; then it is killed."""

    def __init__(self, bench: Bench, most: int = 99, backwards: bool = False) -> None:
        super().__init__(bench)
        self.most, self.backwards, self.done = most, backwards, list[Work]()

    def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
        order = range(len(works))[:: -1 if self.backwards else 1]
        for number in order:
            if len(self.done) == self.most:
                raise Stopped
            for _, outcome in super().carry_out([works[number]], replace(teller, wanted=lambda _: True, begins=print)):
                self.done.append(works[number])
                yield number, outcome


@pytest.fixture(scope="module")
def asked(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    (plugin := tmp_path_factory.mktemp("plugin") / "plugin.py").write_text(PLUGIN)
    return Asked(str(folder), ("one", "two"), ALL, ("head", "neuron"), plugins=(str(plugin),), device="cpu", pairs=3)


@pytest.fixture(scope="module")
def plan(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Every pair a part."""
    return prepare(asked, tmp_path_factory.mktemp("plan") / "r", part_seconds=0.0)


def quiet(words: str) -> None:
    pass


def test_a_run_that_was_stopped_goes_on_in_any_order_with_the_same_bits(plan: Plan, tmp_path: Path) -> None:
    whole = Watched(plan.bench)
    execute(plan, tmp_path / "whole", quiet, crew=whole)
    works = whole.done
    assert len(works) == 2 * (3 + 2)
    stopped = Watched(plan.bench, 4)
    with pytest.raises(Stopped):
        execute(plan, tmp_path / "r", quiet, crew=stopped)
    assert Results(tmp_path / "r").missing["one x grad-drop"] == "1 of 3 pairs are there"
    said: list[str] = []
    rest = Watched(plan.bench, backwards=True)
    execute(plan, tmp_path / "r", said.append, crew=rest)
    assert rest.done == works[4:][::-1]  # one cell and a part of the next were there
    assert said[-2:] == ["1 of 4 cells are stored already in " + str(tmp_path / "r") + ".",
                         "1 part of 1 unfinished cell is stored already."]  # fmt: skip
    assert kills.bits(tmp_path / "r") == kills.bits(tmp_path / "whole")
    assert not list((tmp_path / "r" / "parts").glob("*"))
    assert not Results(tmp_path / "r").missing
    for cell in Results(tmp_path / "r").cells:
        assert sum(part.pairs for part in cell.provenance.parts) == len(cell.pairs)
        assert {part.device for part in cell.provenance.parts} == {"cpu"}
        assert all(part.chunk == plan.chunk._asdict() for part in cell.provenance.parts)


def test_parts_give_the_scores_of_a_whole_cell(plan: Plan, asked: Asked, tmp_path: Path) -> None:
    parts = execute(plan, tmp_path / "parts", quiet)
    whole = execute(replace(plan, part_rows=None), tmp_path / "whole", quiet)
    assert [len(cell.provenance.parts) for cell in parts.cells] == [3, 3, 2, 2]
    assert not any(cell.provenance.parts for cell in whole.cells)
    for one, other in zip(parts.cells, whole.cells, strict=True):
        assert one.key == other.key
        assert one.arrays.keys() == other.arrays.keys()
        for name, array in other.arrays.items():
            np.testing.assert_allclose(one.arrays[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_what_fails_in_one_part_fails_the_cell_and_keeps_the_parts_before(plan: Plan, tmp_path: Path) -> None:
    class Broken(Watched):
        def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
            for number, outcome in super().carry_out(works, teller):
                if teller.wanted(number):
                    yield number, Failed("no luck", "a traceback") if number == 1 else outcome

    said: list[str] = []
    results = execute(plan, tmp_path / "r", said.append, crew=Broken(plan.bench))
    assert [cell.error for cell in results.failures] == ["no luck"]
    assert said == ["FAILED one x activation-patching: no luck"]
    assert len(results.cells) == 3
    again = Watched(plan.bench)
    assert not execute(plan, tmp_path / "r", said.append, crew=again).failures
    assert [work.places for work in again.done] == [(2,), (0,)]  # the shortest prompt comes first


def test_a_damaged_part_is_computed_again(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        execute(plan, tmp_path / "r", quiet, crew=Watched(plan.bench, 2))
    victim = sorted((tmp_path / "r").glob("parts/*/*/scores.safetensors"))[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert "1 of 3 pairs" in Results(tmp_path / "r").missing["one x activation-patching"]
    said: list[str] = []
    again = Watched(plan.bench)
    execute(plan, tmp_path / "r", said.append, crew=again)
    assert victim.parent.name in said[0]
    assert "computed again" in said[0]
    assert len(again.done) == 9


def test_what_runs_nothing_is_never_divided(asked: Asked, plan: Plan, tmp_path: Path) -> None:
    free = prepare(replace(asked, methods=("random", "grad-drop")), tmp_path / "r", plan.bench, part_seconds=0.0)
    crew = Watched(plan.bench)
    results = execute(replace(free, part_rows=1e-9), tmp_path / "r", quiet, crew=crew)
    assert [(work.method, work.places) for work in crew.done if work.task.name == "one"] == [
        ("random", None), *(("grad-drop", (place,)) for place in (1, 2, 0))
    ]  # fmt: skip
    assert len(results.cells) == 4


@pytest.mark.parametrize("other", ["chunk", "threads", "part_rows"])
def test_parts_that_were_planned_otherwise_are_computed_again_and_not_joined(
    plan: Plan, tmp_path: Path, other: str
) -> None:
    plan = replace(plan, cells=plan.cells[:1], threads=1)
    ways: dict[str, Any] = {"chunk": Chunk(7), "threads": 2, "part_rows": 1e-6}
    with pytest.raises(Stopped):
        execute(replace(plan, **{other: ways[other]}), tmp_path / "r", quiet, crew=Watched(plan.bench, 2))
    said: list[str] = []
    again = Watched(plan.bench)
    execute(plan, tmp_path / "r", said.append, crew=again)
    assert len(again.done) == 3
    assert "2 parts of one x activation-patching came from a run that was asked for something else" in said[0]


def test_parts_of_another_version_are_computed_again_and_not_joined(plan: Plan, tmp_path: Path) -> None:
    plan = replace(plan, cells=plan.cells[:1])
    with pytest.raises(Stopped):
        execute(plan, tmp_path / "r", quiet, crew=Watched(plan.bench, 2))
    stored = read_parts(tmp_path / "r", plan.cells[0].key.digest, quiet)
    assert {part.package for part in stored} == {package()}
    for part, old in zip(stored, ("0.1, code 12345678", ""), strict=True):
        write_part(tmp_path / "r", replace(part, package=old, arrays={n: a + 9 for n, a in part.arrays.items()}))
    said: list[str] = []
    again = Watched(plan.bench)
    [cell] = execute(plan, tmp_path / "r", said.append, crew=again).cells
    assert said == [
        "2 parts of one x activation-patching came from another version of attribution-bench (0.1, code 12345678; "
        f"an earlier one). This is {package()}: computed again."
    ]
    assert len(again.done) == 3
    assert np.abs(cell.arrays["clean_metric"]).max() < 9
    elsewhere = attempt(replace(again.done[0], package="0.1"), plan.bench)
    assert isinstance(elsewhere, Failed)
    assert "0.1 where the run was planned" in elsewhere.error
    with pytest.raises(BenchmarkError, match=r"0\.1 where the run was planned"):
        Worker().ready(replace(again.done[0], package="0.1"))  # so that it is given no work


def test_a_plan_that_was_begun_goes_on_with_its_parts_and_threads(asked: Asked, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        execute(replace(plan, threads=3, part_rows=7.0), tmp_path / "r", quiet, crew=Watched(plan.bench, 0))
    resumed = prepare(asked, tmp_path / "r", plan.bench)
    assert (resumed.threads, resumed.part_rows) == (3, 7.0)
    anew = prepare(asked, tmp_path / "r", plan.bench, force=True)
    assert (anew.threads, anew.part_rows) == (plan.threads, None)


class Elsewhere:
    """Another process, with a card, whose memory two share."""

    threads, sharing = 3, 2

    def __init__(self) -> None:
        self.bench, self.asked = Bench(), list[tuple[Any, ...]]()

    def ask(self, question: Callable[..., Found], source: ModelSource, *about: Any) -> Found:
        self.asked.append((question, *about))
        said = question(self.bench, source, *about)
        return "cuda" if question is capacity.device else said  # type: ignore[return-value]


def test_what_fits_and_how_long_it_takes_is_asked_where_the_work_will_be_done(
    asked: Asked, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Elsewhere()
    monkeypatch.setattr("benchmark.running.capacity.free", lambda model: 2**22 if model is plan.model else 2**21)
    found = prepare(asked, tmp_path / "r", plan.bench, part_seconds=0.0, workplace=there)
    assert [question for question, *_ in there.asked] == [capacity.device, capacity.chunk, capacity.row_seconds]
    longest = max(one.pairs.longest for one in plan.behaviours if one.pairs)
    assert found.chunk == choose_chunk(plan.model, longest, 2**21 // 4, gradients=True)
    assert (found.threads, found.resolved()["device"]) == (3, "cuda")
    with pytest.raises(Stopped):
        execute(found, tmp_path / "r", quiet, crew=Watched(plan.bench, 0))
    assert prepare(asked, tmp_path / "r", plan.bench).chunk != found.chunk  # here is no card
    again = prepare(asked, tmp_path / "r", plan.bench, workplace=there)
    assert again.chunk == found.chunk
    assert again.begun == ()
    monkeypatch.setattr("benchmark.running.capacity.free", lambda model: 2**20)
    [words] = prepare(asked, tmp_path / "r", plan.bench, workplace=there).begun
    assert f"begun with {found.chunk.tokens} tokens in a forward" in words
    assert "2 workers" in words


def test_whether_cells_come_in_parts_is_for_those_to_say_who_compute_them(
    asked: Asked, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "row_seconds", lambda *about: 1e3)  # there; here all of it takes no minute
    assert prepare(asked, tmp_path / "r", plan.bench).part_rows is None
    assert prepare(asked, tmp_path / "r", plan.bench, workplace=Elsewhere()).part_rows is not None


def test_parts_hold_pairs_of_one_length_and_together_all(plan: Plan) -> None:
    pairs = plan.behaviours[0].pairs
    assert pairs is not None
    assert divided(pairs, 3) == [(0, 1, 2)]
    found = divided(pairs, 2)
    lengths = [{len(pairs.pairs[place].clean) for place in part} for part in found]
    assert all(len(one) == 1 for one in lengths)
    assert sorted(place for part in found for place in part) == [0, 1, 2]


def test_of_a_part_that_is_done_in_another_division_the_rest_is_left(plan: Plan) -> None:
    work = plan.cells[0].work
    assert work is not None
    todo = left(work, [(0, 1), (2,)], {work.pair_ids[0], work.pair_ids[2]})
    assert [one.places for one in todo] == [(1,)]
    assert left(work, [(0, 1, 2)], ()) == [work]


@pytest.mark.parametrize(("longest", "rows"), [(100.0, None), (1000.0, None), (1001.0, 1000.0), (1e6, 1000.0)])
def test_a_part_is_as_many_rows_as_its_seconds_hold(longest: float, rows: float | None) -> None:
    assert part_rows(10.0, 0.01, longest) == rows


class Counting(AttributionPatching):
    """Its scores are by so much larger as there are pairs."""

    name = "counting"

    def prepare(self, model: Model, pairs: Pairs, request: Request) -> int:
        return len(pairs)

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, torch.Tensor]:
        return {kind: request.prepared * one for kind, one in super().attribute(model, batch, request).items()}


@pytest.mark.parametrize("method", ["counting", "grad-drop", "integrated-gradients"])
def test_a_share_of_the_pairs_has_the_scores_that_it_has_among_all(method: str) -> None:
    """What a method works out from all pairs (which neurons, norms, mean gaps) is still that of all."""
    model, pairs = tiny_model(), tiny_pairs(tiny_model())
    found = Counting() if method == "counting" else discover().method(method)
    want, share = found.scores(model, pairs), Share((len(pairs) - 1, 0))
    for _ in range(2):  # the second time with what the first one made ready
        got = found.scores(model, pairs, share=share)
        for kind, scores in want.items():
            assert got[kind].pair_ids == (pairs.ids[0], pairs.ids[-1])
            assert got[kind].design.probability.equal(scores.design.probability)
            for name, one, all_ in (
                ("values", got[kind].values, scores.values), ("gap", got[kind].clean_metric, scores.clean_metric)
            ):  # fmt: skip
                np.testing.assert_allclose(one, all_[[0, -1]], rtol=1e-4, atol=1e-6, err_msg=name)


def part(ids: Sequence[str], measured: float = 1.0) -> Part:
    arrays = {
        "head.values": np.array([[[float(len(name))]] for name in ids]), "head.probability": np.full((1, 1), measured)
    }  # fmt: skip
    return Part("c" * 64, tuple(ids), "cpu", 1, 1.0, {}, Rows(), 1.0, {}, arrays=arrays)


def test_parts_are_joined_in_the_order_of_the_pairs() -> None:
    arrays = joined(("a", "bb", "ccc"), [part(["ccc"]), part(["bb", "a"])])
    assert arrays["head.values"].flatten().tolist() == [1.0, 2.0, 3.0]
    assert arrays["head.probability"].shape == (1, 1)


@pytest.mark.parametrize(
    ("parts", "words"),
    [([part(["a"])], "hold 1 of its 2 pairs"), ([part(["a"]), part(["bb"], 0.5)], "differ in 'head.probability'")],
)
def test_parts_that_do_not_belong_together_are_refused(parts: list[Part], words: str) -> None:
    with pytest.raises(BenchmarkError, match=words):
        joined(("a", "bb"), parts)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_runs_that_are_killed_lose_nothing(asked: Asked, tmp_path: Path) -> None:
    """Two kills; a hundred by `python -m tests.kills`."""
    assert kills.kill(replace(asked, components=("head",)), 2, 0, tmp_path, quiet)
