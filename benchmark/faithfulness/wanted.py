"""What is asked of a results folder: which circuits, and how they are measured."""

from dataclasses import dataclass

from benchmark.components import WAYS, Way
from benchmark.errors import BenchmarkError
from benchmark.faithfulness import CIRCUIT_DRAWS


@dataclass(frozen=True)
class Wanted:
    """Which scores of the folder, and how many sets of what.

    `components`: kinds that rank together, such as `(("head",), ("head", "neuron"))`, empty for each kind by itself and
    those of `games.JOINT`; `pairs`: of each task, None for as many as were scored; `draws`: random orders of each sort;
    `search`: a greedy search, None where there are few components; `top`: the set whose members leave one at a time,
    None for a twentieth, at least 5. `device` and `memory` are those of the run where they are None.
    """

    components: tuple[tuple[str, ...], ...] = ()
    tasks: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = ("all",)
    ways: tuple[Way, ...] = WAYS
    pairs: int | None = None
    draws: int = CIRCUIT_DRAWS
    search: bool | None = None
    top: int | None = None
    seed: int = 0
    device: str | None = None
    memory: str | None = None

    def refuse(self) -> None:
        if self.draws < 0 or (self.pairs is not None and self.pairs < 1) or (self.top is not None and self.top < 1):
            raise BenchmarkError(
                f"--random {self.draws}, --pairs {self.pairs}, --top-k {self.top}: give 0 or more random orders, and "
                "at least 1 of the others."
            )
        if not self.ways:
            raise BenchmarkError(f"--ways names none: choose from {', '.join(map(way_name, WAYS))}.")


def way_name(way: Way) -> str:
    return f"{way.direction}/{way.replacement}"
