"""How long a report takes: `python tests/performance/report.py`, no test.

Six tasks, six methods, 32 pairs, the heads and neurons of pocket, as stored scores without a model: what each component
matters, what each method adds to it, and noise from pair to pair.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmark.store.cell import Cell
from benchmark.store.folder import Results, record_run, write_cell
from reports.report import write_report

TASKS = ("capital-country", "gender-bias", "greater-than", "hypernymy", "ioi", "sva")
METHODS = {
    "activation-patching": {"reference": True},
    "attribution-patching": {},
    "integrated-gradients": {},
    "integrated-gradients:path=joint": {},
    "random": {"metric_units": False},
    "activation-difference": {"signed": False, "metric_units": False},
}
PAIRS, LAYERS, SIZES = 32, 4, {"head": 8, "neuron": 512}


def store(folder: Path, task: str, method: str) -> None:
    """One cell of heads and neurons."""
    identity = {"name": method.split(":")[0], "label": method, "options": {}, "direction": "noising", "seed": 0}
    identity |= {"replacement": "counterfactual", "signed": True, "reference": False, "metric_units": True}
    key = {
        "model": {"name": "pocket", "revision": None, "digest": "0" * 64, "prepend_bos": False},
        "task": {"name": task, "metric": "logit_diff", "dataset_digest": "0", "split": "evaluation"},
        "pair_ids": [f"{task}-{number}" for number in range(PAIRS)],
        "method": identity | METHODS[method],
        "kinds": list(SIZES),
        "dtype": "float32",
        "processing": "none",
        "means": None,
    }
    pairs = [{"id": one, "cluster": f"c{i // 2}", "template": f"t{i % 4}"} for i, one in enumerate(key["pair_ids"])]
    passes = {"passes": {"forward": 2 * PAIRS, "backward": PAIRS}, "whole_forwards": PAIRS, "seconds": 1.0}
    arrays = {"clean_metric": np.full(PAIRS, 3, np.float32), "corrupted_metric": np.full(PAIRS, -1, np.float32)}
    for kind, size in SIZES.items():
        truth = np.random.default_rng([*task.encode(), size]).standard_t(3, (LAYERS, size))
        own = np.random.default_rng([*f"{task} {method}".encode(), size])
        values = truth + 0.3 * own.normal(size=truth.shape) + 0.5 * own.normal(size=(PAIRS, *truth.shape))
        values = values if METHODS[method].get("signed", True) else np.abs(values)
        arrays |= {f"{kind}.values": values.astype(np.float32), f"{kind}.probability": np.ones(truth.shape, np.float32)}
    write_cell(folder, Cell.from_json({"key": key, "pairs": pairs, "provenance": passes}, arrays))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record_run(folder, {"asked": {}, "resolved": {}})
        for task in TASKS:
            for method in METHODS:
                store(folder, task, method)
        start = time.perf_counter()
        write_report(Results(folder), folder / "report")
        seconds = time.perf_counter() - start
    print(f"{len(TASKS)} tasks x {len(METHODS)} methods, heads and neurons, {PAIRS} pairs: {seconds:.1f} s (asked: 60)")


if __name__ == "__main__":
    main()
