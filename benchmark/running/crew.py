"""Who does the work of a plan: this process, piece by piece. `running.cluster` has the other crew, of Ray's workers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from benchmark.running.bench import Bench
from benchmark.running.doing import attempt
from benchmark.running.work import Computed, Failed, ModelSource, Work

Say = Callable[[str], None]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Teller:
    """What a crew tells of its work: `begins` by the number of a piece, `progress` in whole rows that it did, `say`.

    It asks `wanted` before it begins a piece: where one part of a cell has failed, the others needn't be done.
    `metrics` are those of the unpatched prompts, as they were taken when the run was planned.
    """

    wanted: Callable[[int], bool]
    begins: Callable[[int], None]
    progress: Callable[[int, float], None]
    say: Say
    metrics: Callable[[int], Mapping[str, Tensor] | None] = lambda number: None


@runtime_checkable
class Crew(Protocol):
    """Those who do pieces of work, in any order."""

    def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
        """The number of each piece as it is done, with what came out."""
        ...


@runtime_checkable
class Workplace(Protocol):
    """Where the work of a plan will be done, asked while it is made.

    A process there does pieces of work by so many `threads`; None: as many as this one. So many share the memory.
    """

    @property
    def threads(self) -> int | None: ...

    @property
    def sharing(self) -> int: ...

    def ask(self, question: Callable[..., Found], source: ModelSource, *about: Any) -> Found:
        """What a function of `running.capacity` says there."""
        ...


@dataclass
class InThisProcess:
    """One piece after the other, here. `bench` holds what is loaded."""

    bench: Bench
    threads: int | None = None
    sharing: int = 1

    def ask(self, question: Callable[..., Found], source: ModelSource, *about: Any) -> Found:
        return question(self.bench, source, *about)

    def carry_out(self, works: Sequence[Work], teller: Teller) -> Iterator[tuple[int, Computed | Failed]]:
        for number, work in enumerate(works):
            if teller.wanted(number):
                teller.begins(number)
                yield number, attempt(work, self.bench, lambda rows, at=number: teller.progress(at, rows), teller.say)  # type: ignore[misc]
