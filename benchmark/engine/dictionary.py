"""A sparse autoencoder as a value: how it reads features in an activation, and what each of them writes.

Every architecture reads the same products with its encoder and differs in what it makes of them. Every decoder is
linear once the normalisation of its input is fixed, so that replacing a feature moves the activation along one
direction. `models.dictionaries` makes these from files.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

_AT_ONCE = 2**24  # features of activations that are looked at together
Architecture = Literal["standard", "gated", "jumprelu", "topk"]
Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]


class Scale(NamedTuple):
    """What an input is normalised by: `(x - shift) / size`."""

    shift: Float[Tensor, "*place 1"]
    size: Float[Tensor, "*place 1"]


@dataclass(frozen=True, eq=False)
class Dictionary:
    """One sparse autoencoder: `features = activation((x - bias_in) @ encoder)`, `x ~ features @ decoder + bias_out`.

    `bias` is added to the products with the encoder. Of a jump ReLU, `threshold` is what a feature must exceed; of a
    gated one, `bias` and `gain` make the magnitude and `gate` decides; of a top-k one, the `k` largest stay.
    `name` says where it comes from, `hook` where it belongs, in transformer_lens' old names; `page` is the source on
    Neuronpedia, model and id, where its features have pages.
    """

    encoder: Float[Tensor, "d_in feature"]
    bias: Float[Tensor, " feature"]
    decoder: Float[Tensor, "feature d_in"]
    bias_in: Float[Tensor, " d_in"]
    bias_out: Float[Tensor, " d_in"]
    architecture: Architecture = "standard"
    normalisation: Normalisation = "none"
    threshold: Float[Tensor, " feature"] | None = None
    gain: Float[Tensor, " feature"] | None = None
    gate: Float[Tensor, " feature"] | None = None
    k: int = 0
    epsilon: float = 1e-5  # of layer_norm
    name: str = ""
    hook: str = ""
    page: tuple[str, str] | None = None
    digest: str = ""  # sha256 of its files

    @property
    def d_in(self) -> int:
        return self.encoder.shape[0]

    @property
    def size(self) -> int:
        """How many features it has."""
        return self.encoder.shape[1]

    def to(self, like: Tensor) -> "Dictionary":
        """The same on the device and in the number format of a tensor."""
        parts: dict[str, Any] = {
            name: value.to(like) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **parts)

    def parts(self, x: Float[Tensor, "token d_in"]) -> Sequence[Float[Tensor, "part d_in"]]:
        """Activations in parts whose features fit in little memory."""
        return torch.split(x, max(1, _AT_ONCE // self.size))

    def scale(self, x: Float[Tensor, "*place d_in"]) -> Scale | None:
        """What these activations are normalised by; None where they aren't."""
        if self.normalisation == "layer_norm":
            return Scale(x.mean(-1, keepdim=True), x.std(-1, keepdim=True) + self.epsilon)
        if self.normalisation == "constant_norm_rescale":
            norm = x.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
            return Scale(torch.zeros_like(norm), norm / self.d_in**0.5)
        return None

    def encode(
        self, x: Float[Tensor, "*place d_in"], scale: Scale | None, chosen: Int[Tensor, " row"] | None = None
    ) -> Float[Tensor, "*place_and_feature"]:
        """All features of activations, `[*place, feature]`; or one a row of `x[row, pos, d_in]`, `[row, pos]`."""
        if scale is not None:
            x = (x - scale.shift) / scale.size
        x = x - self.bias_in
        if chosen is None or self.architecture == "topk":
            found = self._activation(x @ self.encoder, slice(None))
            return found if chosen is None else found[torch.arange(len(found)), :, chosen]
        return self._activation((x @ self.encoder.T[chosen][:, :, None])[..., 0], (chosen, None))

    def _activation(self, products: Tensor, at: slice | tuple[Tensor, None]) -> Tensor:
        before = products + self.bias[at]
        if self.architecture == "jumprelu":
            assert self.threshold is not None
            return before.relu() * (before > self.threshold[at])
        if self.architecture == "gated":
            assert self.gain is not None
            assert self.gate is not None
            return (products * self.gain[at] + self.bias[at]).relu() * (products + self.gate[at] > 0)
        if self.architecture == "topk":
            top = before.relu().topk(self.k, dim=-1)
            return torch.zeros_like(before).scatter(-1, top.indices, top.values)
        return before.relu()

    def written(self, features: Float[Tensor, "*place feature"], scale: Scale | None) -> Float[Tensor, "*place d_in"]:
        """What features add to an activation, the bias apart."""
        added = features @ self.decoder
        return added if scale is None else added * scale.size

    def decode(self, features: Float[Tensor, "*place feature"], scale: Scale | None) -> Float[Tensor, "*place d_in"]:
        """The activation as the features have it."""
        whole = features @ self.decoder + self.bias_out
        return whole if scale is None else whole * scale.size + scale.shift
