"""What the `circuits` command was asked."""

import argparse

from benchmark.components import KINDS, WAYS, Way
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.faithfulness.wanted import Wanted, way_name


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


def _way(name: str) -> Way:
    for way in WAYS:
        if name == way_name(way):
            return way
    names = [way_name(way) for way in WAYS]
    raise BenchmarkError(f"--ways {name}: choose from {', '.join(names)}.{did_you_mean(name, names)}")
