"""Checks of a method that hold whatever its scores mean: their shape, and what they must not depend on."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from benchmark.components import PLACES_ONLY, plural
from benchmark.conformance.findings import NotApplicable, Violation, expect
from benchmark.conformance.trial import FEW, PROMISE, Trial, allowed, as_built, difference, largest, tiny
from benchmark.engine.memory import Chunk
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.models.tiny import ARCHITECTURES, PAIRS, tiny_model, tiny_pairs
from benchmark.prompts.pairs import Pairs


def right_shapes_on_every_architecture(trial: Trial) -> None:
    """Every supported architecture gets finite scores `[pair, layer, index]`, of the kinds that were asked for."""
    others = [(kind,) for kind in trial.method.kinds if kind not in PLACES_ONLY and trial.allows(trial.way, (kind,))]
    for number, architecture in enumerate(ARCHITECTURES):
        model, pairs = tiny(architecture, 1 if number else 2)
        for kinds in dict.fromkeys((trial.kinds, *others) if number == 0 else (trial.kinds,)):
            try:
                found = trial.scores(model, pairs, kinds=kinds)
            except Exception as error:
                raise Violation(f"on {architecture}, asked for {', '.join(kinds)}: {error}") from error
            for kind in kinds:
                seen, wanted = tuple(found[kind].values.shape), (len(pairs), model.layers(kind), model.size(kind))
                expect(seen == wanted, f"{kind} scores {seen} on {architecture}", f"{wanted}", "axes or kinds mixed up")
                measured = bool(found[kind].measured.any())
                expect(measured, f"no {kind} is measured on {architecture}", "at least one", "`design` chooses none")


def deterministic_under_a_seed(trial: Trial) -> None:
    """The same seed gives the same bits, whatever other code drew from the shared generators."""
    model, pairs = tiny(count=2)
    first = trial.values(model, pairs, seed=3)
    torch.rand(7), np.random.rand(7), random.random()
    second = trial.values(model, pairs, seed=3)
    for kind, values in first.items():
        expect(
            torch.equal(values.nan_to_num(), second[kind].nan_to_num()),
            f"{kind} scores move by {difference(values, second[kind]):.1e} when run again with the same seed",
            "the same bits",
            "noise from a shared generator: draw it from one made with `request.seed`",
        )


def independent_of_batching(trial: Trial) -> None:
    """A pair's scores don't depend on the pairs beside it, their order, or what shares a forward."""
    model, pairs = tiny(dtype=torch.float32)
    pairs = pairs.take([0, 2, 3, 4])  # of two lengths, one of them three times
    order, apart = [2, 0, 3, 1], [1, 3]  # of three pairs in any other order, one of two is at another place
    whole = trial.values(model, pairs)
    singly = [trial.values(model, pairs.take([place])) for place in apart]
    otherwise = trial.values(model, pairs.take(order), chunk=Chunk(101, 2))
    for kind, values in whole.items():
        in_order = otherwise[kind][torch.tensor(order).argsort()]
        ways = {
            "a pair alone": (torch.cat([one[kind] for one in singly]), values[apart]),
            "another order and smaller chunks, the last one ragged": (in_order, values),
        }
        for how, (others, beside) in ways.items():
            moved = difference(others, beside)
            expect(
                moved <= allowed(PROMISE, values),
                f"{kind} scores move by {moved:.1e} with {how}",
                f"at most {PROMISE} of the largest, {largest(values):.1e}",
                "scores divided or averaged over the batch, padding, or pairs mixed up in a gradient",
            )


def independent_of_the_kinds_asked_for(trial: Trial) -> None:
    """Heads score the same whether or not neurons are asked for too, and the other way round."""
    if len(trial.kinds) < 2:
        raise NotApplicable(f"it scores {plural(trial.kinds[0])} only")
    model, pairs = tiny(count=2)
    together = trial.values(model, pairs)
    for kind in trial.kinds:
        moved = difference(trial.values(model, pairs, kinds=(kind,))[kind], together[kind])
        expect(
            moved <= allowed(PROMISE, together[kind]),
            f"{kind} scores move by {moved:.1e} when asked for alone",
            "the same",
            "what was done to one component is still there for the next",
        )


def independent_of_earlier_calls(trial: Trial) -> None:
    """What was computed before, for other prompts, another model, another way or other options, is not given again."""
    trial.needs_amounts(signed=False)
    calls: dict[str, Callable[[_Materials], dict[str, Tensor]]] = {
        str(way): partial(lambda on, way: trial.values(on.model, on.pairs, way), way=way) for way in trial.ways
    }
    calls["other prompts of the same ids"] = lambda on: trial.values(on.model, on.others)
    calls["another model of the same name"] = lambda on: trial.values(on.other_model, on.pairs)
    warm = _unseen(type(trial.method))
    for variant in trial.variants:  # other options first, on the very same pairs
        if variant.method != trial.method and variant.ways:
            variant.values(warm.model, warm.pairs)
    wanted: dict[str, dict[str, Tensor]] = {}
    for what in (*calls, next(iter(calls))):
        seen = calls[what](warm)
        if what not in wanted:
            wanted[what] = calls[what](_unseen(type(trial.method)))
        for kind, values in wanted[what].items():
            moved = difference(seen[kind], values)
            expect(
                moved <= allowed(PROMISE, values),
                f"{kind} scores for {what} move by {moved:.1e} after other calls",
                "what a first call gives",
                "a cache whose key leaves out options, direction, replacement, prompts or weights",
            )


def _unseen(made: type[Method]) -> "_Materials":
    """Materials that this class of methods never had, in any of its variants; others may have had them."""
    _SEEN[made] += 1
    return _Materials(f"material {_SEEN[made]}")


_SEEN: Counter[type[Method]] = Counter()


@dataclass(frozen=True)
class _Materials:
    """Two models of one name, and two sets of pairs with the same ids."""

    name: str

    @cached_property
    def model(self) -> Model:
        return as_built(("material", self.name), lambda: self._named(tiny_model(layers=FEW)), like=tiny()[0])

    @cached_property
    def other_model(self) -> Model:
        return as_built(
            ("other material", self.name), lambda: self._named(tiny_model(seed=1, layers=FEW)), like=tiny()[0]
        )

    @cached_property
    def pairs(self) -> Pairs:
        rows = (replace(row, id=f"{self.name} {number}") for number, row in enumerate(PAIRS[:1]))
        return tiny_pairs(self._either, tuple(rows))

    @cached_property
    def others(self) -> Pairs:
        rows = (pair.prompt for pair in self.pairs.pairs)
        return tiny_pairs(
            self._either, tuple(replace(row, clean=str(row.corrupted), corrupted=row.clean) for row in rows)
        )

    @property
    def _either(self) -> Model:
        """Whichever was built: they have the same tokenizer, and a model takes longer to build than to score."""
        return vars(self).get("other_model") or self.model

    def _named(self, model: Model) -> Model:
        model.name = model.digest = self.name
        return model
