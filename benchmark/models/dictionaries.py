"""Sparse autoencoders from files: dictionary_learning's `ae.pt`, SAELens' `cfg.json` and `sae_weights.safetensors`.

To add a layout, write a reader that makes a `Dictionary` of its folder, and name it in `_READERS`.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmark import packaged
from benchmark.components import FEATURE_KINDS
from benchmark.engine.dictionary import Architecture, Dictionary, Normalisation
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import POCKET

BUILT_IN = {POCKET: packaged.POCKET / "dictionaries"}
_FILES = ("cfg.json", "sae_weights.safetensors", "ae.pt", "config.json")
_TENSORS: Mapping[Architecture, set[str]] = {  # what each architecture has beside W_enc, W_dec and b_dec
    "standard": {"b_enc"},
    "topk": {"b_enc"},
    "jumprelu": {"b_enc", "threshold"},
    "gated": {"b_gate", "b_mag", "r_mag"},
}
_NORMALISED: Mapping[object, Normalisation] = {
    "none": "none", None: "none", False: "none",
    "expected_average_only_in": "none", True: "none",  # a number that SAELens doesn't store, and applies nothing for
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm_rescale",
}  # fmt: skip


def own(model: str, kinds: Iterable[str], given: str | None = None) -> str | None:
    """The dictionaries that are given; else the model's own, if it has some and kinds of features are among these."""
    return model if given is None and model in BUILT_IN and set(kinds) & set(FEATURE_KINDS) else given


class Place(NamedTuple):
    """Where a dictionary belongs: the kind of its features, the kind of activation that it reads, and the layer."""

    kind: str
    whole: str
    layer: int


# transformer_lens' names of hooks, old and new: kind of feature, kind that is read, and by how much the layer is higher
_HOOKS = {
    "hook_resid_pre": ("residual-feature", "residual", 0),
    "hook_in": ("residual-feature", "residual", 0),
    "hook_resid_post": ("residual-feature", "residual", 1),
    "hook_out": ("residual-feature", "residual", 1),
    "hook_attn_out": ("attention-feature", "attention", 0),
    "attn.hook_out": ("attention-feature", "attention", 0),
    "ln1_post.hook_out": ("attention-feature", "attention", 0),
    "attn.hook_z": ("attention-feature", "head", 0),
    "attn.o.hook_in": ("attention-feature", "head", 0),
    "hook_mlp_out": ("mlp-feature", "mlp", 0),
    "mlp.hook_out": ("mlp-feature", "mlp", 0),
    "ln2_post.hook_out": ("mlp-feature", "mlp", 0),
    "mlp.hook_post": ("mlp-feature", "neuron", 0),
    "mlp.out.hook_in": ("mlp-feature", "neuron", 0),
}
# names of dictionary_learning's folders: the hook, and the source of the public ones on Neuronpedia
_FOLDERS = {
    r"embed": ("blocks.0.hook_resid_pre", "e-att-sm"),
    r"attn_out_layer_?(\d+)": ("blocks.{}.hook_attn_out", "{}-att-sm"),
    r"mlp_out_layer_?(\d+)": ("blocks.{}.hook_mlp_out", "{}-mlp-sm"),
    r"resid_(?:out|post)_layer_?(\d+)": ("blocks.{}.hook_resid_post", "{}-res-sm"),
    r"blocks\.(.+)": ("blocks.{}", ""),
}
_PUBLIC = ("pythia-70m-deduped", "10_32768")  # folders above and below those names


def place_of(dictionary: Dictionary) -> Place:
    """Where a dictionary belongs, from the hook that it names. Raises BenchmarkError where that is no kind's."""
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", dictionary.hook)
    if found is None or found[2] not in _HOOKS:
        said = f"names the hook {dictionary.hook!r}" if dictionary.hook else "doesn't say which hook it belongs to"
        raise BenchmarkError(
            f"{dictionary.name} {said}; features are read at blocks.LAYER.HOOK, where HOOK is one of "
            f"{', '.join(_HOOKS)}."
        )
    kind, whole, above = _HOOKS[found[2]]
    return Place(kind, whole, int(found[1]) + above)


def read_dictionaries(source: str | Path) -> dict[Path, Dictionary]:
    """Every dictionary in a folder and the folders below it, or those that are built in under this name."""
    folder = (BUILT_IN.get(str(source)) or Path(source).expanduser()).absolute()
    if not folder.is_dir():
        raise BenchmarkError(
            f"--dictionaries {source}: there is no such folder, and none are built in under this name "
            f"({', '.join(BUILT_IN)})."
        )
    found = sorted({file.parent for name in _READERS for file in folder.rglob(name)})
    if not found:
        raise BenchmarkError(
            f"--dictionaries {source}: no dictionary lies in it: neither {' nor '.join(_READERS)} was found, in no "
            "folder below it."
        )
    return {one: read_dictionary(one, folder) for one in found}


