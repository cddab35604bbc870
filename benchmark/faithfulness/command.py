"""What the `circuits` command was asked."""

import argparse

from benchmark.components import COUNTERFACTUAL, KINDS, RESAMPLE, WAYS, Way, plural
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.faithfulness.wanted import Wanted, way_name
from benchmark.store.folder import Results
from benchmark.words import counted


def read_request(asked: argparse.Namespace) -> Wanted:
    """Refuses what isn't there before any model is loaded."""
    components = tuple(tuple(dict.fromkeys(one.split("+"))) for one in asked.components)
    for kind in (kind for some in components for kind in some):
        if kind not in KINDS:
            raise BenchmarkError(
                f"--components {kind}: choose from {', '.join(KINDS)}; join those that rank together by a plus, such "
                f"as head+neuron.{did_you_mean(kind, KINDS)}"
            )
    return Wanted(
        components, asked.tasks, asked.methods, tuple(map(_way, asked.ways)) or WAYS, asked.pairs, asked.random,
        asked.greedy, asked.top_k, asked.seed, asked.device, asked.memory,
    )  # fmt: skip


def read_run(asked: argparse.Namespace, results: Results) -> tuple[Wanted, str]:
    """What `run --circuits` measures of its own cells: they in the way that they were scored; and that in words."""
    way = Way(asked.direction, asked.replacement)
    drawn = ""
    if way == RESAMPLE:
        way, drawn = COUNTERFACTUAL, " (circuits have no draws)"
    kinds = sorted({kind for cell in results.cells for kind in cell.kinds})
    methods, tasks = {cell.key.method.label for cell in results.cells}, {cell.task for cell in results.cells}
    told = (
        f"Circuits of what this run holds: {counted(len(methods), 'method')} on {counted(len(tasks), 'task')}, "
        f"{', '.join(map(plural, kinds))}, {way}{drawn}. "
        f"`attribution-bench circuits {results.folder}` measures all of the folder, in every way."
    )
    return Wanted(ways=(way,), seed=asked.seed), told


def _way(name: str) -> Way:
    for way in WAYS:
        if name == way_name(way):
            return way
    names = [way_name(way) for way in WAYS]
    raise BenchmarkError(f"--ways {name}: choose from {', '.join(names)}.{did_you_mean(name, names)}")
