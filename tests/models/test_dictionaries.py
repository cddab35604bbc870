"""Dictionaries from files: every layout against its encoder written out, and every refusal by its sentence.

What the files hold is taken from the sources of SAELens (3 to 6) and dictionary_learning.
"""

import json
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmark.cli import main
from benchmark.engine.dictionary import Dictionary
from benchmark.engine.model import Site
from benchmark.errors import BenchmarkError
from benchmark.models.dictionaries import attach, place_of, read_dictionaries, read_dictionary
from benchmark.models.loading import load_model
from benchmark.prompts.dataset import write_csv
from tests.tiny import PAIRS, tiny_model

_tiny = cache(tiny_model)
D, F = 24, 40  # as wide as the tiny models
X = 2 * torch.randn(7, 5, D, generator=torch.Generator().manual_seed(9)) + 0.5
SIZES = {  # of tensors that aren't one number a feature
    "W_enc": (D, F), "W_dec": (F, D), "b_dec": (D,), "encoder.weight": (F, D), "decoder.weight": (D, F), "bias": (D,),
    "decoder.bias": (D,), "decoder_bias": (D,),
}  # fmt: skip
LENS = ("W_enc", "W_dec", "b_enc", "b_dec")
AUTOENCODER = ("encoder.weight", "encoder.bias", "decoder.weight", "bias")
HOOK = "blocks.1.hook_resid_pre"


def drawn(*names: str, **given: Any) -> dict[str, Tensor]:
    """Random tensors of these names; norms of decoders differ."""
    generator = torch.Generator().manual_seed(len(names))
    parts = {name: torch.randn(SIZES.get(name, (F,)), generator=generator) / 3 for name in names}
    return parts | {name: torch.as_tensor(value) for name, value in given.items()}


