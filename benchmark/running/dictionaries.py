"""What a dictionary is worth on a task's prompts: how much it explains, and what the model does with it in place."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.engine.dictionary import Dictionary
from benchmark.engine.model import Edit, Model
from benchmark.prompts.pairs import Pairs
from benchmark.store.cell import DictionaryFacts


@dataclass
class Fit:
    """How well a dictionary reconstructs activations, from sums over tokens that are `add`ed."""

    tokens: int = 0
    squared_error: float = 0.0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: float = 0.0
    active: int = 0
    ever: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.bool))

    def add(self, x: Float[Tensor, "token d_in"], dictionary: Dictionary) -> None:
        for part in dictionary.parts(x):
            scale = dictionary.scale(part)
            features = dictionary.encode(part, scale)
            self.squared_error += float((part - dictionary.decode(features, scale)).double().square().sum())
            self.active += int((features > 0).sum())
            self.ever = self.ever.to(features.device) | (features > 0).any(0)
        self.tokens += len(x)
        self.total = self.total.to(x.device) + x.double().sum(0)
        self.squares += float(x.double().square().sum())

    @property
    def mean(self) -> Float[Tensor, " d_in"]:
        """The mean activation."""
        return self.total / self.tokens

    @property
    def variance_explained(self) -> float:
        """1 - squared error / squared distance from the mean; below 0, the mean does better. NaN without variance."""
        variance = self.squares - float(self.total.square().sum()) / self.tokens
        return 1 - self.squared_error / variance if variance > 1e-9 * self.squares else float("nan")

    @property
    def l0(self) -> float:
        """How many features are active at a token, on average."""
        return self.active / self.tokens

    @property
    def dead(self) -> int:
        """How many features were active at no token."""
        return int((~self.ever).sum())


@torch.no_grad()
def worth(model: Model, pairs: Pairs, kinds: Iterable[str]) -> tuple[DictionaryFacts, ...]:
    """Each dictionary of these kinds on the clean prompts, a BOS left out. Its forwards are in no count of passes."""
    with model.uncounted():
        sites = model.sites(set(kinds))
        fits, facts = {site: Fit() for site in sites}, []
        before, batches = 0.0, list(pairs.batches())
        for batch in batches:
            before += float(batch.value(model, batch.clean, torch.arange(len(batch))).sum())
            for site, value in model.activations(batch.clean, sites)[1].items():
                fits[site].add(value[:, batch.bos :, 0].flatten(0, 1), model.dictionaries[site])
        for site in sites:
            dictionary, after = model.dictionaries[site], 0.0
            for batch in batches:
                edit = _reconstructed(dictionary, batch.bos)
                after += float(batch.value(model, batch.clean, torch.arange(len(batch)), {site: edit}).sum())
            facts.append(
                DictionaryFacts(
                    kind=site.kind, layer=site.layer, name=dictionary.name, features=dictionary.size,
                    variance_explained=round(fits[site].variance_explained, 4), l0=round(fits[site].l0, 2),
                    metric=before / len(pairs), metric_with_it=after / len(pairs), page=dictionary.page,
                )
            )  # fmt: skip
    return tuple(facts)


def _reconstructed(dictionary: Dictionary, bos: int) -> Edit:
    """The edit that puts a dictionary's reconstruction in an activation's place, but for a BOS."""

    def edit(value: Tensor) -> Tensor:
        x = value[:, bos:].flatten(0, 2)
        scaled = [(part, dictionary.scale(part)) for part in dictionary.parts(x)]
        decoded = torch.cat([dictionary.decode(dictionary.encode(part, scale), scale) for part, scale in scaled])
        return torch.cat([value[:, :bos], decoded.reshape(value[:, bos:].shape)], dim=1)

    return edit


def described(found: DictionaryFacts) -> str:
    """One dictionary in a line."""
    return (
        f"layer {found.layer} {found.kind}: {found.features} features of {found.name}, {found.variance_explained:.1%} "
        f"of the variance explained, {found.l0:.1f} active a token; with it in place the metric is "
        f"{found.metric_with_it:.3f} in place of {found.metric:.3f}"
    )


def bad(found: DictionaryFacts) -> str:
    """A caveat where a dictionary reconstructs worse than the mean activation; empty where it doesn't."""
    if found.variance_explained >= 0:
        return ""
    return (
        f"The dictionary {found.name} (layer {found.layer}, {found.kind}) reconstructs worse than the mean activation "
        f"({found.variance_explained:.1%} of the variance explained): scores of its features say little."
    )
