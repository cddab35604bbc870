"""Which features there are, and which of them move in any pair: what a method measures of them."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model
from benchmark.engine.request import Request, ignore
from benchmark.prompts.pairs import Pairs


def present(model: Model, kind: str) -> Float[Tensor, "layer index"]:
    """1 for every feature that a dictionary has and for every error; 0 where there is none."""
    found = torch.zeros(model.layers(kind), model.size(kind))
    for site in model.sites([kind]):
        found[site.layer, : model.dictionaries[site].size] = 1
        found[site.layer, -1] = 1
    return found


@torch.no_grad()
def moving(model: Model, pairs: Pairs, request: Request, kind: str) -> Float[Tensor, "layer index"]:
    """1 for every feature, and error, that m = 0 changes at any place of any pair; 0 for the others.

    The two forwards a pair that this takes are in no count of passes.
    """
    found = torch.zeros(model.layers(kind), model.size(kind))
    with model.uncounted():
        for batch in pairs.batches(request.pairs_per_batch):
            run = Intervention(model, batch, replace(request, progress=ignore, kept=[]), (kind,))
            for site in run.sites:
                found[site.layer] += run.changed(site).any((0, 1)).cpu()
    return (found > 0).float()
