"""The engine: one batch, one direction, one replacement, seen as the function F(m) of docs/definitions.md.

Every live activation `x` of a moving component is replaced by `r + m (x - r)`, one `m` a component or a place, which is
a component at one position. Noising runs the clean prompt (r = what replaces its activations), denoising the corrupted
one (r = the clean activations) and flips the sign, so that one code path serves both: a score is
`sign * (F(1) - F(1, m_i = 0))` for activation patching and `sign * integral of dF/dm_i` for the gradient methods.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from benchmark.components import BASELINES, FEATURE_KINDS
from benchmark.engine.hooked import Hook
from benchmark.engine.integrals import Alone, Inputs, Quadrature, Together, by_rule
from benchmark.engine.kinds import PATTERN
from benchmark.engine.model import Edit, Leaf, Model, Site
from benchmark.engine.moves import Move
from benchmark.engine.parts import Features, SideBySide
from benchmark.engine.replay import record, resume, shortcuts
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch


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
        if request.replacement not in BASELINES:
            raise BenchmarkError(
                f"An Intervention puts one activation in place of another ({', '.join(BASELINES)}); what "
                f"{request.replacement!r} draws, `scores()` and `run` hand over as a counterfactual."
            )
        self.model, self.batch, self.request = model, batch, request
        self.kinds = request.kinds if kinds is None else tuple(kinds)
        self.sites = model.sites(self.kinds)
        noising = request.direction == "noising"
        self.sign = 1 if noising else -1
        reads, words = batch.metric_function.reads, batch.vocabulary
        # what every forward needs is put on the device here, once: a forward that waits for it leaves a GPU idle
        self.vocabulary = None if words is None else words.to(model.device)
        self.answers = (batch.answers if words is None else batch.answers.among(words)).to(model.device)
        self.tokens, other = (batch.clean, None) if request.replacement != "counterfactual" else batch.both()
        if not noising:
            other, self.tokens = batch.both()
        fits = other is not None and other.shape == self.tokens.shape and 2 * len(batch) <= self.room()
        beside = other if fits else None  # in one forward: a GPU gets through it sooner than Python through two
        self.recording = record(model, self.tokens, self.sites, reads, beside, shortcuts(model, self.kinds))
        self.live = self.recording.activations
        self.prefix = 0  # zero and mean change every position; a counterfactual nothing before the prompts differ
        self.unpatched: Tensor | None = None  # the clean prompts' logits
        if other is None:
            self.replacement = {site: self._constant(site) for site in self.sites}
        else:
            logits, self.replacement = self.recording.beside or model.activations(other, self.sites)
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
        logits = self.recording.logits if self.vocabulary is None else self.recording.logits[..., self.vocabulary]
        self.full = self._read(logits, torch.arange(len(batch), device=model.device))  # F(1)
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
        live = self.live[site]
        return self._parts(site).changed(live, torch.arange(len(live), device=live.device))

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
        count = self._refuse_misshapen(masks)
        columns, pairs = self._every_pair(count)
        values = self.full.repeat(count, 1)
        for move, metric, _ in self.carried_out(self._masked(masks, pairs, columns)):
            values[move.column, move.pairs] = metric
        return values

    @torch.no_grad()
    def value_of(
        self, masks: Mapping[str, Tensor], pairs: Int[Tensor, " mask"]
    ) -> tuple[Float[Tensor, " mask"], dict[str, Bool[Tensor, "mask layer index"]]]:
        """F of one pair under each mask, as `pairs` says; and which components are another thing there than m = 0 puts.

        Where one isn't, its m makes no difference, while F with and without it may differ by rounding.
        """
        count = self._refuse_misshapen(masks)
        pairs = pairs.to(self.model.device)
        sites = [site for site in self.sites if site.kind in masks]
        changed = {site: self.changed(site).any(1)[pairs] for site in sites}
        values = self.full[pairs]
        moves = self._masked(masks, pairs, torch.arange(count, device=self.model.device))
        for move, metric, _ in self.carried_out(move._replace(changed=changed) for move in moves):
            values[move.column] = metric
        return values, self.stacked(changed)

    def slopes(self, masks: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "mask pair layer *place"]]:
        """dF/dm of every place of every kind, at each mask; summed over positions unless the request is by position."""
        count, size = self._refuse_misshapen(masks), len(self.batch)
        columns, pairs = self._every_pair(count)
        chosen, ones = {site: self._mask(masks, site, count) for site in self.sites}, self.full.new_ones(len(pairs))
        totals = {site: zeros.repeat(count, *[1] * (zeros.ndim - 1)) for site, zeros in self.zeros(self.sites).items()}
        move = Move(tuple(self.sites), self.prefix, pairs, ones, columns, masks=chosen)
        for part, _, slopes in self.carried_out([move], True):
            for site, (live, gradient) in slopes.items():
                totals[site][part.column * size + part.pairs] = self.slope(site, live, part.pairs, gradient)
        return {kind: one.reshape(count, size, *one.shape[1:]) for kind, one in self.stacked(totals).items()}

    def _every_pair(self, count: int) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"]]:
        """Mask and pair of every row, where there are so many masks and each is for all pairs."""
        rows = torch.arange(count * len(self.batch), device=self.model.device)
        return rows // len(self.batch), rows % len(self.batch)

    def _mask(self, masks: Mapping[str, Tensor], site: Site, count: int) -> Float[Tensor, "mask pos component"]:
        """What the masks say of a site, for each position or for all; 1 where they leave its kind out."""
        if site.kind not in masks:
            return torch.ones(count, 1, self.model.size(site.kind), device=self.model.device)
        mask = masks[site.kind][:, site.layer].to(self.model.device)
        return mask[:, None] if mask.ndim == 2 else mask.mT

    def _masked(
        self, masks: Mapping[str, Tensor], pairs: Int[Tensor, " row"], columns: Int[Tensor, " row"]
    ) -> list[Move]:
        """Rows of these pairs under the masks numbered in `columns`, one move for all that start in the same layer.

        A row starts where its mask says anything but 1; under one that doesn't there is nothing to run.
        """
        sites = [site for site in self.sites if site.kind in masks]
        chosen = {site: self._mask(masks, site, 0) for site in sites}
        starts = torch.full_like(columns, self.model.n_layers)
        for site, mask in chosen.items():
            moves = (mask != 1).flatten(1).any(1)[columns]
            starts = torch.where(moves, starts.clamp(max=self.model.start(site)), starts)
        found = []
        for layer in sorted({*starts.tolist()} - {self.model.n_layers}):
            rows = starts == layer
            above = tuple(site for site in sites if self.model.start(site) >= layer)
            ones = self.full.new_ones(int(rows.sum()))
            found.append(Move(above, self.prefix, pairs[rows], ones, columns[rows], masks=chosen))
        return found

    def _refuse_misshapen(self, masks: Mapping[str, Tensor]) -> int:
        """How many masks there are. Raises where they fit neither components nor places."""
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
        return counts.pop()

    @torch.no_grad()
    def patch(self, chosen: Mapping[Site, Int[Tensor, " chosen"]]) -> dict[Site, Float[Tensor, "pair chosen *pos"]]:
        """Activation patching of each chosen component by itself; exactly 0 where its activation doesn't change.

        By position: of each chosen component at each position by itself.
        """
        length = self.tokens.shape[1]
        shapes = {
            site: (len(self.batch), len(one), *[length] * self.request.by_position) for site, one in chosen.items()
        }
        effects = {site: self.full.new_zeros(shape) for site, shape in shapes.items()}
        moves = []
        for site, place, pairs, columns, components in self._changed_places(chosen):
            move = Move((site,), self.prefix, pairs, self.full.new_zeros(len(pairs)), columns, components)
            if self.request.by_position:
                move = move._replace(prefix=place, positions=torch.full_like(pairs, length - place))
            moves.append(move)
        for move, metric, _ in self.carried_out(moves):
            effect = self.sign * (self.full[move.pairs] - metric)
            if move.positions is None:
                effects[move.sites[0]][move.pairs, move.column] = effect
            else:
                effects[move.sites[0]][move.pairs, move.column, move.prefix] = effect
        return effects

    def _changed_places(
        self, chosen: Mapping[Site, Int[Tensor, " chosen"]]
    ) -> Iterator[tuple[Site, int, Int[Tensor, " row"], Int[Tensor, " row"], Int[Tensor, " row"]]]:
        """Where m = 0 changes something: site, position (0 for all of them) and, by row, the pair, the number among the
        chosen components, and the component.

        However many sites there are, the device hands over what it found once, and gets the rows once.
        """
        if not chosen:
            return
        device, every = self.model.device, torch.cat([*chosen.values()])
        counts = [len(components) for components in chosen.values()]
        picked, flags = torch.split(every.cpu(), counts), []
        for site, components in zip(chosen, torch.split(every.to(device), counts), strict=True):
            changed = self.changed(site)
            if not self.request.by_position:
                changed = changed.any(1, keepdim=True)
            elif self._ends((site,)):
                changed[:, :-1] = False
            flags.append(changed[:, :, components])  # [pair, pos or 1, chosen]
        whole = torch.cat(flags, dim=2).cpu()
        rows, places = [], []
        for site, components, changed in zip(chosen, picked, torch.split(whole, counts, dim=2), strict=True):
            for place in changed.any(2).any(0).nonzero()[:, 0].tolist():
                pairs, columns = changed[:, place].nonzero().unbind(-1)
                rows.append(torch.stack([pairs, columns, components[columns]]))
                places.append((site, place))
        lengths = [part.shape[1] for part in rows]
        found = torch.split(torch.cat(rows, dim=1).to(device), lengths, dim=1) if rows else ()
        for (site, place), part in zip(places, found, strict=True):
            yield site, place, *part.unbind()

    @torch.no_grad()
    def patch_sites(self, groups: Sequence[Sequence[Site]]) -> Float[Tensor, "group pair"]:
        """All components of a group's sites replaced at once: the total that complete methods must sum to."""
        pairs = torch.arange(len(self.batch), device=self.model.device)
        totals = torch.zeros(len(groups), len(pairs), dtype=self.full.dtype, device=self.model.device)
        zeros = torch.zeros_like(self.full)
        moves = [
            Move(tuple(group), self.prefix, pairs, zeros, torch.full_like(pairs, row))
            for row, group in enumerate(groups)
        ]
        for move, metric, _ in self.carried_out(moves):
            totals[move.column, move.pairs] = self.sign * (self.full[move.pairs] - metric)
        return totals

    def integrate(
        self, groups: Sequence[Sequence[Site]], rule: Quadrature
    ) -> dict[Site, Float[Tensor, "pair component *pos"]]:
        """Integral of dF/dm_i while all components of a group of sites move together, m at the rule's nodes."""
        return by_rule(Together(self, groups), rule)

    def integrate_alone(
        self, chosen: Mapping[Site, Int[Tensor, " chosen"]], rule: Quadrature
    ) -> dict[Site, Float[Tensor, "pair chosen *pos"]]:
        """Integral of dF/dm_i along m_i alone, for each chosen component: the component path."""
        return by_rule(Alone(self, chosen), rule)

    def integrate_inputs(self, rule: Quadrature) -> dict[Site, Float[Tensor, "pair component *pos"]]:
        """`(live - replacement) . mean gradient` at the sites while the embeddings move from corrupted to clean."""
        return by_rule(Inputs(self), rule)

    def watching(
        self,
        sites: Iterable[Site],
        leaves: dict[Site, Tensor],
        lives: dict[Site, Tensor],
        cut: Collection[Site] = (),
    ) -> dict[Site, Edit]:
        """Edits that add a leaf of zeros at these sites and keep what stands there; those `cut` stop all gradients."""
        watched = dict.fromkeys(sites)

        def watch(live: Tensor, site: Site) -> Tensor:
            live = live.detach() if site in cut else live
            if site in watched:
                lives[site], leaves[site] = live.detach(), torch.zeros_like(live, requires_grad=True)
                live = live + leaves[site]
            return live

        return {site: partial(watch, site=site) for site in dict.fromkeys([*cut, *watched])}

    def gradients(
        self, sites: Sequence[Site], pairs: Int[Tensor, " row"]
    ) -> dict[Site, Float[Tensor, "row pos component dim"]]:
        """dF/dx of the activations x at any sites of the unpatched run, a row a pair; 0 at positions without a say."""
        leaves: dict[Site, Tensor] = {}
        _, found = self.metric(
            pairs, [self._lowest(sites)] * len(pairs), self.watching(sites, leaves, {}), None, leaves
        )
        length = self.tokens.shape[1]
        return {site: functional.pad(one, (0, 0, 0, 0, length - one.shape[1], 0)) for site, one in found.items()}

    def carried_out(
        self, moves: Iterable[Move], slopes: bool = False
    ) -> Iterator[tuple[Move, Float[Tensor, " row"], dict[Site, tuple[Tensor, Tensor]]]]:
        """Every move, or part of it, with F(m) of its rows; and, if asked for, of each moving site the activations that
        came in, `[row, pos, component, dim]`, and the gradients of F with respect to those that were put there.

        Many share a forward, those of higher layers joining in there.
        """
        with self.model.finite_in_the_end():
            yield from self._carried_out(moves, slopes)

    def _carried_out(
        self, moves: Iterable[Move], slopes: bool
    ) -> Iterator[tuple[Move, Float[Tensor, " row"], dict[Site, tuple[Tensor, Tensor]]]]:
        for chunk in self._chunks(sorted(moves, key=lambda move: (move.prefix, self._lowest(move.sites)))):
            pairs = torch.cat([move.pairs for move in chunk])
            starts = [start for move in chunk for start in [self._lowest(move.sites)] * len(move.pairs)]
            leaves: dict[tuple[int, Site], Tensor] = {}
            lives: dict[tuple[int, Site], Tensor] = {}
            sites = dict.fromkeys(site for move in chunk for site in move.sites)
            keep = (leaves, lives) if slopes else None
            edits = {site: partial(self._moved, site=site, chunk=chunk, keep=keep) for site in sites}
            prefix = min(move.prefix for move in chunk)
            metric, gradients = self.metric(pairs, starts, edits, None, leaves if slopes else None, prefix)
            parts = torch.split(metric, [len(move.pairs) for move in chunk])
            for number, (move, part) in enumerate(zip(chunk, parts, strict=True)):
                at = [(site, (number, site)) for site in move.sites if slopes]
                yield move, part, {site: (lives[key], gradients[key]) for site, key in at}

    def slope(
        self, site: Site, live: Tensor, pairs: Int[Tensor, " row"], gradient: Tensor
    ) -> Float[Tensor, "row component *pos"]:
        """dF/dm of a site's components, summed over positions unless they are asked for; 0 before the first one."""
        slopes = self._parts(site).slopes(live, pairs, gradient)
        before = self.tokens.shape[1] - slopes.shape[1]
        if (fixed := slice(before, self._fixed)).start < fixed.stop:  # a run that is not the recorded one rounds
            same = (
                (self.live[site][pairs, fixed] == self.replacement[site][pairs, fixed]).flatten(2).all(2, keepdim=True)
            )
            slopes[:, : fixed.stop - before].masked_fill_(same, 0)
        if not self.request.by_position:
            return slopes.sum(1)
        return functional.pad(slopes.transpose(1, 2), (self.tokens.shape[1] - slopes.shape[1], 0))

    @property
    def _fixed(self) -> int:
        """At how many positions nothing changes, whatever the masks; but for rounding, where they are run again."""
        return max(self.batch.bos, self.prefix if "prefix" in shortcuts(self.model, self.kinds) else 0)

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
                if move.changed is not None:
                    fixed = max(0, self._fixed - (self.tokens.shape[1] - rows.shape[1]))
                    move.changed[site][move.column] = parts.changed(rows, move.pairs)[:, fixed:].any(1)
                if move.components is not None and move.masks is None:
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
        return torch.cat(values) if len(values) > 1 else values[0]

    def metric(
        self,
        pairs: Tensor,
        starts: Sequence[int],
        edits: Mapping[Site, Edit],
        embedding: Edit | None,
        leaves: Mapping[Leaf, Tensor] | None,
        prefix: int = 0,
        hooks: Sequence[Hook] = (),
    ) -> tuple[Float[Tensor, " row"], dict[Leaf, Tensor]]:
        """The metric of edited rows, a row a pair in `pairs`; and its gradients at the leaves that the edits leave."""
        metric, work = self.forward(pairs, starts, edits, embedding, leaves is not None, prefix, hooks)
        if leaves is None:
            return metric, {}
        gradients = self.model.gradients(metric, leaves)
        self.request.progress(work)
        return metric.detach(), gradients

    def forward(
        self,
        pairs: Tensor,
        starts: Sequence[int],
        edits: Mapping[Site, Edit],
        embedding: Edit | None,
        gradients: bool,
        prefix: int = 0,
        hooks: Sequence[Hook] = (),
    ) -> tuple[Float[Tensor, " row"], float]:
        """The metric of edited rows, and to how many whole rows they came."""
        before = self.model.passes.whole_forward
        with torch.set_grad_enabled(gradients):
            reads = self.batch.metric_function.reads
            logits = resume(
                self.model, self.recording, pairs, starts, prefix, edits, embedding, self.vocabulary, reads=reads,
                hooks=hooks,
            )  # fmt: skip
            metric = self._read(logits, pairs)
        work = self.model.passes.whole_forward - before
        self.request.progress(work)
        return metric, work

    def _read(self, logits: Tensor, pairs: Tensor) -> Float[Tensor, " row"]:
        """The metric of rows of logits: of the tokens that it reads, where it reads some only."""
        tokens = self.recording.tokens[pairs] if self.batch.metric_function.reads == "all" else None
        unpatched = None if self.unpatched is None else self.unpatched[pairs]
        return self.batch.metric_function(logits, self.answers[pairs], tokens, unpatched)

    def zeros(self, sites: Iterable[Site]) -> dict[Site, Float[Tensor, "pair component *pos"]]:
        last = 2 if self.request.by_position else 1
        shapes = {
            site: (len(self.batch), self.model.size(site.kind), self.tokens.shape[1])[: last + 1] for site in sites
        }
        return {site: self.live[site].new_zeros(shape) for site, shape in shapes.items()}

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

    def split(self, columns: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        yield from zip(*(torch.split(column, self.room()) for column in columns), strict=True)

    def room(self) -> int:
        """How many rows that start at the first layer and position share a forward."""
        return max(1, min(self.request.tokens_per_forward // self.tokens.shape[1], self.request.rows_per_forward))

    def stacked(self, scores: Mapping[Site, Tensor]) -> dict[str, Shaped[Tensor, "pair layer *index"]]:
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


def spread(scores: Tensor, chosen: Int[Tensor, " chosen"], size: int) -> Float[Tensor, "pair component *pos"]:
    """The scores of the chosen components at their places among all of a layer, NaN at the others."""
    found = torch.full((len(scores), size, *scores.shape[2:]), torch.nan).to(scores)
    found[:, chosen] = scores
    return found
