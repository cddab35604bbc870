"""The conformance checks of methods: each mistake is caught by the check that names it, and nothing is left behind."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from benchmark import ConformanceError, Method, check_method
from benchmark.cli import main
from benchmark.conformance import METHOD_CHECKS, methods_to_check, named_checks
from benchmark.conformance.findings import carry_out, name_of
from benchmark.conformance.trial import WAYS, Trial, obvious_effects, planted, tiny, variants_of
from benchmark.errors import BenchmarkError
from benchmark.models.litmus import load_litmus
from benchmark.running.plugins import load_method
from methods.attribution_patching import AttributionPatching
from methods.random_scores import RandomScores
from tests.conformance.broken_methods import BROKEN, CorruptedMinusClean, guide_table

CHECKS = {name_of(check): check for check in METHOD_CHECKS}


@pytest.mark.parametrize("name", BROKEN)
def test_each_mistake_is_caught_by_the_check_that_names_it(name: str) -> None:
    broken = BROKEN[name]
    for check in broken.caught_by:
        findings = [
            finding
            for method in variants_of(broken.method)
            for finding in carry_out([CHECKS[check]], Trial(method), method.label)
        ]
        assert "failed" in {finding.outcome for finding in findings}, check
        reason = next(finding.reason for finding in findings if finding.outcome == "failed")
        assert "raised" not in reason or check in ("declared-support", "works-without-corrupted-prompts"), reason


def test_every_check_of_methods_catches_some_mistake() -> None:
    assert {check for broken in BROKEN.values() for check in broken.caught_by} == set(CHECKS)


def test_the_guide_lists_every_check_and_every_mistake() -> None:
    assert guide_table() in (Path(__file__).parents[2] / "docs" / "add_a_method.md").read_text()


def test_all_failed_checks_are_listed_by_name() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_method(CorruptedMinusClean(), ("sign-convention", "exact-on-linear-parallel", "refusals"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 of 3 conformance checks failed:"
    assert any(line.startswith("  corrupted-minus-clean: sign-convention: noising with") for line in lines)
    assert any(": exact-on-linear-parallel: " in line for line in lines)
    assert all("expected" in line and "Likely cause" in line for line in lines[1:])


def test_a_method_may_be_given_by_class_instance_or_name() -> None:
    few = ("completeness", "refusals")
    by_class, by_instance, by_name = (check_method(given, few) for given in (RandomScores, RandomScores(), "random"))
    assert by_class == by_instance == by_name
    assert [(finding.check, finding.outcome) for finding in by_name] == [
        ("refusals", "passed"),
        ("completeness", "not applicable"),
    ]


class Undecorated(RandomScores):
    name = "undecorated"
    variants = ("shift=1.0",)
    shift: float = 0.0


def test_a_class_without_a_decorator_is_checked_with_its_options() -> None:
    assert [method.options for method in methods_to_check(Undecorated)] == [{"shift": 1.0}]


class AlsoUndecorated(RandomScores):
    name = "also-undecorated"
    shift: float = 0.0


def test_so_is_an_instance_of_one() -> None:
    [method] = methods_to_check(AlsoUndecorated())
    assert method.options == {"shift": 0.0}


def test_all_checks_are_carried_out_unless_some_are_named() -> None:
    assert named_checks(METHOD_CHECKS, ()) == METHOD_CHECKS
    with pytest.raises(BenchmarkError, match=r"no check 'refusal'[.] Did you mean 'refusals'"):
        named_checks(METHOD_CHECKS, ("refusal",))


def test_a_name_with_options_stands_for_these_and_one_without_for_all_variants() -> None:
    assert [method.label for method in methods_to_check("integrated-gradients:steps=2")] == [
        "integrated-gradients:steps=2"
    ]
    assert [method.label for method in methods_to_check("activation-patching")] == ["activation-patching:neurons=0"]
    assert len(methods_to_check("integrated-gradients")) == 4
    with pytest.raises(BenchmarkError, match="no `variants` to check"):
        methods_to_check("external")


@dataclass(frozen=True)
class HeadsOnly(AttributionPatching):
    name: ClassVar[str] = "heads-only"
    kinds: ClassVar[tuple[str, ...]] = ("head",)
    directions: ClassVar[tuple[str, ...]] = ("denoising",)


def test_what_a_method_does_not_claim_is_not_asked_of_it() -> None:
    asked = (
        "neurons-at-their-post-activation",
        "works-without-corrupted-prompts",
        "exact-on-linear-parallel",
        "refusals",
    )
    outcomes = {finding.check: finding.outcome for finding in check_method(HeadsOnly, asked)}
    assert outcomes["neurons-at-their-post-activation"] == "not applicable"
    assert outcomes["works-without-corrupted-prompts"] == "not applicable"
    assert outcomes["exact-on-linear-parallel"] == outcomes["refusals"] == "passed"


@dataclass(frozen=True)
class Silent(AttributionPatching):
    name: ClassVar[str] = "silent"
    cost = Method.cost


def test_of_a_method_that_declares_no_cost_none_is_asked() -> None:
    [finding] = check_method(Silent, ["declared-cost"])
    assert (finding.outcome, finding.reason) == ("not applicable", "it declares no cost (`cost` gives None)")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_plain_loop_agrees_with_the_engine(way: object) -> None:
    """The checks' own oracle is held against activation patching, which the tests of methods hold against others'."""
    model, pairs = tiny("gpt2", 3, prepend_bos=True)
    trial = Trial(load_method("activation-patching", neurons=0))
    for kind, values in trial.values(model, pairs, way).items():
        torch.testing.assert_close(obvious_effects(model, pairs, way, kind), values, atol=1e-5, rtol=0)


def test_planted_effects_are_those_that_were_planted() -> None:
    model, pairs = planted(load_litmus("linear-chain"))
    effects = obvious_effects(model, pairs, WAYS[0], "head")
    assert effects[:, 0, 0].tolist() == pytest.approx([2.0] * len(pairs))
    assert effects[:, 1, 0].tolist() == pytest.approx([3.0] * len(pairs))


def test_checks_leave_the_process_as_it_was() -> None:
    def patch_and_draw(subject: object) -> None:
        torch.nn.functional.softmax = torch.Tensor.softmax = torch.relu
        torch.manual_seed(0)
        torch.set_grad_enabled(False)

    softmax, state = torch.nn.functional.softmax, torch.get_rng_state()
    torch.rand(1)
    drawn = torch.get_rng_state()
    assert not torch.equal(state, drawn)
    assert [finding.outcome for finding in carry_out([patch_and_draw], None, "x")] == ["passed"]
    assert torch.nn.functional.softmax is softmax
    assert torch.tensor([0.0, 0.0]).softmax(0).tolist() == [0.5, 0.5]
    assert torch.equal(torch.get_rng_state(), drawn)
    assert torch.is_grad_enabled()


PLUGIN = """
from dataclasses import dataclass
from benchmark import AT_ONE, Cost, Intervention, Method

