"""The metric of circuits: its ends, exact patching as the circuit of all but one, planted gates, MIB's own way."""

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmark import load_method, load_model, load_task
from benchmark.components import WAYS, Way
from benchmark.engine.intervention import Intervention
from benchmark.engine.means import mean_activations
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request
from benchmark.faithfulness.orders import Players, first, random_orders, ranked
from benchmark.faithfulness.values import Values
from benchmark.models.litmus import load_litmus
from benchmark.packaged import POCKET
from benchmark.prompts.pairs import Pairs
from benchmark.statistics.faithfulness import MIB_SHARES, cmd, cpr, faithfulness, mib_sizes
from tests.tiny import PAIRS, tiny_model, tiny_pairs


def players(model: Model, *kinds: str) -> Players:
    return Players({kind: np.ones((model.layers(kind), model.size(kind)), dtype=bool) for kind in kinds})


def values(model: Model, pairs: Pairs, way: Way, *kinds: str, at_once: int = 32) -> Values:
    means = mean_activations(model, pairs, kinds) if way.replacement == "mean" else {}
    request = Request(kinds, way.replacement, way.direction, means=means, pairs_per_batch=at_once)
    return Values(model, pairs, request, players(model, *kinds))


def phi(of: Values, sets: np.ndarray) -> np.ndarray:
    nothing, everything = of.of(np.stack([sets[0] & False, sets[0] | True]))
    return faithfulness(of.of(sets), nothing, everything)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_ends_are_exact_and_all_but_one_is_exact_patching(way: Way) -> None:
    """On pairs of two lengths: noising, 1 - score / gap; denoising, the score itself of the circuit of one."""
    model = tiny_model("llama")
    pairs = tiny_pairs(model, PAIRS[:3])
    of = values(model, pairs, way, "head", "neuron")
    count = len(of.players)
    ends = np.stack([np.zeros(count, bool), np.ones(count, bool)])
    assert phi(of, ends).tolist() == [0, 1]
    nothing, everything = of.of(ends)
    found = load_method("activation-patching", neurons=0).scores(
        model, pairs, ("head", "neuron"), way.replacement, way.direction
    )
    scores = of.players.of({kind: one.values.double().mean(0).numpy() for kind, one in found.items()})
    gap = float((everything - nothing).mean())
    if way.direction == "noising":
        got, want = phi(of, ~np.eye(count, dtype=bool)), 1 - scores / gap
    else:
        got, want = phi(of, np.eye(count, dtype=bool)), scores / gap
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(scores / gap).max() + 1e-6)


def test_a_whole_site_out_is_the_sites_patch() -> None:
    model = tiny_model("gpt2")
    pairs = tiny_pairs(model, PAIRS[:1])
    of = values(model, pairs, WAYS[0], "head")
    sets = of.players.layer[None] != np.arange(model.n_layers)[:, None]
    run = Intervention(model, next(pairs.batches()), Request(("head",)))
    sites = run.patch_sites([[Site("head", layer)] for layer in range(model.n_layers)])
    everything = of.of(np.ones((1, len(of.players)), bool))
    np.testing.assert_allclose(everything - of.of(sets), sites.double().numpy(), atol=1e-6)


def test_which_pairs_share_a_forward_changes_nothing() -> None:
    model = tiny_model("gpt2")
    pairs = tiny_pairs(model, PAIRS[:3])
    sets = first(random_orders(len(players(model, "head")), 1, 3)[0], list(range(0, 12, 3)))
    alone, together = (values(model, pairs, WAYS[0], "head", at_once=size).of(sets) for size in (1, 8))
    np.testing.assert_allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "one", "both"), [("or-gate", 1, 1), ("and-gate", 0, 1), ("linear-parallel", None, None)]
)
def test_planted_gates(name: str, one: float | None, both: float | None) -> None:
    """Of an OR either input is enough, of an AND both are needed; where nothing bends, effects add up."""
    litmus = load_litmus(name)
    model = litmus.model()
    pairs = litmus.task.pairs(model, limit=8)
    of = values(model, pairs, WAYS[0], "head")
    at = {
        (layer, index): place
        for place, (layer, index) in enumerate(zip(of.players.layer, of.players.index, strict=True))
    }
    if one is None:
        exact = load_method("activation-patching").scores(model, pairs, ("head",))["head"].values.double().mean(0)
        effects = of.players.of({"head": exact.numpy()})
        sets = first(random_orders(len(effects), 1, 0)[0], list(range(len(effects) + 1)))
        np.testing.assert_allclose(phi(of, sets), sets @ effects / effects.sum(), atol=1e-5)
        best = first(ranked(effects), list(range(len(effects) + 1)))
        assert (phi(of, best) >= phi(of, sets) - 1e-5).all()  # no order is better than the exact one
        return
    sets = np.zeros((3, len(of.players)), bool)
    sets[0, at[0, 0]] = sets[1, at[1, 1]] = sets[2, [at[0, 0], at[1, 1]]] = True
    np.testing.assert_allclose(phi(of, sets), [one, one, both], atol=2e-3)


