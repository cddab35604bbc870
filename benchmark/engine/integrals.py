"""Integrals of dF/dm along paths from m = 0 to 1: by a fixed rule, or by one that is refined until a tolerance holds.

A path is one pair's: a group of sites moves together (`Together`), one component alone (`Alone`), or the embeddings
from corrupted to clean (`Inputs`). Many paths, and many intervals of each, share a forward. Scores come out as the
integral of dF/dm_i, times the sign of the direction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmark.engine.model import Site
from benchmark.engine.moves import Move
from benchmark.engine.precision import step
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.engine.intervention import Intervention

_OVERSTATED = 0.1  # of the difference to the coarse rule: the fine one's own error is far smaller
_INPUT = Site("input", 0)  # the embeddings, whose slope is that of the whole input path

# Gauss-Kronrod, 7 and 15 nodes, as in QUADPACK (Piessens et al. 1983): from the outermost node to the middle
_OUTWARD = (
    0.991455371120812639206854697526329, 0.949107912342758524526189684047851, 0.864864423359769072789712788640926,
    0.741531185599394439863864773280788, 0.586087235467691130294144691693316, 0.405845151377397166906606412076961,
    0.207784955007898467600689403773245, 0.0,
)  # fmt: skip
_FINE = (
    0.022935322010529224963732008058970, 0.063092092629978553290700663189204, 0.104790010322250183839876322541518,
    0.140653259715525918745189590510238, 0.169004726639267902826583426598550, 0.190350578064785409913256402421014,
    0.204432940075298892414161999234649, 0.209482141084727828012999174891714,
)  # fmt: skip
_COARSE = (
    0.0, 0.129484966168869693270611432679082, 0.0, 0.279705391489276667901467771423780, 0.0,
    0.381830050505118944950369775488975, 0.0, 0.417959183673469387755102040816327,
)  # fmt: skip


class Quadrature(NamedTuple):
    """Nodes in [0, 1] and weights that sum to one; `coarse` are those of a second rule on some of the nodes."""

    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    coarse: tuple[float, ...] = ()

    @classmethod
    def gauss_legendre(cls, steps: int) -> "Quadrature":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        return cls(tuple((1 + nodes) / 2), tuple(weights / 2))

    @classmethod
    def left(cls, steps: int) -> "Quadrature":
        """Equal weights at 1, 1 - 1/steps, ...: from the activation on, the replacement left out."""
        return cls(tuple(1 - step / steps for step in range(steps)), (1 / steps,) * steps)

    @classmethod
    def gauss_kronrod(cls) -> "Quadrature":
        """15 nodes, and as the coarse rule Gauss-Legendre on 7 of them."""
        outward = np.array(_OUTWARD)
        nodes = np.concatenate([1 - outward[:-1], 1 + outward[::-1]]) / 2
        fine, coarse = (np.concatenate([rule[:-1], rule[::-1]]) / 2 for rule in (_FINE, _COARSE))
        return cls(tuple(nodes), tuple(fine), tuple(coarse))


AT_ONE = Quadrature((1.0,), (1.0,))  # the derivative at m = 1: attribution patching


class Points(NamedTuple):
    """Where on which of a group's paths."""

    path: Int[Tensor, " point"]
    m: Float[Tensor, " point"]


class Spans(NamedTuple):
    """Intervals of some of a group's paths."""

    path: Int[Tensor, " span"]
    low: Float[Tensor, " span"]
    high: Float[Tensor, " span"]


class Sums(NamedTuple):
    """What a rule gives on some spans: the integral of every component's slope, and of all slopes together (`change`).

    `error` is how far the rule is from its coarse one, for the component for which it is farthest; `middle` is F in the
    middle of each span, where the rule has a node there and nan elsewhere.
    """

    integral: dict[Site, Float[Tensor, "span ..."]]
    change: Float[Tensor, " span"]
    error: Float[Tensor, " span"]
    middle: Float[Tensor, " span"]


