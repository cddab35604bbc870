"""The tiny models and pairs of `models.tiny`, under the names that tests use, and a model that is linear."""

import torch

from benchmark.engine.model import Model
from benchmark.models.tiny import ARCHITECTURES, PAIRS, WORDS, hf_model, save, tiny_model, tiny_pairs, tokenizer
from benchmark.prompts.tokens import Tokens

__all__ = [
    "ARCHITECTURES", "PAIRS", "WORDS", "hf_model", "linear_model", "save", "tiny_model", "tiny_pairs", "tokenizer",
]  # fmt: skip


def linear_model() -> Model:
    """Two layers without any norm, the last one's MLP silent: its heads and neurons act linearly on the logits."""
    import transformer_lens.model_bridge.sources.native  # noqa: F401 (registers boot_native)
    from transformer_lens import TransformerBridge, TransformerBridgeConfig

    config = TransformerBridgeConfig(
        n_layers=2, d_model=24, n_ctx=32, d_head=6, n_heads=4, d_mlp=20, d_vocab=len(WORDS) + 2, act_fn="relu",
        normalization_type=None, seed=0,
    )  # fmt: skip
    bridge = TransformerBridge.boot_native(config).double().eval().requires_grad_(False)
    with torch.no_grad():
        for name, weight in bridge.named_parameters():
            weight.mul_(0 if "layers.1" in name and "fc_in" in name else 10)
    return Model(bridge, Tokens(tokenizer(), False), "linear", "0" * 64)
