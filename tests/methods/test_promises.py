"""The numerical promise of docs/definitions.md, and what a method must leave alone."""

import copy
import random

import pytest
import torch

from benchmark.errors import BenchmarkError
from benchmark.memory import Chunk
from benchmark.method import Method, Request
from benchmark.model import KINDS, Model
from benchmark.plugins import discover, load_method
from tests.tiny import PAIRS, tiny_model, tiny_pairs

SPECS = (
    "activation-patching:neurons=0", "attribution-patching", "integrated-gradients:steps=4", "random",
    "integrated-gradients:path=joint:steps=4", "integrated-gradients:path=input:steps=4", "activation-difference",
    "integrated-gradients:path=component:steps=2", "captum-integrated-gradients:steps=4",
)  # fmt: skip


@pytest.fixture(scope="module", params=SPECS)
def method(request: pytest.FixtureRequest) -> Method:
    return discover().method(request.param)


@pytest.fixture(scope="module")
def float32() -> Model:
    return tiny_model("llama", dtype=torch.float32)


def test_every_method_stands_in_the_table_above() -> None:
    from_files = {"external"}  # computes nothing: tests/methods/test_external.py
    assert {spec.split(":")[0] for spec in SPECS} == set(discover().methods) - from_files


def test_scores_do_not_depend_on_batch_row_order_or_chunking(float32: Model, method: Method) -> None:
    pairs = tiny_pairs(float32)
    whole = method.scores(float32, pairs, KINDS)
    shuffled = list(range(len(pairs)))
    random.Random(1).shuffle(shuffled)
    for kind in KINDS:
        tolerance = 1e-5 * whole[kind].values.abs().max().item()
        singly = torch.cat([method.scores(float32, pairs.take([i]), KINDS)[kind].values for i in range(len(pairs))])
        reordered = method.scores(float32, pairs.take(shuffled), KINDS)[kind].values
        chunked = method.scores(float32, pairs, KINDS, chunk=Chunk(17, 3))[kind].values  # a ragged last chunk
        for other in (singly, reordered[torch.tensor(shuffled).argsort()], chunked):
            torch.testing.assert_close(other, whole[kind].values, atol=tolerance, rtol=0)


def test_scores_are_the_same_bits_when_run_again(float32: Model, method: Method) -> None:
    pairs = tiny_pairs(float32)
    first, second = (method.scores(float32, pairs, KINDS, seed=3) for _ in range(2))
    assert all(torch.equal(first[kind].values, second[kind].values) for kind in KINDS)


def test_the_model_is_left_as_it_was_found(method: Method) -> None:
    model = tiny_model("gemma2")
    model.run(next(tiny_pairs(model).batches()).clean)  # transformer_lens sets hooks of its own on the first forward
    before = copy.deepcopy(model.bridge.state_dict())
    state = {
        "training": [module.training for module in model.bridge.modules()],
        "requires_grad": [weight.requires_grad for weight in model.bridge.parameters()],
        "hooks": [
            (len(m._forward_hooks), len(m._backward_hooks), len(m._forward_pre_hooks)) for m in model.bridge.modules()
        ],
        "grad_enabled": torch.is_grad_enabled(),
    }
    method.scores(model, tiny_pairs(model), KINDS)
    assert state["training"] == [module.training for module in model.bridge.modules()]
    assert state["requires_grad"] == [weight.requires_grad for weight in model.bridge.parameters()]
    assert state["hooks"] == [
        (len(m._forward_hooks), len(m._backward_hooks), len(m._forward_pre_hooks)) for m in model.bridge.modules()
    ]
    assert state["grad_enabled"] == torch.is_grad_enabled()
    assert all(weight.grad is None for weight in model.bridge.parameters())
    for name, weight in model.bridge.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_hooks_are_gone_even_after_a_failure(llama: Model) -> None:
    batch = next(tiny_pairs(llama).batches())
    site = llama.sites(["head"])[0]

    def broken(value: torch.Tensor) -> torch.Tensor:
        raise ValueError("in the middle of a forward")

    with pytest.raises(ValueError, match="in the middle"):
        llama.run(batch.clean, {site: broken})
    llama.run(batch.clean)


