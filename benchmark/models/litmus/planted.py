"""Transformers whose weights are set by hand: a circuit is written down in named features and becomes a model.

No norm and ReLU neurons, so that what a component does can be read off its description. Features are directions of the
residual stream, at right angles to each other. Every word has the feature `one`, and position p the feature `at p`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from benchmark.engine.model import Model

UNKNOWN = "<unk>"
Amount = float | int
Features = Mapping[str, Amount]


@dataclass(frozen=True)
class Head:
    """Attends where features at the query meet features at the key, and moves features from there to here.

    `attend` gives the attention score of each (feature at the query, feature at the key), once for every unit of both;
    where it is empty, attention is uniform. Each entry of `move` is one dimension of the head's output: what it reads
    at the position attended to, and what it writes.
    """

    layer: int
    index: int
    attend: Mapping[tuple[str, str], Amount]
    move: Sequence[tuple[Features, Features]]


@dataclass(frozen=True)
class Neuron:
    """relu(what it reads + bias), times what it writes, at every position."""

    layer: int
    index: int
    reads: Features
    writes: Features
    bias: Amount = 0.0


@dataclass(frozen=True)
class Circuit:
    """A whole model: the features of words, the logits that features give to words, and the parts that matter.

    All other heads and neurons have weights of zero.
    """

    words: Mapping[str, Features]
    logits: Mapping[str, Features]
    heads: Sequence[Head] = ()
    neurons: Sequence[Neuron] = ()
    n_layers: int = 2
    n_heads: int = 4
    d_head: int = 6
    d_mlp: int = 8
    n_ctx: int = 8
    features: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        named: list[str] = ["one", *(f"at {place}" for place in range(self.n_ctx))]
        for features in (*self.words.values(), *self.logits.values()):
            named += features
        for head in self.heads:
            named += [feature for pair in head.attend for feature in pair]
            named += [feature for reads, writes in head.move for feature in (*reads, *writes)]
        for neuron in self.neurons:
            named += [*neuron.reads, *neuron.writes]
        object.__setattr__(self, "features", tuple(dict.fromkeys(named)))

    def vector(self, features: Features) -> Tensor:
        """The direction `[d_model]` that these features add up to."""
        vector = torch.zeros(len(self.features), dtype=torch.float64)
        for feature, value in features.items():
            vector[self.features.index(feature)] = value
        return vector

    def model(self, name: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Model:
        """The model that computes this circuit."""
        vocabulary = [UNKNOWN, *self.words]
        sizes = {
            "n_layers": self.n_layers, "n_heads": self.n_heads, "d_head": self.d_head, "d_mlp": self.d_mlp,
            "d_model": len(self.features), "d_vocab": len(vocabulary), "n_ctx": self.n_ctx,
        }  # fmt: skip
        return Model.native(name, sizes, self._weights(vocabulary), _tokenizer(vocabulary), device, dtype)

    def _weights(self, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """The weights that aren't zero, under the names of the native model, as `[out, in]`."""
        words = {word: {"one": 1.0, **features} for word, features in self.words.items()}
        weights = {
            "tok_embed.weight": torch.stack([self.vector(words.get(word, {})) for word in vocabulary]),
            "pos.weight": torch.stack([self.vector({f"at {place}": 1.0}) for place in range(self.n_ctx)]),
            "head.weight": torch.stack([self.vector(self.logits.get(word, {})) for word in vocabulary]),
        }
        width, size = len(self.features), self.n_heads * self.d_head
        for layer in range(self.n_layers):
            parts = {f"attn.{part}.weight": torch.zeros(size, width, dtype=torch.float64) for part in "qkv"}
            parts["attn.o.weight"] = torch.zeros(width, size, dtype=torch.float64)
            parts["mlp.fc_in.weight"] = torch.zeros(self.d_mlp, width, dtype=torch.float64)
            parts["mlp.fc_in.bias"] = torch.zeros(self.d_mlp, dtype=torch.float64)
            parts["mlp.fc_out.weight"] = torch.zeros(width, self.d_mlp, dtype=torch.float64)
            for head in self.heads:
                if head.layer == layer:
                    for row, ((query, key), score) in enumerate(head.attend.items(), head.index * self.d_head):
                        parts["attn.q.weight"][row] = self.vector({query: 1.0})
                        parts["attn.k.weight"][row] = self.vector({key: score * sqrt(self.d_head)})
                    for row, (reads, writes) in enumerate(head.move, head.index * self.d_head):
                        parts["attn.v.weight"][row] = self.vector(reads)
                        parts["attn.o.weight"][:, row] = self.vector(writes)
            for neuron in self.neurons:
                if neuron.layer == layer:
                    parts["mlp.fc_in.weight"][neuron.index] = self.vector(neuron.reads)
                    parts["mlp.fc_in.bias"][neuron.index] = neuron.bias
                    parts["mlp.fc_out.weight"][:, neuron.index] = self.vector(neuron.writes)
            weights |= {f"layers.{layer}.{name}": weight for name, weight in parts.items()}
        return weights


def _tokenizer(vocabulary: Sequence[str]) -> Any:
    """One token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {word: number for number, word in enumerate(vocabulary)}
    backend = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=UNKNOWN)
