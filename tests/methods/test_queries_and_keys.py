"""AtP*'s scores of queries and keys: its closed forms, a plain loop, their limits, where they are exact, and what they
promise."""

from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark import BenchmarkError, Model, Request, conformance, load_method, make_pairs
from benchmark.components import WAYS
from benchmark.conformance.findings import carry_out
from benchmark.conformance.trial import Trial
from benchmark.models.litmus import load_litmus
from benchmark.models.tiny import hf_model
from benchmark.prompts.metrics import logit_diff
from tests.engine import plain
from tests.engine.zoo import PAIR, ZOO
from tests.engine.zoo import hf_model as zoo_model
from tests.tiny import PAIRS, linear_model, tiny_model, tiny_pairs, tokenizer

KINDS = ("query", "key")
SOFTMAX = load_method("attribution-patching", qk="softmax")
GRADIENT, EXACT = load_method("attribution-patching"), load_method("activation-patching")
tiny = cache(tiny_model)


def slope_of_patterns(reference: Any, architecture: str, layer: int, tokens: Tensor, pair: Any) -> Tensor:
    """dF/dA `[query, head, key]` at one layer of the plain model."""
    leaves: list[Tensor] = []

    def watch(live: Tensor) -> Tensor:
        leaves.append(torch.zeros_like(live, requires_grad=True))
        return live + leaves[-1]

    with plain.at(reference, architecture, "pattern", layer, watch):
        logits = reference(tokens, use_cache=False).logits[0, -1]
    value = logits[list(pair.correct)].logsumexp(0) - logits[list(pair.incorrect)].logsumexp(0)
    return torch.autograd.grad(value, leaves[0])[0][0]


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "neox", "gemma2"])
def test_scores_are_what_a_plain_loop_over_layers_gives(architecture: str) -> None:
    """All queries, or keys, of one layer replaced in the plain model, and its pattern read: with rotary positions, soft
    caps, windows and shared keys as they are."""
    model, reference = tiny(architecture), hf_model(architecture)
    reference.set_attn_implementation("eager")
    pairs = tiny_pairs(model, PAIRS[:1])
    [pair] = pairs.pairs
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    for direction, base, other in (("noising", clean, corrupted), ("denoising", corrupted, clean)):
        found = SOFTMAX.scores(model, pairs, KINDS, direction=direction)
        for kind in KINDS:
            for layer in range(model.n_layers):
                seen = partial(plain.activation, reference, architecture)
                pattern = seen("pattern", layer, base)
                new = seen(kind, layer, other)
                with plain.at(reference, architecture, kind, layer, lambda live, new=new: new):
                    moved = seen("pattern", layer, base)
                slope = slope_of_patterns(reference, architecture, layer, base, pair)
                score = ((pattern - moved)[0] * slope).sum((0, 2))
                want = score.reshape(model.size(kind), -1).sum(1) * (1 if direction == "noising" else -1)
                got = found[kind].values[0, layer]
                torch.testing.assert_close(got, want.float(), atol=2e-6, rtol=1e-4)
            assert found[kind].values.abs().max() > 1e-2


def test_places_are_the_closed_forms_of_the_paper() -> None:
    """`sum_k (softmax(q_r K)_k - A_k) G_k` of a query; `sum_q kappa_q (G_qt - A_q . G_q)` of the key at t."""
    model, reference = tiny("gpt2"), hf_model("gpt2")
    reference.set_attn_implementation("eager")
    pairs = tiny_pairs(model, PAIRS[:1])
    [pair] = pairs.pairs
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    found = SOFTMAX.scores(model, pairs, KINDS, by_position=True)
    length = clean.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril()
    for layer in range(model.n_layers):
        q, k, q_r, k_r = (
            plain.activation(reference, "gpt2", kind, layer, tokens)[0].transpose(0, 1).detach()
            for tokens in (clean, corrupted)
            for kind in KINDS
        )
        scale = q.shape[-1] ** 0.5
        pattern = ((q @ k.mT) / scale).masked_fill(~mask, -torch.inf).softmax(-1)
        moved = ((q_r @ k.mT) / scale).masked_fill(~mask, -torch.inf).softmax(-1)
        slope = slope_of_patterns(reference, "gpt2", layer, clean, pair).transpose(0, 1)  # [head, query, key]
        want = -((moved - pattern) * slope).sum(-1)
        torch.testing.assert_close(found["query"].values[0, layer], want.float(), atol=1e-6, rtol=1e-5)
        step = torch.expm1(q @ (k_r - k).mT / scale)
        kappa = pattern * step / (1 + pattern * step)
        inner = slope - (pattern * slope).sum(-1, keepdim=True)
        want = -(kappa * inner * mask).sum(1)
        torch.testing.assert_close(found["key"].values[0, layer], want.float(), atol=1e-6, rtol=1e-5)
        assert found["key"].values[0, layer].abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_small_changes_give_attribution_patching(architecture: str) -> None:
    """The corrupted prompt's word is given nearly the clean one's embedding: all activations change a little."""
    reference = hf_model(architecture)
    model = Model.from_hf(reference, tokenizer(), architecture, False)
    words = tokenizer()
    clean, corrupted = (words.convert_tokens_to_ids(word) for word in ("Mary", "Ann"))
    table = reference.get_input_embeddings().weight
    with torch.no_grad():
        table[corrupted] = table[clean] + 1e-3 * table[corrupted]
    pairs = tiny_pairs(model, PAIRS[:1])
    first, found = GRADIENT.scores(model, pairs, KINDS), SOFTMAX.scores(model, pairs, KINDS)
    for kind in KINDS:
        largest = first[kind].values.abs().max()
        assert largest > 1e-5
        torch.testing.assert_close(found[kind].values / largest, first[kind].values / largest, atol=1e-2, rtol=0)


