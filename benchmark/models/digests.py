"""Digests of large models' weights, remembered in the user's cache folder: hashing 14 GB takes 8 seconds a start.

A digest is remembered for the files that the weights were read from: the path, size, inode and times of change of every
file of the model's folder, the number format asked for, and the version of transformers, which may turn weights around
while it reads them. A file that was written anew, or in place, has another time of change, which no program can set
back (Windows: mtime alone). Files that changed within the last seconds are hashed: two changes of one tick look alike.
"""

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from platformdirs import user_cache_path

_DEFINITION = 1  # of the digest: sha256 over names, shapes and bytes (`engine.model.weights_digest`)
_LEAST = 2**30  # bytes below which hashing takes no time worth saving
_SETTLED = 5.0  # seconds


def fingerprint(folder: Path | None, dtype: torch.dtype) -> str | None:
    """What tells a folder's files from any others, and from themselves before a change; None: hash the weights."""
    if folder is None:
        return None
    facts, total, newest = [], 0, 0
    for file in sorted(folder.iterdir()):
        if file.is_file():
            real = file.resolve()
            seen = real.stat()
            facts.append((file.name, str(real), seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
            total, newest = total + seen.st_size, max(newest, seen.st_mtime_ns, seen.st_ctime_ns)
    if total < _LEAST or time.time() - newest / 1e9 < _SETTLED:
        return None
    everything = [_DEFINITION, version("transformers"), str(dtype), facts]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()


def recall(mark: str | None) -> str | None:
    """The digest that was remembered under a fingerprint."""
    if mark is None:
        return None
    with suppress(OSError, UnicodeDecodeError):
        known = (_folder() / mark).read_text(encoding="ascii")
        return known if re.fullmatch("[0-9a-f]{64}", known) else None
    return None


def remember(mark: str | None, digest: str) -> None:
    """Keep a digest for the next start. A cache that can't be written costs the seconds again, and is no error."""
    if mark is None:
        return
    with suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=_folder(), prefix=".", encoding="ascii", delete=False) as temporary:
            temporary.write(digest)
        os.replace(temporary.name, _folder() / mark)


def _folder() -> Path:
    return user_cache_path("attribution-bench") / "digests"
