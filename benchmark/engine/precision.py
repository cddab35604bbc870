"""Number formats: what products of float32 numbers are taken in, and what is computed in float32 whatever the model's.

Where a model's numbers have 16 bits, its final norm and unembedding get 32: a metric is the small difference of large
logits.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.components import DTYPES, MATMULS
from benchmark.errors import BenchmarkError


def wide(value: Tensor) -> Tensor:
    """The value in float32, or in float64 where it is."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def step(dtype: torch.dtype, matmul: str = "ieee") -> float:
    """From 1 to the next number of a format; of TF32's, which products round their float32 inputs to.

    >>> step(torch.bfloat16), step(torch.float32, "tf32") == 2**-10
    (0.0078125, True)
    """
    return 2.0**-10 if matmul == "tf32" else float(torch.finfo(dtype).eps)


def dtype_named(name: str) -> torch.dtype:
    """The format of that name. Raises BenchmarkError that names those there are."""
    if name not in DTYPES:
        raise BenchmarkError(f"There is no dtype {name!r}; choose {', '.join(DTYPES)}.")
    return getattr(torch, name)  # type: ignore[no-any-return]


def refuse_matmul(matmul: str, device: torch.device, dtype: torch.dtype) -> None:
    """Raise BenchmarkError where products can't be taken that way: TF32 is for float32 numbers on an NVIDIA GPU."""
    if matmul not in MATMULS:
        raise BenchmarkError(f"There is no matmul {matmul!r}; choose {' or '.join(MATMULS)}.")
    if matmul == "ieee":
        return
    where = f"--matmul {matmul} takes products of float32 numbers on an NVIDIA GPU (Ampere or newer)"
    if dtype != torch.float32:
        name = str(dtype).removeprefix("torch.")
        raise BenchmarkError(f"{where}, and the model's are {name}. Leave out --matmul, or take --dtype float32.")
    if device.type != "cuda" or torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        raise BenchmarkError(f"{where}, and the device is {device}. Leave out --matmul, or choose another --device.")


@contextmanager
def products(matmul: str, device: torch.device) -> Iterator[None]:
    """While this holds, products of float32 numbers on a GPU are taken that way, whatever was set before."""
    if device.type != "cuda":
        yield
        return
    setting = torch.backends.cuda.matmul
    before = setting.fp32_precision
    setting.fp32_precision = matmul
    try:
        yield
    finally:
        setting.fp32_precision = before


def unembedded(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Logits in float32 (float64 of float64), by float32's own products."""
    with products("ieee", hidden.device):
        return functional.linear(wide(hidden), wide(weight), wide(bias))


def end_in_float32(
    final_norm: nn.Module | None, unembedding: nn.Module, weights: Callable[[], tuple[Tensor, Tensor]]
) -> None:
    """Let a model of 16 bits compute its final norm and logits in float32, from the residual stream as it is.

    The norm's weights become float32, which changes no value; those of the unembedding, which may be the embedding's
    too, are widened at each use.
    """
    if final_norm is not None:
        for weight in [*final_norm.parameters(), *final_norm.buffers()]:
            weight.data = wide(weight.data) if weight.is_floating_point() else weight.data
        final_norm.register_forward_pre_hook(lambda module, given: (wide(given[0]), *given[1:]))

    def forward(hidden: Tensor, **_: Any) -> Tensor:
        entering = unembedding.hook_in(wide(hidden))  # type: ignore[operator]
        return unembedding.hook_out(unembedded(entering, *weights()))  # type: ignore[operator, no-any-return]

    vars(unembedding)["forward"] = forward
