"""Norms taken for linear maps: what their gradient is while their scale stays as a run has it.

A norm is `N(x) = M x / s(x) + shift`: a linear map, which may take the mean off first, over a scale. Nothing is read
from its weights, its epsilon or its name: it is tried on random vectors.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmark.errors import BenchmarkError

_Hook = Callable[[Tensor, Any], Tensor | None]


def frozen(norm: nn.Module, like: Float[Tensor, " d_model"], name: str) -> tuple[_Hook, _Hook]:
    """Hooks for what enters and what leaves a norm, under which its gradient is `M^T / s`. Values stay as they are.

    A change across x leaves the scale alone, so there the norm's own gradient is right; along x, `M x / s` is what
    leaves less the shift. `like` has the width, device and dtype of what is normed. Raises BenchmarkError for a norm
    that isn't of this form.
    """
    shift, centred = _measured(norm, like, name)
    seen: dict[str, Tensor] = {}

    def entering(value: Tensor, hook: Any) -> Tensor | None:
        if not value.requires_grad:
            return None
        along = _centred(value.detach(), centred)
        entered = value.view_as(value)  # so that no gradient comes past the norm

        def corrected(gradient: Tensor) -> Tensor:
            return _corrected(gradient, along, seen["left"] - shift, seen["behind"])

        entered.register_hook(corrected)  # type: ignore[no-untyped-call]
        return entered

    def leaving(value: Tensor, hook: Any) -> Tensor | None:
        if not value.requires_grad:
            return None
        left = value.view_as(value)  # where nothing is normed, what leaves is what entered
        seen["left"] = left.detach()
        left.register_hook(lambda gradient: seen.update(behind=gradient))  # type: ignore[no-untyped-call]
        return left

    return entering, leaving


def _corrected(gradient: Tensor, along: Tensor, left: Tensor, behind: Tensor) -> Tensor:
    lost = (behind * left).sum(-1, keepdim=True) - (gradient * along).sum(-1, keepdim=True)
    return gradient + along * (lost / along.square().sum(-1, keepdim=True).clamp(min=torch.finfo(along.dtype).tiny))


def _centred(value: Tensor, centred: bool) -> Tensor:
    return value - value.mean(-1, keepdim=True) if centred else value


def _measured(norm: nn.Module, like: Tensor, name: str) -> tuple[Tensor, bool]:
    """The shift, and whether the mean is taken off."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, 1, 1, len(like), generator=generator, dtype=torch.float64).to(like)
    one, other, behind = drawn
    with torch.enable_grad():
        entered = one.clone().requires_grad_()
        left = norm(entered)
        [gradient] = torch.autograd.grad(left, entered, behind)
    left = left.detach()
    with torch.no_grad():
        shift = (left + norm(-one)) / 2
        centred = _alike(norm(one + 1), left, left)
        along = _centred(one, centred)
        other = other * (along.norm() / _centred(other, centred).norm())  # of the same scale
        wanted = (behind * (norm(other) - shift)).sum()
        found = (_corrected(gradient, along, left - shift, behind) * other).sum()
    if not _alike(found, wanted, behind.norm() * left.norm()):
        raise BenchmarkError(f"{name} is no norm that is linear at a given scale, so it can't be taken for one.")
    return shift[0, 0], centred


def _alike(one: Tensor, other: Tensor, size: Tensor) -> bool:
    eps = torch.finfo(one.dtype).eps
    return bool((one - other).abs().max() <= max(1e-5, 16 * eps) * size.abs().max())
