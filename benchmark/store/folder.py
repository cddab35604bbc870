"""The results folder: cells as JSON and safetensors, written whole or not at all, checked when read."""

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save

from benchmark.components import COUNTERFACTUAL
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.store.cell import Axes, Cell, CellKey, axes_of, pack, refuse_misshapen, sha256, unpack
from benchmark.store.circuit import ARRAYS as CIRCUIT_ARRAYS
from benchmark.store.circuit import VALUES, Circuit, CircuitKey, circuit_from_json, refuse_misshapen_circuit
from benchmark.store.part import Part, part_from_json

SCHEMA = 2
_SCORES, _CELL, _RUN = "scores.safetensors", "cell.json", "run.json"
_LOCK, _PARTS, _VALUES = ".lock", "parts", "values"
Read = TypeVar("Read")


class DamagedCell(BenchmarkError):
    """A cell whose files are not what was written."""


class Results:
    """All cells of a results folder. Damaged ones are named in `damaged` and left out."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / _RUN).is_file():
            raise BenchmarkError(
                f"{self.folder} is no results folder: it holds no {_RUN}. "
                "Give the folder that `attribution-bench run --out FOLDER` wrote."
            )
        self.damaged: list[DamagedCell] = []

    def __repr__(self) -> str:
        def listed(names: Iterable[str]) -> str:
            return ", ".join(dict.fromkeys(names)) or "none"

        lines = [
            f"Results in {self.folder}: {len(self.cells)} cells"
            + f", {len(self.failures)} failed" * bool(self.failures)
            + f", {len(self.damaged)} damaged" * bool(self.damaged),
            f"  models: {listed(cell.model for cell in self.cells)}",
            f"  tasks: {listed(cell.task for cell in self.cells)}",
            f"  methods: {listed(cell.key.method.label for cell in self.cells)}",
        ]
        return "\n".join(lines)

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """Every plan that wrote into this folder, as asked and as resolved."""
        return read_runs(self.folder)

    @cached_property
    def all_cells(self) -> list[Cell]:
        cells = []
        for path in sorted(self.folder.glob(f"cells/*/*/[!.]*/{_CELL}")):  # a dot: the remains of a killed write
            try:
                cells.append(read_cell(path.parent))
            except DamagedCell as damage:
                self.damaged.append(damage)
        return cells

    @cached_property
    def circuits(self) -> list[Circuit]:
        """What `circuits` has measured; damaged ones are named in `damaged` and left out."""
        found = []
        for path in sorted(self.folder.glob(f"circuits/*/*/[!.]*/{_CELL}")):
            try:
                found.append(read_circuit(path.parent))
            except DamagedCell as damage:
                self.damaged.append(damage)
        return found

    def only(self, hashes: Collection[str]) -> "Results":
        """The same folder, but only the cells whose `hash8` is among these."""
        chosen = Results(self.folder)
        chosen.all_cells = [cell for cell in self.all_cells if cell.folder.name[-8:] in hashes]
        return chosen

    @property
    def missing(self) -> dict[str, str]:
        """The cells that some plan holds and nobody finished, as `task x method`, with how far they are."""
        there = {path.name[-8:] for path in self.folder.glob("cells/*/*/[!.]*")}
        found: dict[str, str] = {}
        for run in self.runs if (self.folder / _RUN).is_file() else []:
            resolved = run.get("resolved", {})
            for name in (name for name in resolved.get("cells", []) if name not in there):
                words = resolved.get("names", {}).get(name, name)
                of = len(resolved.get("tasks", {}).get(words.partition(" x ")[0], []))
                done = self._pairs_of(name)
                found[words] = f"{done} of {of} pairs are there" if done else "never computed"
        return found

    def _pairs_of(self, cell: str) -> int:
        """How many pairs of an unfinished cell are stored in parts."""
        parts = _parts_in(self.folder / _PARTS / cell, self.damaged.append)
        return len({pair for part in parts for pair in part.pair_ids})

    @property
    def cells(self) -> list[Cell]:
        return [cell for cell in self.all_cells if cell.error is None]

    @property
    def failures(self) -> list[Cell]:
        return [cell for cell in self.all_cells if cell.error is not None]

    def scores(
        self,
        task: str,
        method: str,
        component: str,
        direction: str = COUNTERFACTUAL.direction,
        replacement: str = COUNTERFACTUAL.replacement,
    ) -> Float[np.ndarray, "pair layer index"]:
        """The stored scores of one method identity, e.g. `results.scores("ioi", "attribution-patching", "head")`."""
        asked = (method, direction, replacement)
        found = [c for c in self.cells if c.task == task and c.identity == asked and component in c.kinds]
        if len({(cell.variant, cell.key.dictionaries.get(component)) for cell in found}) == 1:
            return found[0].values(component)
        if found:
            raise BenchmarkError(
                f"{self.folder} holds {len(found)} cells for {task} x {method} that differ in model, pairs, metric or "
                "seed: choose one from `results.cells`."
            )
        stored = sorted({f"{cell.task} x {' '.join(cell.identity)}" for cell in self.cells})
        hint = did_you_mean(f"{task} x {' '.join(asked)}", stored)
        raise BenchmarkError(f"{self.folder} holds no {component} scores for {task} x {' '.join(asked)}.{hint}")


@contextmanager
def alone_in(results: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other runs out of an existing folder; where one is at work there, say so and wait for it.

    The lock ends with the process, however that ends. Its own folder tells git to leave it out.
    """
    place = results / _LOCK
    lock = FileLock(place / "lock")
    try:
        place.mkdir(exist_ok=True)
        (place / ".gitignore").write_text("*\n")
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another run is writing into {results}; waiting for it ...")
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # file systems without locks
        say(f"{results} can't be locked ({error}): start no other run there before this one has ended.")
    try:
        yield
    finally:
        lock.release()


