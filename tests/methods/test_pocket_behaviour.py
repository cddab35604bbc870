"""What methods say of a behaviour that was learned: pocket on its evaluation pairs."""

import pytest
import torch
from torch import Tensor

from benchmark.engine.model import Model
from benchmark.models.loading import load_model
from benchmark.running.plugins import discover, load_task


@pytest.fixture(scope="module")
def pocket() -> Model:
    return load_model("pocket", device="cpu")


def mean_scores(pocket: Model, task: str, spec: str, direction: str = "noising") -> tuple[Tensor, float]:
    """Mean score of every head, and the mean gap that is to be explained."""
    pairs = load_task(task).pairs(pocket, limit=16)
    scores = discover().method(spec).scores(pocket, pairs, ("head",), direction=direction)["head"]
    return scores.mean(), (scores.clean_metric - scores.corrupted_metric).mean().item()


@pytest.mark.parametrize("direction", ["noising", "denoising"])
@pytest.mark.parametrize(
    "spec", ["activation-patching", "attribution-patching", "integrated-gradients", "integrated-gradients:path=input"]
)
def test_the_head_that_does_ioi_is_first_by_every_method_and_pushes_towards_the_answer(
    pocket: Model, spec: str, direction: str
) -> None:
    exact, gap = mean_scores(pocket, "ioi", "activation-patching", direction)
    assert exact.max() > 0.9 * gap
    scores, _ = mean_scores(pocket, "ioi", spec, direction)
    assert scores.argmax() == exact.argmax()
    assert scores.max() == scores.abs().max()


def test_random_scores_find_nothing(pocket: Model) -> None:
    exact, _ = mean_scores(pocket, "ioi", "activation-patching")
    found, _ = mean_scores(pocket, "ioi", "random")
    assert found.abs().argmax() != exact.argmax()
    assert abs(torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1]) < 0.5


def test_where_the_metric_is_saturated_only_the_gradient_at_the_prompt_is_blind(pocket: Model) -> None:
    """Pocket is sure of its verbs: prob_diff is flat at the clean prompt and steep on the way to the corrupted one."""
    exact, gap = mean_scores(pocket, "sva", "activation-patching")
    at_the_prompt, _ = mean_scores(pocket, "sva", "attribution-patching")
    along_the_way, _ = mean_scores(pocket, "sva", "integrated-gradients")
    assert exact.max() > 0.2 * gap
    assert at_the_prompt.abs().max() < 0.05 * exact.max()
    assert 0.5 * exact.max() < along_the_way.max() < 2 * exact.max()
