"""`load_model`: one loader, several sources. To add one, let `_source` give its folder for a name of `catalogue`."""

import difflib
import sys
import warnings
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch

from benchmark import packaged
from benchmark.engine.model import Model, positions_of
from benchmark.engine.precision import refuse_matmul
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.models import digests, smollm2
from benchmark.models.catalogue import DEFAULT, POCKET, SMOLLM2, built_in, checkpoints, weights_of
from benchmark.models.dictionaries import attach
from benchmark.models.litmus import PREFIX, load_litmus
from benchmark.prompts.tokens import Tokens

SPREAD = "spread"
_FOR_WEIGHTS = 0.8  # of each GPU's free memory; activations need the rest


@torch.inference_mode(mode=False)  # weights made in it can't be differentiated through
def load_model(
    name: str | Path = DEFAULT,
    *,
    device: str = "auto",
    dtype: torch.dtype = torch.float32,
    prepend_bos: bool | None = None,
    revision: str | None = None,
    dictionaries: str | Path | None = None,
    matmul: str = "ieee",
) -> Model:
    """A frozen model in eval mode, from a built-in name, a local folder or a Hugging Face id.

    `device="auto"` takes a GPU where there is one; `"spread"` divides the layers among all GPUs, for a model that is
    too large for one. Weights go from their files straight there. None is processed. `dictionaries` is a folder of
    sparse autoencoders, or `pocket` for its own: their features can be scored then. `matmul="tf32"` lets an NVIDIA GPU
    round what enters products of float32 numbers. Raises BenchmarkError where the name is unknown, the hub can't be
    reached, the files are damaged, no tokenizer is there, GPUs are too few or too small, or `matmul` means nothing for
    the device or dtype.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if matmul != "ieee":
        refuse_matmul(matmul, _device("auto" if device == SPREAD else device), dtype)
    if dictionaries is not None or matmul != "ieee":
        model = load_model(name, device=device, dtype=dtype, prepend_bos=prepend_bos, revision=revision)
        model.matmul = matmul
        if dictionaries is not None:
            attach(model, dictionaries)
        return model
    name = str(name)
    if not name:
        raise BenchmarkError("The name of the model is empty.")
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    getLogger("huggingface_hub").setLevel(ERROR)  # its retries are no news: the error says what to do
    if name.startswith(PREFIX):
        return load_litmus(name).model(_device(device), dtype)
    source = _source(name)
    _refuse_unreachable(source, name, revision)
    tokenizer = _tokenizer(source, name, revision)
    places = _every_gpu() if device == SPREAD else {"device_map": {"": _device(device)}}
    mark = digests.fingerprint(_folder(source, revision), dtype)
    hf_model, found = _load(
        AutoModelForCausalLM, source, name, revision, dtype=dtype, output_loading_info=True, **places
    )
    _refuse_made_up(found, name)
    if name in checkpoints():
        _take_weights(hf_model, weights_of(name))
    if device == SPREAD:
        _refuse_too_large(hf_model, name)
    else:
        try:
            hf_model.to(_device(device))  # where it is already; a quantised one says here what it can't do
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise BenchmarkError(_explain(source, name, error)) from error
    if digests.fingerprint(_folder(source, revision), dtype) != mark:
        mark = None  # the files changed while they were read
    shown = Path(name).expanduser().resolve().name if Path(name).expanduser().is_dir() else name
    processing = smollm2.PROCESSING if name == SMOLLM2 else "none"
    model = Model.from_hf(hf_model, tokenizer, shown, prepend_bos, revision, processing, digests.recall(mark))
    digests.remember(mark, model.digest)
    return model


def load_tokens(name: str = DEFAULT, prepend_bos: bool | None = None, revision: str | None = None) -> Tokens:
    """A model's tokenizer alone, for audits: no weights are loaded."""
    from transformers import AutoConfig

    if name.startswith(PREFIX):
        return load_litmus(name).model().tokens
    source = _source(name)
    _refuse_unreachable(source, name, revision)
    tokenizer = _tokenizer(source, name, revision)
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError):  # a folder with a tokenizer and no model
        return Tokens(tokenizer, prepend_bos, name=name)
    rows = getattr(config, "vocab_size", None)
    return Tokens(tokenizer, prepend_bos, config.model_type, positions_of(config), rows, name)


def _refuse_made_up(found: Any, name: str) -> None:
    """Refuse weights that the files lack, for which the loader drew random ones, and say which ones it left aside."""
    lacking = [str(one) for what in ("missing_keys", "mismatched_keys") for one in found.get(what, ())]
    if lacking:
        raise BenchmarkError(
            f"The files of model {name!r} lack {len(lacking)} of the weights that its config asks for, such as "
            f"{lacking[0]}: they would be random. Mend config.json, or download the model again."
        )
    if aside := list(found.get("unexpected_keys", ())):
        warnings.warn(
            f"Model {name!r}: {len(aside)} weights of its files are used nowhere, such as {aside[0]}.", stacklevel=3
        )