def cell_folder(results: Path, key: CellKey) -> Path:
    """`cells/<model>/<task>/<method>-<hash8>` for a cell's key."""
    method = f"{_slug(key.method.name)}-{key.digest[:8]}"
    return results / "cells" / _slug(key.model.name) / _slug(key.task.name) / method


def circuit_folder(results: Path, key: CircuitKey) -> Path:
    """`circuits/<model>/<task>/<source>-<hash8>` for a circuit's key."""
    source = f"{_slug(key.source.label)}-{key.digest[:8]}"
    return results / "circuits" / _slug(key.model.name) / _slug(key.task.name) / source


def write_cell(results: Path, cell: Cell) -> Path:
    """Write a cell, whole or not at all. Gives its folder."""
    refuse_misshapen(cell.key.pair_ids, cell.arrays)
    axes = {name: axes_of(name) for name in cell.arrays}
    return _write_whole(cell_folder(results, cell.key), cell.as_json(), pack(dict(sorted(cell.arrays.items()))), axes)


def write_part(results: Path, part: Part) -> Path:
    """Write a part of a cell to `parts/<hash8 of the cell>/<hash8 of its pairs>`, whole or not at all."""
    refuse_misshapen(part.pair_ids, part.arrays)
    axes = {name: axes_of(name) for name in part.arrays}
    return _write_whole(
        _parts_folder(results, part.cell) / part.name, part.as_json(), pack(dict(sorted(part.arrays.items()))), axes
    )


def read_parts(results: Path, cell: str, say: Callable[[str], None]) -> list[Part]:
    """The parts of the cell whose key has this digest. A damaged one is said, and as if it weren't there."""
    folder = _parts_folder(results, cell)
    return [part for part in _parts_in(folder, lambda why: say(f"{why}: it is computed again.")) if part.cell == cell]


def _parts_in(folder: Path, damaged: Callable[[DamagedCell], None]) -> list[Part]:
    found: list[Part] = []
    for path in sorted(folder.glob(f"[!.]*/{_CELL}")):
        try:
            found.append(_read_whole(path.parent, lambda info, arrays: part_from_json(info, unpack(arrays))))
        except DamagedCell as damage:
            damaged(damage)
    return found


def remove_parts(results: Path, cell: str) -> None:
    """Take the parts of a cell away, once it is there."""
    shutil.rmtree(_parts_folder(results, cell), ignore_errors=True)


def _parts_folder(results: Path, cell: str) -> Path:
    return results / _PARTS / cell[:8]


def write_circuit(results: Path, circuit: Circuit) -> Path:
    """Write a circuit, whole or not at all. Gives its folder."""
    refuse_misshapen_circuit(circuit.key, circuit.arrays)
    arrays = {name: np.ascontiguousarray(array) for name, array in sorted(circuit.arrays.items())}
    axes = {name: CIRCUIT_ARRAYS[name] for name in arrays}
    return _write_whole(circuit_folder(results, circuit.key), circuit.as_json(), arrays, axes)


def _write_whole(folder: Path, told: dict[str, Any], stored: dict[str, np.ndarray], axes: Mapping[str, Axes]) -> Path:
    """Write under a temporary name, then rename: a killed run leaves all or nothing."""
    for remains in folder.parent.glob(f".{folder.name}.*"):  # of a killed write
        shutil.rmtree(remains, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    scores = save(stored)
    (partial / _SCORES).write_bytes(scores)
    arrays = {name: {"dims": dims, "unit": unit} for name, (dims, unit, _) in axes.items()}
    body = json.loads(json.dumps(told | {"arrays": arrays, "schema": SCHEMA, "scores_sha256": sha256(scores)}))
    _write_json(partial / _CELL, {**body, "cell_sha256": sha256(body)})
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)
    return folder


