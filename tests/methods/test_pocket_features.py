"""Features of pocket by its own dictionaries: the published formulas, and a run from end to end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from benchmark import load_method, load_model, load_task
from benchmark.cli import main
from benchmark.components import FEATURE_KINDS, WAYS, Way
from benchmark.engine.memory import Chunk
from benchmark.engine.model import Model, Site
from benchmark.packaged import POCKET
from benchmark.prompts.pairs import Pairs
from benchmark.store.folder import Results
from tests.engine.test_features import Plain


@pytest.fixture(scope="module")
def read() -> Model:
    return load_model("pocket", device="cpu", dictionaries="pocket")


@pytest.fixture(scope="module")
def reference() -> Any:
    return GPT2LMHeadModel.from_pretrained(POCKET / "model", dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def pairs(read: Model) -> Pairs:
    return load_task("gender-bias").pairs(read, limit=2)


@pytest.mark.parametrize("way", [way for way in WAYS if way.replacement == "counterfactual"], ids=str)
def test_scores_are_those_of_the_published_formulas(read: Model, reference: Any, pairs: Pairs, way: Way) -> None:
    """Attribution patching, and integrated gradients in ten steps from the left ends, of every feature and error."""
    sign = 1 if way.direction == "noising" else -1
    for method, nodes in (
        (load_method("attribution-patching"), [1.0]),
        (load_method("integrated-gradients", steps=10, rule="left"), [1 - step / 10 for step in range(10)]),
    ):
        scores = method.scores(read, pairs, FEATURE_KINDS, way.replacement, way.direction)
        for site in (Site("attention-feature", 0), Site("mlp-feature", 3), Site("residual-feature", 2)):
            features, error = Plain(reference, read, pairs, site, way, "gpt2").mean_slopes(nodes)
            got = scores[site.kind].values[0, site.layer].nan_to_num()
            assert features.abs().max() > 0.01
            torch.testing.assert_close(got[:-1], sign * features.detach(), atol=1e-5, rtol=0)
            torch.testing.assert_close(got[-1], sign * error.detach(), atol=1e-5, rtol=0)


def test_a_run_needs_no_option_and_its_cells_rest_on_the_dictionaries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], without_report: None
) -> None:
    asked = [
        "run", "--components", "residual-feature", "--task", "gender-bias", "--pairs", "2", "--device", "cpu",
        "--methods", "attribution-patching,activation-patching:budget=64", "--out", str(tmp_path),
    ]  # fmt: skip
    assert main(asked) == 0
    assert capsys.readouterr().err.count("of the variance explained") == 4
    cells = Results(tmp_path).cells
    assert len({cell.key.dictionaries["residual-feature"] for cell in cells}) == 1
    assert all(len(cell.dictionaries) == 4 for cell in cells)
    for cell in cells:
        values = cell.values("residual-feature")
        assert values.shape == (2, 5, 513)
        measured = (cell.probability("residual-feature") > 0).sum()
        assert not cell.key.method.reference or measured == 64 + 4  # and every error
        assert not np.isnan(values[:, 1:, -1]).any()  # every error is measured
    assert main(asked) == 0
    assert "2 of 2 cells are stored already" in capsys.readouterr().err
    heads = ["--components", "head", "--methods", "attribution-patching", "--out", str(tmp_path / "heads")]
    assert main(["run", "--task", "gender-bias", "--pairs", "2", "--device", "cpu", *heads]) == 0
    assert not any(cell.key.dictionaries for cell in Results(tmp_path / "heads").cells)


def test_features_without_dictionaries_are_refused_with_a_way_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked = ["run", "--model", "litmus/or-gate", "--task", "litmus/or-gate", "--components", "mlp-feature"]
    assert main([*asked, "--out", str(tmp_path)]) == 2
    assert "no dictionaries were given (--dictionaries FOLDER" in capsys.readouterr().err


def test_which_features_move_does_not_depend_on_the_pairs_beside_one(read: Model) -> None:
    """Nothing moves before a pair's own first difference, though the runs of both prompts round differently there."""
    pairs = load_task("gender-bias").pairs(read, limit=8)
    together, alone = (
        load_method("attribution-patching").scores(read, pairs, FEATURE_KINDS, chunk=Chunk(512, count))
        for count in (8, 1)
    )
    for kind in FEATURE_KINDS:
        assert torch.equal(together[kind].measured, alone[kind].measured)
        assert 0 < together[kind].measured.sum() < 0.5 * together[kind].measured.numel()


@pytest.mark.parametrize("components", ["attention-feature", "head,attention-feature"])
def test_a_kind_that_no_dictionary_reads_is_refused(
    components: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = str(POCKET / "dictionaries" / "blocks.0.hook_resid_post")
    asked = ["run", "--task", "gender-bias", "--components", components, "--dictionaries", given]
    assert main([*asked, "--out", str(tmp_path / "r")]) == 2
    assert "the dictionaries that were given read residual features only" in capsys.readouterr().err