class Together:
    """Groups of sites, each of which moves as a whole: a path is a group and a pair."""

    def __init__(self, run: "Intervention", groups: Sequence[Sequence[Site]]) -> None:
        self.run, self.groups = run, [tuple(group) for group in groups]

    def count(self, group: int) -> int:
        """How many paths a group has."""
        return len(self.run.batch)

    def pairs(self, group: int, path: Int[Tensor, " point"]) -> Int[Tensor, " point"]:
        """The pair that each path belongs to."""
        return path

    def shaped(self, site: Site, scores: Float[Tensor, "path ..."]) -> Float[Tensor, "pair component *pos"]:
        """Scores by path as scores by pair and component."""
        return scores

    def values(self, points: Sequence[Points]) -> list[Float[Tensor, " point"]]:
        """F at some points of each group's paths."""
        found = [torch.empty(len(path)).to(self.run.full) for path, _ in points]
        with torch.no_grad():
            for group, move, metric, _ in self._rows(points, False):
                found[group][move.column] = metric
        return found

    def measured(self, spans: Sequence[Spans], rule: Quadrature) -> list[Sums]:
        """What a rule makes of some spans of each group's paths."""
        steps, device = len(rule.nodes), self.run.model.device
        nodes = torch.tensor(rule.nodes, dtype=torch.float64, device=device)
        points = [
            Points(path.repeat_interleave(steps), (low[:, None] + (high - low)[:, None] * nodes).flatten())
            for path, low, high in spans
        ]
        fine = torch.tensor(rule.weights, device=device)
        weights = [fine, fine - torch.tensor(rule.coarse, device=device)] if rule.coarse else [fine]
        sums: list[dict[Site, Tensor]] = [{} for _ in spans]
        nowhere = 0.0 if 0.5 in rule.nodes else torch.nan
        middles = [torch.full_like(low, nowhere) for _, low, _ in spans]
        for group, move, metric, found in self._rows(points, True):
            span, node = move.column // steps, move.column % steps
            middles[group].index_add_(0, span, torch.where(nodes[node] == 0.5, metric, 0.0).to(middles[group]))
            for site, (live, gradient) in found.items():
                value = self._summed(site, group, move, live, gradient)
                if site not in sums[group]:
                    shape = self.run.live[site].shape[1:] if self._of_one_site(group) else value.shape[1:]
                    dtype = torch.promote_types(value.dtype, torch.float32)
                    sums[group][site] = torch.zeros(
                        len(weights), len(spans[group].path), *shape, dtype=dtype, device=device
                    )
                for weight, total in zip(weights, sums[group][site], strict=True):
                    part = total[:, -value.shape[1] :] if self._of_one_site(group) else total
                    scaled = value * weight[node].to(value).reshape(-1, *[1] * (value.ndim - 1))
                    part.index_add_(0, span, scaled.to(total.dtype))
        return [self._sums(group, *item) for group, item in enumerate(zip(spans, sums, middles, strict=True))]

    def _sums(self, group: int, spans: Spans, sums: Mapping[Site, Tensor], middle: Float[Tensor, " span"]) -> Sums:
        """The sums over nodes as integrals over spans."""
        width = spans.high - spans.low
        integral: dict[Site, Tensor] = {}
        change, error = torch.zeros_like(width), torch.zeros_like(width)
        whole = [site for site in sums if site == _INPUT] or list(sums)
        for site, total in sums.items():
            fine, *off = (self._slopes_of(site, group, spans.path, part) for part in total)
            fine = fine * width.to(fine).reshape(-1, *[1] * (fine.ndim - 1))
            if site in whole:
                change += fine.reshape(len(fine), -1).sum(1, dtype=torch.float64)
            for one in off:
                error = torch.maximum(error, one.reshape(len(one), -1).abs().amax(1).double() * width)
            if site != _INPUT:
                integral[site] = fine
        return Sums(integral, change, error, middle)

    def _of_one_site(self, group: int) -> bool:
        """Its activation is that of the base run at every node, so only gradients need be summed."""
        return len(self.groups[group]) == 1

    def _summed(self, site: Site, group: int, move: Move, live: Tensor, gradient: Tensor) -> Tensor:
        """What is summed over nodes: gradients, or slopes."""
        return gradient if self._of_one_site(group) else self.run.slope(site, live, move.pairs, gradient)

    def _slopes_of(self, site: Site, group: int, path: Tensor, total: Tensor) -> Float[Tensor, "span ..."]:
        """The sum over nodes as a sum of slopes."""
        if not self._of_one_site(group):
            return total
        live = self.run.live[site]
        parts = [
            self.run.slope(site, live[pairs], pairs, part.to(live))
            for pairs, part in zip(*(torch.split(whole, len(live)) for whole in (path, total)), strict=True)
        ]
        return torch.cat(parts) if parts else total.new_zeros(0, 0)

    def _rows(
        self, points: Sequence[Points], slopes: bool
    ) -> Iterator[tuple[int, Move, Float[Tensor, " row"], dict[Site, tuple[Tensor, Tensor]]]]:
        """Rows at these points, in parts: whose, where (`column` numbers a group's points), F and what gives slopes."""
        moves = [self._move(group, at) for group, at in enumerate(points) if len(at.path)]
        whose = {sites: number for number, sites in enumerate(self.groups)}
        for move, metric, found in self.run.carried_out(moves, slopes):
            yield whose[move.sites], move, metric, found

    def _move(self, group: int, at: Points) -> Move:
        column = torch.arange(len(at.path), device=self.run.model.device)
        return Move(self.groups[group], self.run.prefix, at.path, at.m.to(self.run.full), column)


