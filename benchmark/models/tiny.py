"""Tiny random models of every supported architecture, a word-level tokenizer, and pairs that fit it.

The conformance checks and the tests run on these.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from benchmark.engine.dictionary import Dictionary
from benchmark.engine.model import Model
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import Pairs, make_pairs

WORDS = (
    "the", "a", "cat", "dog", "bird", "fish", "sees", "likes", "near", "behind", "and", "who", "Mary", "John", "Ann",
    "Tom", "gave", "milk", "to", "is", "are",
)  # fmt: skip
PAIRS = (
    PromptPair("Mary and John gave milk to", "Ann and John gave milk to", " Mary", " John"),
    PromptPair("the cat near a dog", "the bird near a dog", " is", " are"),
    PromptPair("Tom and Ann gave milk to", "Tom and Ann gave fish to", [" Tom", " Mary"], " Ann"),
    PromptPair("a dog behind the cat", "a dog behind the fish", " sees", [" likes", " are"]),
    PromptPair("John likes the fish and", "John sees the fish and", " Mary", " Tom"),
)
_SMALL = {"vocab_size": len(WORDS) + 2, "initializer_range": 0.25}
_GROUPED = {
    **_SMALL, "hidden_size": 24, "intermediate_size": 20, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 6, "max_position_embeddings": 32,
    "rms_norm_eps": 1.0,  # smooth around zero, so that few quadrature steps are enough in tests
}  # fmt: skip
ARCHITECTURES: dict[str, Callable[[int], Any]] = {  # given the number of layers
    "gpt2": lambda layers: GPT2LMHeadModel(
        GPT2Config(
            **_SMALL, n_embd=24, n_inner=20, n_head=4, n_layer=layers, n_positions=32, bos_token_id=1, eos_token_id=1
        )
    ),
    "llama": lambda layers: LlamaForCausalLM(LlamaConfig(**_GROUPED, num_hidden_layers=layers)),
    "qwen2": lambda layers: Qwen2ForCausalLM(
        Qwen2Config(**{k: v for k, v in _GROUPED.items() if k != "head_dim"}, num_hidden_layers=layers)
    ),
    "qwen3": lambda layers: Qwen3ForCausalLM(Qwen3Config(**_GROUPED, num_hidden_layers=layers)),
    "neox": lambda layers: GPTNeoXForCausalLM(
        GPTNeoXConfig(
            **_SMALL, hidden_size=24, intermediate_size=20, num_hidden_layers=layers, num_attention_heads=4,
            max_position_embeddings=32, use_parallel_residual=True,
        )
    ),
    "gemma2": lambda layers: Gemma2ForCausalLM(
        Gemma2Config(
            **_GROUPED, num_hidden_layers=layers, query_pre_attn_scalar=6, final_logit_softcapping=5.0,
            attn_logit_softcapping=5.0,
        )
    ),
}  # fmt: skip
LAYERS = 3  # a first, a last, and one between


def tokenizer() -> Any:
    """One token a word."""
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<bos>", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<bos>", eos_token="<bos>")


def hf_model(architecture: str, seed: int = 0, layers: int = LAYERS) -> Any:
    """A random Hugging Face model in float64, with biases and norms moved off their trivial start values."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = ARCHITECTURES[architecture](layers).double().eval()
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


def tiny_model(
    architecture: str = "llama",
    prepend_bos: bool | None = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    layers: int = LAYERS,
) -> Model:
    """A random model named after its architecture."""
    return Model.from_hf(hf_model(architecture, seed, layers).to(dtype), tokenizer(), architecture, prepend_bos)


def tiny_pairs(model: Model, pairs: tuple[PromptPair, ...] = PAIRS, metric: Any = logit_diff) -> Pairs:
    """The pairs, with themselves as the discovery rows of a mean."""
    made = make_pairs(model, pairs, metric)
    return replace(made, discovery=made.pairs)


def save(folder: Path, architecture: str = "llama") -> Path:
    """A tiny model as a local folder, as `save_pretrained` writes it."""
    hf_model(architecture).float().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


FEATURES_OF = {"residual-feature": "residual", "attention-feature": "attention", "mlp-feature": "mlp"}


def random_dictionary(width: int, features: int, seed: int, **sort: Any) -> Dictionary:
    """A bad one, in float64: everything is random. `sort` is the architecture, the normalisation, or `k`."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Dictionary(
        encoder=draw(width, features) / width**0.5,
        bias=0.1 * draw(features),
        decoder=draw(features, width) / features**0.5,
        bias_in=0.1 * draw(width),
        bias_out=0.1 * draw(width),
        threshold=0.2 * draw(features).abs() if sort.get("architecture") == "jumprelu" else None,
        gain=(0.1 * draw(features)).exp() if sort.get("architecture") == "gated" else None,
        gate=0.1 * draw(features) if sort.get("architecture") == "gated" else None,
        **sort,
    )


def attach_random(model: Model, features: int = 12) -> None:
    """Let random dictionaries read every layer of a tiny model."""
    for kind, whole in FEATURES_OF.items():
        layers = range(model.layers(whole))
        model.attach(kind, whole, {layer: random_dictionary(model.d_model, features, layer) for layer in layers})
