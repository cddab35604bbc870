"""Games: which components take part in the circuits of a setting, and the methods whose scores put them in order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmark.analysis.sections import Scored, Section
from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS, plural
from benchmark.engine.model import Model
from benchmark.engine.moving import moving
from benchmark.engine.request import Request
from benchmark.faithfulness.orders import Players
from benchmark.faithfulness.wanted import Wanted
from benchmark.prompts.pairs import Pairs
from benchmark.running.crew import Say

JOINT = (DEFAULT_KINDS, ("head", "mlp", "embedding"))  # kinds that rank together where a folder has them all

Method = dict[str, Scored]  # what one method scored, by kind


@dataclass(frozen=True)
class Game:
    """One setting and choice of kinds: who takes part, and the methods that scored them all."""

    section: Section
    players: Players
    methods: tuple[Method, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.players.there)

    @property
    def name(self) -> str:
        return f"{self.section.key.task.name} x {'+'.join(self.kinds)}"

    def scores(self, method: Method) -> np.ndarray:
        """A feature that moved in no pair that was scored has none: there 0 is exact."""
        return np.asarray(np.nan_to_num(self.players.of({kind: one.mean for kind, one in method.items()})))

    def on(self, model: Model, pairs: Pairs, request: Request) -> "Game":
        """The same with the features that move on these pairs, whether or not they did on those that were scored."""
        there = dict(self.players.there)
        for kind in set(there) & set(FEATURE_KINDS):
            there[kind] = there[kind] | (moving(model, pairs, request, kind).numpy() > 0)
            there[kind][:, -1] = False  # errors stay
        return replace(self, players=Players(there))


def games(section: Section, wanted: Wanted, say: Say) -> Iterator[Game]:
    """A game for each choice of kinds that some method scored all of; says of the other methods why not."""
    kinds = wanted.components or (*((kind,) for kind in section.kinds), *JOINT)
    for some in kinds:
        if {*some} <= {*section.kinds} and (found := _game(section, some, wanted.methods, say)):
            yield found


def _game(section: Section, kinds: tuple[str, ...], names: tuple[str, ...], say: Say) -> Game | None:
    by_variant: dict[str, Method] = {}
    for kind in kinds:
        for one in section.scored(kind):
            if {"all", one.cell.key.method.label, one.cell.key.method.name} & {*names}:
                by_variant.setdefault(one.cell.variant, {})[kind] = one
    methods = [method for method in by_variant.values() if len(method) == len(kinds)]
    there = {kind: _there(kind, methods) for kind in kinds} if methods else {}
    able = []
    for method in methods:
        if lacking := [kind for kind in kinds if _lacks(method[kind], there[kind])]:
            kind, one = lacking[0], method[lacking[0]]
            count = int((~np.isnan(one.mean)).sum())
            say(
                f"{section.short}: {one.label} scored {count} of {int(there[kind].sum())} {plural(kind)}, so it has no "
                "order of all, and no circuit."
            )
        else:
            able.append(method)
    return Game(section, Players(there), tuple(able)) if able else None


def _there(kind: str, methods: Iterable[Method]) -> np.ndarray:
    """Who takes part: all; of features, those that some method scored."""
    return np.asarray(
        np.any([~np.isnan(method[kind].mean) | (kind not in FEATURE_KINDS) for method in methods], axis=0)
    )


def _lacks(one: Scored, there: np.ndarray) -> bool:
    return one.sampled or bool(np.isnan(one.mean[there]).any())
