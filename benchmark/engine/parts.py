"""How an activation falls into components, and what one m a component makes of it: `r + m (x - r)`, part by part.

Where nothing is in between, the components stand side by side in the activation. Where a dictionary reads the site,
they are its features and one `error`, which is what the features leave over of the activation.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmark.engine.dictionary import Dictionary, Scale


@dataclass(frozen=True)
class SideBySide:
    """A site whose activation is its components; `replacement` is what m = 0 puts there, for every pair."""

    replacement: Float[Tensor, "pair pos component dim"]

    def moved(
        self,
        live: Float[Tensor, "row pos component dim"],
        pairs: Int[Tensor, " row"],
        m: Float[Tensor, "#row #pos #component"],
    ) -> Float[Tensor, "row pos component dim"]:
        """The activations of rows of some pairs, which may be those of the last positions only, with one m a place."""
        return torch.lerp(self.replacement[pairs, -live.shape[1] :], live, m[..., None])

    def one_moved(
        self,
        live: Float[Tensor, "row pos component dim"],
        pairs: Int[Tensor, " row"],
        m: Float[Tensor, "row pos"],
        chosen: Int[Tensor, " row"],
    ) -> Float[Tensor, "row pos component dim"]:
        """With an m for one component a row, the others left alone."""
        value, each = live.clone(), torch.arange(len(live), device=live.device)
        other = self.replacement[pairs, -live.shape[1] :, chosen]
        value[each, :, chosen] = torch.lerp(other, live[each, :, chosen], m[..., None])
        return value

    def slopes(
        self,
        live: Float[Tensor, "row pos component dim"],
        pairs: Int[Tensor, " row"],
        gradient: Float[Tensor, "row pos component dim"],
    ) -> Float[Tensor, "row pos component"]:
        """dF/dm of every place, from the gradient with respect to the activation that was put there."""
        return ((live - self.replacement[pairs, -live.shape[1] :]) * gradient).sum(-1)

    def sizes(self, live: Float[Tensor, "pair pos component dim"]) -> Float[Tensor, "pair pos component"]:
        """The norm of what m = 0 changes at each place."""
        size: Tensor = torch.linalg.vector_norm(live - self.replacement, dim=-1)
        return size

    def changed(
        self, live: Float[Tensor, "row pos component dim"], pairs: Int[Tensor, " row"]
    ) -> Bool[Tensor, "row pos component"]:
        """Where m = 0 changes anything, of rows of some pairs."""
        return (live != self.replacement[pairs, -live.shape[1] :]).any(-1)


@dataclass(frozen=True)
class Features:
    """A site that a dictionary reads: features first, the error last, nothing at numbers between (`size` of both).

    `replacement` stands for the whole activation, as for any site. The replaced features are those that the dictionary
    reads in it, or `constant` (of a zero or mean replacement) except at the first `fixed` positions, which keep theirs.
    The error makes up the rest. Its input is normalised as the `base` run is, before and after a change, so that the
    activation is a sum of its parts whatever the dictionary is worth.
    """

    dictionary: Dictionary
    size: int
    base: Float[Tensor, "pair pos 1 d_in"]
    replacement: Float[Tensor, "pair pos 1 d_in"]
    constant: Float[Tensor, " feature"] | None = None
    fixed: int = 0

    def moved(
        self, live: Float[Tensor, "row pos 1 d_in"], pairs: Int[Tensor, " row"], m: Float[Tensor, "#row #pos of"]
    ) -> Float[Tensor, "row pos 1 d_in"]:
        """As for any site: with one m for all parts, nothing need be taken apart."""
        if m.shape[-1] == 1:
            return torch.lerp(self.replacement[pairs, -live.shape[1] :], live, m[..., None])
        m, error = m[..., : self.dictionary.size], m[..., -1:]
        whole = live - self.replacement[pairs, -live.shape[1] :]
        added = self.dictionary.written((error - m) * self._change(live, pairs), self._scale(pairs, live.shape[1]))
        return live - (1 - error[..., None]) * whole - added[:, :, None]

    def one_moved(
        self,
        live: Float[Tensor, "row pos 1 d_in"],
        pairs: Int[Tensor, " row"],
        m: Float[Tensor, "row pos"],
        chosen: Int[Tensor, " row"],
    ) -> Float[Tensor, "row pos 1 d_in"]:
        """With an m for one component a row, the others left alone."""
        value = live.clone()
        error = chosen == self.size - 1
        if error.any():
            rest = torch.ones(int(error.sum()), m.shape[1], self.size).to(live)
            rest[..., -1] = m[error]
            value[error] = self.moved(live[error], pairs[error], rest)
        if not error.all():
            rows, one, scale = live[~error], chosen[~error], self._scale(pairs[~error], live.shape[1])
            step = (1 - m[~error]) * self._change(rows, pairs[~error], one)
            step = step if scale is None else step * scale.size[..., 0]
            value[~error] = rows - (step[..., None] * self.dictionary.decoder[one][:, None])[:, :, None]
        return value

    def slopes(
        self,
        live: Float[Tensor, "row pos 1 d_in"],
        pairs: Int[Tensor, " row"],
        gradient: Float[Tensor, "row pos 1 d_in"],
    ) -> Float[Tensor, "row pos {self.size}"]:
        """dF/dm of every feature and of the error: the gradient is the model's own, through no encoder."""
        length, scale = live.shape[1], self._scale(pairs, live.shape[1])
        change = self._change(live, pairs)
        whole = live - self.replacement[pairs, -length:]
        error = whole[:, :, 0] - self.dictionary.written(change, scale)
        scaled = gradient[:, :, 0] if scale is None else gradient[:, :, 0] * scale.size
        found = torch.zeros(*live.shape[:2], self.size).to(live)
        found[..., : self.dictionary.size] = change * (scaled @ self.dictionary.decoder.T)
        found[..., -1] = (error * gradient[:, :, 0]).sum(-1)
        return found

    def sizes(self, live: Float[Tensor, "pair pos 1 d_in"]) -> Float[Tensor, "pair pos {self.size}"]:
        """The norm of what m = 0 changes at each place: of a feature, along what it writes."""
        pairs = torch.arange(len(live))
        change, scale = self._change(live, pairs), self._scale(pairs, live.shape[1])
        found = torch.zeros(*live.shape[:2], self.size).to(live)
        written = change.abs() * self.dictionary.decoder.norm(dim=-1)
        found[..., : self.dictionary.size] = written if scale is None else written * scale.size
        error = (live - self.replacement)[:, :, 0] - self.dictionary.written(change, scale)
        found[..., -1] = error.norm(dim=-1)
        return found

    def changed(
        self, live: Float[Tensor, "row pos 1 d_in"], pairs: Int[Tensor, " row"]
    ) -> Bool[Tensor, "row pos {self.size}"]:
        """Where m = 0 changes anything, of rows of some pairs."""
        found = torch.zeros(*live.shape[:2], self.size, dtype=torch.bool, device=live.device)
        found[..., : self.dictionary.size] = self._change(live, pairs) != 0
        found[..., -1] = (live != self.replacement[pairs, -live.shape[1] :]).any(-1)[..., 0]
        return found

    def _change(
        self,
        live: Float[Tensor, "row pos 1 d_in"],
        pairs: Int[Tensor, " row"],
        chosen: Int[Tensor, " row"] | None = None,
    ) -> Float[Tensor, "row pos *feature"]:
        """The features of live activations less what replaces them: of all, or of one a row."""
        length = live.shape[1]
        scale = self._scale(pairs, length)
        features = self.dictionary.encode(live[:, :, 0], scale, chosen)
        if self.constant is None:
            other = self.replacement[pairs, -length:][:, :, 0]
            return features - self.dictionary.encode(other, scale, chosen)
        change = features - (self.constant if chosen is None else self.constant[chosen][:, None])
        change[:, : max(0, self.fixed - (self.base.shape[1] - length))] = 0
        return change

    def _scale(self, pairs: Int[Tensor, " row"], length: int) -> Scale | None:
        return self.dictionary.scale(self.base[pairs, -length:][:, :, 0])