class Alone(Together):
    """Each chosen component of a site moves alone: a path is a component and a pair."""

    def __init__(self, run: "Intervention", chosen: Mapping[Site, Int[Tensor, " chosen"]]) -> None:
        super().__init__(run, [(site,) for site in chosen])
        self.chosen = [components.to(run.model.device) for components in chosen.values()]

    def count(self, group: int) -> int:
        return len(self.run.batch) * len(self.chosen[group])

    def pairs(self, group: int, path: Int[Tensor, " point"]) -> Int[Tensor, " point"]:
        return path // max(1, len(self.chosen[group]))

    def shaped(self, site: Site, scores: Float[Tensor, "path ..."]) -> Float[Tensor, "pair chosen *pos"]:
        return scores.reshape(len(self.run.batch), -1, *scores.shape[1:])

    def _of_one_site(self, group: int) -> bool:
        return False

    def _summed(self, site: Site, group: int, move: Move, live: Tensor, gradient: Tensor) -> Tensor:
        assert move.components is not None
        slope = self.run.slope(site, live, move.pairs, gradient)
        return slope[torch.arange(len(slope), device=slope.device), move.components]

    def _move(self, group: int, at: Points) -> Move:
        components = self.chosen[group][at.path % len(self.chosen[group])]
        return super()._move(group, at)._replace(pairs=self.pairs(group, at.path), components=components)


class Inputs(Together):
    """The embeddings move from corrupted (0) to clean (1): a path is a pair, scored at all sites.

    Scores sum to nothing that is known. The slopes of the embeddings themselves do, to f(clean) - f(corrupted): that is
    the path's `change`.
    """

    def __init__(self, run: "Intervention") -> None:
        super().__init__(run, [run.sites])
        if run.batch.partners is not None:
            raise BenchmarkError("Embeddings can't move from one prompt to another of a different length.")
        self.clean, self.corrupted = (run.model.embeddings(tokens) for tokens in run.batch.both())

    def between(
        self, pairs: Int[Tensor, " row"], m: Float[Tensor, " row"], slopes: bool = True
    ) -> tuple[Float[Tensor, " row"], dict[Site, tuple[Tensor, Tensor]]]:
        """F with the embeddings so far on their way; the activations there, and the gradients with respect to them."""
        moved = torch.lerp(self.corrupted[pairs], self.clean[pairs], m[:, None, None].to(self.clean))
        leaves = {_INPUT: torch.zeros_like(moved, requires_grad=True)}
        lives = {_INPUT: moved}

        def put(live: Tensor) -> Tensor:
            return (moved + leaves[_INPUT])[:, -live.shape[1] :]

        starts = [0] * len(pairs)
        if not slopes:
            return self.run.metric(pairs, starts, {}, put, None)[0], {}
        metric, gradients = self.run.metric(
            pairs, starts, self.run.watching(self.run.sites, leaves, lives), put, leaves
        )
        return metric, {site: (lives[site], gradient) for site, gradient in gradients.items()}

    def _of_one_site(self, group: int) -> bool:
        return False

    def _summed(self, site: Site, group: int, move: Move, live: Tensor, gradient: Tensor) -> Tensor:
        if site == _INPUT:
            return ((self.clean - self.corrupted)[move.pairs] * gradient).sum((1, 2))[:, None]
        base = self.run.live[site][move.pairs, -gradient.shape[1] :]
        return super()._summed(site, group, move, base, gradient)

    def _rows(
        self, points: Sequence[Points], slopes: bool
    ) -> Iterator[tuple[int, Move, Float[Tensor, " row"], dict[Site, tuple[Tensor, Tensor]]]]:
        [at] = points
        column = torch.arange(len(at.path), device=self.run.model.device)
        if len(column):
            for pairs, m, numbers in self.run.split((at.path, at.m.to(self.run.full), column)):
                metric, found = self.between(pairs, m, slopes)
                yield 0, Move(self.groups[0], 0, pairs, m, numbers), metric, found


