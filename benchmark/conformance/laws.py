"""Checks of laws that scores in units of the metric obey on any model."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from benchmark.components import DEFAULT_KINDS, KINDS, MEAN, plural
from benchmark.conformance.findings import NotApplicable, expect
from benchmark.conformance.trial import (
    EXACT,
    ROWS,
    Trial,
    allowed,
    as_built,
    base_and_replacement,
    difference,
    largest,
    obvious_total,
    planted,
    tiny,
)
from benchmark.engine.means import mean_activations
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request
from benchmark.models.litmus import load_litmus
from benchmark.models.tiny import PAIRS, hf_model, tiny_pairs, tokenizer
from benchmark.prompts.metrics import Metric, logit_diff

COMPLETE = 0.01  # of the total, or of a metric of 1


def zero_where_nothing_changes(trial: Trial) -> None:
    """A component whose activation never changes scores exactly 0, and a prepended BOS never changes."""
    trial.needs_a_replacement()
    trial.needs_amounts(signed=False)
    model = as_built("still parts", _still_parts)
    pairs, still = tiny_pairs(model, ROWS[:2]), _STILL
    for way in trial.ways:
        found = trial.values(model, pairs, way)
        for batch in pairs.batches():
            _, live, put = base_and_replacement(model, pairs, batch, way)
            for site, index in still.items():
                if site.kind in found and torch.equal(live[site][:, :, index], put[site][:, :, index]):
                    score = largest(found[site.kind][list(batch.index), site.layer, index])
                    expect(
                        score == 0,
                        f"{way}: {site.kind} {site.layer}.{index} doesn't change and scores {score:.1e}",
                        "exactly 0",
                        "the position of the BOS is replaced too, or noise is added",
                    )


def signs_as_declared(trial: Trial) -> None:
    """Scores of an unsigned method are never negative; those of a signed one can be."""
    for model, pairs in (planted(load_litmus("inhibition"), 2), tiny(count=2)):
        for way in trial.ways:
            lowest = min(float(one.nan_to_num().min()) for one in trial.values(model, pairs, way).values())
            if trial.method.signed:
                expect(lowest < 0, f"{way}: no score is negative", "some that are", "absolute values, signed = True")
            else:
                expect(lowest >= 0, f"{way}: a score is {lowest:.3g}", "none below 0", "signed = False is not true")


def completeness(trial: Trial) -> None:
    """Where `totals` claims a sum of scores, it is the patch of all of them at once, and they sum to it."""
    trial.needs_a_replacement()
    for architecture in ("gpt2", "llama"):
        model, pairs = tiny(architecture, 1, layers=3)
        for way in trial.ways:
            means = mean_activations(model, pairs, DEFAULT_KINDS) if way == MEAN else {}
            request = Request(trial.kinds, way.replacement, way.direction, means=means)
            request = trial.method.ready(model, pairs, request)
            for batch in pairs.batches():
                totals = trial.method.totals(model, batch, request)
                if not totals:
                    raise NotApplicable("it claims none (`totals` is empty)")
                found = trial.method.attribute(model, batch, request)
                scores = {kind: values for kind, values in found.items() if kind in KINDS}
                for sites, total, summed in _claims(model, scores, totals):
                    wanted = obvious_total(model, pairs, batch, way, sites)
                    one_kind = plural(sites[0].kind) if len({site.kind for site in sites}) == 1 else "components"
                    moved = f"all {one_kind}" if len(sites) > 1 else f"{one_kind} of one layer"
                    what = f"{way} on {architecture}, {moved}"
                    most = COMPLETE * max(largest(wanted), 1.0)
                    for said, value, cause in (
                        ("totals", total, "`totals` is something else than the patch of all these components at once"),
                        ("scores sum to", summed, "nodes or weights of the integral; or it isn't complete"),
                    ):
                        off = largest(value.double() - wanted)
                        expect(off <= most, f"{what}: {said} {off:.2g} off", f"at most {most:.2g}", cause)


def _claims(
    model: Model, scores: Mapping[str, Tensor], totals: Mapping[str, Tensor]
) -> Iterator[tuple[list[Site], Tensor, Tensor]]:
    """The sites of each claim, the total claimed `[pair]` and the scores' sum `[pair]`."""
    if "all" in totals:
        yield model.sites(scores), totals["all"], torch.stack([one.sum((1, 2)) for one in scores.values()]).sum(0)
        return
    for kind, total in totals.items():
        if total.ndim == 1:
            yield model.sites([kind]), total, scores[kind].sum((1, 2))
            continue
        for layer in range(model.layers(kind)):
            yield [Site(kind, layer)], total[:, layer], scores[kind][:, layer].sum(1)


def scores_scale_with_the_metric(trial: Trial) -> None:
    """Twice the task's metric gives twice the scores: it is that metric that is attributed, nothing is normalised."""
    trial.needs_amounts(signed=False)
    model, pairs = tiny(count=2)
    twice = Metric("twice", "2 logit_diff + 3", lambda logits, answers: 2 * logit_diff(logits, answers) + 3)
    once, doubled = trial.values(model, pairs), trial.values(model, replace(pairs, metric=twice))
    for kind, values in once.items():
        off = difference(doubled[kind], 2 * values)
        expect(
            off <= allowed(EXACT, values),
            f"with twice the metric, {kind} scores are {off:.2g} off from twice as much",
            "exactly twice",
            "a metric of the method's own, or scores normalised by it",
        )


# head 1.2 is always 0, neuron 1.3 always the same number, and neuron 0.5 is 0 everywhere but at the BOS
_STILL = {Site("head", 1): 2, Site("neuron", 1): 3, Site("neuron", 0): 5}


def _still_parts() -> Model:
    """A tiny GPT-2 with a BOS, in which these components never change."""
    hf = hf_model("gpt2")
    block, early = hf.transformer.h[1], hf.transformer.h[0].mlp
    early.act = torch.nn.ReLU()
    tokens = tokenizer()
    width, size = hf.config.n_embd, hf.config.n_embd // hf.config.n_head
    inputs: list[Tensor] = []
    handle = early.c_fc.register_forward_pre_hook(lambda module, given: inputs.append(given[0][0]))
    with torch.no_grad():
        for text in [text for row in PAIRS for text in (row.clean, row.corrupted)]:
            hf(torch.tensor([[tokens.bos_token_id, *tokens(text)["input_ids"]]]))
        handle.remove()
        values_of_head_2 = slice(2 * width + 2 * size, 2 * width + 3 * size)
        block.attn.c_attn.weight[:, values_of_head_2] = 0
        block.attn.c_attn.bias[values_of_head_2] = 0
        block.mlp.c_fc.weight[:, 3] = 0
        bos, others = inputs[0][0], torch.cat([positions[1:] for positions in inputs])
        early.c_fc.weight[:, 5] = bos
        early.c_fc.bias[5] = -(bos @ bos + (others @ bos).max()) / 2
    return Model.from_hf(hf, tokens, "still parts", True)
