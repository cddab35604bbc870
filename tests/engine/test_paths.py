"""Path patching against a plain loop on the Hugging Face model, and against its limits and sums."""

from contextlib import ExitStack
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark import BenchmarkError, Intervention, Request, load_method
from benchmark.components import COUNTERFACTUAL, DENOISING, WAYS, Way
from benchmark.conformance.state import changed, state
from benchmark.engine.means import mean_activations
from benchmark.engine.memory import Chunk
from benchmark.engine.model import Model, Site
from benchmark.engine.paths import Node, Paths
from benchmark.engine.replay import shortcuts
from benchmark.models.litmus import load_litmus
from benchmark.models.tiny import hf_model
from benchmark.prompts.metrics import log_likelihood, logit_diff
from tests.engine import plain
from tests.tiny import PAIRS, tiny_model, tiny_pairs

SENDERS = (Node("head", 0, 1), Node("head", 1, 2), Node("mlp", 0), Node("neuron", 0, 7), Node("attention", 1))
LOGITS = Node("residual", 3)
RECEIVERS = (Node("query", 2, 3), Node("key", 1, 1), Node("key", 2, 0), Node("value", 2, 1), LOGITS)
CASES = [
    *((architecture, COUNTERFACTUAL, logit_diff, None) for architecture in ("gpt2", "llama", "neox", "gemma2")),
    *(("gpt2", way, logit_diff, None) for way in WAYS[1:]),
    ("llama", DENOISING, log_likelihood, "mlps"), ("gemma2", WAYS[3], logit_diff, "mlps"),
]  # fmt: skip


tiny = cache(tiny_model)  # what shortcuts hold is tried on each model once


def paths_of(model: Model, way: Way = COUNTERFACTUAL, metric: Any = logit_diff, through: Any = None) -> Paths:
    """On one pair, for all senders."""
    pairs = tiny_pairs(model, PAIRS[:1], metric)
    kinds = tuple(dict.fromkeys(sender.kind for sender in SENDERS))
    means = mean_activations(model, pairs, kinds)
    [batch] = pairs.batches()
    return Paths(model, batch, Request(kinds, way.replacement, way.direction, means=means), through)


@pytest.mark.parametrize(
    ("architecture", "way", "metric", "through"), CASES, ids=lambda one: getattr(one, "name", None) or str(one)
)
@torch.no_grad()
def test_a_path_patch_is_what_two_runs_of_the_plain_model_give(
    architecture: str, way: Way, metric: Any, through: Any
) -> None:
    """One with the sender replaced and what lies between held by hand, one with what then stands at the receiver."""
    model, reference = tiny(architecture), hf_model(architecture)
    reference.set_attn_implementation("eager")
    paths = paths_of(model, way, metric, through)
    found = paths.effects(SENDERS, RECEIVERS)[0]
    pair = tiny_pairs(model, PAIRS[:1]).pairs[0]
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    base, other = (clean, corrupted) if way.direction == "noising" else (corrupted, clean)
    at, seen = partial(plain.at, reference, architecture), partial(plain.activation, reference, architecture)

    def value() -> Tensor:
        logits = reference(base, use_cache=False).logits[0]
        if metric is log_likelihood:
            return logits[:-1].log_softmax(-1).gather(1, base[0, 1:, None]).mean()
        return logits[-1, list(pair.correct)].logsumexp(0) - logits[-1, list(pair.incorrect)].logsumexp(0)

    def put(live: Tensor, new: Tensor) -> Tensor:
        return new

    def one(live: Tensor, new: Tensor, index: int) -> Tensor:
        live = live.clone()
        live[:, :, index] = new[:, :, index]
        return live

    unpatched = value()
    for row, sender in enumerate(SENDERS):
        if way.replacement == "counterfactual":
            new = seen(sender.kind, sender.layer, other)
        elif way.replacement == "zero":
            new = torch.zeros_like(seen(sender.kind, sender.layer, base))
        else:
            new = torch.cat([seen(sender.kind, sender.layer, tokens)[0] for tokens in (clean, corrupted)]).mean(0)
            new = new.expand(1, base.shape[1], -1, -1)
        for column, receiver in enumerate(RECEIVERS):
            if receiver.layer <= sender.layer:
                assert found[row, column] == 0
                continue
            behind = [("mlp", sender.layer)] if sender.kind in ("head", "attention") else []
            layers = range(sender.layer + 1, receiver.layer)
            behind += [(kind, layer) for layer in layers for kind in ("attention", "mlp")]
            with ExitStack() as held:
                for kind, layer in behind:
                    if kind == "attention" or not through:
                        held.enter_context(at(kind, layer, partial(put, new=seen(kind, layer, base))))
                held.enter_context(at(sender.kind, sender.layer, partial(one, new=new, index=sender.index)))
                arrived = seen(receiver.kind, receiver.layer, base)
            with at(receiver.kind, receiver.layer, partial(one, new=arrived, index=receiver.index)):
                want = (unpatched - value()) * (1 if way.direction == "noising" else -1)
            tolerance = 1e-9 if architecture == "gpt2" else 1e-6  # the norms of the others compute in float32
            assert float(found[row, column]) == pytest.approx(float(want), abs=tolerance), (sender, receiver)
    assert (found.abs() > 1e-4).sum() > 10