def by_rule(paths: Together, rule: Quadrature) -> dict[Site, Float[Tensor, "pair component *pos"]]:
    """The scores by a rule on whole paths, whatever it is worth there."""
    found: dict[Site, Tensor] = {}
    for sums in paths.measured([_whole(paths, group) for group in range(len(paths.groups))], rule):
        found |= {site: paths.run.sign * paths.shaped(site, integral) for site, integral in sums.integral.items()}
    return found


class Converged(NamedTuple):
    """Scores, and how sure they are: of each pair the nodes that were spent, the largest error left of any path, and by
    group whether the nodes of one of its paths ran out."""

    scores: dict[Site, Float[Tensor, "pair component *pos"]]
    rows: Float[Tensor, " pair"]
    error: Float[Tensor, " pair"]
    unfinished: list[Bool[Tensor, " pair"]]


def converged(paths: Together, tolerance: float, size: Float[Tensor, " pair"], most: int) -> Converged:
    """The scores by Gauss-Kronrod rules on intervals that are halved where they must be.

    A path is done when the errors of its intervals come to at most `tolerance` times the larger of its pair's `size`
    (in units of the metric) and the path's own |F(1) - F(0)|. An interval's error is the larger of two, each of which
    misses what the other sees: how far the rule is from its coarse one for any component, a tenth of it, since the
    rule is better than that; and how far the sum of all slopes' integrals is from the change of F. At most `most` nodes
    a path are spent.
    """
    rule, device = Quadrature.gauss_kronrod(), paths.run.model.device
    sizes, states = size.double().cpu().numpy(), []
    todo = [_whole(paths, group) for group in range(len(paths.groups))]
    ends = paths.values([Points(span.path.repeat(2), torch.cat([span.low, span.high])) for span in todo])
    for group, span in enumerate(todo):
        low, high = ends[group].double().cpu().numpy().reshape(2, -1)
        floor = 16 * step(paths.run.model.dtype, paths.run.model.matmul) * np.maximum(np.abs(low), np.abs(high))
        wanted = np.maximum(sizes[paths.pairs(group, span.path).cpu().numpy()], np.abs(high - low))
        path, start, end = (part.cpu().numpy() for part in span)
        whole = _Open(path, start, end, low, high, np.zeros_like(low), np.zeros_like(low))
        states.append(_Refined(np.maximum(tolerance * wanted, floor), most // len(rule.nodes), whole))
    while any(len(span.path) for span in todo):
        for state, sums in zip(states, paths.measured(todo, rule), strict=True):
            state.add(sums)
        todo = [Spans(*(part.to(device) for part in state.halve())) for state in states]
    rows, error = torch.zeros_like(paths.run.full), torch.zeros_like(paths.run.full)
    scores: dict[Site, Tensor] = {}
    unfinished: list[Tensor] = []
    for group, state in enumerate(states):
        pairs = paths.pairs(group, _whole(paths, group).path)
        rows.index_add_(0, pairs, torch.from_numpy(state.spans * len(rule.nodes)).to(rows))
        error.scatter_reduce_(0, pairs, torch.from_numpy(state.errors).to(error), "amax")
        scores |= {site: paths.run.sign * paths.shaped(site, found) for site, found in state.scores.items()}
        lacking = np.bincount(pairs.cpu().numpy(), state.unfinished, minlength=len(rows)) > 0
        unfinished.append(torch.from_numpy(lacking).to(device))
    return Converged(scores, rows, error, unfinished)


def _whole(paths: Together, group: int) -> Spans:
    """All of a group's paths from end to end."""
    path = torch.arange(paths.count(group), device=paths.run.model.device)
    ends = torch.zeros(len(path), dtype=torch.float64, device=path.device)
    return Spans(path, ends, ends + 1)


class _Open(NamedTuple):
    """Spans of paths that aren't done, and F at their ends and in their middle."""

    path: Int[np.ndarray, " span"]
    low: Float[np.ndarray, " span"]
    high: Float[np.ndarray, " span"]
    at_low: Float[np.ndarray, " span"]
    at_high: Float[np.ndarray, " span"]
    at_middle: Float[np.ndarray, " span"]
    error: Float[np.ndarray, " span"]

    def take(self, which: Bool[np.ndarray, " span"]) -> "_Open":
        return _Open(*(part[which] for part in self))

    def join(self, other: "_Open") -> "_Open":
        return _Open(*(np.concatenate(parts) for parts in zip(self, other, strict=True)))


@dataclass
class _Refined:
    """One group's paths while they are refined: `scores` of those that are done, by path."""

    tolerance: Float[np.ndarray, " path"]
    most: int
    fresh: _Open  # not measured yet
    scores: dict[Site, Float[Tensor, "path ..."]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.open = self.fresh.take(np.zeros(len(self.fresh.path), dtype=bool))
        self.integrals: dict[Site, Tensor] = {}
        self.spans, self.errors = np.zeros(len(self.tolerance), dtype=int), np.zeros(len(self.tolerance))
        self.unfinished = np.zeros(len(self.tolerance), dtype=bool)

    def add(self, sums: Sums) -> None:
        """What was found on the fresh spans."""
        change, estimate = sums.change.cpu().numpy(), sums.error.cpu().numpy()
        exact = np.abs(change - (self.fresh.at_high - self.fresh.at_low))
        self.spans += self._count(self.fresh)
        middle, error = sums.middle.cpu().numpy(), np.maximum(exact, _OVERSTATED * estimate)
        self.open = self.open.join(self.fresh._replace(at_middle=middle, error=error))
        for site, found in sums.integral.items():
            self.integrals[site] = torch.cat([self.integrals[site], found]) if site in self.integrals else found
            self.scores.setdefault(site, torch.zeros(len(self.tolerance), *found.shape[1:]).to(found))

    def halve(self) -> Spans:
        """Take out what is done and halve the worst spans of the others; gives the halves."""
        spans, total = self.open, self._count(self.open, self.open.error)
        lost = ~np.isfinite(total)  # no halving mends what isn't finite: it is banked, for whoever refuses it
        split = self._worst(spans._replace(error=np.where(lost[spans.path], 0.0, spans.error)))
        costly = self.spans + 2 * self._count(spans.take(split)) > self.most
        done = (total <= self.tolerance) | costly | lost
        here = np.unique(spans.path[done[spans.path]])
        self.errors[here], self.unfinished[here] = total[here], ~(total[here] <= self.tolerance[here])
        banked = done[spans.path]
        split &= ~banked
        left = ~(banked | split)
        for site, integral in self.integrals.items():
            chosen = torch.from_numpy(np.flatnonzero(banked)).to(integral.device)
            path = torch.from_numpy(spans.path[banked]).to(integral.device)
            self.scores[site].index_add_(0, path, integral[chosen])
            self.scores[site][torch.from_numpy(np.flatnonzero(lost)).to(integral.device)] = torch.nan
            self.integrals[site] = integral[torch.from_numpy(np.flatnonzero(left)).to(integral.device)]
        self.open, cut = spans.take(left), spans.take(split)
        middle = (cut.low + cut.high) / 2
        lower, upper = cut._replace(high=middle, at_high=cut.at_middle), cut._replace(low=middle, at_low=cut.at_middle)
        self.fresh = lower.join(upper)
        return Spans(*map(torch.from_numpy, self.fresh[:3]))

    def _worst(self, spans: _Open) -> Bool[np.ndarray, " span"]:
        """All but as many of a path's best spans as take up half of its tolerance together."""
        order = np.lexsort((spans.error, spans.path))
        path, error = spans.path[order], spans.error[order]
        running = error.cumsum()
        before = (running - error)[np.searchsorted(path, path)]  # the first of each path stands for all
        worst = np.zeros(len(path), dtype=bool)
        worst[order] = running - before > self.tolerance[path] / 2
        return worst

    def _count(self, spans: _Open, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(spans.path, weights, minlength=len(self.tolerance))
