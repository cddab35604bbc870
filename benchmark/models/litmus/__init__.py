"""Litmus: planted models, whose components' effects are known because their weights were set by hand.

One value of `Litmus` in a file of this folder is one litmus: a model and a task named `litmus/NAME`.
"""

from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.models.litmus import attention, gates, linear
from benchmark.models.litmus.litmus import PREFIX as PREFIX
from benchmark.models.litmus.litmus import Litmus

LITMUS: dict[str, Litmus] = {
    value.name: value
    for module in (linear, attention, gates)
    for value in vars(module).values()
    if isinstance(value, Litmus)
}


def load_litmus(name: str) -> Litmus:
    """A litmus by its name, with or without `litmus/` in front."""
    short = name.removeprefix(PREFIX)
    if short not in LITMUS:
        raise BenchmarkError(
            f"There is no litmus {name!r}.{did_you_mean(short, list(LITMUS))} Known: {', '.join(LITMUS)}."
        )
    return LITMUS[short]
