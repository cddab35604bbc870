"""The model adapter: the one place that knows transformer_lens.

Activations at a site are always `[row, pos, component, dim]`: a head's dim is d_head, a neuron's 1. `engine.kinds` says
where they stand.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache

from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS, KINDS, plural
from benchmark.engine.dictionary import Dictionary
from benchmark.engine.hooked import Hook, run_hooked
from benchmark.engine.kinds import EMBEDDING, KIND, RESIDUAL, Kind
from benchmark.engine.measure import measure
from benchmark.engine.precision import end_in_float32, products
from benchmark.errors import BenchmarkError, first_line
from benchmark.prompts.tokens import Tokens

_PASSAGES = (("head", "attention"), ("neuron", "mlp"))
_EMBEDDING, _FINAL_NORM = "embed.hook_out", "ln_final"

Activation = Float[Tensor, "row pos component dim"]
Edit = Callable[[Tensor], Tensor | None]
Leaf = TypeVar("Leaf")


class Site(NamedTuple):
    """All components of one kind and layer, such as its heads: they never feed each other."""

    kind: str
    layer: int


@dataclass
class Passes:
    """Rows (one prompt each) that went forward and backward through the model so far, from wherever they started.

    `whole_forward` is how many whole rows the forward ones came to; `shortcuts` how many rows took each of them.
    """

    forward: int = 0
    backward: int = 0
    whole_forward: float = 0.0
    shortcuts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Block:
    """One layer's modules, under the names of what they compute, whatever the architecture calls them."""

    module: nn.Module

    @property
    def attention(self) -> nn.Module:
        return self.module.attn  # type: ignore[return-value]

    @property
    def queries(self) -> nn.Module:
        return self.module.attn.q  # type: ignore[union-attr, return-value]

    @property
    def attention_output(self) -> nn.Module:
        """From all heads' `hook_z` to the residual stream."""
        return self.module.attn.o  # type: ignore[union-attr, return-value]

    @property
    def mlp(self) -> nn.Module:
        return self.module.mlp  # type: ignore[return-value]

    @property
    def mlp_output(self) -> nn.Module:
        """From `mlp.hook_post` to the residual stream."""
        return self.module.mlp.out  # type: ignore[union-attr, return-value]

    @property
    def has_mlp(self) -> bool:
        return hasattr(self.module, "mlp")

    @property
    def running_mlp(self) -> nn.Module:
        """The module whose forward computes the MLP: the block, where it holds the MLP's layers itself (OPT)."""
        own = getattr(self.mlp, "original_component", None)
        bare = own is not None and own is getattr(self.module, "original_component", None)
        return self.module if bare else self.mlp

    @property
    def has_attention(self) -> bool:
        return hasattr(self.module, "attn")


