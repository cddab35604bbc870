"""The effects of sets of components that are patched together, and what they say of each couple.

F is that of `engine.intervention`. The effect of a set is `E(A) = F(1) - F(1 - 1_A)`, times the sign of the direction.
Of one component that is activation patching. Then

- the interaction of i and j where all others are live is `E(i) + E(j) - E(ij)`, which is
  `F(1) - F(1 - e_i) - F(1 - e_j) + F(1 - e_i - e_j)` (Grabisch & Roubens 1999, doi:10.1007/s001820050125);
- the effect of i given that S is patched is `E(S + i) - E(S)`, and of a member of S, given the others of S,
  `E(S) - E(S - i)`; less `E(i)`, how much it grows by that (in the metric, what Gong et al. 2026, arXiv:2607.01940,
  measure on the distribution of the next token).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from benchmark.components import component_name
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.prompts.pairs import Pairs
from benchmark.statistics.detection import NOTHING
from benchmark.statistics.halves import Halves, halves
from benchmark.statistics.interaction import reading
from benchmark.statistics.mean_score import mean_scores

Component = tuple[str, int, int]  # kind, layer, index
OutTogether = frozenset[Component]
_AT_ONCE = 2**24  # numbers in the masks that are held at a time


def sets_of(
    components: Sequence[Component], given: Sequence[Component], others: Sequence[Component]
) -> list[OutTogether]:
    """Every set that must be patched: each component, each couple, and each of the others alone and beside `given`."""
    out = [*combinations(components, 1), *combinations(components, 2), *combinations(others, 1)]
    for other in others:
        out += [tuple({*given} - {other}), (*given, other)]
    return [one for one in dict.fromkeys(map(frozenset, out)) if one]


@torch.no_grad()
def effects_of(
    model: Model, pairs: Pairs, request: Request, sets: Sequence[OutTogether]
) -> dict[OutTogether, Float[np.ndarray, " pair"]]:
    """The effect of each set, of every pair, in the order of the pairs."""
    found = np.zeros((len(sets), len(pairs)))
    places = sum(model.layers(kind) * model.size(kind) for kind in request.kinds)
    step = max(1, _AT_ONCE // places)
    for batch in pairs.batches(request.pairs_per_batch):
        run = Intervention(model, batch, request)
        for start in range(0, len(sets), step):
            some = sets[start : start + step]
            masks = {kind: torch.ones(len(some), model.layers(kind), model.size(kind)) for kind in request.kinds}
            for row, out in enumerate(some):
                for kind, layer, index in out:
                    masks[kind][row, layer, index] = 0
            effects = run.sign * (run.full - run.value(masks))
            found[start : start + len(some), list(batch.index)] = effects.double().cpu().numpy()
    return dict(zip(sets, found, strict=True))


@dataclass(frozen=True)
class Interactions:
    """The effects of sets on one task's pairs, seen as couples of `components` and as what is left given `given`.

    `ranked` says by what the components were chosen, the strongest first; `others` are those whose effects are looked
    at while `given` is patched, and may be among these.
    """

    model: Model
    pairs: Pairs
    direction: str
    replacement: str
    ranked: str
    components: tuple[Component, ...]
    given: tuple[Component, ...]
    others: tuple[Component, ...]
    effects: dict[OutTogether, Float[np.ndarray, " pair"]]

    @cached_property
    def splits(self) -> Halves:
        prompts = [pair.prompt for pair in self.pairs.pairs]
        return halves(len(prompts), [one.cluster for one in prompts], [one.template for one in prompts])

    @property
    def noising(self) -> bool:
        return self.direction == "noising"

    def name(self, component: Component) -> str:
        kind, layer, index = component
        return component_name(kind, layer, index, self.model.size(kind))

    def of(self, *out: Component) -> Float[np.ndarray, " pair"]:
        """The effect of these together; 0 of none."""
        return self.effects[frozenset(out)] if out else np.zeros(len(self.pairs))

    def given_the_rest(self, one: Component) -> Float[np.ndarray, " pair"]:
        """The effect of a component while `given` is patched, itself apart."""
        growth: np.ndarray = self.of(*{*self.given, one}) - self.of(*{*self.given} - {one})
        return growth

    @cached_property
    def least(self) -> float:
        """The size from which a mean counts as something: 1% of the largest mean effect of any set."""
        return NOTHING * max((abs(float(values.mean())) for values in self.effects.values()), default=0.0)

    def couples(self) -> pd.DataFrame:
        """A row a couple, the largest interaction first: mean effects, `interaction` with its 95% interval, a word."""
        found = list(combinations(self.components, 2))
        pairwise = [self.of(a) + self.of(b) - self.of(a, b) for a, b in found]
        rows = []
        for (a, b), change, low, high in zip(found, *self._means(pairwise), strict=True):
            effects = float(self.of(a).mean()), float(self.of(b).mean())
            word = reading(
                [(effect, effect - change) for effect in effects], change, low, high, self.least, self.noising
            )
            names, together = (self.name(a), self.name(b)), float(self.of(a, b).mean())
            rows.append((*names, *effects, together, change, low, high, word))
        columns = ["a", "b", "effect_a", "effect_b", "effect_both", "interaction", "low", "high", "reading"]
        return _largest_first(pd.DataFrame(rows, columns=columns), "interaction")

    def conditional(self) -> pd.DataFrame:
        """A row a component: its mean effect alone and given that `given` is patched, and how much it grew; a word."""
        grown = [self.given_the_rest(one) - self.of(one) for one in self.others]
        rows = []
        for one, change, low, high in zip(self.others, *self._means(grown), strict=True):
            alone = float(self.of(one).mean())
            word = reading([(alone, alone + change)], change, low, high, self.least, self.noising)
            rows.append((self.name(one), alone, alone + change, change, low, high, word))
        columns = ["component", "effect", "effect_given", "growth", "low", "high", "reading"]
        return _largest_first(pd.DataFrame(rows, columns=columns), "growth")

    def matrix(self) -> pd.DataFrame:
        """Mean interactions by name, in the order of the ranking; NaN on the diagonal."""
        names = [self.name(one) for one in self.components]
        found = pd.DataFrame(np.nan, index=names, columns=names)
        for row in self.couples().itertuples():
            found.loc[row.a, row.b] = found.loc[row.b, row.a] = row.interaction
        return found

    def _means(self, values: Sequence[Float[np.ndarray, " pair"]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return mean_scores(np.array(values).reshape(len(values), len(self.pairs)).T, self.splits)


def interactions(
    model: Model,
    pairs: Pairs,
    request: Request,
    components: Sequence[Component],
    given: Sequence[Component] = (),
    others: Sequence[Component] = (),
    ranked: str = "",
) -> Interactions:
    """Patch every couple of `components`, and each of `others` beside `given`, on every pair."""
    chosen, out = tuple(dict.fromkeys(components)), tuple(dict.fromkeys(given))
    beside = tuple(other for other in dict.fromkeys(others) if {*out} - {other})
    effects = effects_of(model, pairs, request, sets_of(chosen, out, beside))
    return Interactions(model, pairs, request.direction, request.replacement, ranked, chosen, out, beside, effects)


def _largest_first(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    order = frame[column].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].reset_index(drop=True)
