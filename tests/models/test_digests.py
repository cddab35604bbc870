"""Digests that are remembered: only ever those of the very weights."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.engine import model as engine
from benchmark.models import digests, loading
from benchmark.models.loading import load_model
from tests.tiny import save


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was hashed so far, where digests of tiny and new files are remembered too, in a folder of the test."""
    found: list[str] = []
    whole = engine.weights_digest

    def counted(hf_model: Any) -> str:
        found.append(whole(hf_model))
        return found[-1]

    monkeypatch.setattr(engine, "weights_digest", counted)
    monkeypatch.setattr(digests, "_LEAST", 0)
    monkeypatch.setattr(digests, "_SETTLED", -1e9)
    monkeypatch.setattr(digests, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return save(tmp_path / "model")


def digest(place: Path, **options: Any) -> str:
    return load_model(place, device="cpu", **options).digest


def test_the_same_files_are_hashed_once(place: Path, hashed: list[str]) -> None:
    assert digest(place) == digest(place) == hashed[0]
    assert len(hashed) == 1
    assert digest(place, dtype=torch.float64) != hashed[0]
    assert len(hashed) == 2


def test_a_change_in_place_gives_another_digest(place: Path, hashed: list[str]) -> None:
    """Of one bit, with the size and the time of change set back to what they were."""
    weights = place / "model.safetensors"
    before, seen = digest(place), weights.stat()
    with weights.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-3, os.SEEK_END)
        file.write(bytes([byte ^ 1]))
    os.utime(weights, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert weights.stat().st_size == seen.st_size
    assert digest(place) != before
    assert len(hashed) == 2


def test_files_that_change_while_they_are_read_are_hashed(
    place: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest(place)
    load = loading._load

    def late(auto_class: Any, *arguments: Any, **options: Any) -> Any:
        if options:
            (place / "config.json").touch()
        return load(auto_class, *arguments, **options)

    monkeypatch.setattr(loading, "_load", late)
    digest(place)
    assert len(hashed) == 2
    monkeypatch.undo()
    assert len(list(place.parent.glob("cache/*/digests/*"))) == 1


def test_what_is_new_or_small_is_hashed(place: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_SETTLED", 60.0), ("_LEAST", 2**30)):
        with monkeypatch.context() as patched:
            patched.setattr(digests, name, value)
            assert digests.fingerprint(place, torch.float32) is None
    assert digests.fingerprint(None, torch.float32) is None
    assert len(digests.fingerprint(place, torch.float32) or "") == 64


def test_a_damaged_or_unwritable_cache_costs_seconds_only(place: Path, hashed: list[str], tmp_path: Path) -> None:
    want = digest(place)
    [kept] = tmp_path.glob("cache/*/digests/*")
    kept.write_text("cut short")
    assert digest(place) == want
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("a file where the folder should be")
    assert digest(place) == want
    assert len(hashed) == 3


def test_weights_go_straight_to_their_device(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From their files: nothing is loaded somewhere else first, and moved."""
    from transformers import AutoModelForCausalLM

    load, asked, loaded = AutoModelForCausalLM.from_pretrained, [], []

    def watched(*arguments: Any, **options: Any) -> Any:
        asked.append(options["device_map"])
        model, found = load(*arguments, **options)
        loaded.append({name: weight.data_ptr() for name, weight in model.named_parameters()})
        return model, found

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched)
    model = load_model(place, device="cpu")
    assert asked == [{"": torch.device("cpu")}]
    assert {weight.data_ptr() for weight in model.bridge.parameters()} <= {*loaded[0].values()}