def _take_weights(hf_model: Any, file: Path) -> None:
    """Put a checkpoint's weights into a model of the same shape."""
    from safetensors.torch import load_file

    missing, unexpected = hf_model.load_state_dict(load_file(file), strict=False)
    tied = set(hf_model.state_dict()) - {name for name, _ in hf_model.named_parameters()}
    if unexpected or set(missing) - tied:
        raise BenchmarkError(f"{file} doesn't fit the model beside it: install the package again.")


def _source(name: str) -> str:
    if name == POCKET or name in checkpoints():
        return str(packaged.POCKET / "model")
    if name.startswith(f"{POCKET}@"):
        raise BenchmarkError(f"There is no checkpoint {name!r}; there are {', '.join(checkpoints())}.")
    if name == SMOLLM2:
        return str(smollm2.folder())
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if path.is_absolute() or name.startswith((".", "~")):
        raise BenchmarkError(f"There is no model folder {name!r}.")
    if "/" not in name and difflib.get_close_matches(name, built_in(), cutoff=0.8):
        raise BenchmarkError(f"There is no model {name!r}.{did_you_mean(name, list(built_in()))}")
    return name


def _refuse_unreachable(source: str, name: str, revision: str | None) -> None:
    """Refuse at once a hub id that is neither cached nor there: the loaders would try for most of a minute."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if Path(source).is_dir() or isinstance(try_to_load_from_cache(source, "config.json", revision=revision), str):
        return
    try:
        HfApi().model_info(source, revision=revision, timeout=10)
    except Exception as error:  # of the network's many kinds, and of ids that can't be one
        raise BenchmarkError(_explain(source, name, error)) from error


def _tokenizer(source: str, name: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    if Path(source).is_dir() and not list(Path(source).glob("*token*")) and not list(Path(source).glob("vocab*")):
        raise BenchmarkError(
            f"The model folder {name!r} holds no tokenizer: save it there with tokenizer.save_pretrained({name!r})."
        )
    tokenizer = _load(AutoTokenizer, source, name, revision)
    try:
        tokenizer("a b", add_special_tokens=True)
    except Exception as error:  # a file that loads need not work
        raise BenchmarkError(_explain(source, name, error)) from error
    return tokenizer


def _load(auto_class: Any, source: str, name: str, revision: str | None, **options: Any) -> Any:
    try:
        return auto_class.from_pretrained(source, revision=revision, **options)
    except Exception as error:  # whatever a library makes of somebody's files
        raise BenchmarkError(_explain(source, name, error)) from error


def _explain(source: str, name: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    if name == SMOLLM2:
        return f"The cached model in {source} is damaged ({reason}). Delete that folder and run again."
    if isinstance(error, ImportError):
        return f"Model {name!r} needs a package that isn't installed ({reason}). Install it and run again."
    if (Path(source) / "adapter_config.json").is_file():
        return (
            f"The folder {name!r} holds an adapter and no model ({reason}). Load it with peft, merge it "
            "(`model = model.merge_and_unload()`), and give the folder that `model.save_pretrained(FOLDER)` writes."
        )
    if Path(source).is_dir():
        return f"The model folder {name!r} can't be loaded ({reason}). It must hold what save_pretrained wrote."
    return (
        f"Model {name!r} is neither built in ({POCKET}, {SMOLLM2}, ...) nor a local folder, and the Hugging Face hub "
        f"did not give it ({reason}).{did_you_mean(name, list(built_in()))} "
        "Check the spelling and the network, or give a local folder."
    )


def _folder(source: str, revision: str | None) -> Path | None:
    """Where a model's files lie, where they are on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return Path(source)
    config = try_to_load_from_cache(source, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def _every_gpu() -> dict[str, Any]:
    """What divides a model's layers evenly among the GPUs, and puts nothing elsewhere, where that can be."""
    count = torch.cuda.device_count()
    if count < 2:
        raise BenchmarkError(
            f"--device {SPREAD} divides a model among several GPUs, and there are {count} here. Weights aren't left on "
            "the CPU or a disk, from where every forward would fetch them. Use --device auto."
        )
    free = {number: torch.cuda.mem_get_info(number)[0] for number in range(count)}
    return {"device_map": "balanced", "max_memory": {gpu: int(_FOR_WEIGHTS * free[gpu]) for gpu in free}}


def _refuse_too_large(hf_model: Any, name: str) -> None:
    """Refuse a model that was divided and didn't fit."""
    places = getattr(hf_model, "hf_device_map", {})
    if outside := [part for part, place in places.items() if str(place) in ("cpu", "disk")]:
        raise BenchmarkError(
            f"Model {name!r} is too large for {_FOR_WEIGHTS:.0%} of the free memory of these GPUs together: there is "
            f"no room for {', '.join(outside[:3])}{' and more' * (len(outside) > 3)}. Free some, or use more GPUs."
        )


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise BenchmarkError(f"Device {device!r} can't be used here: {str(error).splitlines()[0]}") from error
