"""Claims about pocket's sparse autoencoders: what they are worth, what their card says, how training makes them."""

import json
from pathlib import Path

import pytest
import torch

from benchmark.models.dictionaries import place_of, read_dictionaries, read_dictionary
from benchmark.models.loading import load_model
from benchmark.packaged import POCKET
from benchmark.pocket import train_dictionaries as training

SHIPPED = POCKET / "dictionaries"
STORED = json.loads((SHIPPED / "measured.json").read_text(encoding="utf-8"))


def test_the_card_has_the_table_of_what_was_measured() -> None:
    assert training.table(STORED["dictionaries"]) in (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert STORED["recipe"] == vars(training.Recipe())


def test_the_shipped_dictionaries_are_worth_what_their_card_says() -> None:
    """On one batch of the texts that they were measured on: close to the sixteen."""
    model = load_model("pocket", device="cpu")
    chosen = {site: hook for site, hook in training.sites(model).items() if site.layer == 3}
    read = {site: read_dictionary(SHIPPED / hook) for site, hook in chosen.items()}
    for site, found in training.measured(model, read, 1).items():
        said = STORED["dictionaries"][chosen[site]]
        assert found["variance_explained"] == pytest.approx(said["variance_explained"], abs=0.02)
        assert found["l0"] == pytest.approx(said["l0"], abs=0.7)
        assert found["loss_recovered"] == pytest.approx(said["loss_recovered"], abs=0.06)


def test_the_shipped_files_are_small_and_whole() -> None:
    assert len(read_dictionaries("pocket")) == 12
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*")) < 5 * 2**20


def test_training_makes_dictionaries_that_read_as_they_were_learned(tmp_path: Path) -> None:
    """A few steps lower the loss. What is stored gives the learner's features: its scale and centre are folded in."""
    model = load_model("pocket", device="cpu")
    learners, losses = training.train(model, training.Recipe(steps=24, texts=24), quiet=True)
    first, *_, last = (sum(value for name, value in row.items() if name != "step") for row in losses)
    assert last < 0.95 * first
    inputs, _, there = next(training.texts_of(model, 5, 8))
    for site, hook in list(training.sites(model).items())[::5]:
        training.write(tmp_path / hook, hook, learners[site].weights())
        stored, learner = read_dictionary(tmp_path / hook), learners[site]
        assert place_of(stored).layer == site.layer
        x = model.activations(inputs, [site])[1][site][:, :, 0][there]
        before = ((x / learner.scale - learner.centre) @ learner.encoder + learner.bias).relu()
        wanted = before * (before > learner.threshold) * learner.scale
        told = (before - learner.threshold).abs() > 0.01  # half precision may move what stands at the threshold
        assert (wanted > 0).any()
        torch.testing.assert_close(stored.encode(x, None)[told], wanted[told], atol=0.02 * float(x.std()), rtol=0.01)
