"""Mistakes found in public code of this kind, each a claim that fails if we make it too.

Where a mistake is the subject of another test, the name of that test stands here: gradient at the MLP's input
(test_oracles: captum at hook_post); scores that scale with 1/batch size (test_promises); two code paths with different
quadrature (there is one: Quadrature); first-token labels shared by several answers, identical prompts, identically zero
metrics (tests/prompts/test_pairs); results skipped because a file exists (tests/running/test_runner); eval on CSV
cells (tests/prompts/test_public_csv); hooks and flags left on (test_promises); signed and absolute rankings under one
name (tests/statistics/test_agreement).
"""

import pytest
import torch

from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.means import mean_activations
from benchmark.engine.method import Request
from benchmark.engine.model import DEFAULT_KINDS, Model, Site
from benchmark.prompts.metrics import Answers, logit_diff, prob_diff
from benchmark.running.plugins import load_method
from tests.tiny import PAIRS, tiny_model, tiny_pairs


def test_exact_patching_restores_what_it_patched(llama: Model) -> None:
    """Patching the sites in the opposite order gives the same scores: none is scored on a damaged model."""
    pairs = tiny_pairs(llama)
    batch = next(pairs.batches())
    forwards = Intervention(llama, batch, Request(DEFAULT_KINDS))
    backwards = Intervention(llama, batch, Request(DEFAULT_KINDS))
    first = forwards.patch({s: torch.arange(llama.size(s.kind)) for s in forwards.sites})
    second = backwards.patch({s: torch.arange(llama.size(s.kind)) for s in reversed(backwards.sites)})
    assert all(torch.equal(first[site], second[site]) for site in first)


def test_a_mean_is_taken_per_component_and_over_every_position(llama: Model) -> None:
    """Prompts of different lengths weigh by their positions, and no component sees another's activations."""
    pairs = tiny_pairs(llama)
    site = Site("neuron", 1)
    columns = []
    for batch in pairs.batches(1):
        for prompts in (batch.clean, batch.corrupted):
            columns.append(llama.activations(prompts, [site])[1][site][0])
    want = torch.cat(columns).mean(0)
    torch.testing.assert_close(mean_activations(llama, pairs, DEFAULT_KINDS)[site], want)
    assert want.std() > 1e-3


def test_gradients_of_early_heads_flow_through_later_attention() -> None:
    """What early positions do reaches the metric through later attention only: with that detached it would score 0."""
    model = tiny_model("gpt2")
    pairs = tiny_pairs(model, PAIRS[:1])
    batch = next(pairs.batches())
    last = (torch.arange(batch.clean.shape[1]) == batch.clean.shape[1] - 1)[None, :, None, None]

    def scores_of(positions: torch.Tensor) -> torch.Tensor:
        intervention = Intervention(model, batch, Request(("head",)))
        for site in intervention.sites:
            there, elsewhere = intervention.replacement[site], intervention.live[site]
            intervention.replacement[site] = torch.where(positions, there, elsewhere)
        return intervention.integrate([intervention.sites], AT_ONE)[Site("head", 0)].float()

    assert scores_of(~last).abs().max() > 1e-3
    everywhere = load_method("attribution-patching").scores(model, pairs, ("head",))["head"].values[:, 0]
    torch.testing.assert_close(scores_of(last) + scores_of(~last), everywhere)


def test_grouped_query_heads_are_all_scored_and_no_row_is_padding() -> None:
    model = tiny_model("llama")
    assert model.n_heads == 4  # query heads; there are only two key/value heads
    scores = load_method("activation-patching").scores(model, tiny_pairs(model), ("head",))["head"].values
    assert (scores.abs().amax(0) > 0).all()


def test_pairs_of_different_lengths_are_not_padded_into_one_batch(llama: Model) -> None:
    batches = list(tiny_pairs(llama).batches())
    assert len(batches) > 1
    assert sorted(place for batch in batches for place in batch.index) == list(range(len(PAIRS)))


def test_prob_diff_normalises_over_the_whole_vocabulary_once() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.5, -1.0]], dtype=torch.float64)
    p = logits.softmax(-1)[0]
    value = prob_diff(logits, Answers.of([[0, 3]], [[1]]))
    assert value.item() == pytest.approx((p[0] + p[3] - p[1]).item())


def test_answer_sets_of_different_sizes_are_compared_as_odds_and_not_as_summed_logits() -> None:
    """Adding a hopeless answer to a set leaves the metric as it was; padding never counts as an answer."""
    logits = torch.tensor([[2.0, 1.0, -30.0, 5.0], [0.0, 1.0, 2.0, 3.0]], dtype=torch.float64)
    answers = Answers.of([[0], [0, 1]], [[1, 2], [3]])
    value = logit_diff(logits, answers)
    assert value[0].item() == pytest.approx(1.0)
    p = logits.softmax(-1)[1]
    assert value[1].item() == pytest.approx(torch.log((p[0] + p[1]) / p[3]).item())
    torch.testing.assert_close(logit_diff(logits[1:], Answers.of([[0, 1]], [[3]])), value[1:])


def test_metrics_of_single_answers_are_the_plain_differences() -> None:
    logits = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    answers = Answers.of([[1], [2], [3]], [[4], [5], [6]])
    rows = torch.arange(3)
    torch.testing.assert_close(logit_diff(logits, answers), logits[rows, rows + 1] - logits[rows, rows + 4])
    p = logits.softmax(-1)
    torch.testing.assert_close(prob_diff(logits, answers), p[rows, rows + 1] - p[rows, rows + 4])


def test_train_mode_is_refused_because_dropout_blurs_every_score(llama: Model) -> None:
    from benchmark.errors import BenchmarkError

    model = tiny_model("gpt2")
    model.bridge.train()
    with pytest.raises(BenchmarkError, match="train mode"):
        load_method("activation-patching").scores(model, tiny_pairs(model), ("head",))
