"""Every kind of component on the untouched Hugging Face model, by forward hooks and nothing else: an oracle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Edit = Callable[[Tensor], Tensor]
_PARTS = {  # of a layer: attention and MLP, or the norms behind them; the joint projection or those of q, k and v
    "gpt2": ("transformer.h.{}", "attn", "mlp", "attn.c_attn"),
    "llama": ("model.layers.{}", "self_attn", "mlp", "self_attn.{}_proj"),
    "qwen2": ("model.layers.{}", "self_attn", "mlp", "self_attn.{}_proj"),
    "qwen3": ("model.layers.{}", "self_attn", "mlp", "self_attn.{}_proj"),
    "neox": ("gpt_neox.layers.{}", "attention", "mlp", "attention.query_key_value"),
    "gemma2": ("model.layers.{}", "post_attention_layernorm", "post_feedforward_layernorm", "self_attn.{}_proj"),
}
_INPUTS = {  # what heads and neurons stand in front of
    "gpt2": ("attn.c_proj", "mlp.c_proj"), "neox": ("attention.dense", "mlp.dense_4h_to_h"),
}  # fmt: skip
HEADS, KEYS = 4, {"gpt2": 4, "neox": 4}  # query heads everywhere; key and value heads, 2 elsewhere


def size(architecture: str, kind: str) -> int:
    grouped = KEYS.get(architecture, 2)
    return {"head": HEADS, "query": HEADS, "pattern": HEADS, "key": grouped, "value": grouped, "neuron": 20}.get(
        kind, 1
    )


@contextmanager
def at(model: Any, architecture: str, kind: str, layer: int, edit: Edit) -> Iterator[None]:
    """While this holds, `edit` is given what stands there, `[row, pos, component, dim]`; what it returns is put."""
    path, attention, mlp, projection = _PARTS[architecture]
    count, last = size(architecture, kind), model.config.num_hidden_layers
    block = model.get_submodule(path.format(min(layer, last - 1)))

    def edited(value: Tensor) -> Tensor:
        return edit(value.reshape(*value.shape[:2], count, -1)).reshape(value.shape)

    def entering(module: nn.Module, arguments: Any, named: Any) -> Any:
        return (edited(arguments[0]), *arguments[1:]), named

    def leaving(module: nn.Module, inputs: Any, output: Any) -> Any:
        return (edited(output[0]), *output[1:]) if isinstance(output, tuple) else edited(output)

    def joint(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """All queries, all keys, all values side by side in GPT-2; those of each head in turn in NeoX."""
        shape = (*output.shape[:2], 3, HEADS, -1) if architecture == "gpt2" else (*output.shape[:2], HEADS, 3, -1)
        parts = output.clone().view(shape)
        mine = parts.select(2 if architecture == "gpt2" else 3, ("query", "key", "value").index(kind))
        mine.copy_(edit(mine.clone()))
        return parts.view(output.shape)

    if kind == "pattern":
        softmax, calls = nn.functional.softmax, iter(range(last))

        def counted(*arguments: Any, **options: Any) -> Tensor:
            weights = softmax(*arguments, **options)
            return edit(weights.transpose(1, 2)).transpose(1, 2) if next(calls) == layer else weights

        nn.functional.softmax = counted
        try:
            yield
        finally:
            nn.functional.softmax = softmax
        return
    if kind in ("head", "neuron"):
        names = _INPUTS.get(architecture, ("self_attn.o_proj", "mlp.down_proj"))
        place = block.get_submodule(names[kind == "neuron"])
        handle = place.register_forward_pre_hook(entering, with_kwargs=True)
    elif kind in ("residual", "embedding"):
        before = block.register_forward_pre_hook
        handle = before(entering, with_kwargs=True) if layer < last else block.register_forward_hook(leaving)
    elif kind in ("attention", "mlp"):
        handle = block.get_submodule(attention if kind == "attention" else mlp).register_forward_hook(leaving)
    elif architecture in KEYS:
        handle = block.get_submodule(projection).register_forward_hook(joint)
    else:
        handle = block.get_submodule(projection.format(kind[0])).register_forward_hook(leaving)
    try:
        yield
    finally:
        handle.remove()


def activation(model: Any, architecture: str, kind: str, layer: int, tokens: Tensor) -> Tensor:
    kept: list[Tensor] = []
    with at(model, architecture, kind, layer, lambda value: (kept.append(value.clone()), value)[1]):
        model(tokens, use_cache=False)
    return kept[0]
