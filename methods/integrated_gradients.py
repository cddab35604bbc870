"""Integrated gradients along four paths."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS
from benchmark.engine.intervention import Intervention, Quadrature, mean_share, spread
from benchmark.engine.method import Method
from benchmark.engine.model import Model, Site
from benchmark.engine.moving import present
from benchmark.engine.request import Cost, Design, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """`(a - r) . mean gradient` while activations move from the replacement (the *baseline*) to where they are.

    What moves is the `path`: the `component` alone (equals activation patching), its whole `site` (sums to the patch of
    the whole site), all heads and neurons `joint`ly, or all features of a kind (sums to F(1) - F(0)), or the `input`
    embeddings from corrupted to clean (EAP-IG's "inputs": counterfactual only, the same in both directions, complete to
    nothing). The integral is a Gauss-Legendre sum over `steps` nodes, or with `rule=left` the mean over m = 1,
    1 - 1/steps, ..., as in Marks et al. 2024: then it is complete only as steps grow.
    """

    name: ClassVar[str] = "integrated-gradients"
    summary: ClassVar[str] = "gradients averaged along a path from the replacement to the activation"
    citation: ClassVar[str] = "sundararajan2017; hanna2024"
    quadrature: ClassVar[str] = "gauss-legendre"
    by_position: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ("", "path=component", "path=joint", "path=input")
    steps: int = 16
    path: Literal["component", "site", "joint", "input"] = "site"
    rule: Literal["gauss-legendre", "left"] = "gauss-legendre"

    @property
    def options(self) -> dict[str, Any]:
        """All of them, but for a rule that is the usual one: cells from before there was a choice keep their keys."""
        return {name: value for name, value in super().options.items() if (name, value) != ("rule", "gauss-legendre")}

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise BenchmarkError(f"{self.name}: steps={self.steps}; at least 1 is needed.")

    def check(self, kinds, replacement, direction) -> None:  # type: ignore[no-untyped-def]
        super().check(kinds, replacement, direction)
        others = sorted(set(kinds) - set(DEFAULT_KINDS))
        if self.path == "joint" and others and not set(kinds) <= set(FEATURE_KINDS):
            raise BenchmarkError(
                f"Method {self.label!r} moves heads and neurons together, or features, so it can't do component kind "
                f"{others[0]!r} here. Choose another path, or run features by themselves."
            )
        if self.path == "input" and replacement != "counterfactual":
            raise BenchmarkError(
                f"Method {self.label!r} moves the inputs from the corrupted to the clean prompt, so its replacement is "
                f"'counterfactual', not {replacement!r}. Choose another path, or leave the replacement as it is."
            )

    def design(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Design]:
        """On the joint path, features that move in no pair may come to life while those below them move."""
        designs = super().design(model, pairs, request)
        if self.path == "joint":
            designs |= {kind: Design(present(model, kind)) for kind in designs if kind in FEATURE_KINDS}
        return designs

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        rule = Quadrature.left(self.steps) if self.rule == "left" else Quadrature.gauss_legendre(self.steps)
        intervention = self._run(model, batch, request)
        sites = intervention.sites
        if self.path == "component":
            chosen = {s: request.design[s.kind].measured[s.layer].nonzero().flatten() for s in sites}
            scores = {
                site: spread(values, chosen[site], model.size(site.kind))
                for site, values in intervention.integrate_alone(chosen, rule).items()
            }
        elif self.path == "site":
            scores = intervention.integrate([[site] for site in sites], rule)
        elif self.path == "joint":
            scores = intervention.integrate(_together(intervention), rule)
        else:
            scores = intervention.integrate_inputs(rule)
        return intervention.stacked(scores)

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
        return super().work(model, batch, request) * (mean_share(model, batch, request) if by_site else 1)

    def cost(self, model: Model, request: Request) -> Cost:
        sites, kinds = len(model.sites(request.kinds)), len(request.kinds)
        components = sum(model.layers(kind) * model.size(kind) for kind in request.kinds)
        forward, backward = {
            "component": (2, components * self.steps),
            "site": (2 + sites, sites * self.steps),
            "joint": (3, self.steps) if request.kinds[0] in DEFAULT_KINDS else (2 + kinds, kinds * self.steps),
            "input": (4, self.steps),
        }[self.path]
        return Cost(forward + backward, backward)


def _together(intervention: Intervention) -> list[list[Site]]:
    """What moves as one on the joint path: all heads and neurons, or a kind's features."""
    if intervention.sites[0].kind in DEFAULT_KINDS:
        return [intervention.sites]
    kinds = dict.fromkeys(site.kind for site in intervention.sites)
    return [[site for site in intervention.sites if site.kind == kind] for kind in kinds]
