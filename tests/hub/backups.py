"""`python -m tests.hub.backups`: do scores find the backups of GPT-2 small's name movers? Published and obtained here.

ROC-AUC of the documented backups among all heads that are no primary, with zero ablation, without a BOS, over the
prompts of `backups.json` (Gong et al. 2026, arXiv:2607.01940; roles: Wang et al. 2023, arXiv:2211.00593). None of these
was obtained where this was written, because no hub answered; GradDrop is that of AtP*, and theirs may be another.

Their energy of an ablation is the variance of the logits' change under the clean next-token distribution, at the last
position. The last row is the same growth measured in the logit difference, as `attribution-bench interactions --given`
has it, which nobody has published.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark import BenchmarkError, PromptPair, load_method, load_model, logit_diff, make_pairs
from benchmark.components import component_named
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request
from benchmark.interactions.effects import Component, interactions
from benchmark.prompts.pairs import Pairs
from benchmark.statistics.detection import auroc

PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parent / "backups.json").read_text(encoding="utf-8"))
OURS = "growth of the effect on the logit difference"
SPREADS = 4  # standard deviations over draws of prompts that an average over them may be off
ROUNDING = 2e-3  # one couple of heads that change places in 8 x 133, over four draws: a guess, not measured
Scores = dict[str, np.ndarray]


def prompts(said: Mapping[str, Any], seed: int) -> list[PromptPair]:
    """One draw of prompts: two names, a place and a thing each."""
    draw, made = np.random.default_rng(seed), []
    for _ in range(said["prompts"]):
        io, s = draw.choice(said["names"], size=2, replace=False)
        place, thing = draw.choice(said["places"]), draw.choice(said["things"])
        text = said["template"].format(io=io, s=s, place=place, thing=thing)
        made.append(PromptPair(text, None, f" {io}", f" {s}"))
    return made


@torch.no_grad()
def energies(model: Model, pairs: Pairs, given: Sequence[Component]) -> Tensor:
    """Of every head, with `given` ablated before and after: mean energy of its ablation, `[layer, head]`."""
    total = torch.zeros(model.n_layers, model.n_heads, dtype=torch.float64)
    for batch in pairs.batches():

        def logits(out: Sequence[Component], tokens: Tensor = batch.clean) -> Tensor:
            heads: dict[Site, list[int]] = {}
            for kind, layer, head in out:
                heads.setdefault(Site(kind, layer), []).append(head)

            def silenced(live: Tensor, indices: list[int]) -> Tensor:
                return live.index_fill(2, torch.tensor(indices, device=live.device), 0.0)

            edits = {site: partial(silenced, indices=indices) for site, indices in heads.items()}
            return model.run(tokens, edits).double()

        clean, before = logits(()).softmax(-1), logits(given)
        for layer in range(model.n_layers):
            for head in range(model.n_heads):
                change = before - logits((*given, ("head", layer, head)))
                centred = change - (clean * change).sum(-1, keepdim=True)
                total[layer, head] += (clean * centred.square()).sum().cpu()
    return total / len(pairs)


def scores(model: Model, pairs: Pairs, primaries: Sequence[Component]) -> Scores:
    """What each method says of every head, `[layer, head]`; the larger, the likelier a backup."""
    alone, conditional = energies(model, pairs, ()), energies(model, pairs, primaries)
    first = load_method("attribution-patching").scores(model, pairs, ("head",), "zero")["head"].values
    drop = load_method("grad-drop").scores(model, pairs, ("head",), "zero")["head"].values
    path = load_method("integrated-gradients", steps=5, rule="left").scores(model, pairs, ("head",), "zero")["head"]
    heads: list[Component] = [("head", la, i) for la in range(model.n_layers) for i in range(model.n_heads)]
    found = interactions(model, pairs, Request(("head",), "zero"), (), primaries, heads).conditional()
    growth = np.zeros((model.n_layers, model.n_heads))
    for row in found.itertuples():
        _, layer, head = component_named(row.component)
        growth[layer, head] = abs(row.effect_given) - abs(row.effect)
    return {
        "single ablation": alone.numpy(),
        "effect given the primaries": conditional.numpy(),
        "growth (CoAx)": (conditional - alone).numpy(),
        "amplification ratio": (conditional / alone.clamp(min=1e-30)).numpy(),
        "attribution patching": first.double().abs().mean(0).numpy(),
        "attribution patching with GradDrop": drop.double().mean(0).numpy(),
        "integrated gradients of activations": path.values.double().mean(0).abs().numpy(),
        OURS: growth,
    }


def found_backups(one: np.ndarray, primaries: Sequence[Component], backups: Sequence[Component]) -> float:
    """ROC-AUC of the backups among the heads that are no primary."""
    candidate, wanted = np.ones(one.shape, dtype=bool), np.zeros(one.shape, dtype=bool)
    for _, layer, head in primaries:
        candidate[layer, head] = False
    for _, layer, head in backups:
        wanted[layer, head] = True
    return auroc(one[candidate], wanted[candidate])


def rows(name: str) -> Iterator[tuple[str, float, float, float]]:
    """What is asked, what was published, what this model gives, and how far they may be apart.

    Raises BenchmarkError where there is no such model here.
    """
    model, said = load_model(name, prepend_bos=False), PUBLISHED
    primaries, backups = (list(map(component_named, said[name])) for name in ("primaries", "backups"))
    obtained: dict[str, list[float]] = {}
    for seed in said["seeds"]:
        pairs = make_pairs(model, prompts(said, seed), logit_diff)
        for name, one in scores(model, pairs, primaries).items():
            obtained.setdefault(name, []).append(found_backups(one, primaries, backups))
    for name, values in obtained.items():
        published, spread = said["roc_auc"].get(name, (float("nan"), 0.0))
        yield name, published, float(np.mean(values)), SPREADS * spread + ROUNDING


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all agree; 1: some don't; 2: there is no such model here."""
    parser = argparse.ArgumentParser("python -m tests.hub.backups", description=__doc__)
    parser.add_argument("--model", default=PUBLISHED["model"], help="GPT-2 small, or a local folder that holds it")
    name = parser.parse_args(arguments).model
    try:
        agree = []
        for what, published, obtained, tolerance in rows(name):
            known = not np.isnan(published)
            agree += [abs(obtained - published) <= tolerance] * known
            answer = ("yes" if agree[-1] else "NO") if known else "-"
            print(f"{what:46s} {published:8.3f} {answer:4s} {obtained:8.3f}", flush=True)
    except BenchmarkError as error:
        print(" ".join(str(error).split()))
        return 2
    print(f"{sum(agree)} of {len(agree)} agree")
    return int(not all(agree))


if __name__ == "__main__":
    sys.exit(main())
