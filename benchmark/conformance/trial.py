"""A method on trial: the models and pairs that checks run it on. A model that a check has changed is built anew."""

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from benchmark.components import DEFAULT_KINDS, MEAN, WAYS, Way, plural
from benchmark.conformance.findings import NotApplicable
from benchmark.conformance.state import SHARED, changed, state
from benchmark.engine.means import mean_activations
from benchmark.engine.method import Method, metrics
from benchmark.engine.model import Model, Site
from benchmark.engine.replay import KNOWN, shortcuts
from benchmark.engine.scores import Scores
from benchmark.errors import BenchmarkError
from benchmark.models.litmus.litmus import Litmus
from benchmark.models.tiny import PAIRS, attach_random, tiny_model, tiny_pairs
from benchmark.prompts.pairs import PairBatch, Pairs
from benchmark.running.plugins import Registry

PROMISE = 1e-5  # of the largest score: the numerical promise of docs/definitions.md
EXACT = 1e-4  # of the largest effect, or of a metric of 1
FEW = 2  # layers, where a third between the first and the last would say nothing
ROWS = (PAIRS[0], PAIRS[2], PAIRS[1], *PAIRS[3:])  # the first two of one length: they share a batch
LEAST = 0.1  # scores below which a share of the largest is no tolerance: where all are 0, rounding is all there is


@dataclass(frozen=True)
class Trial:
    """One method with one set of options."""

    method: Method

    @cached_property
    def variants(self) -> tuple["Trial", ...]:
        """The same method under each of its class's `variants`."""
        return tuple(Trial(method) for method in variants_of(type(self.method)))

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind for kind in DEFAULT_KINDS if kind in self.method.kinds)

    def allows(self, way: Way, kinds: Sequence[str] = ()) -> bool:
        """Whether the method's `check` lets this through."""
        try:
            self.method.check(kinds or self.kinds, way.replacement, way.direction)
        except BenchmarkError:
            return False
        return True

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """What the method says that it can do."""
        return tuple(way for way in WAYS if self.allows(way))

    @property
    def way(self) -> Way:
        """One of them."""
        if not self.ways:
            raise NotApplicable("it allows no direction and replacement (see declared-support)")
        return self.ways[0]

    def scores(
        self, model: Model, pairs: Pairs, way: Way | None = None, kinds: Sequence[str] = (), **options: Any
    ) -> dict[str, Scores]:
        chosen = way or self.way
        if "known" not in options:
            options["known"] = _once(model, pairs, "metrics", lambda: metrics(model, pairs))
        if chosen == MEAN and "means" not in options:
            every = (*DEFAULT_KINDS, *(kinds or self.kinds))
            options["means"] = _once(model, pairs, every, lambda: mean_activations(model, pairs, every))
        return self.method.scores(model, pairs, kinds or self.kinds, chosen.replacement, chosen.direction, **options)

    def values(
        self, model: Model, pairs: Pairs, way: Way | None = None, kinds: Sequence[str] = (), **options: Any
    ) -> dict[str, Tensor]:
        """Scores by kind `[pair, layer, index]`, in float64; NaN where a component wasn't measured."""
        found = self.scores(model, pairs, way, kinds, **options)
        return {kind: one.values.double() for kind, one in found.items()}

    def needs_amounts(self, signed: bool = True) -> None:
        """For checks of how large scores are."""
        if not self.method.metric_units:
            raise NotApplicable("its scores are no amounts of the metric (metric_units = False)")
        if signed and not self.method.signed:
            raise NotApplicable("its scores have no signs (signed = False)")

    def needs_a_replacement(self) -> None:
        """For checks of what a component does as against what replaces it."""
        if not self.method.needs_replacement:
            raise NotApplicable("no replacement has a say in its scores (needs_replacement = False)")

    def needs(self, kind: str) -> None:
        if kind not in self.kinds:
            raise NotApplicable(f"it scores no {plural(kind)} (kinds = {self.kinds})")


def variants_of(made: type[Method]) -> list[Method]:
    """The method under each of its `variants`."""
    registry = Registry({}, {made.name: made})
    return [registry.method(":".join(filter(None, (made.name, options)))) for options in made.variants]


def tiny(architecture: str = "llama", count: int = len(ROWS), layers: int = FEW, **options: Any) -> tuple[Model, Pairs]:
    """A tiny model as it was built, and pairs for it."""

    def build() -> Model:
        model = tiny_model(architecture, layers=layers, **options)
        attach_random(model)
        return model

    model = as_built((architecture, layers, *sorted(options.items())), build)
    return model, tiny_pairs(model, ROWS[:count])


def as_built(key: Hashable, build: Callable[[], Model], like: Model | None = None) -> Model:
    """The model that was last built under this key, or a new one where a check has changed it.

    Building takes longer than many a check, and so does trying shortcuts: those that work on a model `like` it, of the
    same architecture, work on it too.
    """
    if key not in _BUILT or changed(_BUILT[key][1], state(_BUILT[key][0])).keys() - {SHARED}:
        model = build()
        if like is not None:
            shortcuts(like)
            KNOWN[model] = KNOWN[like].copy()
        shortcuts(model)  # transformer_lens sets hooks of its own on the first forward
        _BUILT[key] = model, state(model)
    return _BUILT[key][0]


