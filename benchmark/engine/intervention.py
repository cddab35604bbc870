"""The engine: one batch, one direction, one replacement, seen as the function F(m) of docs/definitions.md.

Every live activation `x` of a moving component is replaced by `r + m (x - r)`, one `m` a component or a place, which is
a component at one position. Noising runs the clean prompt (r = what replaces its activations), denoising the corrupted
one (r = the clean activations) and flips the sign, so that one code path serves both: a score is
`sign * (F(1) - F(1, m_i = 0))` for activation patching and `sign * integral of dF/dm_i` for the gradient methods.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from benchmark.components import FEATURE_KINDS
from benchmark.engine.kinds import PATTERN
from benchmark.engine.model import Edit, Leaf, Model, Site
from benchmark.engine.parts import Features, SideBySide
from benchmark.engine.replay import record, resume, shortcuts
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch


class Quadrature(NamedTuple):
    """Nodes in [0, 1] and weights that sum to one."""

    nodes: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def gauss_legendre(cls, steps: int) -> "Quadrature":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return cls(tuple((1 + nodes) / 2), tuple(weights / 2))

    @classmethod
    def left(cls, steps: int) -> "Quadrature":
        """Equal weights at 1, 1 - 1/steps, ...: from the activation on, the replacement left out."""
        return cls(tuple(1 - step / steps for step in range(steps)), (1 / steps,) * steps)


AT_ONE = Quadrature((1.0,), (1.0,))  # the derivative at m = 1: attribution patching


def mean_share(model: Model, batch: PairBatch, request: Request, layers: Collection[int] | None = None) -> float:
    """What share of a whole row one takes that starts at its site, on average over the layers (by default all)."""
    positions = 1.0
    if request.replacement == "counterfactual" and "prefix" in shortcuts(model, request.kinds):
        length = batch.clean.shape[1]
        positions = (
            1 - min(batch.first_difference(request.direction == "noising"), model.longest_prefix(length)) / length
        )
    if "layers" not in shortcuts(model, request.kinds):
        return positions
    chosen = range(model.n_layers) if layers is None else layers
    return positions * sum(1 - layer / model.n_layers for layer in chosen) / len(chosen)


class Move(NamedTuple):
    """Rows at which the same sites move: the pair of each, and one m for every place of these sites.

    That is `at` for one component a row at one position, or for all of them where `components` or `positions` is None,
    and 1 elsewhere; or, where there is a `mask`, what it says in all rows, by site `[pos or 1, component]`. Positions
    are counted from the end: 1 is the last one. Before `prefix`, nothing moves. `column` and `weight` say where, and
    times what, the caller puts a row's result.
    """

    sites: tuple[Site, ...]
    prefix: int
    pairs: Int[Tensor, " row"]
    at: Float[Tensor, " row"]
    column: Int[Tensor, " row"]
    weight: Float[Tensor, " row"]
    components: Int[Tensor, " row"] | None = None
    positions: Int[Tensor, " row"] | None = None
    mask: Mapping[Site, Float[Tensor, "pos component"]] | None = None

    def take(self, rows: slice) -> "Move":
        """Some of its rows."""
        names = ("pairs", "at", "column", "weight", "components", "positions")
        return self._replace(**{name: part[rows] for name in names if (part := getattr(self, name)) is not None})

    def m(self, site: Site, live: Tensor, size: int) -> Float[Tensor, "row pos component"]:
        """One m a place of a site with so many components, and these activations of all or of the last positions."""
        rows, length = live.shape[:2]
        if self.mask is not None:
            mask = self.mask[site].to(live)
            return mask[None] if len(mask) == 1 else mask[None, -length:]
        if self.components is None and self.positions is None:
            return self.at[:, None, None].to(live)
        everywhere = torch.zeros(rows, dtype=torch.long, device=live.device)
        place = everywhere if self.positions is None else length - self.positions
        component = everywhere if self.components is None else self.components
        m = torch.ones(rows, 1 if self.positions is None else length, 1 if self.components is None else size).to(live)
        there = (place >= 0).nonzero()[:, 0]
        m[there, place[there], component[there]] = self.at[there].to(live)
        return m

    def one(self, live: Tensor) -> Float[Tensor, "row pos"]:
        """The m of each row's one component, at every position of these activations."""
        return self._replace(components=None).m(self.sites[0], live, 1)[..., 0].expand(-1, live.shape[1])