def lens(folder: Path, config: dict[str, Any], parts: dict[str, Tensor]) -> Path:
    """A folder as SAELens writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({name: part.contiguous() for name, part in parts.items()}, folder / "sae_weights.safetensors")
    return folder


def learned(folder: Path, parts: Any, dict_class: str | None = None) -> Path:
    """A folder as dictionary_learning writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(parts, folder / "ae.pt")
    if dict_class:
        (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": dict_class, "k": 3}, "buffer": {}}))
    return folder


def new(**given: Any) -> dict[str, Any]:
    """A configuration of SAELens from version 6 on."""
    metadata = {"sae_lens_version": "6.5.1", "model_name": "gpt2", "hook_name": HOOK, "hook_head_index": None}
    usual = {
        "d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "reshape_activations": "none", "architecture": "standard",
    }  # fmt: skip
    return usual | given | {"metadata": metadata | given.get("metadata", {})}


def old(**given: Any) -> dict[str, Any]:
    """One from before it, flat: as gpt2-small-res-jb has it."""
    return {
        "model_name": "gpt2-small", "hook_point": HOOK, "hook_point_layer": 1, "hook_point_head_index": None,
        "context_size": 128, "d_in": D, "d_sae": F, "dtype": "torch.float32", "device": "cpu",
    } | given  # fmt: skip


# The encoders, written out


def top(hidden: Tensor, k: int) -> Tensor:
    least = hidden.sort(dim=-1, descending=True).values[..., k - 1 : k]
    return torch.where(hidden >= least, hidden, 0.0).relu()


def gated(inner: Tensor, W_enc: Tensor, gate: Tensor, r_mag: Tensor, magnitude: Tensor) -> Tensor:
    active = (inner @ W_enc + gate > 0).float()
    return active * torch.relu(inner @ (W_enc * r_mag.exp()) + magnitude)


def of_lens(p: dict[str, Tensor], config: dict[str, Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """Features and reconstruction as SAELens has them."""
    out: Callable[[Tensor], Tensor] = lambda y: y  # noqa: E731
    if config.get("normalize_activations") == "layer_norm":
        mu, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        x, out = (x - mu) / (std + 1e-5), lambda y: y * std + mu
    elif config.get("normalize_activations") == "constant_norm_rescale":
        by = D**0.5 / x.norm(dim=-1, keepdim=True)
        x, out = x * by, lambda y: y / by
    inner = x - p["b_dec"] * config.get("apply_b_dec_to_input", True)
    if config.get("architecture") == "gated":
        features = gated(inner, p["W_enc"], p["b_gate"], p["r_mag"], p["b_mag"])
        return features, out(features @ p["W_dec"] + p["b_dec"])
    hidden, norms = inner @ p["W_enc"] + p["b_enc"], torch.ones(F)
    if config.get("rescale_acts_by_decoder_norm"):
        norms = p["W_dec"].norm(dim=-1)
    if config.get("architecture") == "jumprelu":
        features = hidden.relu() * (hidden > p["threshold"])
    elif k := config.get("k", config.get("activation_fn_kwargs", {}).get("k", 0)):
        features = top(hidden * norms, k)
    else:
        features = hidden.relu()
    return features, out((features / norms * p.get("scaling_factor", 1)) @ p["W_dec"] + p["b_dec"])


def of_learning(p: dict[str, Tensor], dict_class: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same as dictionary_learning's classes have them."""
    W_enc, W_dec = (
        p[f"{name}.weight"].T if f"{name}.weight" in p else p[f"W_{name[:3]}"] for name in ("encoder", "decoder")
    )
    bias = next(p[name] for name in ("bias", "decoder_bias", "decoder.bias", "b_dec") if name in p)
    inner = x if dict_class in ("AutoEncoderNew", "JumpReluAutoEncoder") else x - bias
    if dict_class == "GatedAutoEncoder":
        features = gated(inner, W_enc, p["gate_bias"], p["r_mag"], p["mag_bias"])
    else:
        hidden = inner @ W_enc + (p["encoder.bias"] if "encoder.bias" in p else p["b_enc"])
        if dict_class == "AutoEncoderTopK":
            features = top(hidden, int(p["k"]))
        elif "threshold" in p:  # JumpReluAutoEncoder, BatchTopKSAE, MatryoshkaBatchTopKSAE
            features = hidden.relu() * (hidden.relu() > p["threshold"])
        else:
            features = hidden.relu()
    return features, features @ W_dec + bias


def held(dictionary: Dictionary, expected: tuple[Tensor, Tensor], atol: float = 1e-5) -> None:
    """Features, also one a row, and reconstruction of X."""
    scale = dictionary.scale(X)
    features = dictionary.encode(X, scale)
    share = float((expected[0] > 0).float().mean())
    assert 0.02 < share < 0.9  # else nothing is told of the activation
    torch.testing.assert_close(features, expected[0], atol=atol, rtol=1e-5)
    chosen = torch.arange(len(X)) * 5
    torch.testing.assert_close(
        dictionary.encode(X, scale, chosen), expected[0][torch.arange(len(X)), :, chosen], atol=atol, rtol=1e-5
    )
    torch.testing.assert_close(dictionary.decode(features, scale), expected[1], atol=10 * atol, rtol=1e-5)


POSITIVE = {"threshold": torch.rand(F, generator=torch.Generator().manual_seed(2))}
GATED = drawn("W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag")
SAELENS = {
    "old": (old(), drawn(*LENS)),
    "old with a head index named": (old(hook_head_index=None), drawn(*LENS)),
    "old, bias not taken off": (old(apply_b_dec_to_input=False), drawn(*LENS)),
    "old topk": (old(activation_fn_str="topk", activation_fn_kwargs={"k": 5}), drawn(*LENS)),
    "4 topk": (old(activation_fn="topk", activation_fn_kwargs={"k": 5}), drawn(*LENS)),
    "5 topk": (old(architecture="topk", activation_fn="topk", activation_fn_kwargs={"k": 5}), drawn(*LENS)),
    "old jumprelu": (old(architecture="jumprelu", activation_fn_str="relu"), drawn(*LENS, **POSITIVE)),
    "old gated": (old(architecture="gated", activation_fn_kwargs=None), GATED),
    "old, normalised by a number": (old(normalize_activations=True), drawn(*LENS)),
    "old, not normalised": (old(normalize_activations=False), drawn(*LENS)),
    "old, normalised by nothing": (old(normalize_activations=None), drawn(*LENS)),
    "old, finetuned": (old(finetuning_scaling_factor=True), drawn(*LENS, "scaling_factor")),
    "old, not finetuned": (old(), drawn(*LENS, scaling_factor=torch.ones(F))),
    "new": (new(), drawn(*LENS)),
    "new, bias not taken off": (new(apply_b_dec_to_input=False), drawn(*LENS)),
    "new jumprelu": (new(architecture="jumprelu", apply_b_dec_to_input=False), drawn(*LENS, **POSITIVE)),
    "new jumprelu, thresholds below 0": (new(architecture="jumprelu"), drawn(*LENS, "threshold")),
    "new gated": (new(architecture="gated"), GATED),
    "new topk": (new(architecture="topk", k=4, rescale_acts_by_decoder_norm=False), drawn(*LENS)),
    "new topk by norm": (new(architecture="topk", k=4, rescale_acts_by_decoder_norm=True), drawn(*LENS)),
    "new, average": (new(normalize_activations="expected_average_only_in"), drawn(*LENS)),
    "new, layer norm": (new(normalize_activations="layer_norm"), drawn(*LENS)),
    "new, constant norm": (new(normalize_activations="constant_norm_rescale"), drawn(*LENS)),
}


@pytest.mark.parametrize("case", SAELENS)
def test_saelens_features_and_reconstruction_are_its_encoders(tmp_path: Path, case: str) -> None:
    config, parts = SAELENS[case]
    found = read_dictionary(lens(tmp_path / "one", config, parts))
    assert (found.hook, found.name, found.size, found.d_in) == (HOOK, "one", F, D)
    # SAELens adds 1e-5 to the deviation that it divides by, and not to the one that it multiplies with
    held(found, of_lens(parts, config, X), 3e-5 if "layer" in case else 1e-5)


def test_layer_norm_divides_by_the_unbiased_deviation_and_a_little(tmp_path: Path) -> None:
    found = read_dictionary(lens(tmp_path, new(normalize_activations="layer_norm"), drawn(*LENS)))
    scale = found.scale(1e-4 * X)
    assert scale is not None
    torch.testing.assert_close(scale.size, (1e-4 * X).std(-1, unbiased=True, keepdim=True) + 1e-5, atol=0, rtol=1e-5)


TOPK = drawn("encoder.weight", "encoder.bias", "decoder.weight", "b_dec", k=torch.tensor(3, dtype=torch.int))
ABOVE, BELOW = {"threshold": torch.tensor(0.7)}, {"threshold": torch.tensor(-1.0)}
MATRYOSHKA = drawn(*LENS, k=3, group_sizes=[10, 30])
LEARNED = {  # class, whether its record lies beside, tensors
    "AutoEncoder": ("AutoEncoder", False, drawn(*AUTOENCODER)),
    "AutoEncoder with a record": ("AutoEncoder", True, drawn(*AUTOENCODER)),
    "AutoEncoderNew": ("AutoEncoderNew", False, drawn(*AUTOENCODER[:3], "decoder.bias")),
    "GatedAutoEncoder": (
        "GatedAutoEncoder", False,
        drawn("encoder.weight", "decoder.weight", "decoder_bias", "r_mag", "gate_bias", "mag_bias"),
    ),
    "JumpReluAutoEncoder": ("JumpReluAutoEncoder", False, drawn(*LENS, **POSITIVE)),
    "AutoEncoderTopK of before thresholds": ("AutoEncoderTopK", False, TOPK),
    "AutoEncoderTopK, never set": ("AutoEncoderTopK", False, TOPK | BELOW),
    "AutoEncoderTopK by its record": ("AutoEncoderTopK", True, TOPK | ABOVE),
    "BatchTopKSAE": ("BatchTopKSAE", False, TOPK | ABOVE),
    "BatchTopKSAE by its record": ("BatchTopKSAE", True, TOPK | ABOVE),
    "BatchTopKSAE, never set": ("BatchTopKSAE", True, TOPK | BELOW),
    "MatryoshkaBatchTopKSAE": ("MatryoshkaBatchTopKSAE", True, MATRYOSHKA | ABOVE),
}  # fmt: skip


@pytest.mark.parametrize("case", LEARNED)
def test_dictionary_learning_features_and_reconstruction_are_its_encoders(tmp_path: Path, case: str) -> None:
    dict_class, recorded, parts = LEARNED[case]
    folder = learned(tmp_path / "resid_out_layer1" / "10_32768", parts, dict_class if recorded else None)
    held(read_dictionary(folder), of_learning(parts, dict_class, X))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_in_any_format_are_read_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {name: part.to(dtype) for name, part in drawn(*LENS).items()}
    there = {name: part.to(dtype) for name, part in drawn(*AUTOENCODER).items()}
    found = read_dictionary(lens(tmp_path / "lens", new(), stored))
    held(found, of_lens({name: part.float() for name, part in stored.items()}, new(), X))
    other = read_dictionary(learned(tmp_path / "embed", there))
    held(other, of_learning({name: part.float() for name, part in there.items()}, "AutoEncoder", X))
    assert {part.dtype for one in (found, other) for part in vars(one).values() if isinstance(part, Tensor)} == {
        torch.float32
    }


# Where they belong


@pytest.mark.parametrize(
    ("hook", "place"),
    [
        ("blocks.0.hook_resid_pre", ("residual-feature", "residual", 0)),
        ("blocks.2.hook_resid_post", ("residual-feature", "residual", 3)),
        ("blocks.11.hook_attn_out", ("attention-feature", "attention", 11)),
        ("blocks.1.attn.hook_z", ("attention-feature", "head", 1)),
        ("blocks.1.hook_mlp_out", ("mlp-feature", "mlp", 1)),
        ("blocks.1.mlp.hook_post", ("mlp-feature", "neuron", 1)),
    ],
)
def test_a_hook_is_a_kind_and_a_layer(tmp_path: Path, hook: str, place: tuple[str, str, int]) -> None:
    for number, config in enumerate([new(metadata={"hook_name": hook}), old(hook_point=hook)]):
        assert place_of(read_dictionary(lens(tmp_path / str(number), config, drawn(*LENS)))) == place


@pytest.mark.parametrize(
    ("folder", "hook", "page"),
    [
        ("embed", "blocks.0.hook_resid_pre", "e-att-sm"),
        ("attn_out_layer3", "blocks.3.hook_attn_out", "3-att-sm"),
        ("mlp_out_layer0", "blocks.0.hook_mlp_out", "0-mlp-sm"),
        ("resid_out_layer11", "blocks.11.hook_resid_post", "11-res-sm"),
    ],
)
def test_public_folders_name_hook_and_page(tmp_path: Path, folder: str, hook: str, page: str) -> None:
    """The page only where the folders say that these are the ones that have pages."""
    for place, expected in (
        (f"dictionaries/pythia-70m-deduped/{folder}/10_32768", ("pythia-70m-deduped", page)),
        (f"pythia-70m-deduped/{folder}/0_8192", None),
        (f"pythia-160m/{folder}/10_32768", None),
    ):
        found = read_dictionary(learned(tmp_path / place, drawn(*AUTOENCODER)))
        assert (found.hook, found.page) == (hook, expected)


@pytest.mark.parametrize("folder", ["resid_post_layer_2/trainer_0", "blocks.2.hook_resid_post"])
def test_later_folders_name_the_hook(tmp_path: Path, folder: str) -> None:
    found = read_dictionary(learned(tmp_path / folder, drawn(*AUTOENCODER)))
    assert (found.hook, found.page) == ("blocks.2.hook_resid_post", None)


def test_the_nearest_folder_names_the_hook_also_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = learned(tmp_path / "embed" / "mlp_out_layer1" / "ours", drawn(*AUTOENCODER))
    monkeypatch.chdir(folder)
    [found] = read_dictionaries(".").values()
    assert (found.hook, found.name) == ("blocks.1.hook_mlp_out", "ours")


@pytest.mark.parametrize("identity", ["gpt2-small/6-res-jb", "gemma-2-2b/12-gemmascope-res-16k", None, "6-res-jb"])
def test_a_page_is_model_and_source(tmp_path: Path, identity: str | None) -> None:
    expected = tuple(identity.split("/")) if identity and "/" in identity else None
    for number, config in enumerate([new(metadata={"neuronpedia_id": identity}), old(neuronpedia_id=identity)]):
        assert read_dictionary(lens(tmp_path / str(number), config, drawn(*LENS))).page == expected


# In a model


def test_every_dictionary_of_a_folder_reads_its_site(tmp_path: Path) -> None:
    """Of both layouts, whatever else lies beside; heads side by side."""
    z = lens(
        tmp_path / "z", new(reshape_activations="hook_z", metadata={"hook_name": "blocks.2.attn.hook_z"}), drawn(*LENS)
    )
    save_file({"sparsity": torch.zeros(F)}, z / "sparsity.safetensors")
    mlp = learned(tmp_path / "mlp_out_layer1" / "x", drawn(*AUTOENCODER), "AutoEncoder")
    (mlp / "eval_results.json").write_text("{")
    learned(tmp_path / "embed" / "10_32768", drawn(*AUTOENCODER))
    learned(tmp_path / "resid_out_layer2", drawn(*AUTOENCODER))
    (tmp_path / "cfg.json").write_text("no dictionary's")
    (tmp_path / "README.md").write_text("Four.")
    model = tiny_model("gpt2")
    attach(model, tmp_path)
    names = {site: one.name for site, one in model.dictionaries.items()}
    assert names == {
        Site("attention-feature", 2): "z",
        Site("mlp-feature", 1): str(Path("mlp_out_layer1/x")),
        Site("residual-feature", 0): str(Path("embed/10_32768")),
        Site("residual-feature", 3): "resid_out_layer2",
    }
    assert {model.size(kind) for kind in ("attention-feature", "mlp-feature", "residual-feature")} == {F + 1}
    tokens = torch.tensor([[3, 4, 5, 6]])
    site, heads = Site("attention-feature", 2), Site("head", 2)
    _, found = model.activations(tokens, [site, heads])
    assert found[heads].shape == (1, 4, 4, 6)
    torch.testing.assert_close(found[site][:, :, 0], found[heads].flatten(2), atol=0, rtol=0)
    x = found[heads].flatten(2).float()
    expected = of_lens(drawn(*LENS), new(), x)[0]
    torch.testing.assert_close(
        model.dictionaries[site].encode(x.double(), None).float(), expected, atol=1e-5, rtol=1e-4
    )


def test_a_digest_is_of_the_files_alone(tmp_path: Path) -> None:
    one, same = (read_dictionary(lens(tmp_path / name, new(), drawn(*LENS))) for name in "ab")
    assert one.digest == same.digest
    other = read_dictionary(lens(tmp_path / "c", new(apply_b_dec_to_input=False), drawn(*LENS)))
    assert len({one.digest, other.digest}) == 2
    before = read_dictionary(learned(tmp_path / "d", TOPK | ABOVE)).digest
    assert read_dictionary(learned(tmp_path / "d", TOPK | ABOVE, "AutoEncoderTopK")).digest != before


# What is refused


def two(folder: Path, first: str, second: str) -> None:
    for name, hook in (("first", first), ("second", second)):
        lens(folder / name, new(metadata={"hook_name": hook}), drawn(*LENS))


def without(parts: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {other: part for other, part in parts.items() if other != name}


def damaged(folder: Path, file: str) -> None:
    """Half of it is there."""
    path = folder / file
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


NARROW = drawn(*LENS) | {"W_enc": torch.ones(6, F), "W_dec": torch.ones(F, 6), "b_dec": torch.ones(6)}
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no dictionary": (
        lambda at: (at / "cfg.json").write_text("{}"),
        "no dictionary lies in it: neither sae_weights.safetensors nor ae.pt was found",
    ),
    "no hook": (
        lambda at: learned(at / "somewhere", drawn(*AUTOENCODER)),
        "somewhere doesn't say which hook it belongs to; features are read at blocks.LAYER.HOOK, where HOOK is one of",
    ),
    "unknown hook": (
        lambda at: lens(at / "mid", new(metadata={"hook_name": "blocks.0.hook_resid_mid"}), drawn(*LENS)),
        "mid names the hook 'blocks.0.hook_resid_mid'; features are read at",
    ),
    "unknown architecture": (
        lambda at: lens(at, new(architecture="temporal"), drawn(*LENS)),
        "its architecture is 'temporal' with activation 'relu'; known are standard, topk, jumprelu, gated",
    ),
    "unknown activation": (
        lambda at: lens(at, old(activation_fn_str="tanh-relu"), drawn(*LENS)),
        "its architecture is 'standard' with activation 'tanh-relu'; known are",
    ),
    "unknown normalisation": (
        lambda at: lens(at, new(normalize_activations="covariance_whitening"), drawn(*LENS)),
        "its normalize_activations 'covariance_whitening' is none that is known here",
    ),
    "unknown reshaping": (
        lambda at: lens(at, new(reshape_activations="hook_q"), drawn(*LENS)),
        "its reshape_activations 'hook_q' is none that is known here",
    ),
    "one head": (
        lambda at: lens(at, new(metadata={"hook_name": "blocks.0.attn.hook_z", "hook_head_index": 3}), NARROW),
        "it reads one head of blocks.0.attn.hook_z, and kinds of features read all heads of a layer",
    ),
    "one head, old": (
        lambda at: lens(at, old(hook_point="blocks.0.attn.hook_z", hook_point_head_index=0), NARROW),
        "it reads one head of blocks.0.attn.hook_z",
    ),
    "heads one by one": (
        lambda at: lens(at / "z", new(metadata={"hook_name": "blocks.0.attn.hook_z"}), NARROW),
        "z reads 6 numbers at a position, and the heads of a layer of 'gpt2' have 24 there: it was made for another",
    ),
    "another width": (
        lambda at: lens(at / "wide", new(), NARROW),
        "wide reads 6 numbers at a position, and the residual streams of a layer of 'gpt2' have 24 there",
    ),
    "neurons' width": (
        lambda at: lens(at / "n", new(metadata={"hook_name": "blocks.0.mlp.hook_post"}), drawn(*LENS)),
        "n reads 24 numbers at a position, and the neurons of a layer of 'gpt2' have 20 there",
    ),
    "layer out of range": (
        lambda at: lens(at / "far", new(metadata={"hook_name": "blocks.3.hook_mlp_out"}), drawn(*LENS)),
        "far: 'gpt2' has no layer 3 of MLP outputs",
    ),
    "two in one place": (
        lambda at: two(at, "blocks.0.hook_resid_post", "blocks.1.hook_resid_pre"),
        "second and first both read layer 1 as residual-feature. Give a folder with one of them.",
    ),
    "one kind at two places": (
        lambda at: two(at, "blocks.0.hook_attn_out", "blocks.1.attn.hook_z"),
        "some attention-features are read at attention, others elsewhere. Give them one by one.",
    ),
    "no threshold": (
        lambda at: lens(at, new(architecture="jumprelu"), drawn(*LENS)),
        "it is read as jumprelu, whose tensors are W_dec, W_enc, b_dec, b_enc, threshold; lacking: threshold; beyond",
    ),
    "a transcoder of before version 6": (
        lambda at: lens(at, old(is_transcoder=True), drawn(*LENS, b_dec_out=torch.zeros(D))),
        "beyond them: b_dec_out",
    ),
    "jumps that are added": (
        lambda at: learned(at / "embed", drawn(*AUTOENCODER, "jump")),
        "it is read as standard, whose tensors are W_dec, W_enc, b_dec, b_enc; lacking: none; beyond them: jump.",
    ),
    "a gated one without its gate's magnitudes": (
        lambda at: lens(at, new(architecture="gated"), without(GATED, "r_mag")),
        "lacking: r_mag; beyond them: none",
    ),
    "shapes that don't go together": (
        lambda at: lens(at, new(), drawn(*LENS) | {"W_dec": torch.ones(D, F)}),
        "its W_dec has shape (24, 40), and its encoder asks for (40, 24)",
    ),
    "more than there are": (
        lambda at: lens(at, new(architecture="topk", k=41), drawn(*LENS)),
        "it keeps the 41 largest of 40 features",
    ),
    "top-k without k": (
        lambda at: lens(at, old(activation_fn_str="topk", activation_fn_kwargs={}), drawn(*LENS)),
        "it keeps the 0 largest of 40 features",
    ),
    "no configuration": (
        lambda at: (lens(at, new(), drawn(*LENS)) / "cfg.json").unlink(),
        "sae_weights.safetensors can't be read (FileNotFoundError: ",
    ),
    "damaged configuration": (
        lambda at: damaged(lens(at, new(), drawn(*LENS)), "cfg.json"),
        "sae_weights.safetensors can't be read (JSONDecodeError: ",
    ),
    "damaged weights": (
        lambda at: damaged(lens(at, new(), drawn(*LENS)), "sae_weights.safetensors"),
        "sae_weights.safetensors can't be read (SafetensorError: ",
    ),
    "damaged archive": (
        lambda at: damaged(learned(at / "embed", drawn(*AUTOENCODER)), "ae.pt"),
        "ae.pt can't be read (",
    ),
    "no archive at all": (
        lambda at: (learned(at / "embed", {}) / "ae.pt").write_bytes(b"<html>not found</html>"),
        "ae.pt can't be used: it doesn't hold tensors alone",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_words(tmp_path: Path, case: str) -> None:
    write, sentence = REFUSED[case]
    write(tmp_path)
    model = _tiny("gpt2")
    with pytest.raises(BenchmarkError, match=re.escape(sentence)):
        attach(model, tmp_path)


class Runs:
    """What unpickling it does: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("archive", [True, False], ids=["saved by torch", "a plain pickle"])
def test_code_in_a_file_is_not_run(tmp_path: Path, archive: bool) -> None:
    folder, trace = tmp_path / "embed", tmp_path / "ran"
    parts = drawn(*AUTOENCODER) | {"bias": Runs(trace)}
    learned(folder, parts)
    if not archive:
        (folder / "ae.pt").write_bytes(pickle.dumps(parts, protocol=2))
    with pytest.raises(BenchmarkError, match=r"could run any code when it is read. It was not read.") as refused:
        read_dictionaries(tmp_path)
    assert "weights_only" not in str(refused.value)  # torch tells how to read it all the same
    assert not trace.exists()
    if archive:
        torch.load(folder / "ae.pt", weights_only=False)
        assert trace.exists()  # it would have


def test_a_whole_model_is_not_unpickled(tmp_path: Path) -> None:
    learned(tmp_path / "embed", torch.nn.Linear(3, 4))
    with pytest.raises(BenchmarkError, match="it doesn't hold tensors alone"):
        read_dictionaries(tmp_path)


# On the command line


@pytest.fixture
def asked(folder: Path, tmp_path: Path) -> list[str]:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(write_csv(list(PAIRS)), encoding="utf-8")
    return ["run", "--model", str(folder), "--dataset", str(pairs), "--device", "cpu", "--methods", "random",
            "--out", str(tmp_path / "out"), "--dry-run"]  # fmt: skip


def test_a_missing_folder_is_a_sentence(asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing"
    assert main([*asked, "--dictionaries", str(missing)]) == 2
    said = capsys.readouterr().err
    assert f"--dictionaries {missing}: there is no such folder, and none are built in under this name (pocket)." in said
    assert "Traceback" not in said


def test_the_plan_warns_of_what_reconstructs_worse_than_the_mean(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dictionary of random weights, and one that gives all back."""
    parts = drawn(*LENS)
    lens(tmp_path / "d" / "random", new(), parts)
    both = torch.cat([torch.eye(D), -torch.eye(D)])
    exact = {"W_enc": both.T, "W_dec": both, "b_enc": torch.zeros(2 * D), "b_dec": torch.zeros(D)}
    lens(tmp_path / "d" / "exact", new(metadata={"hook_name": "blocks.2.hook_resid_pre"}), exact)
    assert main([*asked, "--dictionaries", str(tmp_path / "d"), "--components", "residual-feature"]) == 0
    lines = capsys.readouterr().err.splitlines()
    [bad] = [line.strip() for line in lines if "features of random" in line]
    [good] = [line.strip() for line in lines if "features of exact" in line]
    [warned] = [line.strip() for line in lines if "reconstructs worse" in line]
    assert re.fullmatch(
        r"layer 1 residual-feature: 40 features of random, -\d+\.\d% of the variance explained, \d+\.\d active a "
        r"token; with it in place the metric is -?\d+\.\d{3} in place of -?\d+\.\d{3}",
        bad,
    )
    assert re.match(
        r"! The dictionary random \(layer 1, residual-feature\) reconstructs worse than the mean activation \(-\d+",
        warned,
    )
    assert good.startswith(
        f"layer 2 residual-feature: {2 * D} features of exact, 100.0% of the variance explained, 24.0 active a token;"
    )
    numbers = re.findall(r"-?\d+\.\d{3}", good)
    assert numbers[0] == numbers[1]


def test_a_model_loads_with_its_dictionaries(folder: Path, tmp_path: Path) -> None:
    lens(tmp_path / "d", new(), drawn(*LENS))
    model = load_model(str(folder), device="cpu", dictionaries=tmp_path / "d")
    assert list(model.dictionaries) == [Site("residual-feature", 1)]
    held(model.dictionaries[Site("residual-feature", 1)], of_lens(drawn(*LENS), new(), X))
