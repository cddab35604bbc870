"""Which rows an intervention runs: what moves in each of them, and how far."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmark.engine.model import Site


class Move(NamedTuple):
    """Rows at which the same sites move: the pair of each, and one m for every place of these sites.

    That is `at` for one component a row at one position, or for all of them where `components` or `positions` is None,
    and 1 elsewhere; or, where there are `masks`, by site `[mask, pos or 1, component]`, what that of the row's `column`
    says. Positions are counted from the end: 1 is the last one. Before `prefix`, nothing moves. `column` says where the
    caller puts a row's result. `changed`, by site `[mask, component]`, is filled with
    which components come in as something else than what replaces them, where there is one.
    """

    sites: tuple[Site, ...]
    prefix: int
    pairs: Int[Tensor, " row"]
    at: Float[Tensor, " row"]
    column: Int[Tensor, " row"]
    components: Int[Tensor, " row"] | None = None
    positions: Int[Tensor, " row"] | None = None
    masks: Mapping[Site, Float[Tensor, "mask pos component"]] | None = None
    changed: Mapping[Site, Bool[Tensor, "mask component"]] | None = None

    def take(self, rows: slice) -> "Move":
        """Some of its rows."""
        names = ("pairs", "at", "column", "components", "positions")
        return self._replace(**{name: part[rows] for name in names if (part := getattr(self, name)) is not None})

    def m(self, site: Site, live: Tensor, size: int) -> Float[Tensor, "row pos component"]:
        """One m a place of a site with so many components, and these activations of all or of the last positions."""
        rows, length = live.shape[:2]
        if self.masks is not None:
            return self.masks[site][self.column, -length:].to(live)
        if self.components is None and self.positions is None:
            return self.at[:, None, None].to(live)
        each, at = torch.arange(rows, device=live.device), self.at.to(live)
        place, component = torch.zeros_like(each), torch.zeros_like(each)
        if self.positions is not None:
            place = length - self.positions
            place, at = place.clamp(min=0), torch.where(place >= 0, at, 1)  # a place that isn't among these: nothing
        if self.components is not None:
            component = self.components
        m = live.new_ones(rows, 1 if self.positions is None else length, 1 if self.components is None else size)
        m[each, place, component] = at
        return m

    def one(self, live: Tensor) -> Float[Tensor, "row pos"]:
        """The m of each row's one component, at every position of these activations."""
        return self._replace(components=None).m(self.sites[0], live, 1)[..., 0].expand(-1, live.shape[1])
