"""The engine: one batch, one direction, one replacement, seen as the function F(m) of docs/definitions.md.

Every live activation `x` of a moving component is replaced by `r + m (x - r)`, one `m` a component. Noising runs the
clean prompt (r = what replaces its activations), denoising the corrupted one (r = the clean activations) and flips the
sign, so that one code path serves both: a score is `sign * (F(1) - F(1, m_i = 0))` for activation patching and
`sign * integral of dF/dm_i` for the gradient methods.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.method import Request
from benchmark.model import Edit, Model, Site
from benchmark.pairs import PairBatch


class Quadrature(NamedTuple):
    """Nodes in [0, 1] and weights that sum to one."""

    nodes: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def gauss_legendre(cls, steps: int) -> "Quadrature":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return cls(tuple((1 + nodes) / 2), tuple(weights / 2))


AT_ONE = Quadrature((1.0,), (1.0,))  # the derivative at m = 1: attribution patching


class Intervention:
    """F(m) on one batch, for the sites of `kinds`.

    `live[site]` and `replacement[site]` are `[pair, pos, component, dim]`: the activations on the base prompt and what
    m = 0 puts there. A prepended BOS keeps its live activation.
    """

    def __init__(self, model: Model, batch: PairBatch, request: Request, kinds: Sequence[str] | None = None) -> None:
        self.model, self.batch, self.request = model, batch, request
        self.sites = model.sites(request.kinds if kinds is None else kinds)
        noising = request.direction == "noising"
        self.sign = 1 if noising else -1
        self.tokens, other = (batch.clean, None) if request.replacement != "counterfactual" else batch.both()
        if not noising:
            other, self.tokens = batch.both()
        self.trace = model.trace(self.tokens, self.sites)
        self.live = self.trace.activations
        self.full = batch.metric(self.trace.logits, torch.arange(len(batch)))  # F(1)
        # zero and mean change every position; a counterfactual nothing before the prompts differ
        self.prefix = 0 if other is None else min(batch.first_difference, model.longest_prefix(self.tokens.shape[1]))
        if other is not None:
            self.replacement = model.activations(other, self.sites)[1]
        else:
            self.replacement = {site: self._constant(site) for site in self.sites}
        for site in self.sites:
            self.replacement[site][:, : batch.bos] = self.live[site][:, : batch.bos]

    def _constant(self, site: Site) -> Tensor:
        live = self.live[site]
        if self.request.replacement == "zero":
            return torch.zeros_like(live)
        return self.request.means[site].to(live).expand_as(live).clone()

    @torch.no_grad()
    def patch_components(self, site: Site, components: Int[Tensor, " chosen"]) -> Float[Tensor, "pair chosen"]:
        """Activation patching of each component by itself; exactly 0 where its activation doesn't change."""
        components = components.to(self.model.device)
        changed = (self.live[site] != self.replacement[site]).any(-1).any(1)[:, components]
        effects = torch.zeros(changed.shape, dtype=self.full.dtype, device=self.model.device)
        rows = changed.nonzero()
        for chunk in self._chunks(rows):
            pairs, columns = chunk.unbind(-1)
            m = self._one_moving(site, components[columns], torch.zeros_like(columns, dtype=self.model.dtype))
            effects[pairs, columns] = self.full[pairs] - self._metric(pairs, {site: m})
        return self.sign * effects

    @torch.no_grad()
    def patch_sites(self, sites: Sequence[Site]) -> Float[Tensor, " pair"]:
        """All components of all these sites replaced at once: the total that complete methods must sum to."""
        pairs = torch.arange(len(self.batch), device=self.model.device)
        m = {site: torch.zeros(len(pairs), 1).to(self.live[site]) for site in sites}
        patched = [self._metric(chunk, {site: m[site][chunk] for site in sites}) for chunk in self._chunks(pairs)]
        return self.sign * (self.full - torch.cat(patched))

    def integrate(self, sites: Sequence[Site], rule: Quadrature) -> dict[Site, Float[Tensor, "pair component"]]:
        """Integral of dF/dm_i while all components of `sites` move together, m from 0 to 1 (or `rule`'s nodes)."""
        return self._integrate(sites, rule, lambda pairs, at: self._slopes(pairs, dict.fromkeys(sites, at[:, None])))

    def integrate_alone(
        self, site: Site, components: Int[Tensor, " chosen"], rule: Quadrature
    ) -> Float[Tensor, "pair chosen"]:
        """Integral of dF/dm_i along m_i alone, for each chosen component: the component path."""
        components = components.to(self.model.device)
        totals = torch.zeros(len(self.batch), len(components)).to(self.live[site])
        grid = torch.cartesian_prod(*(torch.arange(n) for n in (len(self.batch), len(components), len(rule.nodes))))
        nodes, weights = (torch.tensor(values).to(totals) for values in rule)
        for chunk in self._chunks(grid.to(self.model.device).reshape(-1, 3)):
            pairs, columns, steps = chunk.unbind(-1)
            moving = components[columns]
            slopes = self._slopes(pairs, {site: self._one_moving(site, moving, nodes[steps])})[site]
            own = slopes.gather(1, moving[:, None])[:, 0]
            totals.index_put_((pairs, columns), own * weights[steps], accumulate=True)
        return self.sign * totals

    def integrate_inputs(self, sites: Sequence[Site], rule: Quadrature) -> dict[Site, Float[Tensor, "pair component"]]:
        """`(live - replacement) . mean gradient` at the sites while the embeddings move from corrupted to clean."""
        clean, corrupted = (self.model.embeddings(tokens) for tokens in self.batch.both())
        differences = {site: self.live[site] - self.replacement[site] for site in sites}

        def slopes(pairs: Tensor, at: Tensor) -> dict[Site, Tensor]:
            moved = torch.lerp(corrupted[pairs], clean[pairs], at[:, None, None])[:, self.prefix :]
            leaves: dict[Site, Tensor] = {}
            metric = self._metric(pairs, {}, leaves, sites, embedding=lambda live: moved)
            return {
                site: (differences[site][pairs, self.prefix :] * gradient).sum((1, 3))
                for site, gradient in self.model.gradients(metric, leaves).items()
            }

        return self._integrate(sites, rule, slopes)

    def _integrate(self, sites, rule, slopes) -> dict[Site, Tensor]:  # type: ignore[no-untyped-def]
        totals = {site: torch.zeros(self.live[site].shape[::2]).to(self.live[site]) for site in sites}
        nodes, weights = (torch.tensor(values).to(self.full) for values in rule)
        grid = torch.cartesian_prod(torch.arange(len(self.batch)), torch.arange(len(rule.nodes)))
        for chunk in self._chunks(grid.to(self.model.device).reshape(-1, 2)):
            pairs, steps = chunk.unbind(-1)
            for site, slope in slopes(pairs, nodes[steps]).items():
                totals[site].index_add_(0, pairs, slope * weights[steps, None])
        return {site: self.sign * total for site, total in totals.items()}

    def _slopes(self, pairs: Tensor, m: Mapping[Site, Tensor]) -> dict[Site, Tensor]:
        """dF/dm_i of every component of the moving sites at `m` [row, component or 1]: (x_live - r) . dF/dy."""
        leaves: dict[Site, Tensor] = {}
        differences: dict[Site, Tensor] = {}
        metric = self._metric(pairs, m, leaves, list(m), differences)
        gradients = self.model.gradients(metric, leaves)
        return {site: (differences[site] * gradients[site]).sum((1, 3)) for site in m}

    def _metric(
        self,
        pairs: Int[Tensor, " row"],
        m: Mapping[Site, Tensor],
        leaves: dict[Site, Tensor] | None = None,
        watched: Sequence[Site] = (),
        differences: dict[Site, Tensor] | None = None,
        embedding: Edit | None = None,
    ) -> Float[Tensor, " row"]:
        """F(m), a row a pair in `pairs`; `leaves` collects a zero leaf at each watched site to differentiate by."""

        def edit(site: Site) -> Edit:
            def apply(live: Tensor) -> Tensor:
                value = live
                if site in m:
                    replacement = self.replacement[site][pairs, self.prefix :]
                    value = torch.lerp(replacement, live, m[site][:, None, :, None].to(live))
                    if differences is not None:
                        differences[site] = (live - replacement).detach()
                if leaves is not None and site in watched:
                    leaves[site] = torch.zeros_like(value, requires_grad=True)
                    value = value + leaves[site]
                return value

            return apply

        edits = {site: edit(site) for site in {**m, **dict.fromkeys(watched)}}
        lowest = 0 if embedding is not None else min(site.layer for site in edits)
        with torch.set_grad_enabled(leaves is not None):
            logits = self.model.resume(self.trace, pairs, lowest, self.prefix, edits, embedding)
            self.request.progress(len(pairs))
            return self.batch.metric(logits, pairs)

    def _one_moving(self, site: Site, components: Tensor, at: Tensor) -> Float[Tensor, "row component"]:
        m = torch.ones(len(components), self.live[site].shape[2]).to(self.live[site])
        return m.scatter(1, components[:, None], at[:, None].to(m))

    def _chunks(self, rows: Tensor) -> Iterator[Tensor]:
        """At most `tokens_per_forward` tokens a forward, at least one row."""
        size = max(1, self.request.tokens_per_forward // (self.tokens.shape[1] - self.prefix))
        yield from torch.split(rows, size) if len(rows) else ()

    def stacked(self, scores: Mapping[Site, Tensor]) -> dict[str, Float[Tensor, "pair layer *index"]]:
        """Scores of every site of a kind, layer by layer."""
        kinds = dict.fromkeys(site.kind for site in scores)
        return {
            kind: torch.stack([scores[Site(kind, layer)] for layer in range(self.model.n_layers)], dim=1)
            for kind in kinds
        }