def read_cell(folder: Path) -> Cell:
    """A cell, its digests checked. Raises DamagedCell that names the file."""
    return _read_whole(folder, lambda info, arrays: Cell.from_json(info, unpack(arrays), folder))


def read_circuit(folder: Path) -> Circuit:
    """A circuit, its digests checked. Raises DamagedCell that names the file."""
    return _read_whole(folder, lambda info, arrays: circuit_from_json(info, arrays, folder))


def stored_circuit(results: Path, key: CircuitKey, say: Callable[[str], None]) -> bool:
    """Whether a whole circuit with this very key lies in the folder; says so where it is damaged."""
    folder = circuit_folder(results, key)
    if not folder.exists():
        return False
    try:
        return read_circuit(folder).key.digest == key.digest
    except DamagedCell as damage:
        say(f"{damage}: it is measured again.")
        return False


def write_values(results: Path, game: str, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write what was measured of a game whose circuits aren't whole yet to `values/<hash8>/`, whole or not at all."""
    folder = _values_folder(results, game) / sha256(arrays["set"].tobytes())[:8]
    return _write_whole(folder, {"game": game}, dict(arrays), VALUES)


def read_values(results: Path, game: str, say: Callable[[str], None]) -> Iterator[dict[str, np.ndarray]]:
    """What `write_values` was given. A damaged piece is said, and as if it weren't there."""
    for path in sorted(_values_folder(results, game).glob(f"[!.]*/{_CELL}")):
        try:
            of, arrays = _read_whole(path.parent, lambda info, arrays: (info["game"], arrays))
        except DamagedCell as damage:
            say(f"{damage}: it is measured again.")
            continue
        if of == game:
            yield arrays


def remove_values(results: Path, game: str) -> None:
    """Take them away, once the circuits are there."""
    shutil.rmtree(_values_folder(results, game), ignore_errors=True)
    with suppress(OSError):  # of other games
        (results / _VALUES).rmdir()


def _values_folder(results: Path, game: str) -> Path:
    return results / _VALUES / game[:8]


def _read_whole(folder: Path, read: Callable[[dict[str, Any], dict[str, np.ndarray]], Read]) -> Read:
    path = folder / _CELL
    try:
        info = json.loads(path.read_text())
        body = {name: value for name, value in info.items() if name != "cell_sha256"}
        intact = info["cell_sha256"] == sha256(body)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCell(f"{path} is damaged ({type(error).__name__}: {error})") from error
    if not intact:
        raise DamagedCell(f"{path} was changed after it was written (its digest differs)")
    _refuse_newer(path, info.get("schema"))
    try:
        scores = (folder / _SCORES).read_bytes()
        if sha256(scores) != info["scores_sha256"]:
            raise DamagedCell(f"{folder / _SCORES} was truncated or changed after it was written (its digest differs)")
        return read(info, load(scores))
    except (OSError, SafetensorError) as error:
        raise DamagedCell(f"{folder / _SCORES} can't be read ({error})") from error
    except (KeyError, TypeError) as error:  # of a field that another program left out
        raise DamagedCell(f"{path} is damaged ({type(error).__name__}: {error})") from error
    except BenchmarkError as error:
        raise error if isinstance(error, DamagedCell) else DamagedCell(f"{path}: {error}") from error


def read_runs(results: Path) -> list[dict[str, Any]]:
    """The plans in `run.json`. A damaged file is named; the cells beside it don't depend on it."""
    path = results / _RUN
    try:
        body = json.loads(path.read_text())
        runs = list(body["runs"])
    except (ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} is damaged ({error}). Delete it and run again: the cells are kept.") from error
    _refuse_newer(path, body.get("schema"))
    return runs


def _refuse_newer(path: Path, schema: Any) -> None:
    """Every schema so far reads as this one does; what a newer one means, only a newer version knows."""
    if not isinstance(schema, int) or schema > SCHEMA:
        raise BenchmarkError(
            f"{path} has schema {schema}, and this version reads schemas up to {SCHEMA}: a newer version of "
            "attribution-bench wrote it. Upgrade, or choose another folder; nothing was changed."
        )


def record_run(results: Path, run: Mapping[str, Any]) -> None:
    """Add a plan to `run.json`, once."""
    path = results / _RUN
    runs = read_runs(results) if path.is_file() else []
    runs = [*(one for one in runs if one != run), dict(run)]  # the last one is that which was begun last
    _write_json(path, {"schema": SCHEMA, "runs": runs})


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, path)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@-]+", "-", name.removeprefix("/"))