def test_cpr_and_cmd_of_pocket_are_those_of_mibs_own_way() -> None:
    """Nodes are heads, MLPs and the embedding; every reader gets the corrupted writes of nodes that aren't kept."""
    task, model = load_task("ioi"), load_model("pocket")
    pairs = task.pairs(model, limit=6)
    kinds = ("head", "mlp", "embedding")
    of = values(model, pairs, WAYS[0], *kinds)
    found = load_method("attribution-patching").scores(model, pairs, kinds)
    scores = of.players.of({kind: one.values.double().mean(0).numpy() for kind, one in found.items()})
    order, sizes = ranked(np.abs(scores)), mib_sizes(len(scores))
    ours = phi(of, first(order, sizes))

    names: list[Any] = [
        ("head", "mlp", "embedding")[kind] + f".{layer}.{index}"
        for kind, layer, index in zip(of.players.kind, of.players.layer, of.players.index, strict=True)
    ]
    reference = AutoModelForCausalLM.from_pretrained(POCKET / "model", dtype=torch.float32).eval()
    rows = []
    for pair in pairs.pairs:
        clean, corrupted = (torch.tensor([list(one)]) for one in (pair.clean, pair.corrupted or ()))
        writes, _ = mib_run(reference, corrupted)
        row = [metric(mib_run(reference, clean, {names[i] for i in order[:size]}, writes)[1], pair) for size in sizes]
        ends = [metric(reference(tokens).logits[0, -1], pair) for tokens in (corrupted, clean)]
        rows.append([*ends, *row])
    means = np.mean(rows, axis=0)
    theirs = [(mean - means[0]) / (means[1] - means[0]) for mean in means[2:]]
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    area = distance = 0.0
    for (a, b), (f, g) in zip(pairwise(MIB_SHARES), pairwise(theirs), strict=True):
        area += (b - a) * (f + g) / 2
        distance += (b - a) * (abs(1 - f) + abs(1 - g)) / 2
    assert (cpr(ours), cmd(ours)) == (pytest.approx(area, abs=2e-5), pytest.approx(distance, abs=2e-5))
    assert area > 0.3  # it isn't nothing until it is all


@torch.no_grad()
def metric(logits: Tensor, pair: Any) -> float:
    return float(logits[list(pair.correct)].logsumexp(0) - logits[list(pair.incorrect)].logsumexp(0))


@torch.no_grad()
def mib_run(
    model: Any, tokens: Tensor, kept: Collection[str] = (), corrupted: dict[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """What each node of a GPT-2 writes, and the logits at the end.

    With `corrupted` writes, readers get these in place of the live ones of nodes that aren't kept; nodes that aren't
    kept run all the same, on what they are given.
    """
    body, attention = model.transformer, torch.nn.functional.scaled_dot_product_attention
    writes = {"embedding.0.0": body.wte(tokens) + body.wpe(torch.arange(tokens.shape[1]))}
    constant: Tensor | float = 0.0

    def read() -> Tensor:
        total = sum(writes.values()) + constant
        if corrupted is not None:
            total = total + sum(corrupted[name] - live for name, live in writes.items() if name not in kept)
        return total

    for layer, block in enumerate(body.h):
        heads, width = block.attn.num_heads, block.attn.head_dim
        q, k, v = block.attn.c_attn(block.ln_1(read())).split(heads * width, -1)
        weight, constant_here = block.attn.c_proj.weight, block.attn.c_proj.bias
        made = {}
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            z = attention(q[..., part], k[..., part], v[..., part], is_causal=True)
            made[f"head.{layer}.{head}"] = z @ weight[part]
        writes |= made
        constant = constant + constant_here
        writes[f"mlp.{layer}.0"] = block.mlp(block.ln_2(read()))
    return writes, model.lm_head(body.ln_f(read()))[0, -1]


def test_values_are_remembered() -> None:
    model = tiny_model("gpt2")
    of = values(model, tiny_pairs(model, PAIRS[:1]), WAYS[2], "head")
    sets = first(random_orders(len(of.players), 1, 0)[0], [0, 3, 3, 7])
    once = of.of(sets)
    before = model.passes.forward
    np.testing.assert_array_equal(once, of.of(sets))
    np.testing.assert_array_equal(once[1], once[2])
    assert model.passes.forward == before
    assert replace(of, known={}).of(sets).tolist() == once.tolist()
