"""Number formats: a model ends in float32, and what is above the stored resolution is more than noise."""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.engine.precision import products, refuse_matmul, step
from benchmark.engine.replay import record, resume
from benchmark.engine.resolution import DRAWS, moved, resolution
from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model
from benchmark.prompts.metrics import METRICS
from benchmark.running.plugins import load_method
from benchmark.statistics.moderated import moderated
from tests.tiny import hf_model, tiny_model, tiny_pairs, tokenizer

BF16, FP16 = torch.bfloat16, torch.float16
CASES = [("gpt2", BF16), ("llama", FP16), ("qwen2", FP16), ("qwen3", BF16), ("neox", FP16), ("gemma2", BF16)]


def weights(name: str, dtype: torch.dtype) -> Any:
    """A tiny model; or one with GPT-2's proportions and start values: narrow heads, wide MLPs, small effects."""
    if name != "gpt2-shape":
        return hf_model(name).to(dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"n_embd": 64, "n_head": 4, "n_layer": 4, "vocab_size": 23, "n_positions": 32}
        config = GPT2Config(**sizes, bos_token_id=1, eos_token_id=1)
        return GPT2LMHeadModel(config).eval().to(dtype)


@cache
def both(name: str, dtype: torch.dtype) -> tuple[Model, Model]:
    """A model of few bits, and the same weights in float64."""
    rounded = weights(name, dtype)
    wide = copy.deepcopy(rounded).double()
    return tuple(Model.from_hf(one, tokenizer(), name, False) for one in (rounded, wide))  # type: ignore[return-value]


def by_hand(name: str, model: Model, residual: Tensor) -> Tensor:
    """Final norm, unembedding and cap in float64."""
    config, norm = model._config, model.final_norm
    x = residual.double()
    if name in ("gpt2", "neox"):
        eps = getattr(config, "layer_norm_epsilon", None) or config.layer_norm_eps
        x = functional.layer_norm(x, x.shape[-1:], norm.weight.double(), norm.bias.double(), eps)
    else:
        x = x / (x.square().mean(-1, keepdim=True) + config.rms_norm_eps).sqrt()
        x = x * (norm.weight.double() + (name == "gemma2"))
    weight, bias = model.unembedding()
    logits = x @ weight.double().T + bias.double()
    cap = getattr(config, "final_logit_softcapping", None)
    return cap * (logits / cap).tanh() if cap else logits


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_norm_unembedding_and_metric_are_float32_on_a_residual_stream_of_16_bits(name: str, dtype: torch.dtype) -> None:
    """With all logits and with those of the answers alone, which a patched run takes."""
    model, _ = both(name, dtype)
    batch = next(tiny_pairs(model, metric=METRICS["prob_diff"]).batches())
    left: list[Tensor] = []
    end = f"blocks.{model.n_layers - 1}.hook_out"
    logits = model.logits(batch.clean, [(end, lambda value, hook: left.append(value))], reads="all")
    assert (left[0].dtype, logits.dtype) == (dtype, torch.float32)
    want = by_hand(name, model, left[0])
    torch.testing.assert_close(logits.double(), want, atol=1e-5, rtol=1e-5)
    rows, some = torch.arange(len(batch)), torch.tensor([3, 7])
    value = batch.value(model, batch.clean, rows)
    torch.testing.assert_close(value.double(), batch.metric(want[:, -1], rows), atol=1e-6, rtol=1e-5)
    recording = record(model, batch.clean, model.sites(["head"]))
    answers = resume(model, recording, rows, [model.n_layers - 1] * len(rows), 0, {}, None, some)
    torch.testing.assert_close(answers.double(), want[:, -1][:, some], atol=2e-5, rtol=1e-5)
    assert model.passes.shortcuts["answers"]


@pytest.mark.parametrize(("size", "dtype"), [(2**-7, BF16), (2**-10, FP16), (2**-10, torch.float32)], ids=str)
def test_a_number_moves_by_a_step_of_its_format_or_not_at_all(size: float, dtype: torch.dtype) -> None:
    """The last case is TF32's, whose numbers stand in float32."""
    value = (torch.randn(20000, generator=torch.Generator().manual_seed(0)) * 8).to(dtype)
    value[0] = 0.0
    after = moved(value, size, torch.Generator().manual_seed(1))
    steps = (after.double() - value.double()) / (size * 2.0 ** value.double().abs().log2().floor())
    assert after.dtype == dtype
    assert after[0] == 0
    assert set(steps[1:].tolist()) == {-1.0, 0.0, 1.0}
    assert (steps[1:].abs().mean(), steps[1:].mean()) == pytest.approx((0.5, 0.0), abs=0.02)  # half a step on average


