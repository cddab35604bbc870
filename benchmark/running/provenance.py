"""What a number's reader needs to know about how it came to be."""

import hashlib
import importlib.metadata
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from benchmark.engine.model import Model
from benchmark.packaged import PACKAGE, ROOT

_PACKAGES = ("attribution-bench", "torch", "transformer_lens", "transformers", "captum", "numpy")


def environment(model: Model) -> dict[str, Any]:
    """Package versions, commit, device, dtype and threads."""
    return {
        "versions": {package: _version(package) for package in _PACKAGES},
        "python": sys.version.split()[0],
        **_commit(),
        "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


@lru_cache
def package() -> str:
    """The version of the package, and eight letters of the sha256 over the code that scores are made by.

    That is all of `benchmark`, with its metrics, its sampling and what loads models, and the methods; not torch's.
    """
    digest = hashlib.sha256()
    for path in sorted([*PACKAGE.rglob("*.py"), *(ROOT / "methods").glob("*.py")]):
        digest.update(f"{path.name}\n{path.read_text(encoding='utf-8')}".encode())  # wherever lines end as they may
    return f"{_version(_PACKAGES[0])}, code {digest.hexdigest()[:8]}"


@lru_cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@lru_cache
def _commit() -> dict[str, Any]:
    """Commit and dirty flag where this package runs from its own git checkout."""
    root = ROOT.resolve()

    def git(*arguments: str) -> str:
        run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return {"commit": None, "dirty": None}
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
