"""The metric while a set of components is kept and the others are out: V(K), for many sets on a task's pairs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float

from benchmark.components import DENOISING
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.faithfulness.orders import Players, Sets
from benchmark.prompts.pairs import Pairs

_AT_ONCE = 2**24  # numbers in the masks that are held at a time


@dataclass(frozen=True)
class Values:
    """V on these pairs: noising, of the clean prompt with the others replaced; denoising, with these restored.

    Each set is run once: what was asked before is remembered. So are the activations, where the pairs' all fit.
    """

    model: Model
    pairs: Pairs
    request: Request
    players: Players
    known: dict[bytes, Float[np.ndarray, " pair"]] = field(default_factory=dict)
    runs: list[Intervention] = field(default_factory=list)

    @torch.no_grad()
    def of(self, sets: Sets) -> Float[np.ndarray, "set pair"]:
        """V of each set, for every pair in the order of the pairs."""
        names = [bits.tobytes() for bits in np.packbits(sets, axis=1)]
        new = list({name: place for place, name in enumerate(names) if name not in self.known}.values())
        if new:
            found = self._run(sets[new])
            self.known.update({names[place]: values for place, values in zip(new, found, strict=True)})
        return np.stack([self.known[name] for name in names])

    def _run(self, sets: Sets) -> Float[np.ndarray, "set pair"]:
        live = ~sets if self.request.direction == DENOISING.direction else sets
        found = np.zeros((len(sets), len(self.pairs)))
        step = max(1, _AT_ONCE // sum(one.size for one in self.players.there.values()))
        for run in self._interventions():
            for start in range(0, len(sets), step):
                masks = self.players.masks(live[start : start + step])
                found[start : start + step, list(run.batch.index)] = run.value(masks).double().cpu().numpy()
        return found

    def _interventions(self) -> Iterator[Intervention]:
        if self.runs:
            yield from self.runs
            return
        for batch in self.pairs.batches(self.request.pairs_per_batch):
            run = Intervention(self.model, batch, self.request)
            if len(self.pairs) <= self.request.pairs_per_batch:
                self.runs.append(run)
            yield run
