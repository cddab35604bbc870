"""Reading scores from a file: every mistake in it is named with its line, or its place in a tensor."""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from safetensors import SafetensorError, safe_open

from benchmark.components import KINDS, plural
from benchmark.errors import BenchmarkError, did_you_mean

_NEEDED, _OPTIONAL = ("layer", "index", "score"), ("component", "task", "pair")
_LARGEST = float(np.finfo(np.float32).max)
_TOO_LARGE = f"is beyond {_LARGEST:.1e}, the largest that float32 holds. Divide all scores by one number."
_KEY = ["component", "task", "pair", "layer", "index"]


@dataclass(frozen=True)
class ScoreFile:
    """Scores by component, and by task and pair where the file names these (else they are empty).

    `rows` has the columns component, task, pair, layer, index, score and line (0 in a tensor); `shapes` holds
    [layer, index] of each tensor, and nothing for a CSV.
    """

    path: Path
    sha256: str
    rows: pd.DataFrame
    shapes: dict[str, tuple[int, int]]

    @property
    def per_pair(self) -> dict[str, bool]:
        """For each kind that it scores, whether every pair has scores of its own."""
        return {kind: bool((rows["pair"] != "").all()) for kind, rows in self.rows.groupby("component")}

    def refuse_unknown(self, kind: str, layers: int, size: int, model: str) -> None:
        """Say which component the model hasn't, or that none of this kind is scored."""
        rows = self.rows[self.rows.component == kind]
        if rows.empty:
            raise BenchmarkError(f"{self.path} holds no {kind} scores. Add some, or leave {kind} out of --components.")
        shape = self.shapes.get(kind, (layers, size))
        if shape != (layers, size):
            raise BenchmarkError(
                f"{self.path}: tensor {kind!r} is {list(shape)} for [layer, index], but {model!r} has {layers} layers "
                f"of {size} {plural(kind)}: give a tensor of shape {[layers, size]} or {['pair', layers, size]}."
            )
        unknown = rows[(rows.layer >= layers) | (rows["index"] >= size)]
        if len(unknown):
            row = unknown.iloc[0]
            raise BenchmarkError(
                f"{self.path}, line {row.line}: there is no {kind} {row['index']} in layer {row.layer}; {model!r} has "
                f"layers 0-{layers - 1} with {plural(kind)} 0-{size - 1}. Both count from 0."
            )

    def scores(
        self, kind: str, layers: int, size: int, task: str, pair_ids: Sequence[str]
    ) -> Float[np.ndarray, "pair layer index"]:
        """The scores of these pairs, NaN where a component isn't named. A pair or a task without scores is an error."""
        of_kind = self.rows[self.rows.component == kind]
        rows = of_kind[of_kind.task.isin(["", task])]
        if rows.empty:
            first = of_kind.groupby("task").line.min()
            others = ", ".join(f"{name} (from line {line})" for name, line in first.items())
            raise BenchmarkError(
                f"{self.path} holds no {kind} scores for task {task!r}, only for: {others}."
                f"{did_you_mean(task, list(first.index))}"
            )
        place = (rows.layer * size + rows["index"]).to_numpy()
        if (rows["pair"] == "").all():
            one = np.full(layers * size, np.nan, dtype=np.float32)
            one[place] = rows.score
            return np.broadcast_to(one.reshape(layers, size), (len(pair_ids), layers, size)).copy()
        if lacking := [pair for pair in pair_ids if pair not in set(rows["pair"])]:
            raise BenchmarkError(
                f"{self.path} holds no {kind} scores for {len(lacking)} of the {len(pair_ids)} pairs, such as "
                f"{lacking[0]!r}. Score every pair of the run, or leave out the pairs to give all the same scores."
            )
        places = {pair: number for number, pair in enumerate(pair_ids)}
        kept = rows["pair"].isin(places).to_numpy()
        values = np.full((len(pair_ids), layers * size), np.nan, dtype=np.float32)
        values[rows["pair"][kept].map(places), place[kept]] = rows.score[kept]
        self._refuse_gaps(values, kind, size, pair_ids)
        return values.reshape(len(pair_ids), layers, size)

    def _refuse_gaps(self, values: np.ndarray, kind: str, size: int, pair_ids: Sequence[str]) -> None:
        absent = np.isnan(values)
        partly = absent.any(axis=0) & ~absent.all(axis=0)
        if partly.any():
            place = int(partly.argmax())
            pair = pair_ids[int(absent[:, place].argmax())]
            raise BenchmarkError(
                f"{self.path} scores {kind} {place % size} of layer {place // size} for some pairs and not for "
                f"{pair!r}: give it a score for every pair or for none."
            )


def read_scores(path: Path) -> ScoreFile:
    """Read a `.csv` or `.safetensors` file. Raises BenchmarkError that says where and how to fix it."""
    readers: dict[str, Callable[[Path], tuple[pd.DataFrame, dict[str, tuple[int, int]]]]]
    readers = {".csv": _read_csv, ".safetensors": _read_tensors}
    if path.suffix not in readers:
        raise BenchmarkError(f"{path}: scores are read from files that end in {' or '.join(readers)}.")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows, shapes = readers[path.suffix](path)
    except (OSError, UnicodeDecodeError, SafetensorError) as error:
        raise BenchmarkError(f"The scores in {path} can't be read: {error}") from error
    if rows.empty:
        raise BenchmarkError(f"{path} holds no scores: below the header it needs a row a component.")
    return ScoreFile(path, digest, rows, shapes)


