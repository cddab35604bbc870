"""Sparse autoencoders from files: dictionary_learning's `ae.pt`, SAELens' `cfg.json` and `sae_weights.safetensors`.

To add a layout, write a reader that makes a `Dictionary` of its folder, and name it in `_READERS`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark import packaged
from benchmark.components import FEATURE_KINDS
from benchmark.engine.dictionary import Dictionary
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import POCKET

BUILT_IN = {POCKET: packaged.POCKET / "dictionaries"}
_FILES = ("cfg.json", "sae_weights.safetensors", "ae.pt")
_NORMALISED = {"none": "none", "layer_norm": "layer_norm", "constant_norm_rescale": "constant_norm_rescale"}


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
# dictionary_learning names the folders of its public dictionaries so
_SUBMODULES = {"attn_out_layer": "hook_attn_out", "mlp_out_layer": "hook_mlp_out", "resid_out_layer": "hook_resid_post"}


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
    folder = BUILT_IN.get(str(source)) or Path(source).expanduser()
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
    about = {**config, **config.get("metadata", {})}  # before version 6, all stood in one
    parts = {name: part.float() for name, part in load_file(folder / "sae_weights.safetensors").items()}
    architecture = config.get("architecture", "standard")
    activation = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    k = config.get("k") or (config.get("activation_fn_kwargs") or {}).get("k")
    if architecture == "standard" and activation == "topk":
        architecture = "topk"
    if architecture not in ("standard", "gated", "jumprelu", "topk") or activation not in ("relu", "topk"):
        raise BenchmarkError(
            f"its architecture is {architecture!r} with activation {activation!r}; known are standard, gated, jumprelu "
            "and topk (batch-top-k and matryoshka are stored as jumprelu)."
        )
    normalised = config.get("normalize_activations") or "none"
    if normalised not in ("none", "expected_average_only_in", *_NORMALISED):
        raise BenchmarkError(f"its normalize_activations {normalised!r} is none that is known here.")
    hook = about.get("hook_name") or about.get("hook_point") or ""
    if about.get("hook_head_index", about.get("hook_point_head_index")) is not None:
        raise BenchmarkError(f"it reads one head of {hook}, and kinds of features read all heads of a layer.")
    reshaped = about.get("reshape_activations", "hook_z" if hook.endswith("hook_z") else "none")
    if reshaped not in ("none", "hook_z"):
        raise BenchmarkError(f"its reshape_activations {reshaped!r} is none that is known here.")
    subtracted = config.get("apply_b_dec_to_input", True)
    decoder, encoder = parts["W_dec"], parts["W_enc"]
    bias = parts["b_mag"] if architecture == "gated" else parts["b_enc"]
    if "scaling_factor" in parts:  # what finetuning found: it scales what is decoded
        decoder = decoder * parts["scaling_factor"][:, None]
    if architecture == "topk" and config.get("rescale_acts_by_decoder_norm"):
        norms = decoder.norm(dim=1)
        encoder, bias, decoder = encoder * norms, bias * norms, decoder / norms[:, None]
    return _checked(
        Dictionary(
            encoder=encoder,
            bias=bias,
            decoder=decoder,
            bias_in=parts["b_dec"] if subtracted else torch.zeros_like(parts["b_dec"]),
            bias_out=parts["b_dec"],
            architecture=architecture,
            normalisation=_NORMALISED.get(normalised, "none"),  # type: ignore[arg-type]
            threshold=parts.get("threshold"),
            gain=parts["r_mag"].exp() if architecture == "gated" else None,
            gate=parts.get("b_gate"),
            k=int(k or 0),
            hook=hook,
            page=_page(about.get("neuronpedia_id")),
        )
    )


def _page(source: object) -> tuple[str, str] | None:
    """Model and source on Neuronpedia, from an id such as `gpt2-small/6-res-jb`."""
    model, slash, name = str(source or "").partition("/")
    return (model, name) if slash else None


def _dictionary_learning(folder: Path) -> Dictionary:
    raw = torch.load(folder / "ae.pt", map_location="cpu", weights_only=True)
    parts = {name: part.float() for name, part in raw.items() if isinstance(part, Tensor)}
    hook = _submodule(folder)
    zeros = torch.zeros
    if "W_enc" in parts:  # jump ReLU
        bias = parts["b_dec"]
        return _checked(
            Dictionary(
                parts["W_enc"], parts["b_enc"], parts["W_dec"], zeros(len(bias)), bias,
                "jumprelu", threshold=parts["threshold"], hook=hook,
            )
        )  # fmt: skip
    encoder, decoder = parts["encoder.weight"].T, parts["decoder.weight"].T
    if "r_mag" in parts:
        bias = parts["decoder_bias"]
        return _checked(
            Dictionary(
                encoder, parts["mag_bias"], decoder, bias, bias, "gated", gain=parts["r_mag"].exp(),
                gate=parts["gate_bias"], hook=hook,
            )
        )  # fmt: skip
    if "b_dec" in parts:  # top-k, or batch-top-k with a threshold
        bias, threshold = parts["b_dec"], float(parts.get("threshold", torch.tensor(-1.0)))
        if threshold >= 0:
            return _checked(
                Dictionary(
                    encoder, parts["encoder.bias"], decoder, bias, bias, "jumprelu",
                    threshold=torch.full((encoder.shape[1],), threshold), hook=hook,
                )
            )  # fmt: skip
        return _checked(
            Dictionary(encoder, parts["encoder.bias"], decoder, bias, bias, "topk", k=int(parts["k"]), hook=hook)
        )
    if "decoder.bias" in parts:
        bias = parts["decoder.bias"]
        return _checked(Dictionary(encoder, parts["encoder.bias"], decoder, zeros(len(bias)), bias, hook=hook))
    return _checked(Dictionary(encoder, parts["encoder.bias"], decoder, parts["bias"], parts["bias"], hook=hook))


_READERS: Mapping[str, Callable[[Path], Dictionary]] = {
    "cfg.json": _sae_lens,
    "ae.pt": _dictionary_learning,
}


def _submodule(folder: Path) -> str:
    """The hook, from the name of a folder such as `resid_out_layer3` above the file."""
    for part in reversed(folder.parts):
        if part == "embed":
            return "blocks.0.hook_resid_pre"
        for name, hook in _SUBMODULES.items():
            if found := re.fullmatch(rf"{name}(\d+)", part):
                return f"blocks.{found[1]}.{hook}"
        if part.startswith("blocks."):
            return part
    return ""


def _checked(dictionary: Dictionary) -> Dictionary:
    """The dictionary, if its parts are of shapes that go together."""
    d_in, size = dictionary.encoder.shape
    wanted: dict[str, tuple[int, ...]] = {
        "bias": (size,), "decoder": (size, d_in), "bias_in": (d_in,), "bias_out": (d_in,),
        "threshold": (size,), "gain": (size,), "gate": (size,),
    }  # fmt: skip
    for name, shape in wanted.items():
        part = getattr(dictionary, name)
        if part is not None and tuple(part.shape) != shape:
            raise BenchmarkError(f"its {name} has shape {tuple(part.shape)}, and its encoder asks for {shape}.")
    if dictionary.architecture == "jumprelu" and dictionary.threshold is None:
        raise BenchmarkError("it is a jump ReLU without a threshold.")
    if dictionary.architecture == "topk" and not 0 < dictionary.k <= size:
        raise BenchmarkError(f"it keeps the {dictionary.k} largest of {size} features.")
    return dictionary


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
