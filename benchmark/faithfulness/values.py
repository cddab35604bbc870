"""The metric while a set of components is kept and the others are out: V(K), for many sets on a task's pairs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import torch
from jaxtyping import Float

from benchmark.components import DENOISING
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.faithfulness.orders import Players, Sets
from benchmark.prompts.pairs import Pairs

Known = dict[bytes, Float[np.ndarray, " pair"]]  # V by a digest of the set

_AT_ONCE = 2**24  # numbers in the masks that are held at a time


def _forget(new: Known) -> None:
    """What is new needn't be kept anywhere else."""


@dataclass(frozen=True)
class Values:
    """V on these pairs: noising, of the clean prompt with the others replaced; denoising, with these restored.

    Each set is run once: what was asked before is `known`, and `keep` is told what is new. The activations are
    remembered too, where the pairs' all fit.
    """

    model: Model
    pairs: Pairs
    request: Request
    players: Players
    known: Known = field(default_factory=dict)
    keep: Callable[[Known], None] = _forget
    runs: list[Intervention] = field(default_factory=list)

    @torch.no_grad()
    def of(self, sets: Sets) -> Float[np.ndarray, "set pair"]:
        """V of each set, for every pair in the order of the pairs."""
        names = [blake2b(bits.tobytes(), digest_size=16).digest() for bits in np.packbits(sets, axis=1)]
        places = list({name: place for place, name in enumerate(names) if name not in self.known}.values())
        if places:
            new = {names[place]: row for place, row in zip(places, self._run(sets[places]), strict=True)}
            self.known.update(new)
            self.keep(new)
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
