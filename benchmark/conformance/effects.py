"""Checks against effects that are known: on planted models, and from plain patching without the engine."""

from dataclasses import replace

import torch
from torch import Tensor

from benchmark.components import COUNTERFACTUAL, DENOISING
from benchmark.conformance.findings import NotApplicable, expect
from benchmark.conformance.trial import (
    EXACT,
    PROMISE,
    Trial,
    allowed,
    as_built,
    difference,
    largest,
    obvious_effects,
    planted,
    tiny,
)
from benchmark.engine.model import Model
from benchmark.models.litmus import load_litmus
from benchmark.models.litmus.litmus import slot
from benchmark.models.litmus.planted import Head, Neuron
from benchmark.models.tiny import PAIRS, hf_model, tiny_pairs, tokenizer

SHARE = 0.2  # of its effect: the least that is left to a head that others pass on (joint IG leaves a quarter)
_ON, _OFF = {"on": 1.0}, {"one": 1.0, "on": -1.0}


def exact_on_linear_parallel(trial: Trial) -> None:
    """Where the model is linear and no component feeds another, every score is the component's exact effect."""
    trial.needs_a_replacement()
    trial.needs_amounts()
    litmus = load_litmus("linear-parallel")
    model, pairs = planted(litmus, 2)
    for way in trial.ways:
        for kind, values in trial.values(model, pairs, way).items():
            wanted = obvious_effects(model, pairs, way, kind)
            if way.replacement == "counterfactual":
                wanted = torch.zeros_like(values)
                for (layer, index), effect in litmus.effects[kind].items():
                    wanted[:, layer, index] = effect
            _expect_equal(
                values, wanted, f"{way}: {kind}", "a lost factor or sign, another mean, or a patch that stays on"
            )


def exact_if_a_reference(trial: Trial) -> None:
    """What the others are held against is exact activation patching, on models that bend too."""
    trial.needs_a_replacement()
    if not trial.method.reference:
        raise NotApplicable("it claims no exactness (reference = False)")
    for architecture, ways in (("gpt2", trial.ways), ("gemma2", trial.ways[:1])):
        model, pairs = tiny(architecture, 1, layers=3, prepend_bos=True)
        for way in ways:
            for kind, values in trial.values(model, pairs, way).items():
                wanted = obvious_effects(model, pairs, way, kind)
                _expect_equal(
                    values, wanted, f"{way} on {architecture}: {kind}", "an estimate, or a patch that stays on"
                )


def neurons_at_their_post_activation(trial: Trial) -> None:
    """A neuron's difference and its gradient are both taken after its nonlinearity."""
    trial.needs_a_replacement()
    trial.needs_amounts()
    trial.needs("neuron")
    switched = replace(
        load_litmus("linear-parallel"),
        heads=(),
        neurons=(Neuron(0, 1, _ON, {"yes": 1.0}, -0.5), Neuron(1, 4, _OFF, {"yes": -1.0}, -0.5)),
    )
    model, pairs = planted(switched, 2)
    for way in trial.ways:
        values = trial.values(model, pairs, way, ("neuron",))["neuron"]
        wanted = obvious_effects(model, pairs, way, "neuron")
        _expect_equal(values, wanted, f"{way}: neuron", "the gradient at the MLP's input, the difference at its output")


def every_query_head_by_itself(trial: Trial) -> None:
    """Where query heads share keys and values, each has a score of its own."""
    trial.needs_amounts(signed=False)
    trial.needs("head")
    model, pairs = tiny("llama", 3, layers=3)
    scores = trial.values(model, pairs, kinds=("head",))["head"]
    silent = (scores == 0).all(0).nonzero().tolist()
    expect(not silent, f"heads {silent} score 0 on every pair", "a score", "as many heads as there are keys and values")
    alike = (scores[..., 1:] == scores[..., :-1]).all(0).nonzero().tolist()
    expect(not alike, f"heads {alike} score as the next one does", "scores of their own", "one score a group of heads")


def nothing_where_nothing_is_written(trial: Trial) -> None:
    """A head or neuron whose output has weights of zero scores 0, and it is the one that the score is given to."""
    trial.needs_amounts(signed=False)
    model = as_built("writes nowhere", _writes_nowhere)
    pairs = tiny_pairs(model, PAIRS[:1])
    for way in trial.ways:
        for kind, values in trial.values(model, pairs, way).items():
            index = 1 if kind == "head" else 3
            score, most = largest(values[:, 1, index]), largest(values)
            expect(
                score <= allowed(PROMISE, values),
                f"{way}: {kind} 1.{index}, which writes nowhere, scores {score:.2g}, the largest is {most:.2g}",
                "0",
                "scores given to another layer, head or neuron than their own",
            )