def test_declared_costs_are_never_exceeded_and_nearly_reached(llama: Model, method: Method) -> None:
    pairs = tiny_pairs(llama)
    for kinds in (("head",), KINDS):
        counted = method.scores(llama, pairs, kinds)[kinds[0]].provenance["passes"]
        declared = method.cost(llama, Request(kinds))
        assert declared.forward * len(pairs) * 0.8 <= counted["forward"] <= declared.forward * len(pairs)
        assert counted["backward"] == declared.backward * len(pairs)


def test_progress_comes_to_about_the_planned_work(llama: Model, method: Method) -> None:
    pairs, passes = tiny_pairs(llama), []
    request = Request(("head",))
    planned = sum(method.work(llama, batch, request) for batch in pairs.batches())
    method.scores(llama, pairs, ("head",), progress=passes.append)
    assert sum(passes) <= 1.1 * planned
    if planned > 10 * len(pairs):  # else the bookkeeping is all there is
        assert sum(passes) >= 0.6 * planned


@pytest.mark.parametrize("kinds", [("head",), ("neuron",), KINDS])
def test_scores_have_the_shape_of_the_model(llama: Model, method: Method, kinds: tuple[str, ...]) -> None:
    pairs = tiny_pairs(llama)
    scores = method.scores(llama, pairs, kinds)
    assert tuple(scores) == kinds
    for kind in kinds:
        assert scores[kind].values.shape == (len(PAIRS), llama.n_layers, llama.size(kind))
        assert scores[kind].values.dtype == torch.float32
        assert scores[kind].pair_ids == pairs.ids
        assert scores[kind].measured.all()


def test_scores_come_in_the_order_of_the_pairs_though_they_run_by_length(llama: Model) -> None:
    pairs = tiny_pairs(llama)
    lengths = [len(pair.clean) for pair in pairs.pairs]
    assert lengths != sorted(lengths)
    together = load_method("attribution-patching").scores(llama, pairs, ("head",))["head"]
    for place in range(len(pairs)):
        alone = load_method("attribution-patching").scores(llama, pairs.take([place]), ("head",))["head"]
        torch.testing.assert_close(together.values[place], alone.values[0])
        assert together.clean_metric[place].item() == pytest.approx(alone.clean_metric[0].item())
        assert together.corrupted_metric[place].item() == pytest.approx(alone.corrupted_metric[0].item())


@pytest.mark.parametrize("replacement", ["zero", "mean"])
def test_denoising_refuses_zero_and_mean(llama: Model, method: Method, replacement: str) -> None:
    with pytest.raises(BenchmarkError, match=r"Denoising restores the clean activations|can't do replacement"):
        method.scores(llama, tiny_pairs(llama), ("head",), replacement, "denoising")


def test_what_a_method_cannot_do_is_refused(llama: Model) -> None:
    pairs = tiny_pairs(llama)
    with pytest.raises(BenchmarkError, match="can't do replacement 'zero'; it can do counterfactual"):
        load_method("captum-integrated-gradients").scores(llama, pairs, ("head",), "zero")
    with pytest.raises(BenchmarkError, match="moves the inputs"):
        load_method("integrated-gradients", path="input").scores(llama, pairs, ("head",), "mean")
    with pytest.raises(BenchmarkError, match="can't do component kind 'layer'"):
        load_method("random").scores(llama, pairs, ("layer",))


def test_mean_without_a_discovery_split_is_refused(llama: Model) -> None:
    from dataclasses import replace

    with pytest.raises(BenchmarkError, match="takes means over the discovery split"):
        load_method("attribution-patching").scores(llama, replace(tiny_pairs(llama), discovery=()), ("head",), "mean")


def test_a_pair_without_a_corrupted_prompt_works_with_zero_only(llama: Model) -> None:
    from dataclasses import replace

    alone = (replace(PAIRS[0], corrupted=None),)
    method = load_method("activation-patching")
    scores = method.scores(llama, tiny_pairs(llama, alone), ("head",), "zero")["head"]
    want = method.scores(llama, tiny_pairs(llama, PAIRS[:1]), ("head",), "zero")["head"]
    torch.testing.assert_close(scores.values, want.values)
    assert scores.corrupted_metric.isnan().all()
    with pytest.raises(BenchmarkError, match="has no corrupted prompt"):
        method.scores(llama, tiny_pairs(llama, alone), ("head",))
