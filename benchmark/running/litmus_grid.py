"""Which methods are tried on which planted models, and how."""

from collections.abc import Sequence
from typing import Any

from benchmark.components import DEFAULT_KINDS, WAYS
from benchmark.errors import BenchmarkError
from benchmark.models.litmus import LITMUS, load_litmus
from benchmark.running.plugins import Registry


def litmus_plans(registry: Registry, names: Sequence[str], methods: Sequence[str]) -> list[dict[str, Any]]:
    """What to ask for each litmus and setting (fields of `running.plan.Asked`), with the methods that can do it.

    `names` may be empty: all. `methods` may be `("all",)`: every method that needn't be asked for, with all its
    variants.
    """
    tried = [load_litmus(name) for name in dict.fromkeys(names)] or list(LITMUS.values())
    specs = registry.variants() if tuple(methods) == ("all",) else list(methods)
    plans = []
    for litmus in tried:
        for direction, replacement in WAYS:
            able = tuple(spec for spec in specs if _can(registry, spec, direction, replacement))
            if able:
                name = litmus.task.name
                plans.append(
                    {"model": name, "tasks": (name,), "methods": able, "direction": direction}
                    | {"replacement": replacement}
                )
    return plans


def _can(registry: Registry, spec: str, direction: str, replacement: str) -> bool:
    method = registry.method(spec)
    try:
        method.check([kind for kind in DEFAULT_KINDS if kind in method.kinds], replacement, direction)
    except BenchmarkError:
        return False
    return True