@dataclass(frozen=True)
class Mine(Method):
    name = "mine"
    summary = "attribution patching"

    def attribute(self, model, batch, request):
        run = Intervention(model, batch, request)
        return run.stacked(run.integrate([run.sites], AT_ONE)){spoilt}

    def cost(self, model, request):
        return Cost(forward=3, backward=1)
"""


def test_the_command_prints_a_line_a_check_and_exits_with_1_if_any_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(spoilt=""))
    few = ["--only", "completeness,right-shapes-on-every-architecture,refusals"]
    assert main(["check", "method", "mine", "--plugin", str(plugin), *few]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine"
    assert lines[1] == "  passed          right-shapes-on-every-architecture"
    assert len(lines) == 5
    assert lines[-1].startswith("2 passed, 0 failed, 1 not applicable in ")
    plugin.write_text(PLUGIN.format(spoilt=" | {'head': None}"))
    assert main(["check", "method", "mine", "--plugin", str(plugin), *few]) == 1
    assert "  failed          right-shapes-on-every-architecture: on gpt2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method", "attribution-patchin"], "no method 'attribution-patchin'. Did you mean 'attribution-patching'"),
        (["method", "random:seed=1"], "has no option 'seed'"),
        (["method", "random", "--only", "refusal"], "no check 'refusal'. Did you mean 'refusals'"),
        (["task", "iou"], "There is no task 'iou'. Did you mean 'ioi'?"),
        (["task", "litmus/or-gate"], "belongs to a planted model"),
        (["method", "random", "--model", "smollm2-135m"], "--model, --dtype and --matmul are for tasks"),
    ],
)
def test_wrong_input_exits_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *words]) == 2
    assert message in capsys.readouterr().err
