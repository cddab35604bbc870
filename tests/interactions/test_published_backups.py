"""`tests.hub.backups` asks for published numbers that need a hub: here its code runs on a tiny and a planted model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.engine.intervention import Intervention
from benchmark.engine.request import Request
from benchmark.models.litmus import load_litmus
from benchmark.models.tiny import PAIRS, save, tiny_model, tiny_pairs
from benchmark.prompts.metrics import kl
from tests.hub import backups
from tests.hub.test_backups import of_model

TINY: dict[str, Any] = backups.PUBLISHED | {
    "prompts": 6, "seeds": [1, 8], "template": "{io} and {s} sees the {place} {s} gave {thing} to",
    "names": ["Mary", "John", "Ann", "Tom"], "places": ["cat", "dog"], "things": ["milk", "fish"],
    "primaries": ["L0H1", "L1H0"], "backups": ["L1H2", "L2H3"],
}  # fmt: skip


def test_every_published_number_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "PUBLISHED", TINY)
    numbers = of_model(str(save(tmp_path, "gpt2")))
    assert set(numbers) == {*TINY["roc_auc"], backups.OURS}
    assert all(0 <= obtained <= 1 for _, obtained, _ in numbers.values())
    monkeypatch.setattr(backups, "rows", lambda name: ((what, *three) for what, three in numbers.items()))
    assert backups.main([]) == 1  # another model's numbers
    lines = capsys.readouterr().out.splitlines()
    assert {line[:46].strip() for line in lines[:-1]} == set(numbers)
    monkeypatch.undo()
    assert backups.main(["--model", str(tmp_path / "none")]) == 2


def test_an_energy_is_twice_the_divergence_to_second_order() -> None:
    model = tiny_model("gpt2")
    pairs = tiny_pairs(model, PAIRS[:3], kl)
    with torch.no_grad():
        model.bridge.blocks[2].attn.o.weight.mul_(1e-2)  # small enough for second order
    energy = backups.energies(model, pairs, ())[2]
    for head in range(4):
        total = 0.0
        for batch in pairs.batches():
            run = Intervention(model, batch, Request(("head",), "zero"))
            masks = torch.ones(1, 3, 4)
            masks[0, 2, head] = 0
            total -= float(run.value({"head": masks}).sum())  # of the metric `kl`, which is 0 at the clean prompt
        assert 2 * total / 3 == pytest.approx(float(energy[head]), rel=0.05)
    assert energy.min() > 0


def test_the_planted_backup_is_found_by_growth_and_by_nothing_that_looks_at_one_head() -> None:
    litmus = load_litmus("backup-head")
    model = litmus.model()
    pairs = litmus.task.pairs(model, limit=4)
    found = backups.scores(model, pairs, [("head", 0, 0)])
    wanted = [("head", 1, 0)]
    recovered = {name: backups.found_backups(one, [("head", 0, 0)], wanted) for name, one in found.items()}
    assert recovered["growth (CoAx)"] == recovered["amplification ratio"] == recovered[backups.OURS] == 1
    assert found["growth (CoAx)"][1, 0] > 100 * found["single ablation"][1, 0]
    assert abs(found["attribution patching"][1, 0]) < 0.01 * found[backups.OURS][1, 0]


def test_primaries_are_no_candidates() -> None:
    """The backup outranks both heads that are neither; the primary above it doesn't count."""
    one = np.array([[3.0, 1.0], [2.0, 0.0]])
    assert backups.found_backups(one, [("head", 0, 0)], [("head", 1, 0)]) == 1
    assert backups.found_backups(one, [], [("head", 1, 0)]) == pytest.approx(2 / 3)