def read_dictionary(folder: Path, below: Path | None = None) -> Dictionary:
    """The dictionary in a folder, with its hook from its configuration or from its folders' names."""
    name = str(folder.relative_to(below)) if below is not None and folder != below else folder.name
    for file, read in _READERS.items():
        if (folder / file).is_file():
            try:
                return replace(read(folder), name=name, digest=_digest(folder))
            except BenchmarkError as error:
                raise BenchmarkError(f"The dictionary {folder / file} can't be used: {error}") from error
            except Exception as error:  # whatever a library makes of somebody's file
                raise BenchmarkError(
                    f"The dictionary {folder / file} can't be read ({type(error).__name__}: {error}). Download it "
                    "again."
                ) from error
    raise BenchmarkError(f"No dictionary lies in {folder}: there is neither {' nor '.join(_READERS)}.")


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for file in sorted(one for one in folder.iterdir() if one.name in _FILES):
        total.update(hashlib.file_digest(file.open("rb"), "sha256").digest())
    return total.hexdigest()


def _sae_lens(folder: Path) -> Dictionary:
    from safetensors.torch import load_file

    config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
    config |= config.get("metadata") or {}  # before version 6, all stood in one
    parts = {name: part.float() for name, part in load_file(folder / "sae_weights.safetensors").items()}
    architecture = config.get("architecture", "standard")
    activation = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    if (architecture, activation) == ("standard", "topk"):
        architecture = "topk"
    if architecture not in _TENSORS or activation not in ("relu", architecture):
        raise BenchmarkError(
            f"its architecture is {architecture!r} with activation {activation!r}; known are {', '.join(_TENSORS)} "
            "(batch-top-k and matryoshka are stored as jumprelu)."
        )
    normalised = config.get("normalize_activations")
    if normalised not in _NORMALISED:
        raise BenchmarkError(f"its normalize_activations {normalised!r} is none that is known here.")
    hook = config.get("hook_name") or config.get("hook_point") or ""
    if config.get("hook_head_index", config.get("hook_point_head_index")) is not None:
        raise BenchmarkError(f"it reads one head of {hook}, and kinds of features read all heads of a layer.")
    reshaped = config.get("reshape_activations", "none")
    if reshaped not in ("none", "hook_z"):
        raise BenchmarkError(f"its reshape_activations {reshaped!r} is none that is known here.")
    finetuned = parts.pop("scaling_factor", None)
    if finetuned is not None:  # of each feature, where it is decoded
        parts["W_dec"] = parts["W_dec"] * finetuned[:, None]
    if architecture == "topk" and config.get("rescale_acts_by_decoder_norm"):
        norms = parts["W_dec"].norm(dim=1).clamp(min=1e-8)
        parts |= {"W_enc": parts["W_enc"] * norms, "b_enc": parts["b_enc"] * norms}
        parts["W_dec"] = parts["W_dec"] / norms[:, None]
    model, slash, source = str(config.get("neuronpedia_id")).partition("/")  # such as gpt2-small/6-res-jb
    return _made(
        parts, architecture, config.get("apply_b_dec_to_input", True), normalisation=_NORMALISED[normalised],
        k=int(config.get("k") or (config.get("activation_fn_kwargs") or {}).get("k") or 0), hook=hook,
        page=(model, source) if slash else None,
    )  # fmt: skip


# dictionary_learning's names of tensors, as SAELens has them
_RENAMED = {
    "encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec", "bias": "b_dec",
    "decoder.bias": "b_dec", "decoder_bias": "b_dec", "gate_bias": "b_gate", "mag_bias": "b_mag",
}  # fmt: skip


