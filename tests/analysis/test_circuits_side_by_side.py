"""Claims about the circuits of two folders side by side, on circuits written by hand: no model is run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.circuits_side_by_side import circuits_side_by_side
from benchmark.cli import main
from benchmark.statistics.faithfulness import cmd, cpr, log_area, log_sizes, mib_sizes
from benchmark.statistics.halves import halves
from benchmark.store.cell import PairFacts
from benchmark.store.circuit import Circuit, CircuitKey, Source
from benchmark.store.folder import Results, write_circuit
from tests.analysis.test_side_by_side import PAIRS, written

PLAYERS = 12
SIZES = tuple(sorted({*log_sizes(PLAYERS), *mib_sizes(PLAYERS)}))


def circuit(folder: Results, label: str, seed: int, replacement: str = "zero", gap: float = 4.0,
            pairs: slice = slice(None)) -> dict[str, np.ndarray]:  # fmt: skip
    """A circuit by that method's scores, on twenty pairs in ten clusters, of curves that rise by chance."""
    [cell] = [cell for cell in folder.cells if cell.key.method.label == label]
    rng = np.random.default_rng(seed)
    facts = tuple(PairFacts(f"q{i}", "", f"c{i // 2}") for i in range(PAIRS))[pairs]
    rankings, count = ("signed", "absolute"), len(facts)
    kept = np.sort(rng.uniform(0, gap, (2, len(SIZES), count)), axis=1)
    arrays = {
        "players": np.stack([np.zeros(12), np.arange(12) // 4, np.arange(12) % 4], 1).astype(np.int32),
        "order": np.stack([rng.permutation(12) for _ in rankings]).astype(np.int32),
        "kept": kept, "nothing": np.zeros(count), "everything": np.full(count, gap) + rng.normal(size=count) / 9,
        "corrupted": np.zeros(count),
    }  # fmt: skip
    source = Source("scores", label, ("noising", "counterfactual"), (cell.key.digest,), arrays=(cell.scores_sha256,))
    key = CircuitKey(
        cell.key.model, cell.key.task, source, rankings, ("head",), PLAYERS, "noising", replacement, SIZES, 0,
        tuple(pair.id for pair in facts), "discovery",
    )  # fmt: skip
    write_circuit(folder.folder, Circuit(key, pairs=facts, arrays=arrays))
    return arrays


def phi(arrays: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    low, high, kept = (arrays[name] @ weights for name in ("nothing", "everything", "kept"))
    return (kept[0] - low) / (high - low)


def areas(arrays: dict[str, np.ndarray], weights: np.ndarray) -> list[float]:
    curve = phi(arrays, weights)
    grid = log_sizes(PLAYERS)[1:]
    at_mib, at_log = ([SIZES.index(size) for size in sizes] for sizes in (mib_sizes(PLAYERS), grid))
    return [float(cpr(curve[at_mib])), float(cmd(curve[at_mib])), float(log_area(curve[at_log], grid))]


def test_numbers_and_the_interval_of_their_difference_are_those_of_an_obvious_version(tmp_path: Path) -> None:
    folders = [written(tmp_path / name, names=("m",)) for name in "ab"]
    arrays = [circuit(folder, "m", seed) for seed, folder in enumerate(folders)]
    found = circuits_side_by_side(*(Results(one.folder) for one in folders))
    assert not found.alone
    rows = found.numbers[found.numbers.ranking == "signed"]
    assert list(rows.number) == ["cpr", "cmd", "area"]
    whole = [areas(one, np.full(PAIRS, 1 / PAIRS)) for one in arrays]
    np.testing.assert_allclose(rows[["value_a", "value_b"]].to_numpy().T, whole, atol=1e-9)
    np.testing.assert_allclose(rows.difference, np.subtract(*reversed(whole)), atol=1e-9)
    splits = halves(PAIRS, [f"c{i // 2}" for i in range(PAIRS)], [""] * PAIRS, seed=1)
    drawn = [np.subtract(*(areas(one, half / half.sum()) for one in reversed(arrays)))
             for both in splits.weights(1) for weights in both for half in weights]  # fmt: skip
    reach = [splits.interval(0.0, draws, -np.inf, np.inf)[1] for draws in np.array(drawn).T]
    np.testing.assert_allclose(rows.difference_high - rows.difference, reach, rtol=1e-6)


def test_what_is_not_of_both_is_named_and_other_pairs_give_no_difference(tmp_path: Path) -> None:
    a, b = (written(tmp_path / name, names=names) for name, names in (("a", ("m", "only-a")), ("b", ("m",))))
    circuit(a, "m", 0)
    circuit(a, "only-a", 0)
    circuit(a, "m", 0, replacement="mean")
    circuit(b, "m", 1, pairs=slice(0, 18))
    found = circuits_side_by_side(Results(a.folder), Results(b.folder))
    assert found.alone == ("A: circuits of heads, noising with mean, on ioi",
                           "A: circuits by only-a of heads of ioi, noising with zero")  # fmt: skip
    assert set(found.numbers.order) == {"m"}
    assert found.numbers.value_b.notna().all()
    assert found.numbers.difference.isna().all()
    assert not found.numbers.same_pairs.any()
    none = circuits_side_by_side(Results(written(tmp_path / "c").folder), Results(written(tmp_path / "d").folder))
    assert none.numbers.empty
    assert not none.alone


def test_compare_prints_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (written(tmp_path / name, names=("m",)) for name in "ab")
    circuit(a, "m", 0)
    circuit(b, "m", 1, gap=0.0)
    out = tmp_path / "out"
    assert main(["compare", str(a.folder), str(b.folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    stored = pd.read_csv(out / "circuits.csv").set_index(["ranking", "number"]).loc[("signed", "cpr")]
    assert "Faithfulness of circuits of heads in A and B, noising, zero replacement." in printed
    shown = f"{stored.value_a:.2f} [{stored.low_a:.2f}, {stored.high_a:.2f}]"
    for text in (printed, (out / "compare.md").read_text(), (out / "compare.html").read_text()):
        assert shown in text
        assert "ioi ≠" in text
    assert printed.index("Agreement with the reference") < printed.index("Circuits\n") < printed.index("Scores of A")
