"""Tiny random models of many architectures, each with where a plain loop finds its heads and neurons.

`python -m tests.engine.zoo` prints the whole table: what is scored, how far from the loop, and what is refused and why.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

from benchmark import PromptPair, load_method, make_pairs
from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.prompts.metrics import logit_diff
from tests.tiny import WORDS, tokenizer

VOCABULARY = len(WORDS) + 2
PAIR = PromptPair("Mary and John gave milk to the", "Ann and John gave fish to the", " cat", " dog")
HEADS, WIDTH, DEPTH = 4, 32, 2
COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip
GROUPED = {**COMMON, "num_key_value_heads": 2}
LATENT = {
    **COMMON, "num_key_value_heads": HEADS, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_rope_head_dim": 4, "v_head_dim": 8, "qk_nope_head_dim": 8,
    "n_group": 1, "topk_group": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
}  # fmt: skip
NAMED = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}


class Kept(NamedTuple):
    """A configuration, and the modules whose inputs hold the heads and the neurons; "" where there are none."""

    family: str
    options: dict[str, Any]
    heads: str
    neurons: str


LLAMA = ("model.layers.{}.self_attn.o_proj", "model.layers.{}.mlp.down_proj")
ZOO = {
    "latent attention": Kept("DeepseekV3", {**LATENT, "first_k_dense_replace": DEPTH}, *LLAMA),
    "latent attention, experts": Kept("DeepseekV3", {**LATENT, "first_k_dense_replace": 1}, LLAMA[0], ""),
    "latent attention, v2": Kept(
        "DeepseekV2", {**LATENT, "first_k_dense_replace": DEPTH, "topk_method": "greedy"}, *LLAMA
    ),
    "experts narrower than the stream": Kept(
        "Olmoe", {**GROUPED, "intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}, LLAMA[0], ""
    ),
    "experts": Kept("Mixtral", {**GROUPED, "num_local_experts": 4}, LLAMA[0], ""),
    "experts and a shared one": Kept(
        "Qwen2Moe", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                     "shared_expert_intermediate_size": 24}, LLAMA[0], "",
    ),
    "experts, qwen3": Kept(
        "Qwen3Moe", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8},
        LLAMA[0], "",
    ),
    "experts and sinks": Kept(
        "GptOss", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8, "sliding_window": 4,
                   "layer_types": ["sliding_attention", "full_attention"]}, LLAMA[0], "",
    ),
    "an MLP of 1.5 widths": Kept(
        "OPT", {**NAMED, "hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "ffn_dim": 48, "num_hidden_layers": DEPTH,
                "num_attention_heads": HEADS, "max_position_embeddings": 64},
        "model.decoder.layers.{}.self_attn.out_proj", "model.decoder.layers.{}.fc2",
    ),
    "an MLP of 8 widths": Kept(
        "OPT", {**NAMED, "hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "ffn_dim": 256, "num_hidden_layers": DEPTH,
                "num_attention_heads": HEADS, "max_position_embeddings": 64},
        "model.decoder.layers.{}.self_attn.out_proj", "model.decoder.layers.{}.fc2",
    ),
    "an MLP of an odd width": Kept(
        "GPT2", {**NAMED, "n_embd": WIDTH, "n_inner": 37, "n_head": HEADS, "n_layer": DEPTH, "n_positions": 64},
        "transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj",
    ),
    "heads wider than the stream": Kept("Qwen3", {**GROUPED, "head_dim": 24}, *LLAMA),
    "one key for all heads": Kept("Llama", {**COMMON, "num_key_value_heads": 1}, *LLAMA),
    "a sliding window": Kept("Mistral", {**GROUPED, "sliding_window": 3}, *LLAMA),
    "windows in some layers": Kept(
        "Gemma2", {**GROUPED, "head_dim": 8, "sliding_window": 3, "query_pre_attn_scalar": 8}, *LLAMA
    ),
    "norms after the parts": Kept("Olmo2", GROUPED, *LLAMA),
    "parallel parts": Kept(
        "GPTJ", {**NAMED, "n_embd": WIDTH, "n_head": HEADS, "n_layer": DEPTH, "n_positions": 64, "rotary_dim": 4},
        "transformer.h.{}.attn.out_proj", "transformer.h.{}.mlp.fc_out",
    ),
    "parallel parts, neox": Kept(
        "GPTNeoX", {**COMMON, "use_parallel_residual": True},
        "gpt_neox.layers.{}.attention.dense", "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    ),
    "parallel parts, phi": Kept("Phi", COMMON, "model.layers.{}.self_attn.dense", "model.layers.{}.mlp.fc2"),
    "parallel parts, cohere": Kept("Cohere", GROUPED, *LLAMA),
    "gate and up in one": Kept("Phi3", {**GROUPED, "original_max_position_embeddings": 64}, *LLAMA),
    "distances in the attention": Kept(
        "Bloom", {**NAMED, "hidden_size": WIDTH, "n_layer": DEPTH, "n_head": HEADS},
        "transformer.h.{}.self_attention.dense", "transformer.h.{}.mlp.dense_4h_to_h",
    ),
    "distances in the attention, mpt": Kept(
        "Mpt", {**NAMED, "d_model": WIDTH, "n_heads": HEADS, "n_layers": DEPTH, "max_seq_len": 64,
                "expansion_ratio": 2},
        "transformer.blocks.{}.attn.out_proj", "transformer.blocks.{}.ffn.down_proj",
    ),
    "falcon": Kept(
        "Falcon", {**NAMED, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS,
                   "alibi": False},
        "transformer.h.{}.self_attention.dense", "transformer.h.{}.mlp.dense_4h_to_h",
    ),
    "falcon, new": Kept(
        "Falcon", {**NAMED, "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS,
                   "alibi": False, "num_kv_heads": 2, "new_decoder_architecture": True},
        "transformer.h.{}.self_attention.dense", "transformer.h.{}.mlp.dense_4h_to_h",
    ),
    "one key for all heads, bigcode": Kept(
        "GPTBigCode", {**NAMED, "n_embd": WIDTH, "n_inner": 40, "n_head": HEADS, "n_layer": DEPTH, "n_positions": 64},
        "transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj",
    ),
    "local attention": Kept(
        "GPTNeo", {**NAMED, "hidden_size": WIDTH, "num_layers": DEPTH, "num_heads": HEADS, "intermediate_size": 44,
                   "attention_types": [[["global", "local"], 1]], "window_size": 3,
                   "max_position_embeddings": 64},
        "transformer.h.{}.attn.attention.out_proj", "transformer.h.{}.mlp.c_proj",
    ),
    "a norm before the projection": Kept("BitNet", GROUPED, *LLAMA),
    "no positions in some layers": Kept("SmolLM3", {**GROUPED, "no_rope_layers": [1, 0]}, *LLAMA),
    "partly rotated": Kept("StableLm", {**GROUPED, "partial_rotary_factor": 0.5}, *LLAMA),
    "biases everywhere": Kept("Starcoder2", GROUPED, LLAMA[0], "model.layers.{}.mlp.c_proj"),
    "squared ReLU": Kept("Nemotron", GROUPED, *LLAMA),
    "scaled residuals": Kept("Granite", {**GROUPED, "residual_multiplier": 0.5, "attention_multiplier": 0.3}, *LLAMA),
    "linear attention in some layers": Kept(
        "Qwen3Next", {**GROUPED, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                      "shared_expert_intermediate_size": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
                      "linear_key_head_dim": 8, "linear_value_head_dim": 8},
        LLAMA[0], "",
    ),
    "a state space in some layers": Kept(
        "Jamba", {**GROUPED, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
                  "use_mamba_kernels": False}, "", "",
    ),
    "a short convolution in some layers": Kept(
        "Lfm2", {**GROUPED, "layer_types": ["full_attention", "conv"]}, "",
        "model.layers.{}.feed_forward.w2",
    ),
    "attention and a state space side by side": Kept(
        "FalconH1", {**GROUPED, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 4},
        LLAMA[0], "model.layers.{}.feed_forward.down_proj",
    ),
    "room for an encoder": Kept(
        "GPT2", {**NAMED, "n_embd": WIDTH, "n_head": HEADS, "n_layer": DEPTH, "n_positions": 64,
                 "add_cross_attention": True}, "transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj",
    ),
    "latent attention of an odd width": Kept(
        "DeepseekV3", {**LATENT, "first_k_dense_replace": DEPTH, "v_head_dim": 12, "q_lora_rank": None}, *LLAMA
    ),
    "a gate behind attention": Kept(
        "Afmoe", {**GROUPED, "head_dim": 8, "num_experts": 4, "num_dense_layers": DEPTH, "moe_intermediate_size": 16,
                  "sliding_window": 4}, *LLAMA,
    ),
    "differential attention": Kept("DiffLlama", GROUPED, *LLAMA),
}  # fmt: skip


def hf_model(kept: Kept, seed: int = 1) -> Any:
    """A random model whose weights, biases and norms are all off their start values, in float64 where it can be."""
    config = getattr(transformers, f"{kept.family}Config")(**kept.options)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        for weight in model.parameters():
            weight.normal_(0, 0.2) if weight.ndim > 1 else weight.add_(0.1 * torch.randn_like(weight))
    grouped = any("experts" in option for option in kept.options)  # their matrix products take no float64
    return model.to(torch.float32 if grouped else torch.float64).eval()


def plain_loop(model: Any, kept: Kept, kind: str, pair: Any) -> Iterator[tuple[int, int, float]]:
    """Layer, component and effect of exact patching, by forward hooks on the untouched model and nothing else."""
    path, count = (kept.heads, HEADS) if kind == "head" else (kept.neurons, 0)
    layers = range(model.config.num_hidden_layers)
    places = [model.get_submodule(path.format(layer)) for layer in layers]
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    other: dict[nn.Module, Tensor] = {}

    def metric(rows: int) -> list[float]:
        logits = model(clean.expand(rows, -1), use_cache=False).logits[:, -1]
        found = logits[:, list(pair.correct)].logsumexp(1) - logits[:, list(pair.incorrect)].logsumexp(1)
        return found.tolist()

    with torch.no_grad():
        handles = [
            place.register_forward_pre_hook(lambda module, inputs: other.__setitem__(module, inputs[0].clone()))
            for place in places
        ]
        model(corrupted, use_cache=False)
        for handle in handles:
            handle.remove()
        [before] = metric(1)
        for layer, place in enumerate(places):
            width = other[place].shape[-1]
            each = width // (count or width)
            chosen = range(0, width // each, 1 if count else 7)

            def patch(module: nn.Module, inputs: Any, chosen: range = chosen, each: int = each) -> Any:
                """A row for each component."""
                value = inputs[0].clone()
                rows = value.view(len(chosen), clean.shape[1], -1)  # some modules get rows and positions as one
                for row, component in zip(rows, chosen, strict=True):
                    one = slice(component * each, (component + 1) * each)
                    row[:, one] = other[module].view_as(row)[:, one]
                return (value, *inputs[1:])

            handle = place.register_forward_pre_hook(patch)
            found = metric(len(chosen))
            handle.remove()
            yield from ((layer, component, before - value) for component, value in zip(chosen, found, strict=True))


def residual_difference(model: Model, reference: Any, kept: Kept, pairs: Any) -> float:
    """The same for what enters each block and leaves the last, at the last position and at one before it."""
    [scores] = load_method("activation-patching").scores(model, pairs, ("residual",), by_position=True).values()
    path = (kept.heads or kept.neurons).partition("{}")[0]
    blocks = reference.get_submodule(path.rstrip("."))
    pair = pairs.pairs[0]
    clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
    other: dict[int, Tensor] = {}

    def entering(layer: int, edit: Callable[[Tensor], Tensor]) -> Any:
        """A hook before a block, or behind the last one."""
        if layer < len(blocks):
            return blocks[layer].register_forward_pre_hook(lambda _, inputs: (edit(inputs[0]), *inputs[1:]))
        return blocks[-1].register_forward_hook(
            lambda _, inputs, output: (edit(output[0]), *output[1:]) if isinstance(output, tuple) else edit(output)
        )

    def metric() -> float:
        logits = reference(clean, use_cache=False).logits[0, -1]
        return float(logits[list(pair.correct)].logsumexp(0) - logits[list(pair.incorrect)].logsumexp(0))

    layers = range(len(blocks) + 1)
    errors, largest = [], 0.0
    with torch.no_grad():
        keep = other.setdefault
        handles = [entering(layer, lambda value, layer=layer: keep(layer, value.clone())) for layer in layers]
        reference(corrupted, use_cache=False)
        for handle in handles:
            handle.remove()
        before = metric()
        for layer in layers:
            for position in (3, clean.shape[1] - 1):

                def patch(value: Tensor, layer: int = layer, position: int = position) -> Tensor:
                    value = value.clone()
                    value[:, position] = other[layer][:, position]
                    return value

                handle = entering(layer, patch)
                effect = before - metric()
                handle.remove()
                errors.append(abs(scores.values[0, layer, 0, position].item() - effect))
                largest = max(largest, abs(effect))
    return max(errors) / largest


def outcome(kept: Kept) -> dict[str, float | str]:
    """By kind: the largest difference to the plain loop as a share of the largest effect, or why it is refused."""
    reference = hf_model(kept)
    try:
        model = Model.from_hf(copy.deepcopy(reference), tokenizer(), kept.family, prepend_bos=False)
    except BenchmarkError as error:
        return {"model": str(error)}
    found: dict[str, float | str] = {kind: why for kind, why in model.refusals.items() if kind not in FEATURE_KINDS}
    pairs = make_pairs(model, [PAIR], logit_diff)
    if "residual" in model.kinds:
        found["residual"] = residual_difference(model, reference, kept, pairs)
    for kind in (kind for kind in DEFAULT_KINDS if kind in model.kinds):
        options = {"neurons": 0} if kind == "neuron" else {}
        scores = load_method("activation-patching", **options).scores(model, pairs, (kind,))[kind].values[0]
        if not {"head": kept.heads, "neuron": kept.neurons}[kind]:
            found[kind] = "scored, though there are none"
            continue
        rows = list(plain_loop(reference, kept, kind, pairs.pairs[0]))
        largest = max(abs(effect) for *_, effect in rows)
        found[kind] = max(abs(scores[layer, index].item() - effect) for layer, index, effect in rows) / largest
    return found


if __name__ == "__main__":
    for name in sys.argv[1:] or ZOO:
        try:
            print(f"{name} ({ZOO[name].family}): {outcome(ZOO[name])}")
        except Exception as error:
            print(f"{name} ({ZOO[name].family}): {type(error).__name__}: {error}")
