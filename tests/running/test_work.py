"""Claims about work: it says all that its numbers depend on, so that whoever does it gets the same ones."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.engine.memory import Chunk
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch
from benchmark.running.bench import Bench
from benchmark.running.doing import attempt, computed
from benchmark.running.plan import Asked, Plan, PlannedCell
from benchmark.running.runner import execute, prepare
from benchmark.running.work import Failed, Work
from benchmark.store.cell import Cell
from methods.integrated_gradients import IntegratedGradients
from tests.running.test_runner import PLUGIN

METHODS = ("activation-patching:neurons=5", "integrated-gradients:steps=2", "random")


class Done(NamedTuple):
    """A plan that was carried out, with the stored cells in its order."""

    plan: Plan
    stored: list[Cell]

    def of(self, method: str) -> tuple[PlannedCell, Work, Cell]:
        place = next(i for i, cell in enumerate(self.plan.cells) if cell.method.name == method)
        work = self.plan.cells[place].work
        assert work is not None
        return self.plan.cells[place], work, self.stored[place]


def carried_out(folder: Path, out: Path, replacement: str) -> Done:
    (plugin := out / "plugin.py").write_text(PLUGIN)
    asked = Asked(
        str(folder), ("one",), METHODS, plugins=(str(plugin),), device="cpu", replacement=replacement, pairs=3
    )
    plan = prepare(asked, out / "r")
    found = {cell.key.digest: cell for cell in execute(plan, out / "r", lambda message: None).cells}
    return Done(plan, [found[cell.key.digest] for cell in plan.cells])


@pytest.fixture(scope="module")
def done(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return carried_out(folder, tmp_path_factory.mktemp("work"), "counterfactual")


def same_bits(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> bool:
    """Of all that work gives: the resolution is the plan's."""
    want = {name: array for name, array in want.items() if name != "resolution"}
    return set(got) == set(want) and all(
        (got[name].dtype, got[name].shape, got[name].tobytes())
        == (want[name].dtype, want[name].shape, want[name].tobytes())
        for name in want
    )


@pytest.mark.parametrize("replacement", ["counterfactual", "mean"])
def test_work_sent_elsewhere_gives_the_bits_of_the_stored_cell(
    folder: Path, tmp_path: Path, done: Done, replacement: str
) -> None:
    """The bench there holds nothing: model, pairs, metrics and means come from what the work names."""
    if replacement != "counterfactual":
        done = carried_out(folder, tmp_path, replacement)
    bench = Bench()
    for cell, stored in zip(done.plan.cells, done.stored, strict=True):
        work = pickle.loads(pickle.dumps(cell.work))
        assert work == cell.work
        assert same_bits(computed(work, bench).arrays, stored.arrays), cell.method.label
        metrics = cell.behaviour.metrics["clean"].to(torch.float32)
        np.testing.assert_array_equal(stored.arrays["clean_metric"], metrics)


def test_some_of_the_pairs_in_another_order_have_the_rows_that_they_have_among_all(done: Done) -> None:
    for name in ("activation-patching", "integrated-gradients", "random"):
        cell, work, stored = done.of(name)
        assert cell.behaviour.pairs is not None
        some = cell.behaviour.pairs.take([2, 0])
        arrays = computed(replace(work, pair_ids=some.ids, tokens=some.digest()), Bench()).arrays
        assert set(arrays) == set(stored.arrays) - {"resolution"}
        for array, got in arrays.items():
            of_pairs = array.endswith(("values", "metric", "error"))
            want = stored.arrays[array][[2, 0]] if of_pairs else stored.arrays[array]
            np.testing.assert_allclose(got, want, atol=1e-5, rtol=0, err_msg=f"{name} {array}")


@pytest.mark.parametrize(
    ("old", "new"),
    [("gave milk to", "gave fish to"), ('" Mary", " John"', '" Mary", " Tom"')],
    ids=["prompt", "answer"],
)
def test_work_on_rows_that_have_changed_since_is_refused(done: Done, tmp_path: Path, old: str, new: str) -> None:
    (edited := tmp_path / "plugin.py").write_text(PLUGIN.replace(old, new))
    _, work, _ = done.of("random")
    with pytest.raises(BenchmarkError, match="rows of task 'one' have changed since the run was planned"):
        computed(replace(work, plugins=(str(edited),)), Bench())
    (untouched := tmp_path / "same.py").write_text(PLUGIN)
    assert computed(replace(work, plugins=(str(untouched),)), Bench()).arrays
    lacking = attempt(replace(work, code="0" * 64, plugins=(str(tmp_path / "nowhere.py"),)), Bench())
    assert isinstance(lacking, Failed)
    assert "nowhere.py" in lacking.error


def test_metrics_that_the_plan_took_are_not_taken_again(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, run = [], Model.run

    def counted(self: Model, *arguments: Any, **options: Any) -> Any:
        calls.append(self)
        return run(self, *arguments, **options)

    monkeypatch.setattr(Model, "run", counted)
    _, work, stored = done.of("random")  # which needs no forward of its own
    assert same_bits(computed(work, done.plan.bench).arrays, stored.arrays)
    assert not calls
    assert same_bits(computed(work, replace(done.plan.bench, metrics={})).arrays, stored.arrays)
    assert calls


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("random", {"seed": 1}),
        ("integrated-gradients", {"direction": "denoising"}),
        ("integrated-gradients", {"replacement": "zero"}),
        ("integrated-gradients", {"options": (("steps", 1), ("path", "site"))}),
    ],
    ids=["seed", "direction", "replacement", "options"],
)
def test_other_work_gives_other_numbers(done: Done, method: str, change: dict[str, Any]) -> None:
    """Whatever the work says reaches the method: numbers that ignore it would agree with the stored ones."""
    _, work, stored = done.of(method)
    arrays = computed(replace(work, **change), done.plan.bench).arrays
    for name in ("head.values", "neuron.values"):
        assert np.abs(arrays[name] - stored.arrays[name]).max() > 1e-4, name


def test_memory_that_ran_out_makes_the_rest_of_that_cell_smaller_and_no_other(
    done: Done, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, work, _ = done.of("integrated-gradients")
    _, other, _ = done.of("random")
    attribute = IntegratedGradients.attribute
    ran_out: list[int] = []

    def too_large(self: IntegratedGradients, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        if len(batch) > 1:
            ran_out.append(len(batch))
            raise MemoryError
        return attribute(self, model, batch, request)

    monkeypatch.setattr(IntegratedGradients, "attribute", too_large)
    work = replace(work, chunk=Chunk(512, 2, 512))
    whole = computed(work, bench := replace(done.plan.bench, fits={}), say=lambda words: None)
    assert (whole.chunk.pairs, ran_out) == (1, [2])
    part = computed(replace(work, places=(0, 1)), bench)
    assert (part.chunk, ran_out) == (whole.chunk, [2])  # it isn't tried again
    assert computed(other, bench).chunk == other.chunk
