"""A device that isn't there: what is on it is computed by the CPU, and doesn't meet what is on the CPU itself.

For tests of models that are spread over several devices, where there is one. What two GPUs refuse is refused: an
operation on tensors of both, but for single numbers on the CPU, and for indices on the CPU where they are `allowed`.
It is registered for the whole process, so use it in one of its own.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_aten = torch.ops.aten
_INDEXED = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default)


class Elsewhere(Tensor):
    """A tensor on that device."""

    held: Tensor
    indices_allowed: ClassVar[bool] = False  # those on the CPU, of tensors here

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        made: Elsewhere = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=torch.device("elsewhere", 0),
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{self.held} on {self.device}"

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        asked = kwargs.get("device")
        if func is _aten._to_copy.default:
            return _copied(*args, **kwargs)
        if func is _aten.copy_.default:
            _held(args[0]).copy_(_held(args[1]))
            return args[0]
        allowed = cls.indices_allowed and func in _INDEXED and isinstance(args[0], Elsewhere)
        for one in tree_leaves((args, kwargs)):
            here = isinstance(one, Tensor) and not isinstance(one, Elsewhere) and one.ndim > 0
            if here and not (allowed and one.dtype in (torch.long, torch.bool)):
                raise RuntimeError(f"{func}: tensors on the CPU and elsewhere")
        if asked is not None:
            kwargs["device"] = "cpu"
        given = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if func._schema.is_mutable and isinstance(args[0], Elsewhere):
            return args[0]
        return tree_map(lambda one: _put(one, asked or "elsewhere"), given)


def _held(one: Any) -> Any:
    return one.held if isinstance(one, Elsewhere) else one


def _put(one: Any, device: Any) -> Any:
    return Elsewhere(one) if isinstance(one, Tensor) and torch.device(device).type != "cpu" else one


def _copied(source: Tensor, *, device: Any = None, **options: Any) -> Tensor:
    made = _aten._to_copy.default(_held(source), **options, device="cpu")
    return _put(made, source.device if device is None else device)  # type: ignore[no-any-return]


def _empty(*shape: Any, dtype: Any = None, **_: Any) -> Tensor:
    return Elsewhere((torch.empty_strided if len(shape) > 1 else torch.empty)(*shape, dtype=dtype))


def _of_numbers(make: Any) -> Any:
    """What makes a tensor of numbers alone; torch's own would make an empty one first, and change its size."""
    return lambda *numbers, dtype=None, **_: Elsewhere(make(*numbers, dtype=dtype))


def registered() -> torch.device:
    """The device, made known to torch."""
    _setup_privateuseone_for_python_backend("elsewhere")
    makers = {"_to_copy": _copied, "empty.memory_format": _empty, "empty_strided": _empty}
    makers |= {name: _of_numbers(torch.arange) for name in ("arange", "arange.start", "arange.start_step")}
    makers |= {"eye": _of_numbers(torch.eye), "linspace": _of_numbers(torch.linspace)}
    for name, made in makers.items():
        torch.library.impl(f"aten::{name}", "PrivateUse1")(made)
    return torch.device("elsewhere", 0)
