"""Attribution patching: activation patching to first order; of queries and keys also through the softmax."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.components import plural
from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.kinds import KEY, PATTERN, QUERY, RESIDUAL
from benchmark.engine.method import Method
from benchmark.engine.model import Edit, Model, Site, keeping
from benchmark.engine.request import Cost, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch

_READ = (QUERY.name, KEY.name)


@dataclass(frozen=True)
class AttributionPatching(Method):
    """The first-order estimate `(a - r) . grad f`, all components from one backward pass.

    With `qk=softmax` queries and keys are scored as AtP* does (Kramar et al. 2024): the attention pattern that the
    replaced ones make is computed, and the estimate is first-order in the pattern, `(A - A_r) . df/dA`. So a softmax
    that is sure, whose gradient is 0, hides nothing. A key, which every later query sees, is replaced at all its
    positions at once; by position, at one.
    """

    name: ClassVar[str] = "attribution-patching"
    summary: ClassVar[str] = "first-order estimate of activation patching, one backward pass for all components"
    citation: ClassVar[str] = "nanda2023; syed2023; kramar2024"
    by_position: ClassVar[bool] = True
    qk: Literal["gradient", "softmax"] = "gradient"

    @property
    def options(self) -> dict[str, Any]:
        """None where all is scored by the gradient: cells from before there was a choice keep their keys."""
        return {} if self.qk == "gradient" else super().options

    def check(self, kinds: Sequence[str], replacement: str, direction: str) -> None:
        super().check(kinds, replacement, direction)
        if self.qk == "softmax" and (others := [kind for kind in kinds if kind not in _READ]):
            raise BenchmarkError(
                f"{self.label}: AtP* scores queries and keys anew and leaves {plural(others[0])} as attribution "
                f"patching has them. Ask for the kinds query and key, and run {self.name} for the others."
            )

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        intervention = Intervention(model, batch, request)
        if self.qk == "gradient":
            return intervention.stacked(intervention.integrate([intervention.sites], AT_ONE))
        model.refuse((PATTERN.name, RESIDUAL.name))
        every = torch.arange(len(batch), device=model.device)
        parts = [_through_softmax(intervention, pairs) for (pairs,) in intervention.split([every])]
        return intervention.stacked({site: torch.cat([part[site] for part in parts]) for site in intervention.sites})

    def cost(self, model: Model, request: Request) -> Cost | None:
        if self.qk == "gradient":
            return Cost(forward=3, backward=1)
        if request.by_position and KEY.name in request.kinds:
            return None  # a forward a position
        return Cost(forward=4 + len(request.kinds), backward=1)


def _through_softmax(run: Intervention, pairs: Int[Tensor, " row"]) -> dict[Site, Float[Tensor, "row component *pos"]]:
    """`(A - A_r) . df/dA` of all queries and keys of these pairs: A the patterns, A_r those that replaced ones make."""
    slopes = run.gradients(run.model.sites([PATTERN.name]), pairs)
    base = _patterns(run, pairs, {}, slice(None))
    found: dict[Site, Tensor] = {}
    for kind in run.kinds:
        sites = [site for site in run.sites if site.kind == kind]
        changed = {site: run.changed(site)[pairs].any(2).any(0) for site in sites}  # [pos]
        one_by_one = kind == KEY.name and run.request.by_position
        places = [slice(at, at + 1) for at in range(run.tokens.shape[1])] if one_by_one else [slice(None)]
        scores: dict[Site, list[Tensor]] = {site: [] for site in sites}
        for place in places:
            moving = {site: run.replacement[site][pairs] for site in sites if changed[site][place].any()}
            patterns = _patterns(run, pairs, moving, place) if moving else base
            for site in sites:
                pattern = Site(PATTERN.name, site.layer)
                by_head = ((base[pattern] - patterns[pattern]) * slopes[pattern]).sum(-1)  # [row, query, head]
                if kind == KEY.name or not run.request.by_position:
                    by_head = by_head.sum(1, keepdim=True)
                shared = by_head.reshape(*by_head.shape[:2], run.model.size(kind), -1).sum(-1)  # heads may share a key
                scores[site].append(run.sign * shared)
        for site in sites:
            joined = torch.cat(scores[site], 1)  # [row, pos or 1, component]
            found[site] = joined.transpose(1, 2) if run.request.by_position else joined[:, 0]
    return found


@torch.no_grad()
def _patterns(
    run: Intervention, pairs: Int[Tensor, " row"], moved: Mapping[Site, Tensor], place: slice
) -> dict[Site, Float[Tensor, "row query head key"]]:
    """The attention patterns of every layer while activations of these sites are replaced at one place, or at all.

    Every block gets what it gets unpatched, so that one forward shows what each layer makes of its own.
    """

    def put(live: Tensor, value: Tensor) -> Tensor:
        live = live.clone()
        live[:, place] = value[:, place]
        return live

    kept: dict[Site, Tensor] = {}
    edits: dict[Site, Edit] = {site: partial(put, value=value) for site, value in moved.items()}
    for layer, entering in enumerate(run.recording.residuals):
        edits[Site(RESIDUAL.name, layer)] = partial(_entering, value=entering[pairs][:, :, None])
    run.model.run(run.recording.tokens[pairs], edits | keeping(kept, run.model.sites([PATTERN.name])))
    run.request.progress(len(pairs))
    return kept


def _entering(live: Tensor, value: Tensor) -> Tensor:
    return value
