"""Refined integrals: on curves whose integral is known, and on pocket's steep places."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from benchmark.analysis.behaviour import incomplete
from benchmark.analysis.sections import sections
from benchmark.components import DEFAULT_KINDS, WAYS, Way
from benchmark.engine.integrals import Alone, Converged, Inputs, Points, Quadrature, Spans, Together, converged
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model, Site
from benchmark.engine.moves import Move
from benchmark.engine.request import Request
from benchmark.models.loading import load_model
from benchmark.models.tiny import PAIRS, hf_model, tiny_model, tiny_pairs, tokenizer
from benchmark.running.plugins import load_method, load_task
from benchmark.running.runner import run
from benchmark.store.folder import Results

HERE = Site("head", 0)


class Curve(NamedTuple):
    """F along a path, and the slope of each component there."""

    value: Callable[[Tensor], Tensor]
    slopes: Callable[[Tensor], Sequence[Tensor]]


class Curves(Together):
    """Paths, one a pair, whose F and slopes are written down."""

    def __init__(self, *curves: Curve) -> None:
        full = torch.zeros(len(curves), dtype=torch.float64)
        model = SimpleNamespace(device="cpu", dtype=torch.float64, matmul="ieee")
        self.run: Any = SimpleNamespace(full=full, batch=curves, sign=1, model=model)
        self.groups, self.curves = [(HERE,)], curves

    def _of_one_site(self, group: int) -> bool:
        return False

    def _summed(self, site: Site, group: int, move: Move, live: Tensor, gradient: Tensor) -> Tensor:
        return gradient

    def _rows(self, points: Sequence[Points], slopes: bool) -> Iterator[tuple[int, Move, Tensor, dict[Site, Any]]]:
        [(path, m)] = points
        for number, curve in enumerate(self.curves):
            column = (path == number).nonzero()[:, 0]
            if len(column):
                move = Move((HERE,), 0, path[column], m[column], column)
                yield 0, move, curve.value(m[column]), {HERE: (m, torch.stack([*curve.slopes(m[column])], 1))}


def step(at: float, width: float) -> Curve:
    """All of the change within a few widths of one place."""
    return Curve(lambda m: torch.sigmoid((m - at) / width), lambda m: [_steep(m, at, width)])


def _steep(m: Tensor, at: float, width: float) -> Tensor:
    there = torch.sigmoid((m - at) / width)
    return there * (1 - there) / width


def refined(*curves: Curve, tolerance: float = 0.01, most: int = 480) -> Converged:
    return converged(Curves(*curves), tolerance, torch.zeros(len(curves)), most)


def test_gauss_kronrod_is_two_rules_of_gauss_on_the_same_nodes() -> None:
    rule = Quadrature.gauss_kronrod()
    nodes = np.array(rule.nodes)
    for power in range(23):  # 3 x 7 + 2
        assert (np.array(rule.weights) * nodes**power).sum() == pytest.approx(1 / (power + 1), abs=1e-15)
    places, weights = np.polynomial.legendre.leggauss(7)
    there = np.array(rule.coarse) > 0
    np.testing.assert_allclose(nodes[there], (1 + places) / 2, atol=1e-15)
    np.testing.assert_allclose(np.array(rule.coarse)[there], weights / 2, atol=1e-15)


def test_what_is_smooth_takes_one_interval_and_is_as_good_as_scipy() -> None:
    curve = Curve(lambda m: torch.sin(3 * m), lambda m: [3 * torch.cos(3 * m) - m.exp(), m.exp()])
    found = refined(curve)
    assert found.rows.tolist() == [15]
    exact = [quad(lambda m, c=c: float(curve.slopes(torch.tensor(m))[c]), 0, 1)[0] for c in (0, 1)]
    np.testing.assert_allclose(found.scores[HERE][0], exact, atol=1e-12)
    assert not found.unfinished[0].any()


@pytest.mark.parametrize(("at", "width"), [(0.0, 1e-4), (0.3137, 1e-3), (0.8, 2e-5)])
def test_a_steep_place_is_found_and_others_cost_nothing(at: float, width: float) -> None:
    found = refined(step(at, width), step(0.5, 10.0), tolerance=0.01)
    exact = torch.sigmoid(torch.tensor((1 - at) / width)) - torch.sigmoid(torch.tensor(-at / width))
    assert float(found.scores[HERE][0, 0]) == pytest.approx(float(exact), abs=0.01 * float(exact))
    assert found.error[0] <= 0.01 * exact
    assert 15 < found.rows[0] <= 480
    assert found.rows[1] == 15


def test_what_falls_between_the_nodes_is_seen_in_the_change_of_the_value() -> None:
    """At every node of the whole path, every slope of this step is 0: both rules give 0, and agree."""
    curve = step(0.2531, 1e-5)
    nodes = torch.tensor(Quadrature.gauss_kronrod().nodes, dtype=torch.float64)
    assert curve.slopes(nodes)[0].abs().max() < 1e-100
    assert float(refined(curve).scores[HERE][0, 0]) == pytest.approx(1, abs=0.01)


def test_errors_that_cancel_between_components_are_seen_in_the_coarse_rule() -> None:
    """F hardly changes along the way, while two components change it a lot, each against the other."""
    curve = Curve(lambda m: 0.5 * m, lambda m: [_steep(m, 0.4, 2e-2), 0.5 - _steep(m, 0.4, 2e-2)])
    by_one_interval = (curve.slopes(torch.tensor(Quadrature.gauss_kronrod().nodes, dtype=torch.float64))[0]
                       * torch.tensor(Quadrature.gauss_kronrod().weights)).sum()  # fmt: skip
    assert abs(by_one_interval - 1) > 0.1
    np.testing.assert_allclose(refined(curve).scores[HERE][0], [1, -0.5], atol=0.01)


def test_where_the_nodes_run_out_it_is_said_of_that_path_alone() -> None:
    found = refined(step(0.0, 1e-9), step(0.5, 0.3), most=200)
    assert found.unfinished[0].tolist() == [True, False]
    assert found.rows[0] <= 200
    assert found.error[0] > 0.01 * 0.5


@pytest.mark.parametrize("lost", [0, 1])
def test_what_is_not_finite_stays_so_and_leaves_the_other_paths_alone(lost: int) -> None:
    nothing = Curve(lambda m: m, lambda m: [m * torch.nan])
    curves = [step(0.3, 1e-3)] * 2
    curves[lost] = nothing
    found = refined(*curves)
    assert found.scores[HERE][lost].isnan().all()
    assert float(found.scores[HERE][1 - lost, 0]) == pytest.approx(1, abs=0.01)
    assert found.unfinished[0].tolist() == [lost == 0, lost == 1]


def test_a_tolerance_is_a_share_of_the_pair_s_size_where_that_is_larger() -> None:
    curves = (step(0.3, 3e-2), step(0.3, 3e-2))
    found = converged(Curves(*curves), 0.01, torch.tensor([0.0, 1000.0]), 480)
    assert found.rows[0] > found.rows[1] == 15


@pytest.mark.parametrize(("dtype", "few"), [(torch.float32, True), (torch.float64, False)], ids=str)
def test_what_the_number_format_rounds_away_is_not_refined(dtype: torch.dtype, few: bool) -> None:
    """F changes by 1e-3 on top of 1000, in steps of 6e-5, and its slope is 1e-3: no halving makes them agree."""
    curves = Curves(Curve(lambda m: (1000 + m / 1000).float().double(), lambda m: [torch.full_like(m, 1e-3)]))
    curves.run.model.dtype = dtype
    found = converged(curves, 0.01, torch.zeros(1), 480)
    assert (found.rows[0] == 15) == few
    assert found.unfinished[0].item() != few


def test_a_tolerance_is_a_share_of_the_mean_gap_where_the_pair_s_own_is_small(deep_llama: Model) -> None:
    pairs, method = tiny_pairs(deep_llama, PAIRS[:2]), load_method("integrated-gradients", tolerance=1e-4)
    nodes = []
    for gaps in ([0.0, 0.0], [0.0, 1000.0]):
        known = {"clean": torch.tensor(gaps), "corrupted": torch.zeros(2)}
        nodes.append(method.scores(deep_llama, pairs, ("head",), known=known)["head"].extras["integral_nodes"][0])
    assert nodes[0] > nodes[1] == 15 * deep_llama.n_layers


@pytest.fixture(scope="module")
def pocket() -> Model:
    return load_model("pocket", device="cpu")


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_on_pocket_s_steepest_task_the_tolerance_holds_where_fixed_steps_miss_it(pocket: Model, way: Way) -> None:
    pairs = load_task("sva").pairs(pocket, limit=3)
    method, fixed = load_method("integrated-gradients"), load_method("integrated-gradients", steps=16)
    asked = (pocket, pairs, ("head",), way.replacement, way.direction)
    scores, sixteen = method.scores(*asked)["head"], fixed.scores(*asked)["head"]
    gap = (scores.clean_metric - scores.corrupted_metric).abs()
    wanted = 0.01 * torch.maximum(gap, gap.mean())
    error, before = scores.completeness_error, sixteen.completeness_error
    assert error is not None
    assert before is not None
    assert (error <= wanted).all()
    assert (before > 3 * wanted).any()
    assert not scores.extras["unfinished"].any()
    assert (scores.extras["integral_error"] <= wanted.float()).all()
    fine = load_method("integrated-gradients", steps=128).scores(*asked)["head"]
    apart = (scores.values - fine.values).abs().amax((1, 2))
    assert (apart <= wanted.float()).all()  # not only the sum


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_refined_along_one_component_is_activation_patching(pocket: Model, way: Way) -> None:
    pairs = load_task("sva").pairs(pocket, limit=1)
    asked = (pocket, pairs, ("head",), way.replacement, way.direction)
    along = load_method("integrated-gradients", path="component", tolerance=1e-4).scores(*asked)["head"].values
    exact = load_method("activation-patching").scores(*asked)["head"].values
    assert exact.abs().max() > 0.005
    torch.testing.assert_close(along, exact, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "way"), [("gpt2", WAYS[0]), ("llama", WAYS[1]), ("neox", WAYS[2]), ("gemma2", WAYS[3])], ids=str
)
def test_refined_along_one_component_is_activation_patching_on_tiny_models_too(architecture: str, way: Way) -> None:
    model = tiny_model(architecture)
    asked = (model, tiny_pairs(model, PAIRS[:1]), DEFAULT_KINDS, way.replacement, way.direction)
    along = load_method("integrated-gradients", path="component", tolerance=1e-4).scores(*asked)
    for kind, exact in load_method("activation-patching", neurons=0).scores(*asked).items():
        assert exact.values.abs().max() > 0.05
        torch.testing.assert_close(along[kind].values, exact.values, atol=1e-4, rtol=0)


def test_behind_a_norm_zero_is_a_jump_and_where_nodes_run_out_it_is_said() -> None:
    """A norm is the same for all positive multiples of its input, so all of F changes near m = 0."""
    hf = hf_model("gemma2")
    for module in hf.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-6
    model = Model.from_hf(hf, tokenizer(), "behind a norm")
    pairs = tiny_pairs(model, PAIRS[:2])
    found = load_method("integrated-gradients").scores(model, pairs, ("head",), "zero")["head"]
    assert found.completeness_error is not None
    assert found.completeness_error.max() < 0.05
    assert found.extras["integral_nodes"].min() > 10 * 15
    with pytest.warns(UserWarning, match=r"by hand: integrals of heads of layers 0-2 .* 2 pairs \(pair-0, pair-1\)"):
        load_method("integrated-gradients", nodes=120).scores(model, pairs, ("head",), "zero")


def test_where_the_nodes_ran_out_the_cell_and_the_report_know_it(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"tasks": ("sva",), "components": ("head",), "pairs": 2, "device": "cpu"}
    run("pocket", tmp_path, methods=("integrated-gradients:nodes=15", "integrated-gradients"), **asked)
    [section] = sections(Results(tmp_path))
    few, enough = sorted(section.cells, key=lambda cell: cell.provenance.passes.forward)  # type: ignore[union-attr]
    assert few.unfinished("head").any()  # type: ignore[union-attr]
    assert not enough.unfinished("head").any()  # type: ignore[union-attr]
    [said] = incomplete(section)
    assert said.startswith("integrated-gradients:nodes=15: integrals of heads of layer")
    assert "pair (sva-" in said or "pairs (sva-" in said


def test_on_the_input_path_the_embeddings_take_the_whole_gap() -> None:
    model = tiny_model("llama")
    for batch in tiny_pairs(model).batches():
        run = Intervention(model, batch, Request(("head",)))
        paths = Inputs(run)
        every = torch.arange(len(batch))
        ends = [torch.full((len(batch),), end, dtype=torch.float64) for end in (0.0, 1.0)]
        low, high = (paths.values([Points(every, end)])[0] for end in ends)
        corrupted, clean = (batch.metric(model.run(tokens), every) for tokens in reversed(batch.both()))
        torch.testing.assert_close(low, corrupted)
        torch.testing.assert_close(high, clean)
        found = converged(paths, 1e-6, torch.zeros(len(batch)), 480)
        assert not found.unfinished[0].any()
        assert (found.error <= 1e-6 * (high - low).abs()).all()


@pytest.mark.parametrize("kind", [Together, Alone, Inputs])
def test_the_rule_knows_the_value_in_the_middle_of_each_span(kind: type[Together]) -> None:
    model = tiny_model("llama")
    run = Intervention(model, next(iter(tiny_pairs(model).batches())), Request(("head",)))
    site = run.sites[1]
    moved: dict[type[Together], tuple[Any, ...]] = {Together: ([(site,)],), Alone: ({site: torch.tensor([0, 1])},)}
    paths = kind(run, *moved.get(kind, ()))
    path = torch.arange(paths.count(0)).repeat(2)
    low = torch.tensor([0, 0.3], dtype=torch.float64).repeat_interleave(paths.count(0))
    high = low + 0.2 + 0.8 * (low == 0)
    [sums] = paths.measured([Spans(path, low, high)], Quadrature.gauss_kronrod())
    [values] = paths.values([Points(path, (low + high) / 2)])
    torch.testing.assert_close(sums.middle, values.double(), atol=1e-5, rtol=1e-5)
    assert values.std() > 0.01
    [sums] = paths.measured([Spans(path, low, high)], Quadrature.gauss_legendre(2))
    assert sums.middle.isnan().all()
