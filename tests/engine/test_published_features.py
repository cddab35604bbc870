"""`tests.hub.features` asks for published scores that need a hub: here its code runs on a tiny model and files."""

import csv
from pathlib import Path

import pytest
import torch

from benchmark.models.tiny import PAIRS, random_dictionary, save, tiny_model
from tests.hub import features

SITES = {"attn_out_layer": 2, "mlp_out_layer": 2, "resid_out_layer": 2}


@pytest.fixture
def brought(tmp_path: Path) -> list[str]:
    """What a user brings: a model, dictionaries as the public ones lie, and pairs."""
    width = tiny_model("neox").d_model
    for name, layers in SITES.items():
        for layer in range(layers):
            one = random_dictionary(width, 40, layer)
            folder = tmp_path / "dictionaries" / f"{name}{layer}" / "10_32768"
            folder.mkdir(parents=True)
            parts = {
                "encoder.weight": one.encoder.T, "encoder.bias": one.bias, "decoder.weight": one.decoder.T,
                "bias": one.bias_in,
            }  # fmt: skip
            torch.save({name: part.float().contiguous() for name, part in parts.items()}, folder / "ae.pt")
    with open(tmp_path / "pairs.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("clean", "corrupted", "correct", "incorrect"))
        writer.writerows((one.clean, one.corrupted, one.correct, one.incorrect) for one in PAIRS[:3])
    return [
        "--model", str(save(tmp_path / "model", "neox")), "--dictionaries", str(tmp_path / "dictionaries"),
        "--pairs", str(tmp_path / "pairs.csv"),
    ]  # fmt: skip


def test_every_published_number_is_asked_for(
    brought: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"attn_0": {"3": 0.5}, "mlp_1": {"7": 0.1}, "resid_1": {"39": -0.2}}
    said = features.PUBLISHED | {"listed": {"stereotypical": listed, "anti": listed}, "total_effects": [0.1, 9.0]}
    monkeypatch.setattr(features, "PUBLISHED", said)
    assert features.main(brought) == 1  # another model's numbers
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 + 2 + 2 * (1 + 3) + 1
    assert sum("resid_1 39" in line for line in lines) == 2
    assert "nan" not in " ".join(lines)


def test_what_is_lacking_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = ["--dictionaries", str(tmp_path / "none"), "--pairs", str(tmp_path / "none.csv"), "--model", "pocket"]
    assert features.main(lacking) == 2
    assert "there is no such folder" in capsys.readouterr().out