@pytest.mark.parametrize(("name", "dtype"), [*CASES, ("gpt2-shape", BF16)])
def test_scores_above_the_resolution_have_the_sign_that_float64_gives_them(name: str, dtype: torch.dtype) -> None:
    """At least 95%, and a useful share of heads is above it."""
    model, truth = both(name, dtype)
    pairs = tiny_pairs(model)
    direction = "noising" if dtype == BF16 else "denoising"
    least = resolution(model, pairs, direction)[:, None].float()
    method = load_method("activation-patching", neurons=8 if name == "gpt2-shape" else 0)
    got, want = (method.scores(one, pairs, ("head", "neuron"), direction=direction) for one in (model, truth))
    above, right = 0, 0
    for kind in got:
        mine, true = (one[kind].values.flatten(1) for one in (got, want))
        told = mine.abs() > least
        above, right = above + int(told.sum()), right + int((mine.sign() == true.sign())[told].sum())
        if kind == "head":
            assert told.float().mean() > 0.25
        error = (mine - true).square().nanmean().sqrt()
        assert error < least.square().mean().sqrt() < 30 * error  # no smaller than the noise, nor far larger
    assert above > 20
    assert right >= 0.95 * above


def test_a_pair_s_resolution_is_drawn_towards_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.from_hf(weights("llama", BF16), tokenizer(), "llama", False)
    found = resolution(model, tiny_pairs(model), "noising")
    monkeypatch.setattr("benchmark.engine.resolution.moderated", lambda squares, draws: squares)
    alone = resolution(model, tiny_pairs(model), "noising")
    want = moderated(alone.square().numpy(), DRAWS) ** 0.5
    torch.testing.assert_close(found, torch.from_numpy(want), atol=0, rtol=1e-9)
    assert found.log().std() < 0.8 * alone.log().std()


def test_the_resolution_shrinks_with_the_step_of_the_format_down_to_that_of_float32() -> None:
    found = {}
    for dtype in (BF16, FP16, torch.float32, torch.float64):
        model = Model.from_hf(weights("llama", dtype), tokenizer(), "llama", False)
        found[dtype] = resolution(model, tiny_pairs(model), "noising")
        if dtype == torch.float32:
            model.matmul = "tf32"
            found["tf32"] = resolution(model, tiny_pairs(model), "noising")
    for dtype, size in ((FP16, 2**-3), ("tf32", 2**-3), (torch.float32, 2**-16)):
        ratio = (found[dtype].square().mean() / found[BF16].square().mean()).sqrt()
        assert size / 4 < ratio < size * 4
    values = metrics(model, tiny_pairs(model))["clean"]  # in float64 nothing but the floor is left
    floor = values.abs() * torch.finfo(torch.float32).eps
    torch.testing.assert_close(found[torch.float64], floor, atol=0, rtol=1e-12)


@pytest.fixture
def setting() -> Iterator[Any]:
    found = torch.backends.cuda.matmul
    before = found.fp32_precision
    yield found
    found.fp32_precision = before


def test_how_products_are_taken_is_set_for_the_time_of_the_work_only(setting: Any) -> None:
    gpu = torch.device("cuda")
    setting.fp32_precision = "tf32"  # somebody's notebook
    with products("ieee", gpu):
        assert setting.fp32_precision == "ieee"
        with products("tf32", gpu):
            assert setting.fp32_precision == "tf32"
        assert setting.fp32_precision == "ieee"
        with products("ieee", torch.device("cpu")):
            assert setting.fp32_precision == "ieee"
    assert setting.fp32_precision == "tf32"
    with pytest.raises(ZeroDivisionError), products("ieee", gpu):
        raise ZeroDivisionError
    assert setting.fp32_precision == "tf32"


def test_a_model_runs_and_differentiates_under_its_own_products(setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its unembedding under float32's, whatever it is."""
    model = tiny_model("llama", dtype=torch.float32)
    taken: list[str] = []

    def seen(matmul: str, device: torch.device) -> Any:
        taken.append(matmul)
        return products(matmul, device)

    for place in ("benchmark.engine.model.products", "benchmark.engine.precision.products"):
        monkeypatch.setattr(place, seen)
    model.matmul = "tf32"
    load_method("attribution-patching").scores(model, tiny_pairs(model).take([0]), ("head",))
    assert {"tf32", "ieee"} == set(taken)
    assert taken.count("tf32") >= 3  # forwards, and a backward


def test_tf32_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(BenchmarkError, match="the device is cpu"):
        load_model("pocket", device="cpu", matmul="tf32")
    with pytest.raises(BenchmarkError, match="the model's are bfloat16"):
        refuse_matmul("tf32", torch.device("cuda"), BF16)
    with pytest.raises(BenchmarkError, match="choose ieee or tf32"):
        refuse_matmul("bf16x3", torch.device("cuda"), torch.float32)
    assert step(torch.float32) < step(torch.float32, "tf32") == step(FP16) < step(BF16)
