"""The engine: one batch, one direction, one replacement, seen as the function F(m) of docs/definitions.md.

Every live activation `x` of a moving component is replaced by `r + m (x - r)`, one `m` a component. Noising runs the
clean prompt (r = what replaces its activations), denoising the corrupted one (r = the clean activations) and flips the
sign, so that one code path serves both: a score is `sign * (F(1) - F(1, m_i = 0))` for activation patching and
`sign * integral of dF/dm_i` for the gradient methods.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.engine.model import Edit, Leaf, Model, Site
from benchmark.engine.replay import resume, shortcuts, trace
from benchmark.engine.request import Request
from benchmark.prompts.pairs import PairBatch


class Quadrature(NamedTuple):
    """Nodes in [0, 1] and weights that sum to one."""

    nodes: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def gauss_legendre(cls, steps: int) -> "Quadrature":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return cls(tuple((1 + nodes) / 2), tuple(weights / 2))


AT_ONE = Quadrature((1.0,), (1.0,))  # the derivative at m = 1: attribution patching


def mean_share(model: Model, batch: PairBatch, request: Request, layers: Collection[int] | None = None) -> float:
    """What share of a whole row one takes that starts at its site, on average over the layers (by default all)."""
    positions = 1.0
    if request.replacement == "counterfactual" and "prefix" in shortcuts(model):
        length = batch.clean.shape[1]
        positions = 1 - min(batch.first_difference, model.longest_prefix(length)) / length
    if "layers" not in shortcuts(model):
        return positions
    chosen = range(model.n_layers) if layers is None else layers
    return positions * sum(1 - layer / model.n_layers for layer in chosen) / len(chosen)


class Move(NamedTuple):
    """Rows at which the same sites move: the pair of each, and its m: that of one component of a site, or of all.

    `column` and `weight` say where, and times what, the caller puts a row's result.
    """

    sites: tuple[Site, ...]
    pairs: Int[Tensor, " row"]
    at: Float[Tensor, " row"]
    column: Int[Tensor, " row"]
    weight: Float[Tensor, " row"]
    components: Int[Tensor, " row"] | None = None

    @property
    def lowest(self) -> int:
        return min(site.layer for site in self.sites)

    def take(self, rows: slice) -> "Move":
        """Some of its rows."""
        components = None if self.components is None else self.components[rows]
        pairs, at, column, weight = (part[rows] for part in (self.pairs, self.at, self.column, self.weight))
        return Move(self.sites, pairs, at, column, weight, components)

    def m(self, live: Tensor) -> Float[Tensor, "row component"]:
        """One m a component of a site with these activations."""
        if self.components is None:
            return self.at[:, None].to(live)
        m = torch.ones(len(live), live.shape[2]).to(live)
        return m.scatter(1, self.components[:, None], self.at[:, None].to(live))


class Intervention:
    """F(m) on one batch, for the sites of `kinds`.

    `live[site]` and `replacement[site]` are `[pair, pos, component, dim]`: the activations on the base prompt and what
    m = 0 puts there. A prepended BOS keeps its live activation.

    Both may be changed before a run, with one trap: under a counterfactual replacement, positions before the pairs'
    first difference are taken from the unpatched run and not computed again, so that a change of `replacement` there
    has no effect. Set `prefix = 0` to have every position computed.
    """

    @classmethod
    def of(cls, model: Model, batch: PairBatch, request: Request, kinds: Sequence[str] | None = None) -> "Intervention":
        """The one that was last made for this very request, if it is for the same batch and kinds; else a new one."""
        asked = request.kinds if kinds is None else tuple(kinds)
        for kept in request.kept:
            if kept.model is model and kept.batch is batch and kept.kinds == asked:
                return kept  # type: ignore[no-any-return]
        request.kept[:] = [cls(model, batch, request, asked)]
        return request.kept[0]  # type: ignore[no-any-return]

    def __init__(self, model: Model, batch: PairBatch, request: Request, kinds: Sequence[str] | None = None) -> None:
        self.model, self.batch, self.request = model, batch, request
        self.kinds = request.kinds if kinds is None else tuple(kinds)
        self.sites = model.sites(self.kinds)
        noising = request.direction == "noising"
        self.sign = 1 if noising else -1
        self.tokens, other = (batch.clean, None) if request.replacement != "counterfactual" else batch.both()
        if not noising:
            other, self.tokens = batch.both()
        self.trace = trace(model, self.tokens, self.sites)
        self.live = self.trace.activations
        self.full = batch.metric(self.trace.logits, torch.arange(len(batch)))  # F(1)
        # zero and mean change every position; a counterfactual nothing before the prompts differ
        self.prefix = 0 if other is None else batch.first_difference
        self.vocabulary = batch.vocabulary
        if other is not None:
            self.replacement = model.activations(other, self.sites)[1]
        else:
            self.replacement = {site: self._constant(site) for site in self.sites}
        request.progress(len(batch) * (1.0 if other is None else 2.0))
        for site in self.sites:
            self.replacement[site][:, : batch.bos] = self.live[site][:, : batch.bos]

    def _constant(self, site: Site) -> Tensor:
        live = self.live[site]
        if self.request.replacement == "zero":
            return torch.zeros_like(live)
        return self.request.means[site].to(live).expand_as(live).clone()

    @torch.no_grad()
    def patch(self, chosen: Mapping[Site, Int[Tensor, " chosen"]]) -> dict[Site, Float[Tensor, "pair chosen"]]:
        """Activation patching of each chosen component by itself; exactly 0 where its activation doesn't change."""
        effects, moves = {}, []
        for site, components in chosen.items():
            components = components.to(self.model.device)
            changed = (self.live[site] != self.replacement[site]).any(-1).any(1)[:, components]
            effects[site] = torch.zeros(changed.shape, dtype=self.full.dtype, device=self.model.device)
            pairs, columns = changed.nonzero().unbind(-1)
            zeros = torch.zeros(len(pairs)).to(self.full)
            moves.append(Move((site,), pairs, zeros, columns, zeros, components[columns]))
        for move, metric, _ in self._carried_out(moves):
            effects[move.sites[0]][move.pairs, move.column] = self.sign * (self.full[move.pairs] - metric)
        return effects

    @torch.no_grad()
    def patch_sites(self, groups: Sequence[Sequence[Site]]) -> Float[Tensor, "group pair"]:
        """All components of a group's sites replaced at once: the total that complete methods must sum to."""
        pairs = torch.arange(len(self.batch), device=self.model.device)
        totals = torch.zeros(len(groups), len(pairs), dtype=self.full.dtype, device=self.model.device)
        zeros = torch.zeros_like(self.full)
        moves = [Move(tuple(g), pairs, zeros, torch.full_like(pairs, row), zeros) for row, g in enumerate(groups)]
        for move, metric, _ in self._carried_out(moves):
            totals[move.column, move.pairs] = self.sign * (self.full[move.pairs] - metric)
        return totals

    def integrate(
        self, groups: Sequence[Sequence[Site]], rule: Quadrature
    ) -> dict[Site, Float[Tensor, "pair component"]]:
        """Integral of dF/dm_i while all components of a group of sites move together, m at the rule's nodes."""
        totals = self._zeros([site for group in groups for site in group])
        pairs, nodes, weights = self._grid(rule)
        for move, _, slopes in self._carried_out([Move(tuple(g), pairs, nodes, pairs, weights) for g in groups], True):
            for site, slope in slopes.items():
                totals[site].index_add_(0, move.pairs, self.sign * slope * move.weight[:, None])
        return totals

    def integrate_alone(
        self, chosen: Mapping[Site, Int[Tensor, " chosen"]], rule: Quadrature
    ) -> dict[Site, Float[Tensor, "pair chosen"]]:
        """Integral of dF/dm_i along m_i alone, for each chosen component: the component path."""
        totals, moves = {}, []
        pairs, nodes, weights = self._grid(rule)
        for site, components in chosen.items():
            totals[site] = torch.zeros(len(self.batch), len(components)).to(self.live[site])
            columns = torch.arange(len(components), device=self.model.device).repeat_interleave(len(pairs))
            at, nodes_there, weights_there = (values.repeat(len(components)) for values in (pairs, nodes, weights))
            own = components.to(self.model.device)[columns]
            moves.append(Move((site,), at, nodes_there, columns, weights_there, own))
        for move, _, slopes in self._carried_out(moves, True):
            assert move.components is not None
            slope = slopes[move.sites[0]].gather(1, move.components[:, None])[:, 0]
            index = (move.pairs, move.column)
            totals[move.sites[0]].index_put_(index, self.sign * slope * move.weight, accumulate=True)
        return totals

    def integrate_inputs(self, rule: Quadrature) -> dict[Site, Float[Tensor, "pair component"]]:
        """`(live - replacement) . mean gradient` at the sites while the embeddings move from corrupted to clean."""
        clean, corrupted = (self.model.embeddings(tokens) for tokens in self.batch.both())
        totals = self._zeros(self.sites)
        for pairs, nodes, weights in self._split(self._grid(rule)):
            moved = torch.lerp(corrupted[pairs], clean[pairs], nodes[:, None, None])
            leaves: dict[Site, Tensor] = {}

            def watch(live: Tensor, site: Site, leaves: dict[Site, Tensor] = leaves) -> Tensor:
                leaves[site] = torch.zeros_like(live, requires_grad=True)
                return live + leaves[site]

            edits = {site: partial(watch, site=site) for site in self.sites}

            def move(live: Tensor, moved: Tensor = moved) -> Tensor:
                return moved[:, -live.shape[1] :]

            _, gradients = self._metric(pairs, [0] * len(pairs), edits, move, leaves)
            for site, gradient in gradients.items():
                difference = (self.live[site] - self.replacement[site])[pairs, -gradient.shape[1] :]
                totals[site].index_add_(0, pairs, self.sign * (difference * gradient).sum((1, 3)) * weights[:, None])
        return totals

    def _carried_out(
        self, moves: Iterable[Move], slopes: bool = False
    ) -> Iterator[tuple[Move, Float[Tensor, " row"], dict[Site, Float[Tensor, "row component"]]]]:
        """Every move, or part of it, with F(m) of its rows; and dF/dm_i of the moving sites' components, if asked for.

        Many share a forward, those of higher layers joining in there.
        """
        for chunk in self._chunks(sorted(moves, key=lambda move: move.lowest)):
            pairs = torch.cat([move.pairs for move in chunk])
            starts = [move.lowest for move in chunk for _ in range(len(move.pairs))]
            leaves: dict[tuple[int, Site], Tensor] = {}
            differences: dict[tuple[int, Site], Tensor] = {}
            sites = dict.fromkeys(site for move in chunk for site in move.sites)
            keep = (leaves, differences) if slopes else None
            edits = {site: partial(self._moved, site=site, chunk=chunk, keep=keep) for site in sites}
            metric, gradients = self._metric(pairs, starts, edits, None, leaves if slopes else None)
            parts = torch.split(metric, [len(move.pairs) for move in chunk])
            for number, (move, part) in enumerate(zip(chunk, parts, strict=True)):
                at = [(site, (number, site)) for site in move.sites if slopes]
                yield move, part, {site: (differences[key] * gradients[key]).sum((1, 3)) for site, key in at}

    def _moved(
        self, live: Tensor, site: Site, chunk: Sequence[Move], keep: tuple[dict[Any, Tensor], dict[Any, Tensor]] | None
    ) -> Tensor:
        """The activations of a chunk's rows at a site: `r + m (x - r)` where it moves, `x` elsewhere."""
        values, done = [], 0
        for number, move in enumerate(chunk):
            rows = live[done : done + len(move.pairs)]
            done += len(rows)
            if site in move.sites:
                replacement = self.replacement[site][move.pairs, -live.shape[1] :]
                value = torch.lerp(replacement, rows, move.m(rows)[:, None, :, None])
                if keep:
                    leaves, differences = keep
                    differences[number, site] = (rows - replacement).detach()
                    leaves[number, site] = torch.zeros_like(value, requires_grad=True)
                    value = value + leaves[number, site]
                rows = value
            values.append(rows)
        return torch.cat(values)

    def _metric(
        self,
        pairs: Tensor,
        starts: Sequence[int],
        edits: Mapping[Site, Edit],
        embedding: Edit | None,
        leaves: Mapping[Leaf, Tensor] | None,
    ) -> tuple[Float[Tensor, " row"], dict[Leaf, Tensor]]:
        """The metric of edited rows, a row a pair in `pairs`; and its gradients at the leaves that the edits leave."""
        before = self.model.passes.whole_forward
        with torch.set_grad_enabled(leaves is not None):
            logits = resume(self.model, self.trace, pairs, starts, self.prefix, edits, embedding, self.vocabulary)
            metric = self.batch.metric(logits, pairs, self.vocabulary)
        work = self.model.passes.whole_forward - before
        self.request.progress(work)
        if leaves is None:
            return metric, {}
        gradients = self.model.gradients(metric, leaves)
        self.request.progress(work)
        return metric.detach(), gradients

    def _zeros(self, sites: Iterable[Site]) -> dict[Site, Float[Tensor, "pair component"]]:
        return {site: torch.zeros(self.live[site].shape[::2]).to(self.live[site]) for site in sites}

    def _grid(self, rule: Quadrature) -> tuple[Tensor, Tensor, Tensor]:
        """Pair, node and weight of every pair at every node."""
        count, steps = len(self.batch), len(rule.nodes)
        pairs = torch.arange(count, device=self.model.device).repeat_interleave(steps)
        nodes, weights = (torch.tensor(values).to(self.full).repeat(count) for values in rule)
        return pairs, nodes, weights

    def _chunks(self, moves: Sequence[Move]) -> Iterator[list[Move]]:
        """At most `tokens_per_forward` tokens and `rows_per_forward` rows a forward, at least one row.

        Rows of the last layer, of which one position counts, keep to themselves.
        """
        chunk: list[Move] = []
        for move in moves:
            alone = move.lowest == self.model.n_layers - 1
            tokens = self.request.tokens_per_forward // (1 if alone else self.tokens.shape[1] - self.prefix)
            size = max(1, min(tokens, self.request.rows_per_forward))
            if chunk and alone != (chunk[0].lowest == self.model.n_layers - 1):
                yield chunk
                chunk = []
            while len(move.pairs):
                room = size - sum(len(part.pairs) for part in chunk)
                chunk, move = [*chunk, move.take(slice(room))], move.take(slice(room, None))
                if len(chunk[-1].pairs) == room:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    def _split(self, columns: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        size = max(1, min(self.request.tokens_per_forward // self.tokens.shape[1], self.request.rows_per_forward))
        yield from zip(*(torch.split(column, size) for column in columns), strict=True)

    def stacked(self, scores: Mapping[Site, Tensor]) -> dict[str, Float[Tensor, "pair layer *index"]]:
        """Scores of every site of a kind, layer by layer."""
        kinds = dict.fromkeys(site.kind for site in scores)
        return {
            kind: torch.stack([scores[Site(kind, layer)] for layer in range(self.model.n_layers)], dim=1)
            for kind in kinds
        }
