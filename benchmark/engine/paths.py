"""Path patching: what one component does to another's query, key or value along the direct path between them.

It takes two runs of the base prompt. In the first, the sender's activation is replaced, and every attention output and
MLP output between it and the receiver is held at what it is unpatched: what then stands at the receiver has changed by
the direct path alone. In the second, that is put there, and nothing is held. The effect is the change of the metric.
The model's own modules make every step, whatever its norms and its layout.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.components import component_name
from benchmark.engine.intervention import Intervention
from benchmark.engine.kinds import ATTENTION, HEAD, MLP, NEURON, RESIDUAL
from benchmark.engine.model import Edit, Model, Site, keeping
from benchmark.engine.moves import Move
from benchmark.engine.replay import resume
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch

SENDERS = (HEAD.name, NEURON.name, ATTENTION.name, MLP.name)
LOGITS = "logits"


@dataclass(frozen=True)
class Node:
    """One end of a path: a component. The residual stream behind the last layer stands for the logits."""

    kind: str
    layer: int
    index: int = 0

    @property
    def site(self) -> Site:
        return Site(self.kind, self.layer)

    @property
    def name(self) -> str:
        return LOGITS if self.kind == RESIDUAL.name else component_name(self.kind, self.layer, self.index)


class Paths(Intervention):
    """F on one batch under path patches, from senders to receivers.

    Attention and MLP outputs are held; what is held above a receiver doesn't reach it, so that all receivers are read
    in one run of a sender. With `through="mlps"` the MLPs in between are computed again. Raises BenchmarkError where
    the model lacks a kind that is sent or held.
    """

    def __init__(self, model: Model, batch: PairBatch, request: Request, through: str | None = None) -> None:
        if bad := [kind for kind in request.kinds if kind not in SENDERS]:
            raise BenchmarkError(f"{bad[0]!r} can't send along a path; choose {', '.join(SENDERS)}.")
        if through not in (None, "mlps"):
            raise BenchmarkError(f"through is {through!r}; give 'mlps', or nothing for the direct path.")
        held = [ATTENTION.name] if through else [ATTENTION.name, MLP.name]
        model.refuse([*request.kinds, *held])
        super().__init__(model, batch, request)
        self.held = model.activations(self.tokens, model.sites(held))[1]
        request.progress(len(batch))

    @torch.no_grad()
    def effects(self, senders: Sequence[Node], receivers: Sequence[Node]) -> Float[Tensor, "pair sender receiver"]:
        """`sign * (F(base) - F(path patched))`; exactly 0 where the sender doesn't change, or lies not below."""
        found = self._zeros_of(senders, receivers)
        for site in dict.fromkeys(sender.site for sender in senders):
            above = [place for place, receiver in enumerate(receivers) if receiver.layer > site.layer]
            columns = [place for place, sender in enumerate(senders) if sender.site == site]
            column, component = torch.tensor([(place, senders[place].index) for place in columns]).T.to(found.device)
            moving = self.changed(site).any(1)[:, component]
            if not above or not moving.any():
                continue
            for pairs, chosen in self.split(moving.nonzero().unbind(-1)):
                arrived = self._arrived(site, pairs, component[chosen], [receivers[place].site for place in above])
                for place in above:
                    metric = self._with(receivers[place], pairs, arrived[receivers[place].site])
                    found[pairs, column[chosen], place] = self.sign * (self.full[pairs] - metric)
        return found

    def estimates(self, senders: Sequence[Node], receivers: Sequence[Node]) -> Float[Tensor, "pair sender receiver"]:
        """The same to first order: dF/d receiver . d receiver/d sender along the path . (activation - replacement)."""
        found = self._zeros_of(senders, receivers)
        for (pairs,) in self.split((torch.arange(len(self.batch), device=found.device),)):
            outward = self.gradients(list(dict.fromkeys(receiver.site for receiver in receivers)), pairs)
            for place, receiver in enumerate(receivers):
                below = [sender for sender in senders if sender.layer < receiver.layer]
                for kind in dict.fromkeys(sender.kind for sender in below):
                    sites = list(dict.fromkeys(sender.site for sender in below if sender.kind == kind))
                    slopes = self._slopes_along(sites, receiver, pairs, outward[receiver.site][:, :, receiver.index])
                    for number, sender in enumerate(senders):
                        if sender.site in slopes:
                            found[pairs, number, place] = self.sign * slopes[sender.site][:, sender.index]
        return found

    def _zeros_of(self, senders: Sequence[Node], receivers: Sequence[Node]) -> Float[Tensor, "pair sender receiver"]:
        return torch.zeros(len(self.batch), len(senders), len(receivers)).to(self.full)

    def _arrived(
        self, site: Site, pairs: Int[Tensor, " row"], components: Int[Tensor, " row"], receivers: Iterable[Site]
    ) -> dict[Site, Float[Tensor, "row pos component dim"]]:
        """What stands at the receivers while one component a row is replaced, and all in between is held."""
        zeros = torch.zeros(len(pairs)).to(self.full)
        move = Move((site,), self.prefix, pairs, zeros, components, components)
        kept: dict[Site, Tensor] = {}
        edits = {held: partial(_put, value=value[pairs]) for held, value in self.held.items() if _behind(held, site)}
        moved = {site: partial(self._moved, site=site, chunk=[move], keep=None)}
        self._run(pairs, site.layer, edits | moved | keeping(kept, dict.fromkeys(receivers)))
        return kept

    def _with(
        self, receiver: Node, pairs: Int[Tensor, " row"], arrived: Float[Tensor, "row pos component dim"]
    ) -> Float[Tensor, " row"]:
        """F with this at the receiver alone; before the pairs' first difference nothing has changed."""

        def put(live: Tensor) -> Tensor:
            value, last = live.clone(), min(live.shape[1], arrived.shape[1])
            value[:, -last:, receiver.index] = arrived[:, -last:, receiver.index]
            return value

        starts = [self.model.start(receiver.site)] * len(pairs)
        return self.metric(pairs, starts, {receiver.site: put}, None, None, self.prefix)[0]

    def _slopes_along(
        self, sites: Sequence[Site], receiver: Node, pairs: Int[Tensor, " row"], outward: Float[Tensor, "row pos dim"]
    ) -> dict[Site, Float[Tensor, "row component"]]:
        """dF/dm of all components of these sites, of one kind, along the direct path; `outward` is dF/d receiver.

        Gradients stop where an exact patch holds. What the senders themselves add up to, such as the attention output
        of heads, can't be where they stop: there they stop at all senders of the layer.
        """
        leaves: dict[Site, Tensor] = {}
        arrived: list[Tensor] = []
        own = sites[0].kind
        stops = {Site(own if _adds_up_to(own) == kind else kind, layer) for kind, layer in self.held}
        edits: dict[Site, Edit] = {site: Tensor.detach for site in stops if site.layer < receiver.layer}
        for site in sites:
            edits[site] = partial(_sent, site=site, leaves=leaves, stops=site in stops)
        with torch.enable_grad():
            self._run(pairs, min(site.layer for site in sites), {**edits, receiver.site: arrived.append})
            inward = arrived[0][:, :, receiver.index]
            last = min(inward.shape[1], outward.shape[1])
            objective = (inward[:, -last:] * outward[:, -last:]).flatten(1).sum(1)
        found = self.model.gradients(objective, leaves)
        self.request.progress(len(pairs))
        return {
            site: self.slope(site, self.live[site][pairs, -gradient.shape[1] :], pairs, gradient)
            for site, gradient in found.items()
        }

    def _run(self, pairs: Int[Tensor, " row"], start: int, edits: Mapping[Site, Edit]) -> None:
        """Rows of the base run, edited, for the sake of what the edits see."""
        before, reads = self.model.passes.whole_forward, self.batch.metric_function.reads
        starts = [start] * len(pairs)
        resume(self.model, self.recording, pairs, starts, self.prefix, edits, vocabulary=self.vocabulary, reads=reads)
        self.request.progress(self.model.passes.whole_forward - before)


def _adds_up_to(kind: str) -> str:
    """The output that a layer's components of this kind make together."""
    return ATTENTION.name if kind in (HEAD.name, ATTENTION.name) else MLP.name


def _behind(held: Site, sender: Site) -> bool:
    """Whether an output may be changed by a sender, and isn't made of it."""
    return held.layer > sender.layer or (held.layer == sender.layer and held.kind != _adds_up_to(sender.kind))


def _put(live: Tensor, value: Tensor) -> Tensor:
    return value[:, -live.shape[1] :]


def _sent(live: Tensor, site: Site, leaves: dict[Site, Tensor], stops: bool) -> Tensor:
    """A sender's activation with a leaf that takes its gradient."""
    leaves[site] = torch.zeros_like(live, requires_grad=True)
    return (live.detach() if stops else live) + leaves[site]
