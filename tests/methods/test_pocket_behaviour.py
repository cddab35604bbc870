"""What methods say of a behaviour that was learned: pocket on its evaluation pairs."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from benchmark.models.loading import load_model
from benchmark.running.plugins import discover, load_task

Scored = Callable[..., tuple[Tensor, float]]


@pytest.fixture(scope="module")
def mean_scores() -> Scored:
    """Mean score of every head of pocket, and the mean gap that is to be explained; each asked for once."""
    pocket = load_model("pocket", device="cpu")

    @cache
    def scored(task: str, spec: str, direction: str = "noising") -> tuple[Tensor, float]:
        pairs = load_task(task).pairs(pocket, limit=16)
        scores = discover().method(spec).scores(pocket, pairs, ("head",), direction=direction)["head"]
        return scores.mean(), (scores.clean_metric - scores.corrupted_metric).mean().item()

    return scored


@pytest.mark.parametrize("direction", ["noising", "denoising"])
@pytest.mark.parametrize(
    "spec", ["activation-patching", "attribution-patching", "integrated-gradients", "integrated-gradients:path=input"]
)
def test_the_head_that_does_ioi_is_first_by_every_method_and_pushes_towards_the_answer(
    mean_scores: Scored, spec: str, direction: str
) -> None:
    exact, gap = mean_scores("ioi", "activation-patching", direction)
    assert exact.max() > 0.9 * gap
    scores, _ = mean_scores("ioi", spec, direction)
    assert scores.argmax() == exact.argmax()
    assert scores.max() == scores.abs().max()


def test_random_scores_find_nothing(mean_scores: Scored) -> None:
    exact, _ = mean_scores("ioi", "activation-patching")
    found, _ = mean_scores("ioi", "random")
    assert found.abs().argmax() != exact.argmax()
    assert abs(torch.corrcoef(torch.stack([found.flatten(), exact.flatten()]))[0, 1]) < 0.5


def test_where_the_metric_is_saturated_only_the_gradient_at_the_prompt_is_blind(mean_scores: Scored) -> None:
    """Pocket is sure of its verbs: prob_diff is flat at the clean prompt and steep on the way to the corrupted one."""
    exact, gap = mean_scores("sva", "activation-patching")
    at_the_prompt, _ = mean_scores("sva", "attribution-patching")
    along_the_way, _ = mean_scores("sva", "integrated-gradients")
    assert exact.max() > 0.2 * gap
    assert at_the_prompt.abs().max() < 0.05 * exact.max()
    assert 0.5 * exact.max() < along_the_way.max() < 2 * exact.max()