class Intervention:
    """F(m) on one batch, for the sites of `kinds`.

    `live[site]` and `replacement[site]` are `[pair, pos, component, dim]`: the activations on the base prompt and what
    m = 0 puts there. A prepended BOS keeps its live activation, and so does a position of a prompt of another length
    that has no partner in the other one (`PairBatch.partners`).

    `value` is F itself and `slopes` its derivative, for any mask; `patch`, `patch_sites` and the integrals are what
    methods ask for most. Where the request says `by_position`, scores of components get positions as a last axis.

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
        reads, self.vocabulary = batch.metric_function.reads, batch.vocabulary
        self.tokens, other = (batch.clean, None) if request.replacement != "counterfactual" else batch.both()
        if not noising:
            other, self.tokens = batch.both()
        self.recording = record(model, self.tokens, self.sites, reads)
        self.live = self.recording.activations
        self.prefix = 0  # zero and mean change every position; a counterfactual nothing before the prompts differ
        self.unpatched: Tensor | None = None  # the clean prompts' logits
        if other is None:
            self.replacement = {site: self._constant(site) for site in self.sites}
        else:
            logits, self.replacement = model.activations(other, self.sites)
            if batch.metric_function.needs_unpatched and not noising:
                self.unpatched = logits
            self.prefix = batch.first_difference(noising)
            if batch.partners is not None:
                self._align(batch.partners if noising else tuple((there, here) for here, there in batch.partners))
            elif "prefix" in shortcuts(model, self.kinds):  # nothing looks ahead: what differs by rounding is the same
                alike = (self.tokens == other).cumprod(1).bool().to(model.device)[:, :, None, None]
                for site, value in self.replacement.items():
                    self.replacement[site] = torch.where(alike, self.live[site], value)
        if batch.metric_function.needs_unpatched and self.unpatched is None:
            self.unpatched = self.recording.logits if reads == "last" else self.recording.logits[:, -1]
        self.full = self._read(self.recording.logits, torch.arange(len(batch)), None)  # F(1)
        request.progress(len(batch) * (1.0 if other is None else 2.0))
        for site in self.sites:
            self.replacement[site][:, : batch.bos] = self.live[site][:, : batch.bos]

    def _parts(self, site: Site) -> SideBySide | Features:
        """How a site's activation falls into components, and what replaces each."""
        if site.kind not in FEATURE_KINDS:
            return SideBySide(self.replacement[site])
        dictionary, constant = self.model.dictionaries[site], None
        if self.request.replacement == "zero":
            constant = torch.zeros_like(dictionary.bias)
        elif self.request.replacement == "mean":
            constant = self.request.means[site].flatten()
        return Features(
            dictionary, self.model.size(site.kind), self.recording.activations[site], self.replacement[site], constant,
            self.batch.bos,
        )  # fmt: skip

    def sizes(self, site: Site) -> Float[Tensor, "pair pos component"]:
        """How far every place moves when m = 0: the norm of what changes in the activation."""
        return self._parts(site).sizes(self.live[site])

    def changed(self, site: Site) -> Bool[Tensor, "pair pos component"]:
        """Which places m = 0 changes."""
        return self._parts(site).changed(self.live[site])

    def _align(self, partners: Sequence[tuple[int, int]]) -> None:
        """Put what replaces each position of the base prompts at its place; where a position has none, leave it alone.

        Positions that have none are patched by themselves, which changes nothing.
        """
        here, there = map(list, zip(*partners, strict=True))
        for site, other in self.replacement.items():
            if site.kind == PATTERN.name:
                raise BenchmarkError(
                    "Attention patterns of prompts of different lengths can't replace each other: their rows are of "
                    "different lengths. Leave the kind 'pattern' out."
                )
            self.replacement[site] = self.live[site].clone()
            self.replacement[site][:, here] = other[:, there]

    def _constant(self, site: Site) -> Tensor:
        live = self.live[site]
        if self.request.replacement == "zero":
            return torch.zeros_like(live)
        return self.request.means[self.model.whole(site)].to(live).reshape(-1, live.shape[-1]).expand_as(live).clone()

    @torch.no_grad()
    def value(self, masks: Mapping[str, Tensor]) -> Float[Tensor, "mask pair"]:
        """F under each mask: the metric where m is what the masks say, and 1 for the kinds that they leave out.

        Masks are by kind, `[mask, layer, index]` for all positions alike or `[mask, layer, index, pos]`; the residual
        stream has one layer more than the model. Raises BenchmarkError where they fit neither.
        """
        moves = self._masked(masks, [site for site in self.sites if site.kind in masks])
        values = torch.empty(len(moves), len(self.batch)).to(self.full)
        for move, metric, _ in self._carried_out(moves):
            values[move.column, move.pairs] = metric
        return values

    def slopes(self, masks: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "mask pair layer *place"]]:
        """dF/dm of every place of every kind, at each mask; summed over positions unless the request is by position."""
        moves = self._masked(masks, self.sites)
        totals = [self._zeros(self.sites) for _ in moves]
        for move, _, slopes in self._carried_out(moves, True):
            for site, (live, gradient) in slopes.items():
                totals[int(move.column[0])][site][move.pairs] = self._slope(site, live, move.pairs, gradient)
        stacked = [self.stacked(total) for total in totals]
        return {kind: torch.stack([one[kind] for one in stacked]) for kind in self.kinds}

    def _masked(self, masks: Mapping[str, Tensor], sites: Sequence[Site]) -> list[Move]:
        """A move for each mask."""
        if bad := [kind for kind, mask in masks.items() if not isinstance(mask, Tensor) or mask.ndim < 3]:
            raise BenchmarkError(f"A mask of kind {bad[0]!r} is no tensor of [mask, layer, index].")
        counts = {len(mask) for mask in masks.values()}
        if len(counts) != 1:
            raise BenchmarkError(
                f"As many masks are needed of each kind: there are {', '.join(map(str, sorted(counts))) or 'none'}."
            )
        length = self.tokens.shape[1]
        for kind, mask in masks.items():
            wanted = (self.model.layers(kind), self.model.size(kind))
            if kind not in self.kinds or tuple(mask.shape[1:]) not in (wanted, (*wanted, length)):
                raise BenchmarkError(
                    f"A mask of kind {kind!r} has shape {tuple(mask.shape)}; give {len(mask)} masks of "
                    f"[layer, index] {wanted} or [layer, index, position] {(*wanted, length)} each, for kinds among "
                    f"{', '.join(self.kinds)}."
                )
        pairs = torch.arange(len(self.batch), device=self.model.device)
        moves = []
        for number in range(counts.pop() if counts else 0):
            chosen = {}
            for site in sites:
                one = (
                    masks[site.kind][number, site.layer]
                    if site.kind in masks
                    else torch.ones(self.model.size(site.kind))
                )
                chosen[site] = one[None] if one.ndim == 1 else one.T  # [pos or 1, component]
            column, ones = torch.full_like(pairs, number), torch.ones_like(self.full)
            moves.append(Move(tuple(sites), self.prefix, pairs, ones, column, ones, mask=chosen))
        return moves

    @torch.no_grad()
    def patch(self, chosen: Mapping[Site, Int[Tensor, " chosen"]]) -> dict[Site, Float[Tensor, "pair chosen *pos"]]:
        """Activation patching of each chosen component by itself; exactly 0 where its activation doesn't change.

        By position: of each chosen component at each position by itself.
        """
        effects, moves = {}, []
        for site, components in chosen.items():
            components = components.to(self.model.device)
            changed = self.changed(site)[:, :, components]  # [pair, pos, chosen]
            length = changed.shape[1]
            if not self.request.by_position:
                changed = changed.any(1, keepdim=True)
            elif self._ends((site,)):
                changed[:, :-1] = False
            shape = (len(self.batch), len(components), *[length] * self.request.by_position)
            effects[site] = torch.zeros(shape, dtype=self.full.dtype, device=self.model.device)
            for place in changed.any(2).any(0).nonzero()[:, 0].tolist():
                pairs, columns = changed[:, place].nonzero().unbind(-1)
                zeros = torch.zeros(len(pairs)).to(self.full)
                move = Move((site,), self.prefix, pairs, zeros, columns, zeros, components[columns])
                if self.request.by_position:
                    move = move._replace(prefix=place, positions=torch.full_like(pairs, length - place))
                moves.append(move)
        for move, metric, _ in self._carried_out(moves):
            effect = self.sign * (self.full[move.pairs] - metric)
            if move.positions is None:
                effects[move.sites[0]][move.pairs, move.column] = effect
            else:
                effects[move.sites[0]][move.pairs, move.column, move.prefix] = effect
        return effects

    @torch.no_grad()
    def patch_sites(self, groups: Sequence[Sequence[Site]]) -> Float[Tensor, "group pair"]:
        """All components of a group's sites replaced at once: the total that complete methods must sum to."""
        pairs = torch.arange(len(self.batch), device=self.model.device)
        totals = torch.zeros(len(groups), len(pairs), dtype=self.full.dtype, device=self.model.device)
        zeros = torch.zeros_like(self.full)
        moves = [
            Move(tuple(group), self.prefix, pairs, zeros, torch.full_like(pairs, row), zeros)
            for row, group in enumerate(groups)
        ]
        for move, metric, _ in self._carried_out(moves):
            totals[move.column, move.pairs] = self.sign * (self.full[move.pairs] - metric)
        return totals

    def integrate(
        self, groups: Sequence[Sequence[Site]], rule: Quadrature
    ) -> dict[Site, Float[Tensor, "pair component *pos"]]:
        """Integral of dF/dm_i while all components of a group of sites move together, m at the rule's nodes."""
        totals = self._zeros([site for group in groups for site in group])
        alone = {group[0]: torch.zeros_like(self.live[group[0]]) for group in groups if len(group) == 1}
        pairs, nodes, weights = self._grid(rule)
        moves = [Move(tuple(group), self.prefix, pairs, nodes, pairs, weights) for group in groups]
        for move, _, slopes in self._carried_out(moves, True):
            for site, (live, gradient) in slopes.items():
                if site in alone:  # its activation is that of the base run at every node: only gradients are summed
                    weighted = _times(move.weight, gradient)
                    alone[site][:, -gradient.shape[1] :].index_add_(0, move.pairs, weighted)
                else:
                    slope = self._slope(site, live, move.pairs, gradient)
                    totals[site].index_add_(0, move.pairs, self.sign * _times(move.weight, slope))
        for site, gradient in alone.items():
            every = torch.arange(len(self.batch), device=self.model.device)
            totals[site] += self.sign * self._slope(site, self.live[site], every, gradient)
        return totals

    def integrate_alone(
        self, chosen: Mapping[Site, Int[Tensor, " chosen"]], rule: Quadrature
    ) -> dict[Site, Float[Tensor, "pair chosen *pos"]]:
        """Integral of dF/dm_i along m_i alone, for each chosen component: the component path."""
        totals, moves = {}, []
        pairs, nodes, weights = self._grid(rule)
        for site, components in chosen.items():
            positions = self.live[site].shape[1:2] if self.request.by_position else ()
            totals[site] = torch.zeros(len(self.batch), len(components), *positions).to(self.live[site])
            columns = torch.arange(len(components), device=self.model.device).repeat_interleave(len(pairs))
            at, nodes_there, weights_there = (values.repeat(len(components)) for values in (pairs, nodes, weights))
            own = components.to(self.model.device)[columns]
            moves.append(Move((site,), self.prefix, at, nodes_there, columns, weights_there, own))
        for move, _, slopes in self._carried_out(moves, True):
            assert move.components is not None
            live, gradient = slopes[move.sites[0]]
            slope = self._slope(move.sites[0], live, move.pairs, gradient)
            slope = slope[torch.arange(len(move.pairs)), move.components]
            index = (move.pairs, move.column)
            totals[move.sites[0]].index_put_(index, self.sign * _times(move.weight, slope), accumulate=True)
        return totals

    def integrate_inputs(self, rule: Quadrature) -> dict[Site, Float[Tensor, "pair component *pos"]]:
        """`(live - replacement) . mean gradient` at the sites while the embeddings move from corrupted to clean."""
        clean, corrupted = (self.model.embeddings(tokens) for tokens in self.batch.both())
        totals = self._zeros(self.sites)
        for pairs, nodes, weights in self._split(self._grid(rule)):
            moved = torch.lerp(corrupted[pairs], clean[pairs], nodes[:, None, None])
            leaves: dict[Site, Tensor] = {}
            edits = {site: partial(_watched, site=site, leaves=leaves) for site in self.sites}

            def move(live: Tensor, moved: Tensor = moved) -> Tensor:
                return moved[:, -live.shape[1] :]

            _, gradients = self._metric(pairs, [0] * len(pairs), edits, move, leaves)
            for site, gradient in gradients.items():
                slope = self._slope(site, self.live[site][pairs, -gradient.shape[1] :], pairs, gradient)
                totals[site].index_add_(0, pairs, self.sign * _times(weights, slope))
        return totals

    def gradients(
        self, sites: Sequence[Site], pairs: Int[Tensor, " row"]
    ) -> dict[Site, Float[Tensor, "row pos component dim"]]:
        """dF/dx of the activations x at any sites of the unpatched run, a row a pair; 0 at positions without a say."""
        leaves: dict[Site, Tensor] = {}
        edits = {site: partial(_watched, site=site, leaves=leaves) for site in sites}
        _, found = self._metric(pairs, [self._lowest(sites)] * len(pairs), edits, None, leaves)
        length = self.tokens.shape[1]
        return {site: functional.pad(one, (0, 0, 0, 0, length - one.shape[1], 0)) for site, one in found.items()}

    def _carried_out(
        self, moves: Iterable[Move], slopes: bool = False
    ) -> Iterator[tuple[Move, Float[Tensor, " row"], dict[Site, tuple[Tensor, Tensor]]]]:
        """Every move, or part of it, with F(m) of its rows; and, if asked for, of each moving site the activations that
        came in, `[row, pos, component, dim]`, and the gradients of F with respect to those that were put there.

        Many share a forward, those of higher layers joining in there.
        """
        for chunk in self._chunks(sorted(moves, key=lambda move: (move.prefix, self._lowest(move.sites)))):
            pairs = torch.cat([move.pairs for move in chunk])
            starts = [self._lowest(move.sites) for move in chunk for _ in range(len(move.pairs))]
            leaves: dict[tuple[int, Site], Tensor] = {}
            lives: dict[tuple[int, Site], Tensor] = {}
            sites = dict.fromkeys(site for move in chunk for site in move.sites)
            keep = (leaves, lives) if slopes else None
            edits = {site: partial(self._moved, site=site, chunk=chunk, keep=keep) for site in sites}
            prefix = min(move.prefix for move in chunk)
            metric, gradients = self._metric(pairs, starts, edits, None, leaves if slopes else None, prefix)
            parts = torch.split(metric, [len(move.pairs) for move in chunk])
            for number, (move, part) in enumerate(zip(chunk, parts, strict=True)):
                at = [(site, (number, site)) for site in move.sites if slopes]
                yield move, part, {site: (lives[key], gradients[key]) for site, key in at}

    def _slope(
        self, site: Site, live: Tensor, pairs: Int[Tensor, " row"], gradient: Tensor
    ) -> Float[Tensor, "row component *pos"]:
        """dF/dm of a site's components, summed over positions unless they are asked for; 0 before the first one."""
        slopes = self._parts(site).slopes(live, pairs, gradient)
        if not self.request.by_position:
            return slopes.sum(1)
        return functional.pad(slopes.transpose(1, 2), (self.tokens.shape[1] - slopes.shape[1], 0))

    def _lowest(self, sites: Iterable[Site]) -> int:
        return min(self.model.start(site) for site in sites)

    def _ends(self, sites: Iterable[Site]) -> bool:
        """Whether nothing but the last position of these sites counts."""
        return self.batch.metric_function.reads == "last" and all(
            site.layer == self.model.n_layers - 1 and self.model.kind(site.kind).last_only for site in sites
        )

    def _moved(
        self, live: Tensor, site: Site, chunk: Sequence[Move], keep: tuple[dict[Any, Tensor], dict[Any, Tensor]] | None
    ) -> Tensor:
        """The activations of a chunk's rows at a site: `r + m (x - r)` where it moves, `x` elsewhere."""
        values, done = [], 0
        for number, move in enumerate(chunk):
            rows = live[done : done + len(move.pairs)]
            done += len(rows)
            if site in move.sites:
                parts = self._parts(site)
                if isinstance(parts, Features) and move.components is not None:
                    value = parts.one_moved(rows, move.pairs, move.one(rows), move.components)
                else:
                    value = parts.moved(rows, move.pairs, move.m(site, rows, self.model.size(site.kind)))
                if keep:
                    leaves, lives = keep
                    lives[number, site] = rows.detach()
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
        prefix: int = 0,
    ) -> tuple[Float[Tensor, " row"], dict[Leaf, Tensor]]:
        """The metric of edited rows, a row a pair in `pairs`; and its gradients at the leaves that the edits leave."""
        before = self.model.passes.whole_forward
        with torch.set_grad_enabled(leaves is not None):
            reads = self.batch.metric_function.reads
            logits = resume(
                self.model, self.recording, pairs, starts, prefix, edits, embedding, self.vocabulary, reads=reads
            )
            metric = self._read(logits, pairs, self.vocabulary)
        work = self.model.passes.whole_forward - before
        self.request.progress(work)
        if leaves is None:
            return metric, {}
        gradients = self.model.gradients(metric, leaves)
        self.request.progress(work)
        return metric.detach(), gradients

    def _read(self, logits: Tensor, pairs: Tensor, vocabulary: Tensor | None) -> Float[Tensor, " row"]:
        """The metric of rows of logits."""
        tokens = self.recording.tokens[pairs] if self.batch.metric_function.reads == "all" else None
        unpatched = None if self.unpatched is None else self.unpatched[pairs]
        return self.batch.metric(logits, pairs, vocabulary, tokens, unpatched)

    def _zeros(self, sites: Iterable[Site]) -> dict[Site, Float[Tensor, "pair component *pos"]]:
        last = 2 if self.request.by_position else 1
        shapes = {
            site: (len(self.batch), self.model.size(site.kind), self.tokens.shape[1])[: last + 1] for site in sites
        }
        return {site: torch.zeros(shape).to(self.live[site]) for site, shape in shapes.items()}

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
            alone = self._ends(move.sites)
            tokens = self.request.tokens_per_forward // (1 if alone else self.tokens.shape[1] - move.prefix)
            size = max(1, min(tokens, self.request.rows_per_forward))
            if chunk and (alone != self._ends(chunk[0].sites) or move.prefix != chunk[0].prefix):
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
        """Scores of every site of a kind, layer by layer; 0 in layers that no dictionary reads."""
        kinds = dict.fromkeys(site.kind for site in scores)
        found = {}
        for kind in kinds:
            some = next(score for site, score in scores.items() if site.kind == kind)
            layers = [Site(kind, layer) for layer in range(self.model.layers(kind))]
            found[kind] = torch.stack(
                [scores[site] if site in scores else torch.zeros_like(some) for site in layers], 1
            )
        return found


def _watched(live: Tensor, site: Site, leaves: dict[Site, Tensor]) -> Tensor:
    """The activation as it is, with a leaf that takes its gradient."""
    leaves[site] = torch.zeros_like(live, requires_grad=True)
    return live + leaves[site]


def _times(weight: Float[Tensor, " row"], values: Tensor) -> Tensor:
    """Each row times its weight."""
    return values * weight.reshape(-1, *[1] * (values.ndim - 1))


def spread(scores: Tensor, chosen: Int[Tensor, " chosen"], size: int) -> Float[Tensor, "pair component *pos"]:
    """The scores of the chosen components at their places among all of a layer, NaN at the others."""
    found = torch.full((len(scores), size, *scores.shape[2:]), torch.nan).to(scores)
    found[:, chosen] = scores
    return found
