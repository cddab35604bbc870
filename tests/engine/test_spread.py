"""Models that are spread over several devices. The second one is played by the CPU: `tests.elsewhere`."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import cpu_offload

from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.models import loading
from benchmark.models.tiny import hf_model, tokenizer

ROOT = Path(__file__).parents[2]


def test_scores_are_those_of_one_device() -> None:
    """Of all kinds, of places, by paths and by weights. In a process of its own, for which the device is registered."""
    asked = ["--architectures", "llama", "--methods", "attribution-patching", "--ways", "CPU below"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.performance.spread", *asked], capture_output=True, text=True, cwd=ROOT,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "llama    CPU below: 22 arrays apart by" in done.stdout


def test_weights_that_wait_elsewhere_are_refused() -> None:
    offloaded = cpu_offload(hf_model("llama"), torch.device("cpu"))
    with pytest.raises(BenchmarkError, match=r"weights that are on no device: .* device='spread'"):
        Model.from_hf(offloaded, tokenizer(), "llama")


@pytest.mark.parametrize("count", [0, 1])
def test_to_spread_takes_two_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    with pytest.raises(BenchmarkError, match=f"several GPUs, and there are {count} here"):
        loading.load_model(folder, device="spread")


def test_what_is_free_on_each_gpu_is_divided_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda gpu: (10_000 * (gpu + 1), 99_999))
    assert loading._every_gpu() == {"device_map": "balanced", "max_memory": {0: 8_000, 1: 16_000}}


def test_a_model_that_the_gpus_have_no_room_for_is_refused() -> None:
    places = {"model.embed_tokens": 0, "model.layers.0": 1, "model.layers.1": "disk", "lm_head": "disk"}
    with pytest.raises(BenchmarkError, match=r"too large for 80% .* no room for model.layers.1, lm_head\. Free"):
        loading._refuse_too_large(SimpleNamespace(hf_device_map=places), "huge")
    loading._refuse_too_large(SimpleNamespace(hf_device_map={"model": 0, "lm_head": 1}), "fits")