def _writes_nowhere() -> Model:
    """A tiny Llama in which head 1.1 and neuron 1.3 have weights of zero on their way out."""
    hf = hf_model("llama")
    block, size = hf.model.layers[1], hf.config.head_dim
    with torch.no_grad():
        block.self_attn.o_proj.weight[:, 1 * size : 2 * size] = 0
        block.mlp.down_proj.weight[:, 3] = 0
    return Model.from_hf(hf, tokenizer(), "llama that writes nowhere", False)


def denoising_is_noising_exchanged(trial: Trial) -> None:
    """Denoising is noising with clean and corrupted prompts exchanged, and the sign turned."""
    trial.needs_a_replacement()
    trial.needs_amounts(signed=False)
    if not {COUNTERFACTUAL, DENOISING} <= set(trial.ways):
        raise NotApplicable("it doesn't do both directions")
    model, pairs = tiny(count=3)  # of two lengths
    turned = tuple(replace(pair, clean=pair.corrupted or (), corrupted=pair.clean) for pair in pairs.pairs)
    noising = trial.values(model, replace(pairs, pairs=turned), COUNTERFACTUAL)
    for kind, values in trial.values(model, pairs, DENOISING).items():
        wanted = -noising[kind] if trial.method.signed else noising[kind]
        off = difference(values, wanted)
        expect(
            off <= allowed(EXACT, values),
            f"{kind} scores are {off:.2g} off from the exchanged prompts', of {largest(values):.2g}",
            "the same",
            "the direction is ignored, or gradients are taken on the wrong run in one of them",
        )


def paths_through_later_heads(trial: Trial) -> None:
    """What a head does through the attention of later ones counts, from every position."""
    trial.needs_a_replacement()
    if not trial.method.indirect:
        raise NotApplicable("it counts no more than a component's own output (indirect = False)")
    trial.needs_amounts()
    trial.needs("head")
    # head 0.0 takes 1 from the answer, and gives it 3 by what it writes at the position before the last one
    chain = load_litmus("linear-chain")
    relayed = Head(1, 0, slot(2), [({"relay": 1.0}, {"yes": 3.0})])
    model, pairs = planted(replace(chain, heads=(chain.heads[0], relayed)))
    for way in trial.ways:
        scores = trial.values(model, pairs, way, ("head",))["head"][:, 0, 0]
        wanted = obvious_effects(model, pairs, way, "head")[:, 0, 0]
        expect(
            bool((scores >= SHARE * wanted).any()),  # on some pair: random orders scatter, a lost path is lost on all
            f"{way}: a head of effect {wanted[0]:.3g}, most of it through a later head, scores {scores[0]:.3g}",
            f"at least {SHARE:.0%} of the effect",
            "a later head's output is detached, or early positions are left out",
        )


def sign_convention(trial: Trial) -> None:
    """Positive: the component's clean activation pushes the metric towards the clean answer, in both directions."""
    trial.needs_a_replacement()
    trial.needs_amounts()
    trial.needs("head")
    model, pairs = planted(load_litmus("inhibition"), 2)
    for way in trial.ways:
        scores = trial.values(model, pairs, way, ("head",))["head"]
        wanted = obvious_effects(model, pairs, way, "head")
        wrong = (scores.sign() != wanted.sign()) & (wanted.abs() > EXACT * largest(wanted))
        if wrong.any():
            pair, layer, index = wrong.nonzero()[0].tolist()
            effect, score = wanted[pair, layer, index], scores[pair, layer, index]
            seen = f"{way}: head {layer}.{index} of effect {effect:.3g} scores {score:.3g}"
            expect(False, seen, "the same sign", "clean and corrupted exchanged, in one direction, or absolute values")


def _expect_equal(values: Tensor, wanted: Tensor, what: str, cause: str) -> None:
    off = (values - wanted).nan_to_num().abs()
    pair, layer, index = (off == off.max()).nonzero()[0].tolist()
    expect(
        float(off.max()) <= EXACT * max(largest(wanted), 1.0),
        f"{what} {layer}.{index} scores {values[pair, layer, index]:.3g}",
        f"{wanted[pair, layer, index]:.3g}",
        cause,
    )
