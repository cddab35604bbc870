"""The model adapter."""

import copy

import pytest
import torch
from transformer_lens.model_bridge import transformer_bridge

from benchmark.engine.model import DEFAULT_KINDS, Model, Site
from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model
from tests.tiny import ARCHITECTURES, hf_model, tiny_model, tiny_pairs, tokenizer


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_logits_equal_hugging_face(architecture: str) -> None:
    reference = hf_model(architecture)
    model = Model.from_hf(copy.deepcopy(reference), tokenizer(), architecture)
    for batch in tiny_pairs(model).batches():
        with torch.no_grad():
            want = reference(batch.clean).logits[:, -1]
        torch.testing.assert_close(model.run(batch.clean), want, atol=1e-6, rtol=1e-6)


def test_models_are_wrapped_here_as_they_are_elsewhere(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests.fixtures` spares transformer_lens a look at every method."""
    monkeypatch.delattr(transformer_bridge, "dir")
    others = tiny_model("llama", layers=2).bridge.hook_dict
    assert [(name, hook.name) for name, hook in llama.bridge.hook_dict.items()] == [
        (name, hook.name) for name, hook in others.items()
    ]


def test_activations_have_one_shape_for_both_kinds(model: Model) -> None:
    batch = next(tiny_pairs(model).batches())
    rows, length = batch.clean.shape
    logits, kept = model.activations(batch.clean, model.sites(DEFAULT_KINDS))
    assert len(kept) == 2 * model.n_layers
    assert logits.shape[0] == rows
    for site, value in kept.items():
        dim = model.d_head if site.kind == "head" else 1
        assert value.shape == (rows, length, model.size(site.kind), dim)


def test_an_edit_that_returns_nothing_changes_nothing(llama: Model) -> None:
    batch = next(tiny_pairs(llama).batches())
    assert torch.equal(llama.run(batch.clean), llama.run(batch.clean, {Site("head", 1): lambda value: None}))


def test_passes_count_rows(llama: Model) -> None:
    batch = next(tiny_pairs(llama).batches())
    before = llama.passes.forward
    llama.run(batch.clean)
    assert llama.passes.forward - before == len(batch)


def test_the_digest_tells_weights_apart() -> None:
    assert tiny_model("llama").digest == tiny_model("llama").digest
    other = hf_model("llama")
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1e-6
    assert Model.from_hf(other, tokenizer(), "other").digest != tiny_model("llama").digest


def test_nan_logits_are_an_error() -> None:
    model = tiny_model("gpt2")
    with torch.no_grad():
        next(model.bridge.parameters())[:] = torch.nan
    with pytest.raises(BenchmarkError, match="NaN or infinite logits"):
        model.run(next(tiny_pairs(model).batches()).clean)


def test_bos_is_prepended_by_default_for_gpt2_and_pythia_only() -> None:
    for architecture in ARCHITECTURES:
        model = tiny_model(architecture, prepend_bos=None)
        ids = model.tokens.encode("the cat")
        assert model.tokens.prepend_bos == (architecture in ("gpt2", "neox"))
        assert (ids[0] == model.tokenizer.bos_token_id) == model.tokens.prepend_bos
        assert len(ids) == 2 + model.tokens.prepend_bos


def test_an_encoder_is_refused() -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(vocab_size=30, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=20)
    with pytest.raises(BenchmarkError, match="is no decoder: its first position sees the last one"):
        Model.from_hf(BertForMaskedLM(config), tokenizer(), "bert").run(torch.ones(1, 3, dtype=torch.long))


@pytest.mark.smollm2
def test_smollm2_is_a_language_model_that_knows_the_task(smollm2: Model) -> None:
    """The IOI sentence: 0.946 for Mary, logit differences +5.78 and -4.93."""
    prompt = "When Mary and John went to the store, {} gave a bottle of milk to"
    mary, john = (smollm2.tokens.answer(name)[0] for name in (" Mary", " John"))
    for repeated, want in (("John", 5.78), ("Mary", -4.93)):
        logits = smollm2.run(torch.tensor([smollm2.tokens.encode(prompt.format(repeated))]))[0]
        assert (logits[mary] - logits[john]).item() == pytest.approx(want, abs=0.01)
        if repeated == "John":
            assert logits.softmax(-1)[mary].item() == pytest.approx(0.946, abs=0.002)


@pytest.mark.hub
def test_gpt2_loads_from_the_hub() -> None:
    try:
        model = load_model("gpt2")
    except BenchmarkError as error:
        pytest.skip(str(error).splitlines()[0])
    assert (model.n_layers, model.n_heads, model.d_mlp) == (12, 12, 3072)
