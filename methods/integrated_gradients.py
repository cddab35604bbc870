"""Integrated gradients along four paths."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS
from benchmark.engine.integrals import Alone, Inputs, Quadrature, Together, by_rule, converged
from benchmark.engine.intervention import Intervention, mean_share, spread
from benchmark.engine.method import Method
from benchmark.engine.model import Model, Site
from benchmark.engine.moving import present
from benchmark.engine.request import Cost, Design, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs

_NODES = len(Quadrature.gauss_kronrod().nodes)  # an interval
_USUAL = 20  # nodes that a path takes on average, where few are steep


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """`(a - r) . mean gradient` while activations move from the replacement (the *baseline*) to where they are.

    What moves is the `path`: the `component` alone (equals activation patching), its whole `site` (sums to the patch of
    the whole site), all heads and neurons `joint`ly, or all features of a kind (sums to F(1) - F(0)), or the `input`
    embeddings from corrupted to clean (EAP-IG's "inputs": counterfactual or resample only, the same in both directions;
    scores sum to nothing that is known).

    Each path's integral is refined where it is steep, with 15 nodes an interval, until its error is at most `tolerance`
    times the largest of the pair's |gap|, the mean |gap| of all pairs and the path's own |F(1) - F(0)|; at most `nodes`
    are spent on one. With `steps=N` it is a Gauss-Legendre sum over N nodes, or with `rule=left` the mean over
    m = 1, 1 - 1/N, ..., as in Marks et al. 2024.
    """

    name: ClassVar[str] = "integrated-gradients"
    summary: ClassVar[str] = "gradients averaged along a path from the replacement to the activation"
    citation: ClassVar[str] = "sundararajan2017; hanna2024"
    by_position: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ("", "path=component", "path=joint", "path=input")
    steps: int | Literal["adaptive"] = "adaptive"
    path: Literal["component", "site", "joint", "input"] = "site"
    rule: Literal["gauss-legendre", "left"] = "gauss-legendre"
    tolerance: float = 0.01
    nodes: int = 1920

    @property
    def options(self) -> dict[str, Any]:
        """Those that have a say: cells of fixed steps from before there were others keep their keys."""
        silent = {"rule"} if self.rule == "gauss-legendre" else set()
        if self.steps != "adaptive":
            silent |= {"tolerance", "nodes"}
        return {name: value for name, value in super().options.items() if name not in silent}

    @property
    def quadrature(self) -> str:
        return "gauss-kronrod, refined" if self.steps == "adaptive" else self.rule

    def __post_init__(self) -> None:
        if self.steps == "adaptive":
            if self.rule == "left":
                raise BenchmarkError(f"{self.name}: rule=left is a rule of fixed steps; say how many, with steps=N.")
            if not self.tolerance > 0 or self.nodes < _NODES:
                raise BenchmarkError(
                    f"{self.name}: tolerance={self.tolerance}, nodes={self.nodes}; give a tolerance above 0, and at "
                    f"least {_NODES} nodes a path."
                )
        elif self.steps < 1:
            raise BenchmarkError(f"{self.name}: steps={self.steps}; at least 1 is needed, or 'adaptive'.")
        elif (self.tolerance, self.nodes) != (type(self).tolerance, type(self).nodes):
            raise BenchmarkError(
                f"{self.name}: beside steps={self.steps}, tolerance and nodes have no say. Leave them out."
            )

    def check(self, kinds, replacement, direction) -> None:  # type: ignore[no-untyped-def]
        super().check(kinds, replacement, direction)
        others = sorted(set(kinds) - set(DEFAULT_KINDS))
        if self.path == "joint" and others and not set(kinds) <= set(FEATURE_KINDS):
            raise BenchmarkError(
                f"Method {self.label!r} moves heads and neurons together, or features, so it can't do component kind "
                f"{others[0]!r} here. Choose another path, or run features by themselves."
            )
        if self.path == "input" and replacement not in ("counterfactual", "resample"):
            raise BenchmarkError(
                f"Method {self.label!r} moves the inputs from another prompt to the clean one, so its replacement is "
                f"'counterfactual' or 'resample', not {replacement!r}. Choose another path, or one of these."
            )

    def design(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Design]:
        """On the joint path, features that move in no pair may come to life while those below them move."""
        designs = super().design(model, pairs, request)
        if self.path == "joint":
            designs |= {kind: Design(present(model, kind)) for kind in designs if kind in FEATURE_KINDS}
        return designs

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = self._run(model, batch, request)
        paths, chosen = self._paths(run), {}
        if isinstance(paths, Alone):
            chosen = dict(zip((site for (site,) in paths.groups), paths.chosen, strict=True))
        beside = {}
        if self.steps == "adaptive":
            scores, nodes, error, unfinished = converged(paths, self.tolerance, _size(batch, request), self.nodes)
            beside = {"integral_nodes": nodes, "integral_error": error}
            by_site = {site: some for group, some in zip(paths.groups, unfinished, strict=True) for site in group}
            stacked = run.stacked({site: by_site[site].float() for site in run.sites})
            beside |= {f"{kind}.unfinished": values for kind, values in stacked.items()}
        else:
            rule = Quadrature.left if self.rule == "left" else Quadrature.gauss_legendre
            scores = by_rule(paths, rule(self.steps))
        for site, components in chosen.items():
            scores[site] = spread(scores[site], components, model.size(site.kind))
        return run.stacked(scores) | beside

    def _paths(self, run: Intervention) -> Together:
        if self.path == "input":
            return Inputs(run)
        if self.path == "joint":
            return Together(run, _together(run))
        if self.path == "site":
            return Together(run, [[site] for site in run.sites])
        return Alone(run, {s: run.request.design[s.kind].measured[s.layer].nonzero().flatten() for s in run.sites})

    def totals(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        if self.path == "site":
            intervention = self._run(model, batch, request)
            totals = intervention.patch_sites([[site] for site in intervention.sites])
            return intervention.stacked(dict(zip(intervention.sites, totals, strict=True)))
        if self.path == "joint":
            intervention = self._run(model, batch, request)
            return {"all": intervention.patch_sites(_together(intervention)).sum(0)}
        return {}

    def _run(self, model: Model, batch: PairBatch, request: Request) -> Intervention:
        """The batch's run, one for scores and totals; on the joint path all heads and neurons move, whoever asked."""
        both = self.path == "joint" and request.kinds[0] in DEFAULT_KINDS
        return Intervention.of(model, batch, request, DEFAULT_KINDS if both else None)

    def work(self, model: Model, batch: PairBatch, request: Request) -> float:
        by_site = self.path in ("component", "site")
        cost = (replace(self, steps=_USUAL, tolerance=type(self).tolerance, nodes=type(self).nodes)
                if self.steps == "adaptive" else self).cost(model, request)  # fmt: skip
        return float(sum(cost) * len(batch)) * (mean_share(model, batch, request) if by_site else 1)

    def cost(self, model: Model, request: Request) -> Cost:
        sites, kinds = len(model.sites(request.kinds)), len(request.kinds)
        components = sum(model.layers(kind) * model.size(kind) for kind in request.kinds)
        joint = 1 if request.kinds[0] in DEFAULT_KINDS else kinds
        paths = {"component": components, "site": sites, "joint": joint, "input": 1}[self.path]
        apart, totals = {"component": (2, 0), "site": (2, sites), "joint": (2, joint), "input": (4, 0)}[self.path]
        if self.steps != "adaptive":
            return Cost(apart + totals + paths * self.steps, paths * self.steps)
        nodes = self.nodes // _NODES * _NODES
        return Cost(apart + totals + paths * (2 + nodes + nodes // _NODES // 2), paths * nodes)


def _size(batch: PairBatch, request: Request) -> Float[Tensor, " pair"]:
    """What a tolerance is a share of: the pair's |gap|, or the mean |gap| of all pairs where that is larger."""
    if not request.metrics:
        return torch.zeros(len(batch))
    gap = (request.metrics["clean"] - request.metrics["corrupted"]).abs().nan_to_num()
    return torch.maximum(gap[list(batch.index)], gap.mean())


def _together(intervention: Intervention) -> list[list[Site]]:
    """What moves as one on the joint path: all heads and neurons, or a kind's features."""
    if intervention.sites[0].kind in DEFAULT_KINDS:
        return [intervention.sites]
    kinds = dict.fromkeys(site.kind for site in intervention.sites)
    return [[site for site in intervention.sites if site.kind == kind] for kind in kinds]
