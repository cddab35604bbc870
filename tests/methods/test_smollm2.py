"""What is known about a real model must come out."""

import pytest
import torch

from benchmark.engine.integrals import Alone, converged
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import make_pairs
from benchmark.running.plugins import load_method, load_task

pytestmark = pytest.mark.smollm2


def test_one_head_of_smollm2_restores_half_of_the_gap_on_ioi(smollm2: Model) -> None:
    sentence = "When Mary and John went to the store, {} gave a bottle of milk to"
    pair = PromptPair(sentence.format("John"), sentence.format("Mary"), " Mary", " John")
    pairs = make_pairs(smollm2, [pair], logit_diff)
    assert not smollm2.tokens.prepend_bos
    scores = load_method("activation-patching").scores(smollm2, pairs, ("head",), direction="denoising")["head"]
    gap = (scores.clean_metric - scores.corrupted_metric).item()
    layer, head = divmod(int(scores.mean().argmax()), smollm2.n_heads)
    assert (layer, head) == (23, 3)
    assert scores.mean().max().item() / gap == pytest.approx(0.53, abs=0.005)


def test_refined_along_one_head_is_its_patch_on_smollm2(smollm2: Model) -> None:
    [batch] = load_task("ioi").pairs(smollm2, limit=1).batches()
    run = Intervention(smollm2, batch, Request(("head",)))
    heads = {Site("head", 20): torch.tensor([0]), Site("head", 23): torch.tensor([0, 3])}
    along = converged(Alone(run, heads), 1e-5, torch.zeros(1), 1920)
    for site, exact in run.patch(heads).items():
        assert (exact > 1).all()
        torch.testing.assert_close(along.scores[site], exact, atol=1e-4, rtol=0)