class Model:
    """A frozen language model in eval mode, with its tokenizer, ready to be patched and differentiated."""

    def __init__(
        self, bridge: Any, tokens: Tokens, name: str, digest: str, revision: str | None = None, processing: str = "none"
    ) -> None:
        self.bridge, self.tokens, self.name, self.digest, self.revision = bridge, tokens, name, digest, revision
        self.processing = processing  # what was done to the weights before they were loaded
        self.tokenizer = tokens.tokenizer
        self._config = getattr(bridge.original_model, "config", None)  # native models have none, and no cache
        self.has_cache = self._config is not None and _caches(bridge)
        self.passes = Passes()
        self._finite: Tensor | None = None  # where logits are looked at in the end only: whether all were so far
        self.blocks, self.blocks_return_tuples = tuple(map(Block, bridge.blocks)), _probe(bridge, name)
        self.n_layers = len(self.blocks)
        parameter = next(bridge.parameters())
        # of a model that is spread over several devices the embedding's: there, all that is read of it comes together
        self.device, self.dtype = parameter.device, parameter.dtype
        self.devices = tuple(dict.fromkeys(weight.device for weight in bridge.parameters()))
        self._modules: dict[str, nn.Module] = dict(bridge.hook_dict)
        self._original = bridge.original_model if isinstance(bridge.original_model, nn.Module) else bridge
        self.refuse_train_mode()
        found = measure(bridge, bridge.blocks)
        self._hooks = {Site(*place): hook for place, hook in found.hooks.items()}
        self._sizes, self.refusals = found.sizes, found.refusals
        self.matmul = "ieee"  # what products of float32 numbers are taken in on a GPU (`engine.precision`)
        if torch.finfo(self.dtype).bits == 16:
            end_in_float32(self.final_norm, self.unembedding_module, self.unembedding)
        self.dictionaries: Mapping[Site, Dictionary] = {}
        self._whole: dict[str, str] = {}  # by kind of feature, the kind whose activation its dictionaries read
        lacking = "no dictionaries were given (--dictionaries FOLDER, or load_model(..., dictionaries=FOLDER))"
        self.refusals |= dict.fromkeys(FEATURE_KINDS, lacking)
        self.d_model, self.d_vocab = found.d_model, found.d_vocab
        self.n_heads, self.d_mlp = self.size("head"), self.size("neuron")
        self.d_head = found.widths["head"] // self.n_heads if self.n_heads else 0
        if not set(DEFAULT_KINDS) & set(self.kinds):
            reasons = "; ".join(f"{plural(kind)}: {self.refusals[kind]}" for kind in DEFAULT_KINDS)
            raise BenchmarkError(f"Nothing in model {name!r} can be scored. {reasons}.")

    @classmethod
    def from_hf(
        cls,
        hf_model: Any,
        tokenizer: Any,
        name: str,
        prepend_bos: bool | None = None,
        revision: str | None = None,
        processing: str = "none",
        digest: str | None = None,
    ) -> "Model":
        """Take over a Hugging Face causal language model (it is modified: deepcopy it if you need the original).

        `digest` is that of its weights, where it is known (`weights_digest`).
        """
        # a private path, but the only one that leaves tokenizers (and the hub) alone
        from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

        _refuse_wrapped(hf_model, name)
        if not callable(tokenizer):
            raise BenchmarkError(f"from_hf() needs the tokenizer of {name!r} itself, not {type(tokenizer).__name__}.")
        config, architecture = hf_model.config, type(hf_model).__name__
        hf_model.eval()  # the bridge reaches not every part of it
        try:
            rows = len(hf_model.get_input_embeddings().weight)
            tokens = Tokens(tokenizer, prepend_bos, config.model_type, positions_of(config), rows, name)
            digest = digest or weights_digest(hf_model)
            bridge = build_bridge_from_module(hf_model, architecture, hf_config=config, model_name=name)
            bridge.eval()
            bridge.requires_grad_(False)
            return cls(bridge, tokens, name, digest, revision, processing)
        except (BenchmarkError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a layout that nobody thought of makes of being taken over and tried
            raise BenchmarkError(
                f"transformer_lens can't take over the architecture {architecture} of {name!r} "
                f"({type(error).__name__}: {first_line(error)}). Use a model of another architecture."
            ) from error

    @classmethod
    def native(
        cls,
        name: str,
        sizes: Mapping[str, int],
        weights: Mapping[str, Tensor],
        tokenizer: Any,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Model":
        """A model with ReLU neurons and no norm, of these sizes and weights `[out, in]`; weights not given are zero."""
        import transformer_lens.model_bridge.sources.native  # noqa: F401 (registers boot_native)
        from transformer_lens import TransformerBridge, TransformerBridgeConfig

        config = TransformerBridgeConfig(**sizes, act_fn="relu", normalization_type=None, seed=0)
        bridge = TransformerBridge.boot_native(config)
        nn.Module.to(bridge, device, dtype)  # the bridge's own `to` prints
        places = {name.replace("._original_component", ""): weight for name, weight in bridge.named_parameters()}
        if unknown := set(weights) - set(places):
            raise BenchmarkError(f"A native model has no weights {', '.join(sorted(unknown))}.")
        with torch.no_grad():
            for place, weight in places.items():
                weight.copy_(weights.get(place, torch.zeros_like(weight)))
        digest = weights_digest(bridge)
        bridge.eval().requires_grad_(False)
        return cls(bridge, Tokens(tokenizer, False), name, digest)

    def __repr__(self) -> str:
        processed = "" if self.processing == "none" else f"\n  weights: {self.processing}"
        usual = [kind for kind in DEFAULT_KINDS if kind in self.kinds]
        counts = [f"{self.n_layers * self.size(kind)} {plural(kind)}" for kind in usual]
        lacking = [kind for kind in DEFAULT_KINDS if kind in self.refusals]
        refused = "".join(f"\n  no {plural(kind)}: {self.refusals[kind]}" for kind in lacking)
        return (
            f"Model {self.name}: {self.n_layers} layers, {', '.join(counts)}, d_model {self.d_model}, "
            f"{str(self.dtype).removeprefix('torch.')} on {', '.join(map(str, self.devices))}, "
            f"{'with' if self.tokens.prepend_bos else 'no'} BOS{processed}{refused}"
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of component that were found at load; why the others can't be scored stands in `refusals`."""
        return tuple(kind for kind in KINDS if kind in self._sizes)

    def size(self, kind: str) -> int:
        """How many components of a kind one layer has; 0 where that kind can't be scored."""
        return self._sizes.get(kind, 0)

    def attach(self, kind: str, whole: str, dictionaries: Mapping[int, Dictionary]) -> None:
        """Let dictionaries read, by layer, the activations of a kind as features: that of heads as all of a layer's.

        Raises BenchmarkError where the model lacks that kind, that layer, or its width is another one.
        """
        self.refuse([whole])
        width = {"head": self.n_heads * self.d_head, "neuron": self.d_mlp}.get(whole, self.d_model)
        for layer, dictionary in dictionaries.items():
            if not 0 <= layer < self.layers(whole):
                raise BenchmarkError(f"{dictionary.name}: {self.name!r} has no layer {layer} of {plural(whole)}.")
            if dictionary.d_in != width:
                raise BenchmarkError(
                    f"{dictionary.name} reads {dictionary.d_in} numbers at a position, and the {plural(whole)} of a "
                    f"layer of {self.name!r} have {width} there: it was made for another model."
                )
        self._hooks = {site: hook for site, hook in self._hooks.items() if site.kind != kind}
        self._hooks |= {Site(kind, layer): self._hooks[Site(whole, layer)] for layer in dictionaries}
        self._whole[kind] = whole
        self._sizes[kind] = 1 + max(dictionary.size for dictionary in dictionaries.values())
        like = next(self.bridge.parameters())
        mine = {Site(kind, layer): dictionary.to(like) for layer, dictionary in sorted(dictionaries.items())}
        self.dictionaries = {site: one for site, one in self.dictionaries.items() if site.kind != kind} | mine
        self.refusals.pop(kind, None)
        read = ", ".join(plural(one) for one in FEATURE_KINDS if one in self._whole)
        lacking = [other for other in FEATURE_KINDS if other not in self._whole]
        self.refusals |= dict.fromkeys(lacking, f"the dictionaries that were given read {read} only")

    def kind(self, name: str) -> Kind:
        """Where a kind is read and written here: a feature's, as the activation is that its dictionary reads."""
        return KIND[self._whole.get(name, name)]

    def whole(self, site: Site) -> Site:
        """The site whose activation a dictionary reads; any other site itself."""
        return Site(self._whole.get(site.kind, site.kind), site.layer)

    def refuse(self, kinds: Iterable[str]) -> None:
        """Raise BenchmarkError where one of these kinds can't be scored in this model."""
        for kind in kinds:
            if kind in self.refusals:
                usual = [plural(one) for one in DEFAULT_KINDS if one in self.kinds]
                left = f" Its {' and '.join(usual)} can be." if usual else ""
                raise BenchmarkError(
                    f"The {plural(kind)} of model {self.name!r} can't be scored: {self.refusals[kind]}.{left}"
                )

    def refuse_absent(self, kind: str, layer: int, index: int, name: str) -> None:
        """Raise BenchmarkError where there is no such component, which `name` names, or its kind can't be scored."""
        self.refuse([kind])
        if kind not in self.kinds or not (0 <= layer < self.layers(kind) and 0 <= index < self.size(kind)):
            raise BenchmarkError(
                f"There is no {name}: {self.name!r} has layers 0-{self.layers(kind) - 1} with {self.size(kind)} "
                f"{plural(kind)} each, counted from 0."
            )

    def refuse_train_mode(self) -> None:
        """Raise BenchmarkError where the model or any part of it, such as one dropout, is in train mode."""
        for part in _parts(self.bridge, self._original):
            if part.training:
                raise BenchmarkError(
                    f"Model {self.name!r} is in train mode, or a part of it is ({type(part).__name__}): there dropout "
                    "blurs every score. Call eval()."
                )

    def layers(self, kind: str) -> int:
        """How many layers have this kind: one more than there are blocks for the residual stream."""
        whole = self._whole.get(kind, kind)
        return 1 if whole == EMBEDDING.name else self.n_layers + (whole == RESIDUAL.name)

    def sites(self, kinds: Iterable[str]) -> list[Site]:
        """Every layer's site of these kinds; of features, of the layers that have a dictionary."""
        every = (Site(kind, layer) for kind in self.kinds if kind in kinds for layer in range(self.layers(kind)))
        return [site for site in every if site in self._hooks]

    @property
    def passages(self) -> tuple[str, ...]:
        """A kind that all passes through which attention adds to the residual stream, and one for MLPs."""
        return tuple(narrow if narrow in self.kinds else wide for narrow, wide in _PASSAGES)

    def start(self, site: Site) -> int:
        """The block in which a site's activation is read and written."""
        return min(site.layer, self.n_layers - 1)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """While this holds, what goes through the model is in no count of passes, and refused at once."""
        kept, self.passes = (self.passes, self._finite), Passes()
        self._finite = None
        try:
            yield
        finally:
            self.passes, self._finite = kept

    @contextmanager
    def finite_in_the_end(self) -> Iterator[None]:
        """While this holds, logits that are not finite raise BenchmarkError at its end in place of at once.

        A GPU need not be waited for in each forward then. Nothing that was computed in between may be kept before.
        """
        if self._finite is not None:  # an outer one looks
            yield
            return
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (Exception, GeneratorExit) as error:  # which may have come of them
            self._refuse_what_was_not_finite(error)
            raise
        else:
            self._refuse_what_was_not_finite(None)
        finally:
            self._finite = None

    def _refuse_what_was_not_finite(self, error: BaseException | None) -> None:
        if not self._finite:
            raise _not_finite(self.name, self.dtype) from error

    def longest_prefix(self, length: int) -> int:
        """How many positions of prompts of this length a key-value cache may stand for."""
        window = getattr(self._config, "sliding_window", None)
        return length - 1 if self.has_cache and (window is None or length <= window) else 0

    @property
    def unembedding_module(self) -> nn.Module:
        return self.bridge.unembed  # type: ignore[no-any-return]

    def unembedding(self) -> tuple[Float[Tensor, "vocab d_model"], Float[Tensor, " vocab"]]:
        """Weight and bias of the unembedding."""
        return self.bridge.unembed.W_U.T, self.bridge.unembed.b_U

    @property
    def final_norm(self) -> nn.Module | None:
        """Between the last block and the unembedding; something that does nothing, where the model has no norm."""
        return getattr(self.bridge, "ln_final", None)

    def output_weights(self, site: Site) -> Float[Tensor, "component dim d_model"]:
        """What the activations of a site of heads or neurons are multiplied by on their way out, before any norm there.

        Taken from the output projection's own gradient, whatever the layout of its weights.
        """
        _, _, part, name, _ = self._hooks[site].split(".")
        projection = getattr(getattr(self.blocks[site.layer].module, part), name)
        width = self.n_heads * self.d_head if site.kind == "head" else self.d_mlp
        place = next(projection.parameters()).device
        inputs = torch.zeros(self.d_model, 1, width, device=place, dtype=self.dtype, requires_grad=True)
        with torch.enable_grad():
            written = projection(inputs)
        [gradient] = torch.autograd.grad(written[:, 0].diagonal().sum(), inputs)  # row i: that of output i
        return gradient[:, 0].to(self.device).T.reshape(self.size(site.kind), -1, self.d_model)

    def end_at_the_norm(self) -> list[Hook]:
        """Hooks that raise BenchmarkError where what leaves the last block isn't what the final norm reads."""
        end, entrance = f"blocks.{self.n_layers - 1}.hook_out", f"{_FINAL_NORM}.hook_in"
        if lacking := [name for name in (end, entrance) if not self.has_place(name)]:
            raise BenchmarkError(f"Model {self.name!r} has no {lacking[0]}: what its logits are made of isn't known.")
        left: list[Tensor] = []

        def enters(value: Tensor, hook: Any) -> None:
            if not torch.equal(value, left.pop().to(value)):  # float32 of 16 bits
                raise BenchmarkError(f"In {self.name!r} something stands between the last block and the final norm.")

        return [(end, lambda value, hook: left.append(value)), (entrance, enters)]

    def has_place(self, name: str) -> bool:
        """Whether transformer_lens has a hook of this name here."""
        return name in self._modules

    def module(self, site: Site) -> nn.Module:
        """The module whose output is the site's activation, for libraries that attach hooks themselves (captum)."""
        return self._modules[self._hooks[site]]

    def run(
        self,
        tokens: Int[Tensor, "row pos"],
        edits: Mapping[Site, Edit] | None = None,
        embedding: Edit | None = None,
        reads: str = "last",
    ) -> Float[Tensor, "row *pos vocab"]:
        """Logits at the last position, or at all. Each edit sees its site's live activation and returns a new one, or
        None.

        Raises BenchmarkError where a logit is not finite, or where the model was put into train mode.
        """
        self.refuse_train_mode()
        return self.logits(tokens, self.hooks(edits or {}, embedding), reads=reads)

    def _slots(self, kind: str) -> int:
        """Into how many an activation is divided: a dictionary reads it as a whole."""
        return 1 if kind in self._whole else self.size(kind)

    def hooks(self, edits: Mapping[Site, Edit], embedding: Edit | None = None) -> list[Hook]:
        """The edits as transformer_lens takes them."""
        hooks: list[Hook] = [
            (self._hooks[site], partial(_edited, edit, self.kind(site.kind), self._slots(site.kind), self.device))
            for site, edit in edits.items()
        ]
        if embedding is not None:
            hooks.append((_EMBEDDING, lambda value, hook: embedding(value)))
        return hooks

    def logits(
        self,
        tokens: Int[Tensor, "row pos"],
        hooks: list[Hook],
        cache: DynamicCache | None = None,
        rows: Sequence[int] = (),
        share: float = 1.0,
        reads: str = "last",
    ) -> Float[Tensor, "out_row *pos token"]:
        """Logits at the last position, or at all behind the cache, under hooks.

        `rows` says how many rows each layer sees, where they aren't those of `tokens`; `share`, at what share of the
        positions.
        """
        rows = rows or [len(tokens)] * self.n_layers
        self.passes.forward += rows[-1]
        self.passes.whole_forward += sum(rows) / self.n_layers * share
        with products(self.matmul, self.device):
            logits: Tensor = run_hooked(
                self.bridge,
                tokens.to(self.device),
                hooks,
                self._modules,
                logits_to_keep=int(reads == "last"),
                use_cache=cache is not None,
                past_key_values=cache,
            )
        logits = logits[:, -1] if reads == "last" else logits
        if self._finite is None:
            _refuse_not_finite(logits, self.name, self.dtype)
        else:
            self._finite &= torch.isfinite(logits).all().to(self.device)
        return logits

    def gradients(
        self, objective: Float[Tensor, " row"], leaves: Mapping[Leaf, Tensor], again: bool = False
    ) -> dict[Leaf, Tensor]:
        """d objective / d leaf, row by row: each row's objective depends on its own row of a leaf only.

        `again`: the objective's gradients will be asked for once more.
        """
        self.passes.backward += len(objective)
        with products(self.matmul, self.device):
            gradients = torch.autograd.grad(objective.sum(), list(leaves.values()), retain_graph=again)
        return dict(zip(leaves, gradients, strict=True))

    @torch.no_grad()
    def activations(
        self, tokens: Int[Tensor, "row pos"], sites: Iterable[Site]
    ) -> tuple[Float[Tensor, "row vocab"], dict[Site, Activation]]:
        """Logits at the last position and the activations at the sites, from one forward."""
        kept: dict[Site, Tensor] = {}
        logits = self.run(tokens, keeping(kept, sites))
        return logits, kept

    @torch.no_grad()
    def embeddings(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos d_model"]:
        """Token embeddings, before any position embedding is added."""
        kept: list[Tensor] = []
        self.run(tokens, embedding=kept.append)
        return kept[0]


def _parts(*roots: nn.Module) -> set[nn.Module]:
    """All modules below these. `nn.Module.modules` makes names too, which took a tenth of the time of a tiny run."""
    found: set[nn.Module] = set()
    waiting: list[nn.Module | None] = [*roots]
    while waiting:
        part = waiting.pop()
        if part is not None and part not in found:
            found.add(part)
            waiting += part._modules.values()
    return found


def _refuse_not_finite(logits: Tensor, name: str, dtype: torch.dtype) -> None:
    if not torch.isfinite(logits).all():
        raise _not_finite(name, dtype)


def _not_finite(name: str, dtype: torch.dtype) -> BenchmarkError:
    return BenchmarkError(
        f"Model {name!r} gave NaN or infinite logits: its weights are damaged or overflow {dtype}. "
        "Load it in float32 (--dtype float32), or download it again."
    )


@torch.no_grad()
def _caches(bridge: Any) -> bool:
    """Whether every layer of the model puts keys and values into a plain cache."""
    cache = DynamicCache()
    tokens = torch.tensor([[0, 1]], device=next(bridge.parameters()).device)
    try:
        bridge(tokens, use_cache=True, past_key_values=cache)
        kept = [layer.keys.shape[2] == 2 == layer.values.shape[2] for layer in cache.layers]
        return len(kept) == len(bridge.blocks) and all(kept)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a hybrid's or an encoder's cache: it is run without
        return False


def _refuse_wrapped(hf_model: Any, name: str) -> None:
    """A sentence for models in a wrapping that hides their modules."""
    wrapping = type(hf_model).__name__
    if hasattr(hf_model, "_orig_mod"):
        raise BenchmarkError(f"Model {name!r} is compiled: hand over the model before torch.compile (`._orig_mod`).")
    if hasattr(hf_model, "merge_and_unload"):
        raise BenchmarkError(f"Model {name!r} is a {wrapping}: hand over `model.merge_and_unload()`.")
    if not isinstance(hf_model, nn.Module) or not hasattr(hf_model, "config"):
        raise BenchmarkError(f"from_hf() needs a causal language model of transformers, not {wrapping}.")
    if any(weight.is_meta for weight in hf_model.parameters()):
        raise BenchmarkError(
            f"Model {name!r} has weights that are on no device: they were left on the CPU or a disk, from where every "
            "forward would fetch them. Load it whole, with load_model(..., device='spread') over several GPUs, or take "
            "a smaller one."
        )
    if any(weight.is_inference() for weight in hf_model.parameters()):
        raise BenchmarkError(
            f"Model {name!r} was made under torch.inference_mode(), where no gradient can be taken: load it outside."
        )


def positions_of(config: Any) -> int | None:
    """How many positions a model of this config has; None where nothing says it."""
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
    return int(found) if isinstance(found, int) and found > 0 else None


@torch.no_grad()
def _probe(bridge: Any, name: str) -> bool:
    """Whether blocks return tuples. Refuses a model whose positions see later ones: its numbers would mean nothing."""
    outputs: list[Any] = []
    handle = bridge.blocks[0].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    tokens = torch.tensor([[0, 1, 0], [0, 1, 1]], device=next(bridge.parameters()).device)
    try:
        logits = bridge(tokens, use_cache=False)
    finally:
        handle.remove()
    _refuse_not_finite(logits, name, logits.dtype)
    first, second = logits[:, 0]
    tolerance = max(1e-5, 4 * torch.finfo(logits.dtype).eps)  # of all logits: those of one position may all be 0
    if (first - second).abs().max() > tolerance * logits.abs().max():
        raise BenchmarkError(f"Model {name!r} is no decoder: its first position sees the last one. Use a causal model.")
    return isinstance(outputs[0], tuple)


def _edited(edit: Edit, kind: Kind, size: int, device: torch.device, value: Tensor, hook: Any) -> Tensor | None:
    """What transformer_lens holds, in whatever shape, after an edit of `[row, pos, component, dim]`.

    The edit is made on `device`, wherever the layer is.
    """
    edited = edit(kind.read(value.to(device), size))
    return None if edited is None else kind.write(edited.to(value.device), value)


def keeping(kept: dict[Site, Tensor], sites: Iterable[Site]) -> dict[Site, Edit]:
    """Edits that change nothing and put the activation of each site into `kept`."""
    return {site: partial(_keep, kept, site) for site in sites}


def _keep(kept: dict[Site, Tensor], site: Site, value: Tensor) -> None:
    kept[site] = value.detach().clone()


def weights_digest(hf_model: nn.Module) -> str:
    """What identifies a model in the key of a cell: sha256 over names, shapes, number formats and bytes of all weights.

    Of the weights as they are loaded, wherever they lie and whatever files they came from: the same model read from
    shards, from one file or in another folder is the same; loaded in another number format it is another.
    """
    total = hashlib.sha256()
    for name, weight in sorted(hf_model.state_dict().items()):
        flat = weight.detach().cpu().contiguous()
        total.update(f"{name} {tuple(flat.shape)} {flat.dtype}".encode())
        total.update(flat.view(torch.uint8).numpy() if flat.ndim else bytes(str(flat.item()), "ascii"))
    return total.hexdigest()