_BUILT: dict[Hashable, tuple[Model, dict[str, dict[str, Any]]]] = {}


def planted(litmus: Litmus, count: int = 4) -> tuple[Model, Pairs]:
    """A planted model as it was built, and pairs for it."""
    model = as_built(repr(litmus), litmus.model)
    return model, litmus.task.pairs(model, limit=count)


def largest(values: Tensor) -> float:
    """Largest size among measured scores."""
    return float(values.nan_to_num().abs().max())


def allowed(share: float, values: Tensor) -> float:
    """What scores may differ by: a share of the largest, and never less than a metric of size 1 is rounded by."""
    return share * max(largest(values), LEAST)


def difference(one: Tensor, other: Tensor) -> float:
    """Largest difference between scores that both have measured."""
    return largest(one - other)


def base_and_replacement(
    model: Model, pairs: Pairs, batch: PairBatch, way: Way
) -> tuple[Tensor, dict[Site, Tensor], dict[Site, Tensor]]:
    """The base prompts' tokens, their activations, and what is put there: the definition, without the engine."""
    sites = model.sites(DEFAULT_KINDS)
    base = batch.clean if way.direction == "noising" else batch.both()[1]
    live = model.activations(base, sites)[1]
    if way.replacement == "counterfactual":
        put = model.activations(batch.both()[way.direction == "noising"], sites)[1]
    elif way.replacement == "zero":
        put = {site: torch.zeros_like(value) for site, value in live.items()}
    else:
        means = obvious_means(model, pairs)
        put = {site: means[site].expand_as(value).clone() for site, value in live.items()}
    for site, value in put.items():
        value[:, : batch.bos] = live[site][:, : batch.bos]
    return base, live, put


def obvious_means(model: Model, pairs: Pairs) -> dict[Site, Tensor]:
    """Each site's mean activation `[component, dim]` over every position of the discovery prompts but the BOS."""
    sites = model.sites(DEFAULT_KINDS)
    prompts = [prompt for pair in pairs.discovery for prompt in (pair.clean, pair.corrupted) if prompt is not None]
    kept = [model.activations(torch.tensor([prompt]), sites)[1] for prompt in prompts]
    return {site: torch.cat([one[site][0, pairs.bos :] for one in kept]).mean(0) for site in sites}


def obvious_effects(model: Model, pairs: Pairs, way: Way, kind: str) -> Tensor:
    """Activation patching `[pair, layer, index]` by a plain loop over components; each once, whatever is on trial."""
    found: Tensor = _once(model, pairs, (way, kind), lambda: _obvious_effects(model, pairs, way, kind))
    return found.clone()


def _once(model: Model, pairs: Pairs, what: Hashable, compute: Callable[[], Any]) -> Any:
    """What no method has a say in, computed once for a model and pairs."""
    known = _KNOWN.setdefault(model, {})
    key = pairs.ids, pairs.digest(), pairs.metric, tuple(pair.clean for pair in pairs.discovery), what
    if key not in known:
        known[key] = compute()
    return known[key]


_KNOWN: MutableMapping[Model, dict[Hashable, Any]] = WeakKeyDictionary()


@torch.no_grad()
def _obvious_effects(model: Model, pairs: Pairs, way: Way, kind: str) -> Tensor:
    effects = torch.zeros(len(pairs), model.n_layers, model.size(kind), dtype=torch.float64)
    for batch in pairs.batches():
        base, _, put = base_and_replacement(model, pairs, batch, way)
        before = batch.value(model, base, torch.arange(len(batch)))
        # a row for each component of each pair
        pair, index = torch.cartesian_prod(torch.arange(len(batch)), torch.arange(model.size(kind))).T
        for site in model.sites([kind]):
            edit = partial(_one_a_row, new=put[site][pair], index=index)
            moved = (before[pair] - batch.value(model, base[pair], pair, {site: edit})).double()
            effects[list(batch.index), site.layer] = moved.reshape(len(batch), -1)
    return effects if way.direction == "noising" else -effects


def _one_a_row(live: Tensor, new: Tensor, index: Tensor) -> Tensor:
    """In row i the new activation of component `index[i]`, and all else as it is."""
    rows = torch.arange(len(live))
    return live.index_put((rows[:, None], torch.arange(live.shape[1]), index[:, None]), new[rows, :, index])


@torch.no_grad()
def obvious_total(model: Model, pairs: Pairs, batch: PairBatch, way: Way, sites: Sequence[Site]) -> Tensor:
    """What all components of these sites do when they are patched at once, `[pair]`, in float64."""
    base, _, put = base_and_replacement(model, pairs, batch, way)
    rows = torch.arange(len(batch))
    before = batch.value(model, base, rows)
    edits = {site: lambda live, new=put[site]: new for site in sites}
    moved = (before - batch.value(model, base, rows, edits)).double()
    return moved if way.direction == "noising" else -moved
