"""What is known about a real model must come out."""

import pytest

from benchmark.engine.model import Model
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import make_pairs
from benchmark.running.plugins import load_method

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
