"""A forward of a bridge under hooks.

`run_with_hooks` of transformer_lens collects all names and aliases of a model each time, which takes a sixth of a small
model's forward. Here the hooks go straight to where they belong.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

Hook = tuple[str, Callable[[Tensor, Any], Tensor | None]]  # a name of transformer_lens, and what is done there


def run_hooked(
    bridge: Any, tokens: Tensor, hooks: Iterable[Hook], points: Mapping[str, Any] | None = None, **options: Any
) -> Any:
    """The logits, while these hooks are in place; they are gone afterwards, whatever happens.

    `points` are the bridge's own by name, where they are known already. Raises KeyError where it has none of a name.
    """
    points = bridge.hook_dict if points is None else points
    added = []
    try:
        for name, hook in hooks:
            added.append((points[name], points[name].add_hook(hook)))
        return bridge(tokens, **options)
    finally:
        for point, handle in added:
            handle.hook.remove()
            point.fwd_hooks.remove(handle)
