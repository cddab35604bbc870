"""Memory: how much there is, how much a cell took, and how large its chunks may be."""

import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil
import torch

from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError

_UNITS = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_LARGEST = 65536  # tokens in a forward
_CPU_NEURONS = 512 * 3072  # activations of one MLP beyond which a CPU gains nothing from a larger forward

Result = TypeVar("Result")


class Chunk(NamedTuple):
    """How much is done at once: tokens and rows in a forward, and pairs of one length in a batch."""

    tokens: int = 512
    pairs: int = 32
    rows: int = 512


def parse_bytes(text: str) -> int:
    """
    >>> parse_bytes("4GiB"), parse_bytes("512 MB")
    (4294967296, 536870912)
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?)(i?B)?\s*", text, re.IGNORECASE)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size <= 0:
        raise BenchmarkError(f"--memory {text}: write a size such as 4GiB or 512MiB.")
    return size


def free_bytes(device: torch.device) -> int:
    """What this process may still allocate on the device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    available = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:  # a container's own limit, of which the file cache can be taken back
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        kinds = (group / "memory.stat").read_text()
        cache = sum(map(int, re.findall(r"^(?:in)?active_file (\d+)", kinds, re.MULTILINE)))
    except (OSError, ValueError):
        return available
    return min(available, max(0, limit - used + cache))


def free(model: Model) -> int:
    """What may still be allocated on each of a model's devices."""
    return min(map(free_bytes, model.devices))


def choose_chunk(model: Model, length: int, budget: int, gradients: bool) -> Chunk:
    """The largest chunk whose forwards, of prompts of this length, fit into `budget` bytes.

    Half of the budget goes to the activations that stay for a batch of pairs, a quarter to what a forward's tokens
    take, a quarter to what each of its rows takes besides: keys and values of the whole prompt, and logits. While a
    batch is recorded, its whole prompts share a forward, which takes the other half. Where a single prompt needs
    another division it gets it. An allocation that fails all the same halves the chunk.
    """
    forward, row, kept = needs(model, length, gradients)
    tokens, rows = budget // 4 // forward, budget // 4 // row
    pairs = budget // 2 // (kept * length)
    if tokens < length or pairs < 1 or rows < 1:
        needed = length * forward + row + length * kept
        if needed > budget:
            raise BenchmarkError(
                f"A memory budget of {budget / 2**30:.2f} GiB is too small for one prompt of {length} tokens through "
                f"{model.name!r}: about {needed / 2**30:.2f} GiB are needed. Free some memory or raise --memory."
            )
        return Chunk(length, 1, 1)
    enough = min(4096, max(Chunk().tokens, _CPU_NEURONS // _mlp(model))) if model.device.type == "cpu" else _LARGEST
    return Chunk(min(tokens, enough), min(pairs, whole_prompts(model, length, budget)), min(rows, enough))


def whole_prompts(model: Model, length: int, budget: int | None = None) -> int:
    """How many unpatched prompts of this length share a forward without gradients in half of the budget, at least 1.

    The budget is by default that of `fitting_chunk`.
    """
    token, row, _ = needs(model, length, gradients=False)
    return max(1, min((budget or _half(model)) // 2 // (length * token + row), Chunk().pairs))


class Needs(NamedTuple):
    """Bytes that a token takes in a forward, a row besides, and a token of a pair while its batch is scored."""

    token: int
    row: int
    kept: int


def needs(model: Model, length: int, gradients: bool) -> Needs:
    """What prompts of this length take, from the model's sizes: within 1.5 times of what is measured on long ones."""
    size = torch.finfo(model.dtype).bits // 8
    heads, mlp = model.n_heads * model.d_head, _mlp(model)
    one_layer = 8 * model.d_model + 4 * heads + 2 * model.n_heads * length + 5 * mlp
    kept = model.n_layers * (2 * model.d_model + 4 * heads + 2 * mlp)
    row = model.n_layers * 2 * heads * length + 2 * model.d_vocab * max(1, 4 // size)  # logits are float32
    if model.dictionaries:  # one site's features at a time, with what they are multiplied by; activations and scores
        largest, read = max(one.size for one in model.dictionaries.values()), len(model.dictionaries)
        one_layer += 4 * largest // (model.n_layers if gradients else 2)
        kept += 4 * largest + read * (3 * model.d_model + 3 * largest // length)
    return Needs(size * one_layer * (model.n_layers if gradients else 2), size * row, size * kept)


def _mlp(model: Model) -> int:
    """The width of an MLP; where it is experts, about that of what is at work at once."""
    return model.d_mlp or 4 * model.d_model


def fitting_chunk(model: Model, length: int, gradients: bool) -> Chunk:
    """The chunk for half of what is free on the model's devices now, rounded down to a power of two.

    Rounded, because a chunk decides the last bits of a score: a little more or less free memory must not.
    """
    return choose_chunk(model, length, _half(model), gradients)


def _half(model: Model) -> int:
    return int(2 ** (max(free(model), 2).bit_length() - 2))


def within_memory(attempt: Callable[[], Result]) -> Result | None:
    """What the attempt gives; None where memory ran out, on a GPU or where the system refuses more."""
    try:
        return attempt()
    except (MemoryError, RuntimeError) as error:
        words = ("allocate memory", "ALLOC_FAILED")
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not any(w in str(error) for w in words):
            raise
    if torch.cuda.is_available():  # outside of the handler, whose error holds on to what filled the memory
        torch.cuda.empty_cache()
    return None


def smaller(chunk: Chunk, model: Model, length: int, pairs: int) -> Chunk:
    """Half the chunk that was too large for this many pairs of this length. Raises where it can't be smaller."""
    if chunk.tokens <= length and pairs == 1:
        raise BenchmarkError(
            f"Memory ran out on a single prompt of {length} tokens through {model.name!r}. Free some, take a smaller "
            "model, or another --device."
        )
    tokens = min(chunk.tokens, max(length, chunk.tokens // 2))
    return Chunk(tokens, min(chunk.pairs, pairs) // 2 if pairs > 1 else chunk.pairs, max(1, chunk.rows // 2))


def reset_peak(model: Model) -> None:
    """Start measuring the peak anew, where the system can."""
    if model.device.type == "cuda":
        for device in model.devices:
            torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):  # where that isn't allowed, the peak is that of the process so far
            Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(model: Model) -> int | None:
    """The most memory held since the last reset: on one GPU by tensors, else by the process. None: unknown."""
    if model.device.type == "cuda":
        return max(int(torch.cuda.max_memory_allocated(device)) for device in model.devices)
    if sys.platform == "linux":
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
