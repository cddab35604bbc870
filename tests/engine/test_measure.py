"""What a model is found to be at load: right to the plain loop, or refused with a reason; never believed."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

from benchmark import Intervention, Request, load_method, logit_diff, make_pairs
from benchmark.components import DEFAULT_KINDS
from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from tests.engine.zoo import ZOO, hf_model, outcome
from tests.tiny import PAIRS, tiny_model, tokenizer

NO_NEURONS = {"neuron": "layer [01] has no single output projection"}
LATENT = {kind: f"layer 0 has no attn.{kind[0]}" for kind in ("query", "key", "value")}
WHOLE_NORM = dict.fromkeys(("query", "key"), "changes other heads than its own")
STREAM_IN_IT = dict.fromkeys(("attention", "mlp"), "isn't what joins the residual stream there")
UNUSED_PATTERN = {"pattern": "no change at .* changes its own heads"}
REFUSED: dict[str, dict[str, str]] = {  # by kind, or the whole model; everything else must be right
    "latent attention": LATENT,
    "latent attention, v2": LATENT,
    "latent attention of an odd width": LATENT,
    "latent attention, experts": NO_NEURONS | LATENT,
    "experts narrower than the stream": NO_NEURONS | WHOLE_NORM,  # its norm of queries goes over all heads
    "experts": NO_NEURONS,
    "experts and a shared one": NO_NEURONS,
    "experts, qwen3": NO_NEURONS,
    "experts and sinks": NO_NEURONS,
    "norms after the parts": WHOLE_NORM,
    "an MLP of 1.5 widths": UNUSED_PATTERN,  # transformer_lens sees the pattern, and what it makes of it isn't used
    "an MLP of 8 widths": UNUSED_PATTERN,
    "parallel parts": UNUSED_PATTERN,
    "local attention": UNUSED_PATTERN,
    "distances in the attention": STREAM_IN_IT,
    "distances in the attention, mpt": STREAM_IN_IT,
    "a norm before the projection": dict.fromkeys(("pattern", "value"), "changes other heads than its own"),
    "falcon, new": {"model": "can't take over the architecture FalconForCausalLM"},
    "linear attention in some layers": {"model": "it has no attn there"},
    "a state space in some layers": {"model": "it has no attn there"},
    "a short convolution in some layers": {
        "head": "layer 1 has no single output projection .*it has no attn there",
        "attention": "not every layer has attn", "pattern": "layer 1 has no attn.pattern",
        **{kind: f"layer 1 has no attn.{kind[0]}" for kind in ("query", "key", "value")},
    },
    "a gate behind attention": {"head": "isn't 4 slices, each of which one attention pattern"} | UNUSED_PATTERN,
    "differential attention": {"model": "can't take over the architecture DiffLlamaForCausalLM"},
}  # fmt: skip


@pytest.mark.parametrize("name", list(ZOO))
def test_every_layout_is_right_or_refused_with_a_reason(name: str) -> None:
    found, refused = outcome(ZOO[name]), REFUSED.get(name, {})
    assert set(found) == ({"model"} if "model" in refused else {"head", "neuron", "residual"} | set(refused))
    for kind, result in found.items():
        if kind in refused:
            assert isinstance(result, str)
            assert re.search(refused[kind], result), result
        else:
            assert isinstance(result, float), result
            assert result < 1e-4


def taken_over(reference: Any, **config: Any) -> Model:
    for key, value in config.items():
        setattr(reference.config, key, value)
    return Model.from_hf(reference, tokenizer(), "a model", prepend_bos=False)


def test_the_config_is_not_believed() -> None:
    """Its sizes are changed after the weights were made: what is found stays what the weights are."""
    reference = hf_model(ZOO["an MLP of 8 widths"])
    model = taken_over(reference, ffn_dim=99)
    assert (model.n_layers, model.n_heads, model.d_head, model.d_mlp, model.d_model) == (2, 4, 8, 256, 32)


def test_heads_whose_channels_are_shuffled_before_the_projection_are_refused() -> None:
    reference = hf_model(ZOO["one key for all heads"])
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    for layer in reference.model.layers:
        layer.self_attn.o_proj.register_forward_pre_hook(lambda module, inputs: (inputs[0][..., order],))
    model = Model.from_hf(reference, tokenizer(), "shuffled", prepend_bos=False)
    assert "head" in model.refusals
    assert set(DEFAULT_KINDS) & set(model.kinds) == {"neuron"}


def test_neurons_that_are_changed_on_their_way_to_the_projection_are_refused() -> None:
    reference = hf_model(ZOO["one key for all heads"])
    reference.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda module, inputs: (inputs[0].cumsum(-1),))
    model = Model.from_hf(reference, tokenizer(), "summed", prepend_bos=False)
    assert "is not what the output projection of layer 1 takes in" in model.refusals["neuron"]


def test_layers_of_different_widths_are_refused() -> None:
    reference = hf_model(ZOO["one key for all heads"])
    mlp = reference.model.layers[1].mlp
    for name in ("gate_proj", "up_proj", "down_proj"):
        part = getattr(mlp, name)
        weight = part.weight[:40] if name != "down_proj" else part.weight[:, :40]
        part.weight = nn.Parameter(weight.detach().clone())
        part.out_features, part.in_features = weight.shape
    model = Model.from_hf(reference, tokenizer(), "narrowing", prepend_bos=False)
    assert "different numbers of them (48, 40)" in model.refusals["neuron"]
    assert set(DEFAULT_KINDS) & set(model.kinds) == {"head"}


def test_what_is_refused_says_so_where_it_is_asked_for_and_the_rest_runs() -> None:
    kept = ZOO["experts"]
    model = Model.from_hf(hf_model(kept), tokenizer(), "experts", prepend_bos=False)
    pairs = make_pairs(model, PAIRS[:1], logit_diff)
    with pytest.raises(
        BenchmarkError, match=r"The neurons of model 'experts' can't be scored: layer 0 .* heads can be"
    ):
        load_method("attribution-patching").scores(model, pairs, ("neuron",))
    assert set(load_method("attribution-patching").scores(model, pairs)) == {"head"}
    assert "no neurons: layer 0" in repr(model)


def test_one_part_in_train_mode_is_enough_to_refuse(gpt2_with_dropout: Model) -> None:
    with pytest.raises(BenchmarkError, match="or a part of it is"):
        gpt2_with_dropout.run(torch.tensor([[1, 2, 3]]))


@pytest.fixture
def gpt2_with_dropout() -> Model:
    model = Model.from_hf(copy.deepcopy(hf_model(ZOO["an MLP of an odd width"])), tokenizer(), "a", prepend_bos=False)
    dropouts = [part for part in model.bridge.original_model.modules() if isinstance(part, nn.Dropout)]
    assert dropouts
    for part in dropouts:
        part.train()
    return model


def test_the_dropout_behind_the_embeddings_counts_too() -> None:
    model = Model.from_hf(hf_model(ZOO["an MLP of an odd width"]), tokenizer(), "a", prepend_bos=False)
    pairs = make_pairs(model, PAIRS[:1], logit_diff)
    model.bridge.original_model.transformer.drop.train()
    with pytest.raises(BenchmarkError, match=r"a part of it is .Dropout"):
        load_method("activation-patching").scores(model, pairs, ("head",))


def test_a_part_that_came_in_since_the_model_was_loaded_counts_too() -> None:
    model = tiny_model(layers=2)
    pairs, attention = make_pairs(model, PAIRS[:1], logit_diff), model.blocks[0].attention
    [batch] = pairs.batches()
    attention.add_module("dropout", nn.Dropout())
    for look in (
        lambda: load_method("activation-patching").scores(model, pairs, ("head",)),
        lambda: metrics(model, pairs),
        lambda: Intervention(model, batch, Request(("head",))),
        lambda: model.run(batch.clean),
    ):
        with pytest.raises(BenchmarkError, match=r"a part of it is .Dropout"):
            look()
    del attention.dropout
    model.run(batch.clean)


def test_damaged_weights_are_called_so_at_load() -> None:
    reference = hf_model(ZOO["one key for all heads"])
    with torch.no_grad():
        reference.model.layers[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(BenchmarkError, match="NaN or infinite logits: its weights are damaged"):
        Model.from_hf(reference, tokenizer(), "damaged", prepend_bos=False)


@pytest.mark.parametrize("made_for", ["a name", None])
def test_a_tokenizer_that_is_none_is_said_to_be_none(made_for: Any) -> None:
    with pytest.raises(BenchmarkError, match="needs the tokenizer of 'a' itself"):
        Model.from_hf(hf_model(ZOO["one key for all heads"]), made_for, "a")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["attribution-patching", "integrated-gradients"])
def test_gradients_are_taken_whatever_mode_the_caller_is_in(llama: Model, mode: Any, method: str) -> None:
    pairs = make_pairs(llama, PAIRS[:1], logit_diff)
    want = load_method(method).scores(llama, pairs)["head"].values
    with mode():
        assert torch.equal(load_method(method).scores(llama, pairs)["head"].values, want)


def test_a_model_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        reference = hf_model(ZOO["one key for all heads"])
    with pytest.raises(BenchmarkError, match="load it outside"):
        Model.from_hf(reference, tokenizer(), "made inside")


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda model: torch.compile(model), "hand over the model before torch.compile"),
        (lambda model: nn.DataParallel(model), "not DataParallel"),
        (lambda model: type("PeftModel", (), {"merge_and_unload": None, "config": model.config})(), "merge_and_unload"),
    ],
)
def test_a_wrapped_model_is_named_as_what_it_is(wrap: Any, words: str) -> None:
    with pytest.raises(BenchmarkError, match=words):
        Model.from_hf(wrap(hf_model(ZOO["one key for all heads"])), tokenizer(), "wrapped")
