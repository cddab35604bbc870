"""Runs whose replacement is `resample`: what is stored of the draws, and what a report says of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import main
from benchmark.components import DRAWS
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model
from benchmark.running.plugins import load_method
from benchmark.running.runner import run
from benchmark.store.folder import Results

HEADS = ("head",)
PLUGIN = """
from benchmark import PromptPair, Task, logit_diff

task = Task(name="tiny", title="Tiny", metric=logit_diff, summary="s", prompt_pairs=[
    PromptPair("Mary and John gave milk to", "Ann and John gave milk to", " Mary", " John"),
    PromptPair("Tom and Ann gave milk to", "Tom and Ann gave fish to", " Tom", " Ann"),
    PromptPair("John and Ann gave fish to", "John and Mary gave fish to", " John", " Ann"),
])
short = Task(name="short", title="Short", metric=logit_diff, summary="s", prompt_pairs=[
    PromptPair("Mary and John", "Ann and John", " Mary", " John"), *task.prompt_pairs,
])
"""


def test_a_run_stores_its_draws_and_a_report_says_them(tmp_path: Path, folder: Path, without_pictures: None) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    out, method = tmp_path / "r", load_method("attribution-patching")
    asked = ["run", "--model", str(folder), "--plugin", str(tmp_path / "plugin.py"), "--out", str(out),
             "--components", "head", "--methods", "attribution-patching,random", "--task", "tiny"]  # fmt: skip
    assert main([*asked, "--replacement", "resample", "--draws", "3"]) == 0
    cells = {cell.key.method.name: cell for cell in Results(out).cells}
    drawn = cells["attribution-patching"]
    assert drawn.key.method.draws == 3
    assert drawn.arrays["head.standard_error"].shape == drawn.values("head").shape
    assert (drawn.arrays["head.standard_error"] > 0).any()
    assert "head.standard_error" not in cells["random"].arrays
    spent, most = drawn.provenance.passes, drawn.provenance.declared_cost_per_pair
    one = method.cost(load_model(str(folder)), Request(HEADS))
    assert (most.forward, most.backward) == (3 * one.forward, 3 * one.backward)
    assert 0 < spent.forward <= 3 * most.forward
    assert "| draws a pair | 3 |" in (out / "report" / "report.md").read_text()
    assert "@inproceedings{conmy2023" in (out / "report" / "references.bib").read_text()


def test_what_a_cell_drew_is_in_its_key(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    asked: dict[str, Any] = {
        "model": str(folder), "out": tmp_path / "r", "tasks": ("tiny",), "methods": ("attribution-patching",),
        "components": HEADS, "plugins": (str(tmp_path / "plugin.py"),),
    }  # fmt: skip
    for number, more in enumerate(({"draws": 3}, {"draws": 2}, {"draws": 3, "seed": 1}, {}, {"draws": DRAWS}), start=1):
        found = run(**asked, replacement="resample", **more)
        assert len(found.cells) == min(number, 4)  # the default is DRAWS
    run(**asked)
    assert {cell.key.means for cell in found.cells}.isdisjoint({None})
    keys = [json.loads((cell.folder / "cell.json").read_text())["key"] for cell in Results(tmp_path / "r").cells]
    [plain] = [key for key in keys if key["method"]["replacement"] == "counterfactual"]
    assert "draws" not in plain["method"]  # as in cells from before there were any
    with pytest.raises(BenchmarkError, match="'counterfactual' draws nothing"):
        run(**asked, draws=3)
    with pytest.warns(UserWarning, match="1 of 2 cells failed"):  # the other task goes on
        both = run(**asked | {"tasks": ("short", "tiny"), "out": tmp_path / "both"}, replacement="resample")
    assert [cell.task for cell in both.cells] == ["tiny"]
    [failed] = both.failures
    assert "has none for short-0000 (3)" in str(failed.error)
