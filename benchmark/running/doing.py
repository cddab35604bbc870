"""Work that is done: the function that turns a piece of it into arrays and counts. It writes nothing."""

import inspect
import time
import traceback
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch

from benchmark.engine.memory import Chunk, peak_bytes, reset_peak
from benchmark.engine.model import Model
from benchmark.engine.scores import Scores
from benchmark.errors import BenchmarkError
from benchmark.running.bench import Bench
from benchmark.running.provenance import package
from benchmark.running.work import Computed, Failed, Work


def computed(
    work: Work,
    bench: Bench,
    progress: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = warnings.warn,
) -> Computed:
    """Do a piece of work. The same work gives the same bits on the same hardware."""
    model, started = planned_model(work, bench), time.perf_counter()
    reset_peak(model)
    before, threads = torch.get_num_threads(), work.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pairs, chunk = bench.pairs_of(work), bench.chunk_of(work)
        scores = bench.method_of(work).scores(
            model, pairs, work.kinds, work.replacement, work.direction, work.seed, chunk, progress,
            bench.means_of(work), bench.metrics_of(work), say, draws=work.draws, share=bench.share_of(work),
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)
    counted = next(iter(scores.values())).provenance
    came_to = Chunk(**counted["chunk"])
    if came_to != chunk:
        bench.ran_out(work, came_to)
    return Computed(
        arrays=_arrays(scores),
        passes=counted["passes"],
        whole_forwards=counted["whole_forwards"],
        shortcuts=counted["shortcuts"],
        chunk=came_to,
        device=device_name(model),
        threads=threads,
        seconds=time.perf_counter() - started,
        peak_memory_bytes=peak_bytes(model),
    )


def planned_model(work: Work, bench: Bench) -> Model:
    """The model of a piece of work. Raises where its weights or this package aren't those of the plan."""
    if work.package not in (None, package()):
        raise BenchmarkError(
            f"attribution-bench is {package()} here and {work.package} where the run was planned: install the same one."
        )
    model = bench.model(work.model)
    if work.weights not in (None, model.digest):
        raise BenchmarkError(f"The weights of {work.model.name!r} are others here than where the run was planned.")
    return model


def attempt(
    work: Work,
    bench: Bench,
    progress: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = warnings.warn,
) -> Computed | Failed:
    """`computed`, or what went wrong: whatever a plugin does, other work goes on."""
    try:
        return computed(work, bench, progress, say)
    except Exception as error:
        said = str(error) if isinstance(error, BenchmarkError) else f"{type(error).__name__}: {error}"
        return Failed(said, traceback.format_exc(), _where(error, work, bench))


def _where(error: Exception, work: Work, bench: Bench) -> str:
    """The plugin's file, and the line in it where the error came up, if the method is a plugin's."""
    loaded = bench.registries.get(work.plugins)  # none where the plugin itself is what failed
    if work.code is None or loaded is None or work.method not in loaded.methods:
        return ""
    file = inspect.getsourcefile(loaded.methods[work.method])
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f" ({file}" + "".join(f", line {line}" for line in lines[-1:]) + ")"


def device_name(model: Model) -> str:
    """The name of the card, or `cpu`."""
    return torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device)


def _arrays(scores: Mapping[str, Scores]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for kind, one in scores.items():
        arrays[f"{kind}.values"] = one.values.numpy()
        arrays[f"{kind}.probability"] = one.design.probability.numpy()
        if one.design.stratum is not None:
            arrays[f"{kind}.stratum"] = one.design.stratum.numpy()
        for name, values in one.extras.items():
            arrays[name if values.ndim == 1 else f"{kind}.{name}"] = values.numpy()
    of_pairs = {"clean_metric": one.clean_metric, "corrupted_metric": one.corrupted_metric}
    if one.completeness_error is not None:
        of_pairs["completeness_error"] = one.completeness_error
    return arrays | {name: values.to(torch.float32).numpy() for name, values in of_pairs.items()}
