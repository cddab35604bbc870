"""The model adapter: the one place that knows transformer_lens.

Activations at a site are always `[row, pos, component, dim]`: a head's are its `hook_z` (dim = d_head), a neuron's its
`mlp.hook_post` (dim = 1), so that nothing above this file treats heads and neurons differently.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from benchmark.errors import BenchmarkError
from benchmark.tokens import Tokens

KINDS = ("head", "neuron")
_HOOKS = {"head": "blocks.{}.attn.hook_z", "neuron": "blocks.{}.mlp.hook_post"}
_EMBEDDING = "embed.hook_out"
_BLOCK = "blocks.{}.hook_in"

Activation = Float[Tensor, "row pos component dim"]
Edit = Callable[[Tensor], Tensor | None]


class Site(NamedTuple):
    """All heads, or all neurons, of one layer: components that never feed each other."""

    kind: str
    layer: int


@dataclass(frozen=True)
class Trace:
    """One run of the model, kept so that others can start in its middle.

    `residuals[layer]` is what entered the block of that layer, `keys_values[layer]` what its attention cached.
    """

    tokens: Int[Tensor, "row pos"]
    logits: Float[Tensor, "row vocab"]
    activations: dict[Site, Tensor]
    residuals: list[Tensor]
    keys_values: list[tuple[Tensor, Tensor]]


@dataclass
class Passes:
    """Rows (one prompt each) that went forward and backward through the model so far."""

    forward: int = 0
    backward: int = 0


class Model:
    """A frozen language model in eval mode, with its tokenizer, ready to be patched and differentiated."""

    def __init__(self, bridge: Any, tokens: Tokens, name: str, digest: str, revision: str | None = None) -> None:
        self.bridge, self.tokens, self.name, self.digest, self.revision = bridge, tokens, name, digest, revision
        self.tokenizer = tokens.tokenizer
        config = bridge.cfg
        self.n_layers, self.n_heads, self.d_head, self.d_mlp = (
            int(config.n_layers),
            int(config.n_heads),
            int(config.d_head),
            int(config.d_mlp),
        )
        self._config = getattr(bridge.original_model, "config", None)  # native models have none, and no cache
        self.passes = Passes()
        self._blocks_return_tuples = _probe(bridge, name)
        parameter = next(bridge.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self._modules: dict[str, nn.Module] = dict(bridge.hook_dict)
        missing = [hook for site in self.sites(KINDS) if (hook := _hook(site)) not in self._modules]
        if missing:
            raise BenchmarkError(
                f"Model {name!r} has no {missing[0]} (and {len(missing) - 1} more such places): "
                "only decoders with attention heads and a dense MLP in every layer can be scored."
            )

    @classmethod
    def from_hf(
        cls, hf_model: Any, tokenizer: Any, name: str, prepend_bos: bool | None = None, revision: str | None = None
    ) -> "Model":
        """Take over a Hugging Face causal language model (it is modified: deepcopy it if you need the original)."""
        # a private path, but the only one that leaves tokenizers (and the hub) alone
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        tokens = Tokens(tokenizer, prepend_bos, hf_model.config.model_type)
        digest = _weights_digest(hf_model)
        try:
            bridge = build_bridge_from_module(
                hf_model, type(hf_model).__name__, hf_config=hf_model.config, model_name=name
            )
        except (ValueError, KeyError, NotImplementedError, AttributeError) as error:
            raise BenchmarkError(
                f"transformer_lens can't take the architecture {type(hf_model).__name__} of {name!r}: {error}"
            ) from error
        bridge.eval()
        bridge.requires_grad_(False)
        return cls(bridge, tokens, name, digest, revision)

    def size(self, kind: str) -> int:
        """How many components of a kind one layer has."""
        return self.n_heads if kind == "head" else self.d_mlp

    def sites(self, kinds: Iterable[str]) -> list[Site]:
        return [Site(kind, layer) for kind in KINDS if kind in kinds for layer in range(self.n_layers)]

    def longest_prefix(self, length: int) -> int:
        """How many positions of prompts of this length a key-value cache may stand for."""
        window = getattr(self._config, "sliding_window", None)
        return length - 1 if self._config is not None and (window is None or length <= window) else 0

    def module(self, site: Site) -> nn.Module:
        """The module whose output is the site's activation, for libraries that attach hooks themselves (captum)."""
        return self._modules[_hook(site)]

    def run(
        self, tokens: Int[Tensor, "row pos"], edits: Mapping[Site, Edit] | None = None, embedding: Edit | None = None
    ) -> Float[Tensor, "row vocab"]:
        """Logits at the last position. Each edit sees its site's live activation and returns a new one, or None.

        Raises BenchmarkError where a logit is not finite, or where the model was put into train mode.
        """
        hooks = [(_hook(site), _as_hook(edit, site.kind)) for site, edit in (edits or {}).items()]
        if embedding is not None:
            hooks.append((_EMBEDDING, lambda value, hook: embedding(value)))
        return self._logits(tokens, hooks, cache=None)

    def _logits(self, tokens: Tensor, hooks: list[Any], cache: DynamicCache | None) -> Tensor:
        if self.bridge.training:
            raise BenchmarkError(f"Model {self.name!r} is in train mode, where dropout blurs every score: call eval().")
        self.passes.forward += len(tokens)
        logits: Tensor = self.bridge.run_with_hooks(
            tokens.to(self.device),
            fwd_hooks=hooks,
            logits_to_keep=1,
            use_cache=cache is not None,
            past_key_values=cache,
        )[:, -1]
        if not torch.isfinite(logits).all():
            raise BenchmarkError(
                f"Model {self.name!r} gave NaN or infinite logits: its weights are damaged or overflow {self.dtype}. "
                "Load it in float32, or download it again."
            )
        return logits

    def gradients(self, objective: Float[Tensor, " row"], leaves: Mapping[Site, Tensor]) -> dict[Site, Tensor]:
        """d objective / d leaf, row by row: each row's objective depends on its own row of a leaf only."""
        self.passes.backward += len(objective)
        return dict(zip(leaves, torch.autograd.grad(objective.sum(), list(leaves.values())), strict=True))

    @torch.no_grad()
    def activations(
        self, tokens: Int[Tensor, "row pos"], sites: Iterable[Site]
    ) -> tuple[Float[Tensor, "row vocab"], dict[Site, Activation]]:
        """Logits at the last position and the activations at the sites, from one forward."""
        kept: dict[Site, Tensor] = {}
        logits = self.run(tokens, {site: _keep(kept, site) for site in sites})
        return logits, kept

    @torch.no_grad()
    def trace(self, tokens: Int[Tensor, "row pos"], sites: Iterable[Site]) -> Trace:
        """A run that others can resume from any layer, behind any prefix."""
        activations: dict[Site, Tensor] = {}
        residuals: dict[Site, Tensor] = {}
        hooks: list[Any] = [(_hook(site), _as_hook(_keep(activations, site), site.kind)) for site in sites]
        for layer in range(self.n_layers):
            keep = _keep(residuals, Site("residual", layer))
            hooks.append((_BLOCK.format(layer), lambda value, hook, keep=keep: keep(value)))
        cache = DynamicCache() if self._config is not None else None
        logits = self._logits(tokens, hooks, cache)
        kept = [(layer.keys, layer.values) for layer in cache.layers] if cache is not None else []
        return Trace(tokens.to(self.device), logits, activations, list(residuals.values()), kept)

    def resume(
        self,
        trace: Trace,
        rows: Int[Tensor, " row"],
        layer: int,
        prefix: int,
        edits: Mapping[Site, Edit],
        embedding: Edit | None = None,
    ) -> Float[Tensor, "row vocab"]:
        """Logits of rows of a traced run, edited: what lies below `layer` and before position `prefix` isn't run again.

        Exact where no edit reaches there. The model's own blocks are replayed, whatever its architecture: the blocks
        below hand the traced residual on, and the positions before `prefix` stand in a key-value cache. Edits see the
        positions from `prefix` on.
        """
        hooks = [(_hook(site), _as_hook(edit, site.kind)) for site, edit in edits.items()]
        if embedding is not None:
            hooks.append((_EMBEDDING, lambda value, hook: embedding(value)))
        with self._handing_on(layer, trace.residuals[layer][rows, prefix:]):
            return self._logits(trace.tokens[rows, prefix:], hooks, _prefilled(trace, rows, layer, prefix))

    @contextmanager
    def _handing_on(self, layer: int, residual: Tensor) -> Iterator[None]:
        """The blocks below `layer` do nothing but hand on what enters the block of that layer."""
        idle = [vars(block) for block in self.bridge.blocks[:layer]]
        for block in idle:  # not setattr: the bridge passes it on to the module that it wraps
            block["forward"] = lambda *_, **__: (residual,) if self._blocks_return_tuples else residual
        try:
            yield
        finally:
            for block in idle:
                del block["forward"]

    @torch.no_grad()
    def embeddings(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """Token embeddings, before any position embedding is added."""
        kept: list[Tensor] = []
        self.run(tokens, embedding=kept.append)
        return kept[0]


@torch.no_grad()
def _probe(bridge: Any, name: str) -> bool:
    """Whether blocks return tuples. Refuses a model whose positions see later ones: its numbers would mean nothing."""
    outputs: list[Any] = []
    handle = bridge.blocks[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    tokens = torch.tensor([[0, 1, 0], [0, 1, 1]], device=next(bridge.parameters()).device)
    try:
        first, second = bridge(tokens, use_cache=False)[:, 0]
    finally:
        handle.remove()
    if (first - second).abs().max() > 1e-5 * first.abs().max():
        raise BenchmarkError(f"Model {name!r} is no decoder: its first position sees the last one. Use a causal model.")
    return isinstance(outputs[0], tuple)


def _prefilled(trace: Trace, rows: Tensor, layer: int, prefix: int) -> DynamicCache | None:
    """The keys and values of the prefix, for the layers that will run."""
    if prefix == 0:
        return None
    cache = DynamicCache()
    for number, (keys, values) in enumerate(trace.keys_values):
        if number == 0 or number >= layer:  # the first one tells the model how long the prefix is
            cache.update(keys[rows, :, :prefix], values[rows, :, :prefix], number)
    return cache


def _hook(site: Site) -> str:
    return _HOOKS[site.kind].format(site.layer)


def _as_hook(edit: Edit, kind: str) -> Callable[[Tensor, Any], Tensor | None]:
    if kind == "head":
        return lambda value, hook: edit(value)

    def on_neurons(value: Tensor, hook: Any) -> Tensor | None:
        edited = edit(value.unsqueeze(-1))
        return None if edited is None else edited.squeeze(-1)

    return on_neurons


def _keep(kept: dict[Site, Tensor], site: Site) -> Edit:
    def keep(value: Tensor) -> None:
        kept[site] = value.detach().clone()

    return keep


def _weights_digest(hf_model: nn.Module) -> str:
    """sha256 over names, shapes and bytes of all weights."""
    total = hashlib.sha256()
    for name, weight in sorted(hf_model.state_dict().items()):
        flat = weight.detach().cpu().contiguous()
        total.update(f"{name} {tuple(flat.shape)} {flat.dtype}".encode())
        total.update(flat.view(torch.uint8).numpy() if flat.ndim else bytes(str(flat.item()), "ascii"))
    return total.hexdigest()
