"""Slopes by some of the ways that an effect takes: past a layer, straight to the logits, or along with the inputs."""

from collections.abc import Collection, Mapping
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.engine.backward import backward_rules, frozen_norms
from benchmark.engine.integrals import Inputs
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Site
from benchmark.errors import BenchmarkError

_STREAM = ("residual", "attention", "mlp")  # the residual stream, and what blocks add to it


def conductances(run: Intervention, steps: int) -> dict[Site, Float[Tensor, "pair component *pos"]]:
    """Integral of `gradient . d activation` at the sites while the embeddings move from corrupted to clean.

    By the trapezoid rule over so many equal steps: `sum (g + g') / 2 . (x' - x)`, with `x` and `g` the activation
    and the gradient at one end of a step, `x'` and `g'` at the other.
    """
    inputs = Inputs(run)
    totals = run.zeros(run.sites)
    at = torch.linspace(0, 1, steps + 1).to(run.full)
    for (pairs,) in run.split([torch.arange(len(run.batch), device=run.model.device)]):
        last: dict[Site, list[Tensor]] = {}
        for nodes in torch.split(at, max(1, run.room() // len(pairs))):
            rows = pairs.repeat(len(nodes)), nodes.repeat_interleave(len(pairs))
            _, found = inputs.between(*rows)
            for site in run.sites:
                seen = found[site]
                x, g = (part.reshape(len(nodes), len(pairs), *part.shape[1:]) for part in seen)
                if site in last:
                    x, g = (torch.cat([one, part]) for one, part in zip(last[site], (x, g), strict=True))
                last[site] = [x[-1:], g[-1:]]
                sums = ((g[1:] + g[:-1]) / 2 * (x[1:] - x[:-1])).sum((0, -1))  # [pair, pos, component]
                totals[site][pairs] += sums.transpose(1, 2) if run.request.by_position else sums.sum(1)
    return totals


def sizes_past_layers(run: Intervention) -> dict[Site, Float[Tensor, "pair component *pos"]]:
    """`sum |dF/dm|` at m = 1 over layers: each time with no gradient through what one layer writes.

    One forward serves them all, and what it computes is what it always does. Raises BenchmarkError where it isn't
    known what a layer writes.
    """
    run.model.refuse(_STREAM)
    written = {site: site.layer for site in run.model.sites(("attention", "mlp"))}
    totals, stream = run.zeros(run.sites), run.model.sites(("residual",))
    for (pairs,) in run.split([torch.arange(len(run.batch), device=run.model.device)]):
        leaves: dict[Site, Tensor] = {}
        dropped: list[int] = []

        def gate(live: Tensor, site: Site, dropped: list[int] = dropped) -> Tensor:
            if live.requires_grad:
                unless = partial(_unless, dropped, site.layer)
                live.register_hook(unless)  # type: ignore[no-untyped-call]
            return live

        edits = run.watching([*run.sites, *stream], leaves, {}) | {site: partial(gate, site=site) for site in written}
        metric, work = run.forward(pairs, [0] * len(pairs), edits, None, True, run.prefix)
        for layer in range(run.model.n_layers):
            dropped[:] = [layer]
            gradients = run.model.gradients(metric, leaves, again=True)
            run.request.progress(work)
            passing = [gradients.pop(site) for site in stream][layer : layer + 2]
            _refuse_other_writers(run, *passing)
            for site, slope in _base_slopes(run, pairs, gradients).items():
                totals[site][pairs] += slope.abs()
    return totals


def direct_slopes(run: Intervention) -> dict[Site, Float[Tensor, "pair component *pos"]]:
    """dF/dm at m = 1 through the residual stream alone: no layer reads what moves, and norms keep their scale.

    Raises BenchmarkError where it isn't known what layers write, or what comes behind them.
    """
    run.model.refuse(_STREAM)
    totals, ends = run.zeros(run.sites), run.model.sites(("residual",))[:: run.model.n_layers]
    cut, hooks, rules = run.model.sites(run.model.passages), run.model.end_at_the_norm(), frozen_norms(run.model)
    for (pairs,) in run.split([torch.arange(len(run.batch), device=run.model.device)]):
        leaves: dict[Site, Tensor] = {}
        edits = run.watching([*run.sites, *ends], leaves, {}, cut)
        with backward_rules(run.model, rules):
            _, gradients = run.metric(pairs, [0] * len(pairs), edits, None, leaves, run.prefix, hooks)
        _refuse_other_writers(run, *(gradients[end] for end in ends))
        for site, slope in _base_slopes(run, pairs, {site: gradients[site] for site in run.sites}).items():
            totals[site][pairs] = run.sign * slope
    return totals


def _refuse_other_writers(run: Intervention, below: Tensor, above: Tensor) -> None:
    """Raise BenchmarkError where gradients change on their way down the stream, all known writers being closed."""
    if not torch.allclose(below, above, rtol=1e-3, atol=1e-3 * float(above.abs().max())):
        raise BenchmarkError(
            f"In {run.model.name!r} something writes to the residual stream beside attention and MLPs, so which "
            "way an effect takes isn't known. Use attribution-patching."
        )


def _base_slopes(run: Intervention, pairs: Int[Tensor, " row"], gradients: Mapping[Site, Tensor]) -> dict[Site, Tensor]:
    """dF/dm of these pairs, from gradients at the activations of the base run."""
    return {
        site: run.slope(site, run.live[site][pairs, -gradient.shape[1] :], pairs, gradient)
        for site, gradient in gradients.items()
    }


def _unless(dropped: Collection[int], layer: int, gradient: Tensor) -> Tensor:
    """The gradient; zeros where the layer is dropped."""
    return torch.zeros_like(gradient) if layer in dropped else gradient
