"""A run's number format goes from the command into the model, the key and the report; tf32 is never ignored."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.cli import main
from benchmark.components import WAYS
from benchmark.errors import BenchmarkError
from benchmark.running import plan
from benchmark.running.bench import Bench
from benchmark.running.plan import Asked
from benchmark.running.runner import prepare, run
from benchmark.store.folder import Results
from reports.terminal import terminal_summary

WARNED = "activation-patching is what other methods are held against, and it is computed in bfloat16"


def test_a_run_in_16_bits_warns_of_its_reference_by_name_and_stores_the_resolution_once_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []
    true = plan.resolution
    monkeypatch.setattr(
        plan, "resolution", lambda *given, **options: measured.append(true(*given, **options)) or measured[-1]
    )
    methods = ("activation-patching", "activation-difference")
    asked = {"tasks": ("ioi",), "methods": methods, "components": ("head",), "pairs": 2, "device": "cpu"}
    with pytest.warns(UserWarning, match=WARNED):
        results = run("pocket", tmp_path, **asked, dtype="bfloat16")
    [resolution] = measured
    for cell in results.cells:
        assert (cell.key.dtype, cell.key.matmul, cell.provenance.dtype) == ("bfloat16", "ieee", "bfloat16")
        assert cell.resolution is not None
        torch.testing.assert_close(torch.from_numpy(cell.resolution), resolution.float())
    found = terminal_summary(Results(tmp_path))
    assert "activation-patching, which others are held against, was computed in bfloat16" in " ".join(found.split())


def test_plans_of_one_bench_measure_the_resolution_once_for_each_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(
        plan, "resolution", lambda model, pairs, direction, budget: measured.append(direction) or torch.ones(len(pairs))
    )
    bench, name = Bench(), "litmus/or-gate"
    for direction, replacement in WAYS:
        way = {"direction": direction, "replacement": replacement}
        asked = Asked(name, (name,), ("random",), pairs=2, device="cpu", **way)
        [found] = prepare(asked, tmp_path, bench).behaviours
        assert found.resolution.tolist() == [1.0, 1.0]
    assert measured == ["noising", "denoising"]


@pytest.mark.parametrize(
    "words",
    [
        "run --task ioi",
        "interactions --task ioi",
        "baselines --task ioi --components neuron",
        "paths --task ioi --receivers logits",
        "check task ioi",
        "audit --task ioi",
        "trace Mary John",
    ],
)
def test_every_command_that_takes_a_model_takes_its_format_and_refuses_tf32_on_a_cpu(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--matmul", "tf32"]) == 2
    assert "and the device is cpu. Leave out --matmul" in capsys.readouterr().err
    assert main([*words.split(), "--matmul", "tf32", "--dtype", "float16"]) == 2
    assert "and the model's are float16. Leave out --matmul" in capsys.readouterr().err


def test_a_format_is_refused_where_no_model_is_loaded_or_none_has_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words in (["check", "method", "random"], ["audit", "--no-model"]):
        assert main([*words, "--dtype", "float16"]) == 2
        assert "--dtype and --matmul are for" in capsys.readouterr().err
    with pytest.raises(BenchmarkError, match="choose float32, bfloat16, float16"):
        run("pocket", tmp_path, dtype="float8")


def test_a_run_that_says_nothing_of_formats_is_one_of_before_there_were_any() -> None:
    """Its key is, too: tests/store/test_cell.py reads keys of schema 1."""
    assert Asked.from_json({"model": "pocket"}) == Asked("pocket", dtype="float32", matmul="ieee")
