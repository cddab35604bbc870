"""What a results folder's cells were made of and made with, as words: what two folders are told apart by."""

import json
from collections.abc import Callable, Iterator

import pandas as pd

from benchmark.store.cell import Cell, sha256
from benchmark.store.folder import Results


def facts(results: Results, among: Callable[[Cell], bool] = lambda cell: True) -> dict[str, str]:
    """Name and value of all that may change a number, with every value that the finished cells `among` these have.

    Tasks and methods are those of all finished cells.
    """
    found: dict[str, dict[str, None]] = {}
    for cell in results.cells:
        for name, value in _of_cell(cell):
            if value not in (None, "") and (name in ("tasks", "methods") or among(cell)):
                found.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def different(a: dict[str, str], b: dict[str, str]) -> pd.DataFrame:
    """What differs, in the order in which it matters: what, a, b; a dash where a folder says nothing."""
    names = [name for name in (*a, *(name for name in b if name not in a)) if a.get(name) != b.get(name)]
    rows = [{"what": name, "a": a.get(name, "-"), "b": b.get(name, "-")} for name in names]
    return pd.DataFrame(rows, columns=["what", "a", "b"])


def _of_cell(cell: Cell) -> Iterator[tuple[str, object]]:
    key, origin = cell.key, cell.provenance
    model, task, method = key.model, key.task, key.method
    yield "model", model.name
    yield "weights", model.digest[:12]
    yield "revision", model.revision
    yield "prepended BOS", "yes" if model.prepend_bos else "no"
    yield "weight processing", key.processing
    yield "dtype", key.dtype
    yield "matmul", key.matmul
    yield "tasks", task.name
    yield "rows of the datasets", f"{task.name} {task.dataset_digest[:8]}"
    yield "code of the tasks", task.code and f"{task.name} {task.code[:8]}"
    yield "split", task.split
    yield "metric", f"{task.name} {task.metric}"
    yield "least metric asked", task.min_metric
    yield "pairs", f"{task.name} {len(key.pair_ids)}"
    yield "which pairs", f"{task.name} {sha256(sorted(key.pair_ids))[:8]}"
    yield "tokens", key.tokens and f"{task.name} {key.tokens[:8]}"
    for kind in key.kinds:
        yield "components", kind
    for kind, digest in key.dictionaries.items():
        yield "dictionaries", f"{digest[:8]} ({kind})"
    yield "methods", method.label
    yield f"options of {method.label}", json.dumps(method.options, sort_keys=True) if method.options else None
    yield "code of the methods", method.code and f"{method.code[:8]} ({method.name})"
    yield "direction", method.direction
    yield "replacement", method.replacement
    yield "draws a pair", method.draws or None
    yield "rows behind the replacement", key.means and f"{task.name} {key.means[:8]}"
    yield "seed", method.seed
    yield f"quadrature of {method.label}", origin.quadrature
    yield "device", origin.device
    yield "threads", origin.threads
    yield "commit", origin.commit and origin.commit[:12] + " (with changes)" * bool(origin.dirty)
    yield "python", origin.python
    for package, version in sorted(origin.versions.items()):
        yield f"version of {package}", version