@pytest.mark.parametrize("through", [None, "mlps"])
@pytest.mark.parametrize(("architecture", "way"), [("gpt2", COUNTERFACTUAL), ("neox", DENOISING)])
def test_the_first_order_effect_is_the_limit_of_small_replacements(architecture: str, way: Way, through: Any) -> None:
    model = tiny(architecture)
    want = paths_of(model, way, through=through).estimates(SENDERS, RECEIVERS)
    assert (want.abs() > 1e-4).sum() > 8
    errors = []
    for step in (1e-2, 1e-3):
        near = paths_of(model, way, through=through)
        for site, live in near.live.items():
            near.replacement[site] = torch.lerp(live, near.replacement[site], step)
        errors.append(float((near.effects(SENDERS, RECEIVERS) / step - want).abs().max()))
    assert errors[1] < errors[0] / 5
    assert errors[1] < 0.05


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "neox"])
def test_all_paths_of_a_head_through_mlps_sum_to_attribution_patching(architecture: str) -> None:
    """To first order what a head does is what it does through every later query, key and value, and to the logits."""
    model = tiny(architecture)
    pairs = tiny_pairs(model, PAIRS[:1])
    whole = load_method("attribution-patching").scores(model, pairs, ("head",), direction="denoising")["head"].values
    senders = [Node("head", layer, index) for layer in range(3) for index in range(4)]
    receivers = [Node(kind, layer, index) for kind in ("query", "key", "value") for layer in (1, 2)
                 for index in range(model.size(kind))]  # fmt: skip
    for batch in pairs.batches():
        paths = Paths(model, batch, Request(("head",), direction="denoising"), "mlps")
        summed = paths.estimates(senders, [*receivers, LOGITS]).sum(2).reshape(len(batch), 3, 4)
        torch.testing.assert_close(summed.float(), whole[list(batch.index)], atol=1e-5, rtol=1e-4)
    assert whole.abs().max() > 0.05


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "neox"])
def test_what_a_head_of_the_last_layer_does_it_does_to_the_logits(architecture: str) -> None:
    """Exactly, with its own layer's MLP computed again."""
    model, senders, site = tiny(architecture), [Node("head", 2, index) for index in range(4)], Site("head", 2)
    for batch in tiny_pairs(model).batches():
        whole = Intervention(model, batch, Request(("head",))).patch({site: torch.arange(4)})[site]
        found = Paths(model, batch, Request(("head",)), "mlps").effects(senders, [LOGITS])[..., 0]
        torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)


def test_composition_through_keys_is_all_there_is_in_the_induction_litmus() -> None:
    litmus = load_litmus("induction")
    model = litmus.model(dtype=torch.float64)
    [batch] = litmus.task.pairs(model, limit=3).batches()
    heads = [Node("head", 0, index) for index in range(4)]
    receivers = [Node("key", 1, 0), *(Node(kind, 1, 0) for kind in ("query", "value")), Node("key", 1, 3)]
    for way in (COUNTERFACTUAL, DENOISING):
        paths = Paths(model, batch, Request(("head",), direction=way.direction))
        effects = paths.effects(heads, receivers)
        torch.testing.assert_close(effects[:, 0, 0], torch.full((3,), litmus.effects["head"][0, 0]).to(effects))
        effects[:, 0, 0] = 0
        assert (effects == 0).all()


def test_nothing_stays_on_the_model_and_chunks_make_no_difference() -> None:
    llama = tiny("llama")
    pairs = tiny_pairs(llama, PAIRS[:3])
    shortcuts(llama, ("head", "attention", "mlp", "query", "key", "value", "residual"))
    before = state(llama)
    for batch in pairs.batches():
        whole, parts = (
            Paths(llama, batch, Request(("head",), tokens_per_forward=tokens, rows_per_forward=rows))
            for tokens, rows in (Chunk()[::2], (5, 1))
        )
        for name in ("effects", "estimates"):
            one, other = (getattr(paths, name)(SENDERS[:2], RECEIVERS) for paths in (whole, parts))
            torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
            assert one.abs().max() > 1e-2
    assert not changed(before, state(llama))


def test_a_sender_that_does_not_change_has_no_effect_and_a_query_is_no_sender() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.bridge.blocks[0].attn.v.weight[:6] = 0  # the value that query heads 0 and 1 share
    [batch] = tiny_pairs(model, PAIRS[:1]).batches()
    for found in (getattr(Paths(model, batch, Request(("head",))), name) for name in ("effects", "estimates")):
        effects = found([Node("head", 0, 1), Node("head", 0, 2)], RECEIVERS)
        assert (effects[:, 0] == 0).all()
        assert (effects[:, 1] != 0).all()
    with pytest.raises(BenchmarkError, match="'query' can't send along a path; choose head"):
        Paths(model, batch, Request(("query",)))
