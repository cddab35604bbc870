"""What the weights alone say: a head's OV circuit, and the bias of the unembedding. Measured, layout by layout.

Norms are folded in as transformer_lens' processing does: an OV circuit reads the residual stream behind the norm's
centring and weight, and is read through the final norm's weight and the unembedding. What a projection does is seen by
what it makes of unit vectors, so that no layout of weights has to be known.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmark.engine.model import Model

_FAR = 1e4  # beside which no norm's epsilon counts


class Norm(NamedTuple):
    """What a norm does beside dividing by the size: a weight, a bias, and whether it takes the mean off."""

    weight: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]
    centres: bool

    def centred(self, values: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        return values - values.mean(-1, keepdim=True) if self.centres else values


class OVCircuit(NamedTuple):
    """Singular values of one head's W_V W_O, largest first, and what each vector reads and writes by token.

    Logits are directions through the final norm's weight and the unembedding, less their mean over the vocabulary. A
    singular vector's sign is free, but that of what it reads goes with that of what it writes.
    """

    singular_values: Float[Tensor, " rank"]
    reads: Float[Tensor, "rank vocab"]
    writes: Float[Tensor, "rank vocab"]


@torch.no_grad()
def norm_of(module: nn.Module | None, model: Model) -> Norm:
    """A norm, measured; where there is none, one that does nothing."""
    size = model.d_model
    zeros = torch.zeros(size, device=model.device, dtype=torch.float64)
    if module is None:
        return Norm(zeros + 1, zeros, False)
    signs = torch.tensor([1.0, -1.0] * (size // 2) + [0.0] * (size % 2)).to(zeros)
    if size % 2:
        signs[-3:] = torch.tensor([1.0, 1.0, -2.0]).to(zeros)  # no entry is 0, and the mean is

    def normed(values: Tensor) -> Tensor:
        output: Tensor = module((_FAR * values).to(_device(module, model), model.dtype)[None, None])
        return output[0, 0].to(zeros)

    scale = signs.square().mean().sqrt()
    up, down = normed(signs), normed(-signs)
    weight, bias = (up - down) / 2 / (signs / scale), (up + down) / 2
    shifted = normed(signs + 3)
    return Norm(weight, bias, bool((shifted - up).abs().max() < 0.1 * (up - down).abs().max()))


@torch.no_grad()
def ov_circuit(model: Model, layer: int, head: int) -> OVCircuit:
    """The OV circuit of a head by its singular vectors. Raises BenchmarkError where the layout hides it."""
    model.refuse_absent("head", layer, head, f"head {layer}.{head}")
    model.refuse(["value"])
    block = model.blocks[layer].module
    before, behind = (norm_of(getattr(block, name, None), model) for name in ("ln1", "ln1_post"))
    final = norm_of(getattr(model.bridge, "ln_final", None), model)
    values = linear(block.attn.v, model.d_model, model)  # type: ignore[union-attr]
    outputs = linear(block.attn.o, model.n_heads * model.d_head, model)  # type: ignore[union-attr]
    value_head = head // (model.n_heads // model.size("value"))
    width = values.shape[1] // model.size("value")
    # a row vector x is read as (centred x) * weight @ W_V: so the matrix is centred over its rows
    read = before.centred((before.weight[:, None] * values[:, value_head * width :][:, :width]).T).T
    written = final.centred(outputs[head * model.d_head :][: model.d_head] * behind.weight)
    left, right = torch.linalg.qr(read), torch.linalg.qr(written.T)
    inner = torch.linalg.svd(left.R @ right.R.T)
    unembedding = model.unembedding()[0].to(left.Q)
    lens = final.centred(unembedding * final.weight)
    lens = lens - lens.mean(0)
    reads, writes = (left.Q @ inner.U).T, inner.Vh @ right.Q.T
    return OVCircuit(inner.S, reads @ lens.T, writes @ lens.T)


@torch.no_grad()
def unembedding_bias(model: Model) -> Float[Tensor, " vocab"]:
    """What is added to each token's logit whatever the prompt, less the mean: the final norm's bias, unembedded."""
    weight, bias = model.unembedding()
    folded = weight.to(model.device).double() @ norm_of(getattr(model.bridge, "ln_final", None), model).bias
    folded = folded if bias is None else folded + bias.to(folded)
    return folded - folded.mean()


def linear(module: Any, size: int, model: Model) -> Float[Tensor, "input output"]:
    """The matrix of a linear module, from what it makes of unit vectors."""
    units = torch.eye(size, device=_device(module, model), dtype=model.dtype)[None]
    made = module(units) - module(torch.zeros_like(units[:, :1]))
    return made[0].flatten(1).double().to(model.device)  # type: ignore[no-any-return]


def _device(module: nn.Module, model: Model) -> torch.device:
    """Where a module is: some of transformer_lens' take their input as it comes."""
    return next((weight.device for weight in module.parameters()), model.device)


@torch.no_grad()
def value_bias(model: Model, layer: int) -> Float[Tensor, "component dim"]:
    """What the values of a layer are where nothing is read: what the norm's bias and their own make.

    It is what transformer_lens leaves in the output's bias when it folds norms and value biases.
    """
    block = model.blocks[layer].module
    bias = norm_of(getattr(block, "ln1", None), model).bias
    nothing = bias.to(_device(block.attn.v, model), model.dtype)[None, None]  # type: ignore[union-attr, arg-type]
    made: Tensor = block.attn.v(nothing)  # type: ignore[union-attr, operator]
    return made.to(model.device).reshape(model.size("value"), -1)
