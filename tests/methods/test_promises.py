"""Every method keeps its promises: the conformance checks, and what more is asked of the project's own."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from benchmark.components import DEFAULT_KINDS
from benchmark.conformance import METHOD_CHECKS, check_method, method_findings, methods_to_check
from benchmark.conformance.findings import name_of
from benchmark.conformance.trial import Trial
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.running.plugins import discover, load_method
from tests.tiny import PAIRS, tiny_pairs

METHODS = {
    method.label: method
    for made in discover().methods.values()
    if made.variants
    for method in methods_to_check(made.name)
}
OWEN = "shapley:permutations=1:of=sites"
METHODS[OWEN] = load_method("shapley", permutations=1, of="sites")
SLOW = {(OWEN, "independent-of-earlier-calls")}  # 10 s, of code that it shares with shapley
FEW = PAIRS[:3]  # the second one is shorter than the others


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]


def test_every_method_has_variants_but_the_one_that_computes_nothing() -> None:
    assert {label.split(":")[0] for label in METHODS} == set(discover().methods) - {"external"}


@pytest.mark.parametrize(
    ("check", "label"),
    [
        pytest.param(check, label, id=f"{name_of(check)}-{label}")
        for check in METHOD_CHECKS
        for label in METHODS
        if (label, name_of(check)) not in SLOW
    ],
)
def test_every_method_passes_the_conformance_checks(check: Callable[[Trial], None], label: str) -> None:
    method = METHODS[label]
    [finding] = method_findings(method, [check])
    assert finding.outcome != "failed", finding
    if method.signed and method.metric_units and method.needs_replacement:
        may_skip = {
            "completeness", "exact-if-a-reference", "works-without-corrupted-prompts", "no-replacement-has-a-say",
            *(["paths-through-later-heads"] * (not method.indirect)),
        }  # fmt: skip
        assert finding.outcome == "passed" or finding.check in may_skip


def test_attn_lrp_passes_checks_that_tell_backward_rules_from_other_changes() -> None:
    """It is no variant: litmus marks it as it marks gim, and all checks of it cost seconds."""
    checks = ["left-as-found", "metric-left-as-it-is", "zero-where-nothing-changes", "sign-convention"]
    assert {one.outcome for one in check_method("propagation:rules=attn-lrp", checks)} == {"passed"}


def test_hooks_are_gone_even_after_a_failure(llama: Model) -> None:
    batch = next(tiny_pairs(llama).batches())
    site = llama.sites(["head"])[0]

    def broken(value: torch.Tensor) -> torch.Tensor:
        raise ValueError("in the middle of a forward")

    with pytest.raises(ValueError, match="in the middle"):
        llama.run(batch.clean, {site: broken})
    llama.run(batch.clean)


def test_declared_costs_are_nearly_reached_and_counted(llama: Model, method: Method) -> None:
    if "refined" in (method.quadrature or ""):  # a few nodes are declared for each path, and smooth ones take fewer
        method = replace(method, nodes=15)  # type: ignore[call-arg]
    pairs = tiny_pairs(llama, FEW)
    for kinds in (("head",), DEFAULT_KINDS):
        counted = method.scores(llama, pairs, kinds)[kinds[0]].provenance["passes"]
        declared = method.cost(llama, Request(kinds))
        assert declared.forward * len(pairs) * 0.8 <= counted["forward"] <= declared.forward * len(pairs)
        assert counted["backward"] == declared.backward * len(pairs)


def test_progress_comes_to_about_the_planned_work(deep_llama: Model, method: Method) -> None:
    pairs, passes = tiny_pairs(deep_llama, FEW), []
    request = Request(("head",))
    planned = sum(method.work(deep_llama, batch, request) for batch in pairs.batches())
    method.scores(deep_llama, pairs, ("head",), progress=passes.append)
    assert sum(passes) <= 1.1 * planned
    if planned > 10 * len(pairs):  # else the bookkeeping is all there is
        assert sum(passes) >= 0.6 * planned


def test_all_components_are_measured_in_the_order_of_the_pairs(llama: Model, method: Method) -> None:
    pairs = tiny_pairs(llama, FEW)
    for kind, scores in method.scores(llama, pairs, DEFAULT_KINDS).items():
        assert scores.values.dtype == torch.float32
        assert scores.pair_ids == pairs.ids
        assert scores.measured.all(), kind


def test_scores_and_metrics_come_in_the_order_of_the_pairs_though_they_run_by_length(llama: Model) -> None:
    pairs = tiny_pairs(llama)
    lengths = [len(pair.clean) for pair in pairs.pairs]
    assert lengths != sorted(lengths)
    together = load_method("attribution-patching").scores(llama, pairs, ("head",))["head"]
    for place in range(len(pairs)):
        alone = load_method("attribution-patching").scores(llama, pairs.take([place]), ("head",))["head"]
        torch.testing.assert_close(together.values[place], alone.values[0])
        assert together.clean_metric[place].item() == pytest.approx(alone.clean_metric[0].item())
        assert together.corrupted_metric[place].item() == pytest.approx(alone.corrupted_metric[0].item())


def test_a_refusal_says_what_can_be_done_instead(llama: Model) -> None:
    pairs = tiny_pairs(llama)
    with pytest.raises(BenchmarkError, match="Denoising restores the clean activations"):
        load_method("activation-patching").scores(llama, pairs, ("head",), "zero", "denoising")
    with pytest.raises(BenchmarkError, match="can't do replacement 'zero'; it can do counterfactual"):
        load_method("captum-integrated-gradients").scores(llama, pairs, ("head",), "zero")
    with pytest.raises(BenchmarkError, match="moves the inputs"):
        load_method("integrated-gradients", path="input").scores(llama, pairs, ("head",), "mean")
    with pytest.raises(BenchmarkError, match="can't do component kind 'layer'"):
        load_method("random").scores(llama, pairs, ("layer",))
    with pytest.raises(BenchmarkError, match="takes means over the discovery split"):
        load_method("attribution-patching").scores(llama, replace(pairs, discovery=()), ("head",), "mean")


def test_a_pair_without_a_corrupted_prompt_has_no_corrupted_metric(llama: Model) -> None:
    alone = (replace(PAIRS[0], corrupted=None),)
    scores = load_method("activation-patching").scores(llama, tiny_pairs(llama, alone), ("head",), "zero")["head"]
    assert scores.corrupted_metric.isnan().all()
    assert scores.clean_metric.isfinite().all()
    with pytest.raises(BenchmarkError, match="has no corrupted prompt"):
        load_method("activation-patching").scores(llama, tiny_pairs(llama, alone), ("head",))
