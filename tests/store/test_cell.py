"""Claims about cells on disk: what is written is read, bit for bit, under the same key; what isn't right is named."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load, save

from benchmark.errors import BenchmarkError
from benchmark.running.plan import Asked
from benchmark.running.runner import prepare
from benchmark.store.cell import Cell, CellKey, MethodKey, ModelKey, TaskKey, Truth, pack, sha256, unpack
from benchmark.store.folder import DamagedCell, Results, read_cell, write_cell

STORED = Path(__file__).parents[1] / "reports" / "schemas" / "1"
SHAPE = (2, 3, 4)
NUMBERS = st.sampled_from([np.nan, 0.0, -0.0, 1.5, -2.0, np.inf, 1e-40])
MANY_ABSENT = st.sampled_from([[np.nan] * 20, [0.0] * 20, []]).flatmap(
    lambda absent: st.sampled_from([*absent, 0.0, -0.0, np.nan, 3.5])
)
UNSET = {"revision": "r", "min_metric": 1.0, "code": "c", "tokens": "t", "means": "m", "truth": Truth("m", "x", {})}
METHOD = MethodKey("random", "random", "noising", "counterfactual")
KEY = CellKey(ModelKey("m", "d"), TaskKey("ioi", "logit_diff"), METHOD, ("head",), ("ioi-0", "ioi-1"))


def arrays(**changes: np.ndarray) -> dict[str, np.ndarray]:
    values = np.arange(24, dtype=np.float32).reshape(SHAPE)
    return {"head.values": values, "head.probability": np.ones(SHAPE[1:], np.float32)} | changes


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@given(
    st.sampled_from(["head.values", "head.probability", "neuron.stratum", "clean_metric"]),
    st.one_of(
        arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=0), elements=NUMBERS),
        arrays_of.arrays(np.float64, st.sampled_from([(50,), (5, 20), (2, 3, 40)]), elements=MANY_ABSENT),
        arrays_of.arrays(np.int64, (4, 30), elements=st.sampled_from([0] * 20 + [1, -7])),
        arrays_of.arrays(np.int32, st.sampled_from([(0,), (3,), (2, 0, 4)])),
    ),
)
def test_unpacking_gives_what_was_packed_bit_for_bit(name: str, array: np.ndarray) -> None:
    through = load(save(pack({name: array, "corrupted_metric": np.zeros(1)})))
    assert same_bits(unpack(through)[name], array)


@pytest.mark.parametrize("absent", [np.nan, 0.0])
def test_an_array_that_is_mostly_absent_takes_less_room(absent: float) -> None:
    name = "neuron.values" if np.isnan(absent) else "neuron.probability"
    array = np.full((40, 500), absent, np.float32)
    array[:, 7] = 2.5
    assert len(save(pack({name: array}))) < len(save({name: array})) / 50
    assert list(pack({name: array + 1 if absent == 0 else np.ones_like(array)})) == [name]


def test_scores_that_are_mostly_0_take_room_for_the_others_alone() -> None:
    """Of components that all pairs have; those that none has cost nothing either."""
    values = np.full((20, 3, 400), np.nan, np.float32)
    values[:, 1] = 0.0
    values[3, 1, 5], values[7, 1, 9] = -0.0, 2.5
    packed = pack({"mlp-feature.values": values})
    assert len(packed["mlp-feature.values@entries"]) == 2
    assert len(save(packed)) < 3000
    assert same_bits(unpack(load(save(packed)))["mlp-feature.values"], values)
    values[0, 0, 0] = 1.0  # of one pair only: each number that isn't absent is stored
    assert same_bits(unpack(pack({"mlp-feature.values": values}))["mlp-feature.values"], values)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head.scores": np.zeros(2)}, "No array 'head.scores' is declared"),
        ({"metric": np.zeros(2)}, "No array 'metric' is declared"),
        ({"head.values": np.zeros((3, 3, 4))}, r"Array 'head.values' has the shape \[3, 3, 4\]"),
        ({"head.values": np.zeros((2, 3))}, r"Array 'head.values' has the shape \[2, 3\]"),
        ({"head.probability": np.zeros((3, 5))}, r"Array 'head.probability' has the shape \[3, 5\]"),
        ({"clean_metric": np.zeros(3)}, r"Array 'clean_metric' has the shape \[3\]; it must be \['pair'\]"),
    ],
)
def test_an_array_that_nobody_declared_or_of_another_shape_is_refused_by_name(
    tmp_path: Path, changed: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        write_cell(tmp_path, Cell(KEY, arrays=arrays(**changed)))
    assert not list(tmp_path.iterdir())


def test_a_cell_is_read_as_it_was_written_and_its_key_with_it(tmp_path: Path) -> None:
    truth = Truth("m", "logit_diff", {"head": [(0, 1, 2.0), (1, 0, None)]}, "planted", "lesson")
    keys = [
        KEY,
        replace(KEY, task=replace(KEY.task, min_metric=1.0, truth=truth)),
        replace(KEY, method=replace(METHOD, options={"n": 3, "x": 0.1}, elsewhere=True, per_pair={"head": False})),
    ]
    for key in keys:
        cell = Cell(key, "Title", {"task": "wang2022", "method": None}, arrays=arrays())
        read = read_cell(write_cell(tmp_path, cell))
        assert read.key.digest == key.digest
        assert (read.setting, read.variant) == (key.setting, key.variant)
        assert read.as_json() == cell.as_json()
        assert all(same_bits(read.arrays[name], array) for name, array in cell.arrays.items())
    assert len({key.digest for key in keys}) == len(keys)


def test_whatever_a_key_names_changes_its_digest() -> None:
    """The seed too, though pairs drawn by another seed mostly come in another order, and so have another key anyway."""
    parts = {"model": KEY.model, "task": KEY.task, "method": METHOD}
    others = {str: "other", int: 7, dict: {"other": True}, tuple: ("other",)}
    digests = [KEY.digest]
    for field in fields(KEY):
        part = parts.get(field.name)
        for inner in fields(part) if part else [field]:
            was = getattr(part or KEY, inner.name)
            other = not was if isinstance(was, bool) else others[type(was)] if was is not None else UNSET[inner.name]
            other = {"mlp-feature": "other"} if inner.name == "dictionaries" else other
            changed = replace(part or KEY, **{inner.name: other})
            digests.append((replace(KEY, **{field.name: changed}) if part else changed).digest)
    assert len(set(digests)) == len(digests) == 1 + 4 + 7 + 13 + 8
    assert replace(KEY, pair_ids=KEY.pair_ids[::-1]).digest != KEY.digest


def test_keys_of_a_plan_survive_the_folder(tmp_path: Path) -> None:
    """With a whole number as the least metric, a planted truth, and scores from a file, some of them for each pair."""
    (tmp_path / "mine.csv").write_text("layer,index,score,component\n0,1,0.5,head\n0,2,0.5,neuron\n")
    asked = Asked(
        "litmus/or-gate", ("litmus/or-gate",), ("random", f"external:file={tmp_path / 'mine.csv'}"), min_metric=-50,
        pairs=3, device="cpu",
    )  # fmt: skip
    for planned in prepare(asked, tmp_path / "r").cells:
        assert planned.key.task.truth is not None
        read = read_cell(write_cell(tmp_path, Cell(planned.key)))
        assert read.key.digest == planned.key.digest
        assert read.truth == planned.key.task.truth
    assert read.key.method.per_pair == {"head": False, "neuron": False}


def test_folders_of_schema_1_are_named_by_the_keys_that_are_read_from_them() -> None:
    cells = [cell for cell in Results(STORED).cells if not cell.key.method.elsewhere]
    assert len(cells) == 3
    for cell in cells:
        assert cell.folder.name.endswith(f"-{cell.key.digest[:8]}")


def test_a_failed_cell_keeps_what_went_wrong(tmp_path: Path) -> None:
    cell = Cell(KEY, error="ZeroDivisionError: on purpose", traceback="Traceback ...\n")
    read = read_cell(write_cell(tmp_path, cell))
    assert (read.error, read.traceback, read.arrays) == (cell.error, cell.traceback, {})
    assert read == replace(cell, schema=read.schema)


def test_facts_that_are_missing_or_not_as_they_should_be_are_named(tmp_path: Path) -> None:
    """The digest is right: another program wrote these, or an older version that knew no better."""
    path = write_cell(tmp_path, Cell(KEY, arrays=arrays())) / "cell.json"
    whole = json.loads(path.read_text())

    def rewritten(change: Any) -> DamagedCell:
        body = json.loads(json.dumps({name: value for name, value in whole.items() if name != "cell_sha256"}))
        change(body)
        path.write_text(json.dumps({**body, "cell_sha256": sha256(body)}))
        with pytest.raises(DamagedCell) as raised:
            read_cell(path.parent)
        return raised.value

    for change, named in (
        (lambda body: body.pop("key"), "a cell's key "),
        (lambda body: body["key"].pop("pair_ids"), "a cell's key.pair_ids "),
        (lambda body: body["key"]["method"].pop("label"), "a cell's key.method.label "),
        (lambda body: body["key"]["method"].update(seed="many"), "a cell's key.method.seed "),
        (lambda body: body.update(accuracy={"right": 3}), "a cell's accuracy.of "),
        (lambda body: body.pop("scores_sha256"), "scores_sha256"),
        (lambda body: (body.update(schema=1), body.pop("key")), "key"),
        (lambda body: (body.update(schema=1), body["key"].pop("method")), "method"),
    ):
        said = str(rewritten(change))
        assert named in said, said
        assert "cell.json" in said