@pytest.mark.parametrize("by_position", [False, True])
def test_scores_are_exact_where_all_behind_the_pattern_is_linear(by_position: bool) -> None:
    model = linear_model()  # the metric of single answers is linear in the last layer's patterns
    pairs = tiny_pairs(model, PAIRS[:2])
    for way in WAYS[:2]:
        found, exact, first = (
            method.scores(model, pairs, KINDS, way.replacement, way.direction, by_position=by_position)
            for method in (SOFTMAX, EXACT, GRADIENT)
        )
        for kind in KINDS:
            want = exact[kind].values[:, 1].nan_to_num()
            torch.testing.assert_close(found[kind].values[:, 1].nan_to_num(), want, atol=1e-5, rtol=1e-4)
            assert (first[kind].values[:, 1].nan_to_num() - want).abs().max() > 1e-2


def test_a_sure_softmax_hides_nothing() -> None:
    """Queries 3000 times as large: the gradient is 0 in float32, the pattern's change is not."""
    model = tiny_model("gpt2", dtype=torch.float32)
    with torch.no_grad():
        for block in model.bridge.blocks:
            block.attn.q.weight.mul_(3000)
    pairs = tiny_pairs(model, PAIRS[:3])
    found = SOFTMAX.scores(model, pairs, KINDS)
    first = GRADIENT.scores(model, pairs, KINDS)
    exact = EXACT.scores(model, pairs, KINDS)
    for kind in KINDS:
        assert found[kind].values.isfinite().all()
        blind = (first[kind].values.abs() < 1e-6) & (exact[kind].values.abs() > 1e-2)
        assert blind.any()
        assert (found[kind].values[blind].abs() > 1e-3).any()


def test_the_key_of_the_induction_litmus_gets_all_that_it_does_where_the_gradient_sees_a_quarter() -> None:
    litmus = load_litmus("induction")
    model = litmus.model()
    pairs = litmus.task.pairs(model, limit=2)
    whole = litmus.effects["head"][0, 0]
    for direction in ("noising", "denoising"):
        keys = {
            method: method.scores(model, pairs, ("key",), direction=direction)["key"].values
            for method in (SOFTMAX, GRADIENT)
        }
        torch.testing.assert_close(keys[SOFTMAX][:, 1, 0], torch.full((2,), float(whole)), atol=1e-4, rtol=0)
        assert (keys[GRADIENT][:, 1, 0] < 0.3 * whole).all()


def test_what_does_not_change_scores_exactly_zero_and_costs_are_as_declared() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.bridge.blocks[1].attn.k.weight[:6] = 0
    pairs = tiny_pairs(model, PAIRS[:3])
    for by_position in (False, True):
        found = SOFTMAX.scores(model, pairs, KINDS, by_position=by_position)
        assert (found["key"].values[:, 1, 0].nan_to_num() == 0).all()
        assert (found["key"].values[:, 1, 1].nan_to_num() != 0).any()
        if not by_position:
            passes, cost = found["key"].provenance["passes"], SOFTMAX.cost(model, Request(KINDS))
            assert cost is not None
            assert passes == {"forward": 3 * cost.forward, "backward": 3 * cost.backward}


def test_other_kinds_and_models_without_patterns_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="leaves heads as attribution patching has them"):
        SOFTMAX.check(("query", "head"), "counterfactual", "noising")
    assert SOFTMAX.label == "attribution-patching:qk=softmax"
    assert GRADIENT.options == {}
    model = Model.from_hf(zoo_model(ZOO["an MLP of 8 widths"]), tokenizer(), "opt", False)
    with pytest.raises(BenchmarkError, match="attention patterns of model 'opt' can't be scored"):
        SOFTMAX.scores(model, make_pairs(model, [PAIR], logit_diff), ("query",))


class OfQueriesAndKeys(Trial):
    kinds = KINDS


@pytest.mark.parametrize(
    "check",
    [
        "right-shapes-on-every-architecture", "declared-support", "refusals", "works-without-corrupted-prompts",
        "deterministic-under-a-seed", "independent-of-batching", "independent-of-the-kinds-asked-for", "left-as-found",
        "metric-left-as-it-is", "zero-where-nothing-changes", "denoising-is-noising-exchanged",
        "scores-scale-with-the-metric",
    ],
)  # fmt: skip
def test_conformance_checks_that_ask_for_no_heads_or_neurons_pass(check: str) -> None:
    checks = conformance.named_checks(conformance.METHOD_CHECKS, [check])
    [finding] = carry_out(checks, OfQueriesAndKeys(SOFTMAX), SOFTMAX.label)
    assert finding.outcome == "passed", finding
