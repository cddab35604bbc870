"""What a results folder's cells were made of and made with, as words: what two folders are told apart by."""

import json
from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from benchmark.store.cell import Cell, sha256

_BY_TASK = (  # of what may be another for each task
    "rows of the datasets", "code of the tasks", "metric", "least metric asked", "pairs", "which pairs", "tokens",
    "rows behind the replacement",
)  # fmt: skip


def facts(cells: Iterable[Cell], among: Callable[[Cell], bool] = lambda cell: True) -> dict[str, str]:
    """Name and value of all that may change a number, with every value that the cells `among` these have.

    Tasks and methods are those of all `cells`. What differs between tasks stands beside their names.
    """
    found: dict[str, dict[str, set[str]]] = {}
    tasks = set()
    for cell in cells:
        if among(cell):
            tasks.add(cell.key.task.name)
        for name, value in _of_cell(cell):
            if value not in (None, "") and (name in ("tasks", "methods") or among(cell)):
                task = cell.key.task.name if name in _BY_TASK else ""
                found.setdefault(name, {}).setdefault(task, set()).add(str(value))
    return {name: _said(by_task, len(tasks) if name in _BY_TASK else 1) for name, by_task in found.items()}


def _said(by_task: dict[str, set[str]], tasks: int) -> str:
    """The values once where so many tasks all have the same, else each beside the name of its task."""
    first, *others = by_task.values()
    if len(by_task) == tasks and all(one == first for one in others):
        return ", ".join(sorted(first))
    return ", ".join(f"{task} {value}" for task in sorted(by_task) for value in sorted(by_task[task]))


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
    yield "rows of the datasets", task.dataset_digest[:8]
    yield "code of the tasks", task.code and task.code[:8]
    yield "split", task.split
    yield "metric", task.metric
    yield "least metric asked", task.min_metric
    yield "pairs", len(key.pair_ids)
    yield "which pairs", sha256(sorted(key.pair_ids))[:8]
    yield "tokens", key.tokens and key.tokens[:8]
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
    yield "rows behind the replacement", key.means and key.means[:8]
    yield "seed", method.seed
    yield f"quadrature of {method.label}", origin.quadrature
    yield "device", origin.device
    yield "threads", origin.threads
    yield "commit", origin.commit and origin.commit[:12] + " (with changes)" * bool(origin.dirty)
    yield "python", origin.python
    for package, version in sorted(origin.versions.items()):
        yield f"version of {package}", version
