"""Integrated gradients of a layer's heads with zero, by hand on transformers' own Llama, beside this project's.

    python -m tests.methods.by_hand --task gender-bias --pair gender-bias-0580 --layer 1

Nothing of the engine takes part in the other column: a hook before the layer's output projection, and the mean gradient
at evenly spaced midpoints. So it is no test (minutes on SmolLM2): it is for scores that are hard to believe.
"""

import argparse

import pandas as pd
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmark.models.loading import load_model
from benchmark.running.plugins import load_method, load_task

AT_ONCE = 50


def main() -> None:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--task", default="gender-bias")
    a.add_argument("--pair", default="gender-bias-0580", help="the id of a pair")
    a.add_argument("--layer", type=int, default=1)
    a.add_argument("--points", type=int, default=1000)
    asked = a.parse_args()
    model = load_model("smollm2-135m", device="cpu")
    pairs = load_task(asked.task).pairs(model)
    [place] = [place for place, pair in enumerate(pairs.pairs) if pair.prompt.id == asked.pair]
    pair = pairs.pairs[place]
    found = {
        name: load_method(name).scores(model, pairs.take([place]), ("head",), "zero")["head"].values[0, asked.layer]
        for name in ("integrated-gradients", "activation-patching")
    }

    tokens, heads = torch.tensor([pair.clean]), model.n_heads
    weights = {name.replace("_original_component.", ""): value for name, value in model._original.state_dict().items()}
    plain = LlamaForCausalLM(model._original.config).eval().requires_grad_(False)
    missing = plain.load_state_dict(weights, strict=False).missing_keys
    assert not missing, missing
    projection = plain.model.layers[asked.layer].self_attn.o_proj

    def metric(z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The metric of each row, with these activations of the layer's heads, and what they were."""
        kept: list[Tensor] = []

        def replace(_: object, given: tuple[Tensor]) -> tuple[Tensor]:
            kept.append(given[0])
            return given if z is None else (z,)

        hook = projection.register_forward_pre_hook(replace)
        logits = plain(tokens.expand(1 if z is None else len(z), -1)).logits[:, -1]
        hook.remove()
        return logits[:, pair.correct[0]] - logits[:, pair.incorrect[0]], kept[0]

    whole, z = metric()
    total = torch.zeros_like(z)
    for share in ((torch.arange(asked.points) + 0.5) / asked.points).split(AT_ONCE):
        here = (share[:, None, None] * z).requires_grad_()
        [slope] = torch.autograd.grad(metric(here)[0].sum(), here)
        total += (slope * z).sum(0) / asked.points
    by_head = total.view(-1, heads, total.shape[-1] // heads).sum((0, 2))
    alone = torch.eye(heads).repeat_interleave(total.shape[-1] // heads, 1)[:, None]
    exact = whole - metric((1 - alone) * z)[0]
    table = {
        "integrated-gradients": found["integrated-gradients"], "by hand": by_head,
        "activation-patching": found["activation-patching"], "patched by hand": exact,
    }  # fmt: skip
    print(f"{pair.prompt.clean!r}, heads of layer {asked.layer} with zero, {asked.points} midpoints")
    print(pd.DataFrame({name: values.tolist() for name, values in table.items()}).round(4).to_string())
    sums = [float(values.sum()) for values in (found["integrated-gradients"], by_head)]
    print(f"F(1) - F(0) {float(whole - metric(0 * z)[0]):.4f}; sums of scores {sums[0]:.4f}, by hand {sums[1]:.4f}")


if __name__ == "__main__":
    main()