def _dictionary_learning(folder: Path) -> Dictionary:
    try:
        raw = torch.load(folder / "ae.pt", map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose words tell to load it all the same
        raise BenchmarkError(
            "it doesn't hold tensors alone, and what else it holds could run any code when it is read. It was not "
            "read. Download it again, or have it saved as a state dict."
        ) from error
    parts: dict[str, Tensor] = {}
    for name, value in raw.items():
        part = torch.as_tensor(value).float()
        parts[_RENAMED.get(name, name)] = part.T if name in ("encoder.weight", "decoder.weight") else part
    architecture: Architecture = "gated" if "b_gate" in parts else "jumprelu" if "threshold" in parts else "standard"
    subtracted = "decoder.bias" not in raw and ("k" in raw or architecture != "jumprelu")
    k = 0
    if "k" in parts:  # the largest of a token, or those of many tokens above one threshold, which a matryoshka has too
        parts.pop("group_sizes", None)
        k, threshold, named = int(parts.pop("k")), parts.pop("threshold", torch.tensor(-1.0)), _class(folder)
        architecture = "topk" if named == "AutoEncoderTopK" or (not named and threshold < 0) else "jumprelu"
        if architecture == "jumprelu":
            parts["threshold"] = threshold.expand(len(parts["b_enc"]))
    hook, page = _of_folders(folder)
    return _made(parts, architecture, subtracted, k=k, hook=hook, page=page)


def _class(folder: Path) -> str:
    """The name of the class, from dictionary_learning's record of the training: top-k and batch-top-k look alike."""
    record = folder / "config.json"
    return str(json.loads(record.read_text(encoding="utf-8"))["trainer"]["dict_class"]) if record.is_file() else ""


def _of_folders(folder: Path) -> tuple[str, tuple[str, str] | None]:
    """Hook and page, from the name of a folder such as `resid_out_layer3` that the file lies in or below."""
    parts = folder.absolute().parts
    for part in reversed(parts):
        for name, (hook, source) in _FOLDERS.items():
            if found := re.fullmatch(name, part):
                page = (_PUBLIC[0], source.format(*found.groups())) if source and set(_PUBLIC) <= set(parts) else None
                return hook.format(*found.groups()), page
    return "", None


_READERS: Mapping[str, Callable[[Path], Dictionary]] = {
    "sae_weights.safetensors": _sae_lens,
    "ae.pt": _dictionary_learning,
}


def _made(parts: Mapping[str, Tensor], architecture: Architecture, subtracted: bool, k: int, **rest: Any) -> Dictionary:
    """A dictionary from tensors under SAELens' names, if they are those of its architecture and their shapes go
    together; `subtracted` says whether the decoder's bias is taken off the input."""
    wanted = {"W_enc", "W_dec", "b_dec"} | _TENSORS[architecture]
    if set(parts) != wanted:
        lacking, others = (", ".join(sorted(names)) or "none" for names in (wanted - set(parts), set(parts) - wanted))
        raise BenchmarkError(
            f"it is read as {architecture}, whose tensors are {', '.join(sorted(wanted))}; lacking: {lacking}; beyond "
            f"them: {others}."
        )
    d_in, size = parts["W_enc"].shape
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (d_in, size), "W_dec": (size, d_in), "b_dec": (d_in,)}
    for name, part in parts.items():
        if tuple(part.shape) != shapes.get(name, (size,)):
            raise BenchmarkError(
                f"its {name} has shape {tuple(part.shape)}, and its encoder asks for {shapes.get(name, (size,))}."
            )
    if architecture == "topk" and not 0 < k <= size:
        raise BenchmarkError(f"it keeps the {k} largest of {size} features.")
    gated = architecture == "gated"
    return Dictionary(
        encoder=parts["W_enc"],
        bias=parts["b_mag" if gated else "b_enc"],
        decoder=parts["W_dec"],
        bias_in=parts["b_dec"] * subtracted,
        bias_out=parts["b_dec"],
        architecture=architecture,
        threshold=parts.get("threshold"),
        gain=parts["r_mag"].exp() if gated else None,
        gate=parts.get("b_gate"),
        k=k if architecture == "topk" else 0,
        **rest,
    )


def attach(model: Model, source: str | Path) -> None:
    """Let every dictionary of a folder read the model."""
    by_kind: dict[tuple[str, str], dict[int, Dictionary]] = {}
    for dictionary in read_dictionaries(source).values():
        place = place_of(dictionary)
        layers = by_kind.setdefault((place.kind, place.whole), {})
        if place.layer in layers:
            raise BenchmarkError(
                f"--dictionaries {source}: {dictionary.name} and {layers[place.layer].name} both read layer "
                f"{place.layer} as {place.kind}. Give a folder with one of them."
            )
        layers[place.layer] = dictionary
    kinds = [kind for kind, _ in by_kind]
    for kind, whole in by_kind:
        if kinds.count(kind) > 1:
            raise BenchmarkError(
                f"--dictionaries {source}: some {kind}s are read at {whole}, others elsewhere. Give them one by one."
            )
    for (kind, whole), layers in by_kind.items():
        model.attach(kind, whole, layers)
