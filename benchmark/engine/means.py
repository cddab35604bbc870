"""The mean replacement: each component's mean activation over the task's discovery split, and each feature's mean."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.engine.memory import Chunk
from benchmark.engine.model import Model, Site
from benchmark.prompts.pairs import Pairs


def mean_activations(
    model: Model, pairs: Pairs, kinds: Sequence[str], at_once: int = Chunk().pairs
) -> dict[Site, Float[Tensor, "component dim"]]:
    """Mean over all positions of the clean and corrupted prompts of the discovery rows, a prepended BOS left out.

    So many prompts share a forward.

    Of a kind of features: each feature's mean, `[feature, 1]`, and that of the activation that its dictionary reads.
    """
    read = [site for site in model.sites(kinds) if site in model.dictionaries]
    sites = list(dict.fromkeys([*model.sites(kinds), *map(model.whole, read)]))
    totals: dict[Site, Tensor] = {}
    count = 0
    for batch in pairs.discovery_batches(at_once):
        for prompts in (batch.clean, batch.corrupted):
            if prompts is None:
                continue
            for site, value in model.activations(prompts, sites)[1].items():
                value = value[:, batch.bos :]
                if site in model.dictionaries:
                    dictionary = model.dictionaries[site]
                    parts = [(x, dictionary.scale(x)) for x in dictionary.parts(value.flatten(0, 2))]
                    sums = [dictionary.encode(x, scale).sum(0, dtype=torch.float64) for x, scale in parts]
                    summed = torch.stack(sums).sum(0)[:, None]
                else:
                    summed = value.sum((0, 1), dtype=torch.float64)
                totals[site] = totals[site] + summed if site in totals else summed
            count += prompts[:, batch.bos :].numel()
    return {site: (total / count).to(model.dtype) for site, total in totals.items()}


def discovery_digest(pairs: Pairs) -> str:
    """sha256 over the tokens that a mean is taken over: what the means depend on, given the model."""
    prompts = sorted((pair.clean, pair.corrupted or ()) for pair in pairs.discovery)
    return hashlib.sha256(repr(prompts).encode()).hexdigest()
