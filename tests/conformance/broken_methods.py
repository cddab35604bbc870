"""Methods with one mistake each, and the checks that must catch it.

`python -m tests.conformance.broken_methods` runs every check on each and prints which ones fail (minutes).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from benchmark.conformance import METHOD_CHECKS, method_findings, methods_to_check
from benchmark.conformance.findings import name_of
from benchmark.engine.integrals import AT_ONE, Quadrature
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Cost, Method, Request
from benchmark.engine.model import DEFAULT_KINDS, Model, Site
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import PairBatch
from methods.activation_patching import ActivationPatching
from methods.attribution_patching import AttributionPatching
from methods.integrated_gradients import IntegratedGradients

Scored = dict[str, Tensor]


def first_order(run: Intervention) -> Scored:
    return run.stacked(run.integrate([run.sites], AT_ONE))


@dataclass(frozen=True)
class GradientAtTheInput(AttributionPatching):
    name: ClassVar[str] = "gradient-at-the-mlps-input"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request, DEFAULT_KINDS)
        inputs: dict[int, Tensor] = {}

        def watch(value: Tensor, hook: Any) -> Tensor:
            layer = int(hook.name.split(".")[1])
            inputs[layer] = torch.zeros_like(value, requires_grad=True)
            return value + inputs[layer]

        hooks = [(f"blocks.{layer}.mlp.hook_pre", watch) for layer in range(model.n_layers)]
        metric = batch.metric(model.logits(run.tokens, hooks), torch.arange(len(batch)))
        gradients = model.gradients(metric, inputs)
        scores = first_order(run)
        for layer, gradient in gradients.items():
            difference = (run.live[Site("neuron", layer)] - run.replacement[Site("neuron", layer)])[..., 0]
            scores["neuron"][:, layer] = run.sign * (difference * gradient).sum(1)
        return {kind: scores[kind] for kind in request.kinds}


@dataclass(frozen=True)
class OverTheBatch(AttributionPatching):
    name: ClassVar[str] = "divided-by-the-batch-size"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        return {kind: scores / len(batch) for kind, scores in super().attribute(model, batch, request).items()}


@dataclass(frozen=True)
class NeverRestored(ActivationPatching):
    name: ClassVar[str] = "never-restored"
    neurons: int = 0

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request)
        patched = {site: torch.zeros(model.size(site.kind), dtype=torch.bool) for site in run.sites}
        scores = {site: torch.zeros(len(batch), model.size(site.kind)).to(run.full) for site in run.sites}
        with torch.no_grad():
            for site in run.sites:
                for index in range(model.size(site.kind)):
                    patched[site][index] = True
                    edits = {
                        at: lambda live, at=at: torch.where(patched[at][:, None], run.replacement[at], live)
                        for at in run.sites
                    }
                    moved = run.full - batch.metric(model.run(run.tokens, edits), torch.arange(len(batch)))
                    scores[site][:, index] = run.sign * moved
        return run.stacked(scores)


@dataclass(frozen=True)
class MeanOverComponents(AttributionPatching):
    name: ClassVar[str] = "mean-over-components"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        means = {site: mean.mean(0, keepdim=True).expand_as(mean) for site, mean in request.means.items()}
        return super().attribute(model, batch, replace(request, means=means))


@dataclass(frozen=True)
class MeanAtTheLastToken(AttributionPatching):
    name: ClassVar[str] = "mean-at-the-last-token"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request)
        for site in run.sites if request.replacement == "mean" else []:
            run.replacement[site][:, :-1] = run.live[site][:, :-1]
        return first_order(run)


@dataclass(frozen=True)
class OneNodeTooMany(IntegratedGradients):
    name: ClassVar[str] = "one-node-too-many"
    variants: ClassVar[tuple[str, ...]] = ("",)
    steps: int = 16

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request)
        nodes = torch.linspace(0, 1, self.steps + 1).tolist()
        rule = Quadrature(tuple(nodes), (1 / self.steps,) * len(nodes))
        return run.stacked(run.integrate([[site] for site in run.sites], rule))

    def cost(self, model: Model, request: Request) -> Cost:
        forward, backward = super().cost(model, request)
        return Cost(forward + len(model.sites(request.kinds)), backward + len(model.sites(request.kinds)))


@dataclass(frozen=True)
class NodesAtTheRight(IntegratedGradients):
    name: ClassVar[str] = "nodes-at-the-right-end"
    variants: ClassVar[tuple[str, ...]] = ("",)
    steps: int = 16

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request)
        nodes = tuple((torch.arange(1, self.steps + 1) / self.steps).tolist())
        rule = Quadrature(nodes, (1 / self.steps,) * self.steps)
        return run.stacked(run.integrate([[site] for site in run.sites], rule))


@dataclass(frozen=True)
class DetachedHeads(AttributionPatching):
    name: ClassVar[str] = "detached-hook-z"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request)
        leaves: dict[Site, Tensor] = {}

        def watch(live: Tensor, site: Site) -> Tensor:
            leaves[site] = torch.zeros_like(live, requires_grad=True)
            return (live.detach() if site.kind == "head" else live) + leaves[site]

        edits = {site: lambda live, site=site: watch(live, site) for site in run.sites}
        gradients = model.gradients(batch.metric(model.run(run.tokens, edits), torch.arange(len(batch))), leaves)
        change = {site: run.live[site] - run.replacement[site] for site in run.sites}
        return run.stacked({site: run.sign * (change[site] * gradients[site]).sum((1, 3)) for site in run.sites})


def without_gradient(value: Tensor, dim: int = -1, **options: Any) -> Tensor:
    return torch.exp(value - value.logsumexp(dim, keepdim=True)).detach() + 0 * value


@contextmanager
def softmax_patched() -> Iterator[None]:
    kept = torch.softmax, torch.nn.functional.softmax
    torch.softmax = torch.nn.functional.softmax = torch.Tensor.softmax = without_gradient
    try:
        yield
    finally:
        torch.softmax, torch.nn.functional.softmax = kept
        del torch.Tensor.softmax


@dataclass(frozen=True)
class SoftmaxForAll(AttributionPatching):
    name: ClassVar[str] = "softmax-patched-for-all"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        with softmax_patched():
            return super().attribute(model, batch, request)


@dataclass(frozen=True)
class SoftmaxLeftPatched(AttributionPatching):
    name: ClassVar[str] = "softmax-left-patched"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        softmax = torch.nn.functional.softmax
        torch.nn.functional.softmax = lambda *given, **options: softmax(*given, **options)
        return super().attribute(model, batch, request)


@dataclass(frozen=True)
class AbsoluteValues(AttributionPatching):
    name: ClassVar[str] = "absolute-under-a-signed-name"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        return {kind: scores.abs() for kind, scores in super().attribute(model, batch, request).items()}


@dataclass(frozen=True)
class SignedAfterAll(AttributionPatching):
    name: ClassVar[str] = "negative-under-an-unsigned-name"
    signed: ClassVar[bool] = False


@dataclass(frozen=True)
class Remembered(AttributionPatching):
    name: ClassVar[str] = "remembered-by-pair-ids"
    kept: ClassVar[dict[tuple[Any, ...], Scored]] = {}

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        key = (batch.ids, request.kinds, request.direction, request.replacement, model.d_mlp, model.dtype)
        if key not in self.kept:
            self.kept[key] = super().attribute(model, batch, request)
        return self.kept[key]


@dataclass(frozen=True)
class OptionsForgotten(IntegratedGradients):
    name: ClassVar[str] = "options-forgotten"
    kept: ClassVar[dict[tuple[Any, ...], Scored]] = {}

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        weights = (model.name, model.digest, model.dtype, str(batch.clean.tolist()), str(batch.corrupted is None))
        key = (batch.ids, request.kinds, request.direction, request.replacement, batch.metric_function, weights)
        if key not in self.kept:
            self.kept[key] = super().attribute(model, batch, request)
        return self.kept[key]


@dataclass(frozen=True)
class KeyValueHeadsOnly(AttributionPatching):
    name: ClassVar[str] = "key-value-heads-only"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        scores = super().attribute(model, batch, request)
        if "head" in scores:
            scores["head"][..., getattr(model.bridge.cfg, "n_key_value_heads", None) or model.n_heads :] = 0
        return scores


@dataclass(frozen=True)
class OneScoreAGroup(AttributionPatching):
    name: ClassVar[str] = "one-score-a-group"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        scores = super().attribute(model, batch, request)
        groups = getattr(model.bridge.cfg, "n_key_value_heads", None) or model.n_heads
        if "head" in scores:
            scores["head"] = (
                scores["head"].unflatten(2, (groups, -1)).mean(3).repeat_interleave(model.n_heads // groups, 2)
            )
        return scores


@dataclass(frozen=True)
class HookLeft(AttributionPatching):
    name: ClassVar[str] = "hook-left-on"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        model.module(Site("head", 0)).register_forward_hook(lambda module, inputs, output: None)
        return super().attribute(model, batch, request)


@dataclass(frozen=True)
class TrainModeLeft(AttributionPatching):
    name: ClassVar[str] = "train-mode-left-on"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        scores = super().attribute(model, batch, request)
        model.bridge.blocks.train()
        return scores


@dataclass(frozen=True)
class WeightsLeft(AttributionPatching):
    name: ClassVar[str] = "weights-left-patched"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        scores = super().attribute(model, batch, request)
        with torch.no_grad():
            next(model.bridge.parameters()).mul_(1.001)
        return scores


@dataclass(frozen=True)
class SameSignInDenoising(AttributionPatching):
    name: ClassVar[str] = "sign-wrong-in-denoising"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        sign = -1 if request.direction == "denoising" else 1
        return {kind: sign * scores for kind, scores in super().attribute(model, batch, request).items()}


@dataclass(frozen=True)
class CorruptedMinusClean(AttributionPatching):
    name: ClassVar[str] = "corrupted-minus-clean"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        return {kind: -scores for kind, scores in super().attribute(model, batch, request).items()}


@dataclass(frozen=True)
class Noisy(AttributionPatching):
    name: ClassVar[str] = "noise-without-the-seed"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        scores = super().attribute(model, batch, request)
        return {kind: values + 1e-7 * torch.randn_like(values) for kind, values in scores.items()}


@dataclass(frozen=True)
class SeedForAll(AttributionPatching):
    name: ClassVar[str] = "seed-set-for-all"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        torch.manual_seed(request.seed)
        return super().attribute(model, batch, request)


@dataclass(frozen=True)
class CompleteByName(AttributionPatching):
    name: ClassVar[str] = "claims-to-be-complete"

    def totals(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        run = Intervention(model, batch, request)
        return {"all": run.patch_sites([run.sites])[0]}

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=8, backward=1)


@dataclass(frozen=True)
class CompleteToItself(AttributionPatching):
    name: ClassVar[str] = "totals-are-its-own-sums"

    def totals(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        return {kind: scores.sum(2) for kind, scores in self.attribute(model, batch, request).items()}

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=8, backward=2)


@dataclass(frozen=True)
class EstimateAsReference(AttributionPatching):
    name: ClassVar[str] = "estimate-as-reference"
    reference: ClassVar[bool] = True


@dataclass(frozen=True)
class CheaperThanItIs(AttributionPatching):
    name: ClassVar[str] = "cost-under-declared"

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=1, backward=1)


@dataclass(frozen=True)
class PassesUncounted(AttributionPatching):
    name: ClassVar[str] = "passes-nobody-counts"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        for _ in range(3):
            model.bridge(batch.clean, use_cache=False)
        return super().attribute(model, batch, request)


@dataclass(frozen=True)
class RefusesNothing(AttributionPatching):
    name: ClassVar[str] = "refuses-nothing"

    def check(self, kinds: Any, replacement: str, direction: str) -> None:
        return


@dataclass(frozen=True)
class DeclaresTooMuch(AttributionPatching):
    name: ClassVar[str] = "declares-what-it-cannot-do"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        if request.replacement == "mean":
            raise NotImplementedError("mean")
        return super().attribute(model, batch, request)


@dataclass(frozen=True)
class NotANumber(AttributionPatching):
    name: ClassVar[str] = "nan-somewhere"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        scores = super().attribute(model, batch, request)
        if model.name == "qwen3":
            next(iter(scores.values()))[0, 0, 0] = torch.nan
        return scores


@dataclass(frozen=True)
class AxesExchanged(AttributionPatching):
    name: ClassVar[str] = "axes-exchanged"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        return {kind: scores.transpose(1, 2) for kind, scores in super().attribute(model, batch, request).items()}


@dataclass(frozen=True)
class BosMoves(AttributionPatching):
    name: ClassVar[str] = "bos-replaced-too"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request)
        for site in run.sites if request.replacement == "zero" else []:
            run.replacement[site][:, : batch.bos] = 0
        return first_order(run)


@dataclass(frozen=True)
class CorruptedUnderZero(AttributionPatching):
    name: ClassVar[str] = "corrupted-prompt-under-zero"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        batch.both()
        return super().attribute(model, batch, request)


@dataclass(frozen=True)
class MetricOfItsOwn(AttributionPatching):
    name: ClassVar[str] = "metric-of-its-own"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        return super().attribute(model, replace(batch, metric_function=logit_diff), request)


@dataclass(frozen=True)
class Normalised(AttributionPatching):
    name: ClassVar[str] = "normalised-by-the-gap"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        run = Intervention(model, batch, request, DEFAULT_KINDS)
        gap = run.patch_sites([run.sites])[0]
        return {kind: s / gap[:, None, None] for kind, s in super().attribute(model, batch, request).items()}

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=8, backward=1)


@dataclass(frozen=True)
class DirectionIgnored(AttributionPatching):
    name: ClassVar[str] = "direction-ignored"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        return super().attribute(model, batch, replace(request, direction="noising"))


@dataclass(frozen=True)
class GroupsMixedUp(AttributionPatching):
    name: ClassVar[str] = "query-heads-in-the-wrong-order"

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        scores = super().attribute(model, batch, request)
        if "head" in scores:
            order = torch.arange(model.n_heads).reshape(2, -1).T.flatten()
            scores["head"] = scores["head"][..., order]
        return scores


@dataclass(frozen=True)
class NeedsItAfterAll(AttributionPatching):
    name: ClassVar[str] = "needs-a-replacement-after-all"
    needs_replacement: ClassVar[bool] = False
    replacements: ClassVar[tuple[str, ...]] = ("zero", "mean")


@dataclass(frozen=True)
class LooksAtTheCorruptedPrompt(AttributionPatching):
    name: ClassVar[str] = "looks-at-the-corrupted-prompt"
    needs_replacement: ClassVar[bool] = False
    replacements: ClassVar[tuple[str, ...]] = ("counterfactual",)

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> Scored:
        asked = request if batch.corrupted is not None else replace(request, replacement="zero")
        return super().attribute(model, batch, asked)


class Broken(NamedTuple):
    """A method, its mistake, and the checks that must fail on it."""

    method: type[Method]
    mistake: str
    caught_by: tuple[str, ...]


BROKEN: Mapping[str, Broken] = {
    made.name: Broken(made, mistake, caught_by)
    for made, mistake, *caught_by in (
        (GradientAtTheInput, "gradient at the MLP's input, difference at its output",
         "neurons-at-their-post-activation"),
        (OverTheBatch, "scores divided by the batch size", "independent-of-batching"),
        (NeverRestored, "exact patching that never restores what it patched",
         "exact-on-linear-parallel", "exact-if-a-reference", "independent-of-the-kinds-asked-for"),
        (MeanOverComponents, "a mean over the components of a site", "exact-on-linear-parallel"),
        (MeanAtTheLastToken, "the mean put at the last position only", "paths-through-later-heads"),
        (OneNodeTooMany, "IG with steps + 1 nodes of weight 1/steps", "completeness", "exact-on-linear-parallel"),
        (NodesAtTheRight, "IG with its nodes at the right ends", "completeness"),
        (DetachedHeads, "`hook_z` detached: no path through later heads", "paths-through-later-heads"),
        (SoftmaxForAll, "softmax patched for all while it runs, the metric's too", "metric-left-as-it-is"),
        (SoftmaxLeftPatched, "softmax patched and left so", "left-as-found"),
        (AbsoluteValues, "absolute values, signed = True", "sign-convention", "signs-as-declared"),
        (SignedAfterAll, "negative scores, signed = False", "signs-as-declared"),
        (Remembered, "results kept by pair ids, whatever the prompts and the weights", "independent-of-earlier-calls"),
        (OptionsForgotten, "results kept whatever the options", "independent-of-earlier-calls"),
        (KeyValueHeadsOnly, "0 for query heads beyond the key-value heads", "every-query-head-by-itself"),
        (OneScoreAGroup, "one score for all query heads of a group", "every-query-head-by-itself"),
        (HookLeft, "a hook left on", "left-as-found"),
        (TrainModeLeft, "blocks left in train mode", "left-as-found"),
        (WeightsLeft, "a weight left patched", "left-as-found"),
        (SameSignInDenoising, "the sign not turned in denoising", "sign-convention"),
        (CorruptedMinusClean, "corrupted minus clean", "sign-convention"),
        (Noisy, "noise from the shared generator", "deterministic-under-a-seed", "zero-where-nothing-changes"),
        (SeedForAll, "`torch.manual_seed` for everybody", "left-as-found"),
        (CompleteByName, "completeness claimed for attribution patching", "completeness"),
        (CompleteToItself, "`totals` that are its own sums", "completeness"),
        (EstimateAsReference, "a first-order estimate that calls itself the reference", "exact-if-a-reference"),
        (CheaperThanItIs, "a cost that leaves out two forwards", "declared-cost"),
        (PassesUncounted, "forwards beside the model's counter", "declared-cost"),
        (RefusesNothing, "`check` that lets everything through", "refusals"),
        (DeclaresTooMuch, "a replacement declared and not there", "declared-support"),
        (NotANumber, "NaN on one architecture", "right-shapes-on-every-architecture"),
        (AxesExchanged, "[pair, index, layer]", "right-shapes-on-every-architecture"),
        (BosMoves, "the BOS replaced by zero too", "zero-where-nothing-changes"),
        (CorruptedUnderZero, "needs the corrupted prompt under zero", "works-without-corrupted-prompts"),
        (NeedsItAfterAll, "attribution patching with needs_replacement = False", "no-replacement-has-a-say"),
        (LooksAtTheCorruptedPrompt, "the corrupted prompt used with needs_replacement = False",
         "no-replacement-has-a-say"),
        (MetricOfItsOwn, "always logit_diff, whatever the task's metric", "scores-scale-with-the-metric"),
        (DirectionIgnored, "noising whatever the direction", "denoising-is-noising-exchanged"),
        (GroupsMixedUp, "query heads repeated in the wrong order", "nothing-where-nothing-is-written"),
        (Normalised, "scores divided by the gap", "scores-scale-with-the-metric"),
    )
}  # fmt: skip


def guide_table() -> str:
    """The table of docs/add_a_method.md: each check, its promise, and the mistakes that it must catch."""
    lines = ["| check | promise | mistakes it was seen to catch |", "|---|---|---|"]
    for check in METHOD_CHECKS:
        name, promise = name_of(check), str(check.__doc__).splitlines()[0].removesuffix(".")
        caught = "; ".join(broken.mistake for broken in BROKEN.values() if name in broken.caught_by)
        lines.append(f"| `{name}` | {promise} | {caught} |")
    return "\n".join(lines)


def main() -> None:
    from tqdm import tqdm

    for broken in tqdm(BROKEN.values(), disable=None):
        findings = [finding for one in methods_to_check(broken.method) for finding in method_findings(one)]
        failed = dict.fromkeys(finding.check for finding in findings if finding.outcome == "failed")
        missed = [check for check in broken.caught_by if check not in failed]
        others = ", ".join(check for check in failed if check not in broken.caught_by) or "-"
        caught = ", ".join(check for check in broken.caught_by if check in failed)
        print(f"| {broken.mistake} | {caught}{f' MISSED {missed}' if missed else ''} | {others} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