def _read_csv(path: Path) -> tuple[pd.DataFrame, dict[str, tuple[int, int]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        _refuse_header(path, header)
        records = [_record(path, reader.line_num, header, cells) for cells in reader if cells]
    rows = pd.DataFrame(records, columns=[*_KEY, "score", "line"])
    if (again := rows.duplicated(_KEY)).any():
        row = rows[again].iloc[0]
        first = rows[(rows[_KEY] == row[_KEY]).all(axis=1)].iloc[0]
        raise BenchmarkError(
            f"{path}, line {row.line}: {row.component} {row['index']} of layer {row.layer} was scored in line "
            f"{first.line} already. Keep one of them, or tell them apart by the columns task and pair."
        )
    return rows, {}


def _refuse_header(path: Path, header: list[str]) -> None:
    known = [*_NEEDED, *_OPTIONAL]
    for name in header:
        if name not in known or header.count(name) > 1:
            what = "stands there twice" if name in known else f"is not known.{did_you_mean(name, known)}"
            raise BenchmarkError(f"{path}, line 1: the column {name!r} {what} Columns are {', '.join(known)}.")
    if lacking := [name for name in _NEEDED if name not in header]:
        raise BenchmarkError(
            f"{path}, line 1: the column {lacking[0]!r} is missing. The header must name {', '.join(_NEEDED)}, and may "
            f"name {', '.join(_OPTIONAL)}."
        )


def _record(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, object]:
    where = f"{path}, line {line}"
    if len(cells) != len(header):
        raise BenchmarkError(f"{where}: {len(cells)} cells under a header of {len(header)}.")
    record: dict[str, object] = {"component": "head", "task": "", "pair": ""}
    record |= {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    for name in set(header) & set(_OPTIONAL):
        if not record[name]:
            raise BenchmarkError(f"{where}: the column {name!r} is empty. Fill it in every row, or leave it out.")
    if record["component"] not in KINDS:
        raise BenchmarkError(f"{where}: component {record['component']!r} is none of {', '.join(KINDS)}.")
    for name in ("layer", "index"):
        if not (text := str(record[name])).isdecimal():
            raise BenchmarkError(f"{where}: {name} {text!r} is no whole number; they count from 0.")
        record[name] = int(text)
    try:
        score = float(str(record["score"]))
    except ValueError as error:
        raise BenchmarkError(f"{where}: score {record['score']!r} is no number.") from error
    if not np.isfinite(score):
        raise BenchmarkError(f"{where}: score {record['score']!r} is not finite. Leave out components without a score.")
    if abs(score) > _LARGEST:
        raise BenchmarkError(f"{where}: score {record['score']!r} {_TOO_LARGE}")
    return record | {"score": score, "line": line}


def _read_tensors(path: Path) -> tuple[pd.DataFrame, dict[str, tuple[int, int]]]:
    parts, shapes = [], {}
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        for kind in file.keys():  # noqa: SIM118 (no mapping)
            if kind not in KINDS:
                raise BenchmarkError(f"{path}: tensor {kind!r} is none of {', '.join(KINDS)}. Name it after its kind.")
            values = file.get_tensor(kind).double().numpy()
            if values.ndim not in (2, 3):
                raise BenchmarkError(
                    f"{path}: tensor {kind!r} has shape {list(values.shape)}; it must be [layer, index] or "
                    "[pair, layer, index]."
                )
            if (bad := np.argwhere(~np.isfinite(values))).size:
                raise BenchmarkError(
                    f"{path}: {kind}{bad[0].tolist()} is not finite. To score some components only, write a CSV."
                )
            if (bad := np.argwhere(np.abs(values) > _LARGEST)).size:
                raise BenchmarkError(f"{path}: {kind}{bad[0].tolist()} {_TOO_LARGE}")
            pairs = [""] if values.ndim == 2 else _pair_ids(path, kind, metadata, len(values))
            values = values.reshape(len(pairs), *values.shape[-2:])
            shapes[kind] = (values.shape[1], values.shape[2])
            pair, layer, index = (places.ravel() for places in np.indices(values.shape))
            columns = {"component": kind, "task": "", "pair": np.array(pairs, dtype=object)[pair]}
            parts.append(pd.DataFrame(columns | {"layer": layer, "index": index, "score": values.ravel(), "line": 0}))
    return pd.concat(parts) if parts else pd.DataFrame(), shapes


def _pair_ids(path: Path, kind: str, metadata: dict[str, str], count: int) -> list[str]:
    """Which pair each row of a tensor belongs to: an order that is only assumed would go wrong unseen."""
    how = (
        "Write `save_file(tensors, path, metadata={'pair_ids': json.dumps(ids)})` with the ids of the pairs in order "
        "(`pairs.ids`, or `pair_ids` in a cell.json)."
    )
    try:
        ids = json.loads(metadata["pair_ids"])
    except (KeyError, ValueError) as error:
        raise BenchmarkError(
            f"{path}: tensor {kind!r} has scores by pair, but the file names no pairs. {how}"
        ) from error
    if not isinstance(ids, list) or len(ids) != count or len(set(map(str, ids))) != count:
        raise BenchmarkError(f"{path}: tensor {kind!r} has {count} pairs, and pair_ids must name each once. {how}")
    return [str(one) for one in ids]
