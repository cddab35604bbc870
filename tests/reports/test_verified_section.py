"""Claims about what a report says of verified cells, on results folders written by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis.sections import sections
from benchmark.statistics.estimation import agreement_estimates, most_above
from benchmark.statistics.sampling import OUTSIDE, Sample, draw, stratify
from benchmark.store.cell import Cell
from benchmark.store.folder import Results, record_run, write_cell
from reports.agreement.verified import verified_section
from reports.writing.blocks import Block, Paragraph, Table

LAYERS, NEURONS, PAIRS = 3, 200, 2
VERIFIED = "activation-patching:neurons=verified:budget=80"


def effects(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, (LAYERS, NEURONS)).astype(np.float32)


def add_cell(folder: Path, label: str, mean: np.ndarray, stratum: np.ndarray | None = None, **changes) -> None:
    """One cell of neurons whose scores are the same for every pair, so that their mean is known."""
    method = {"name": label.split(":")[0], "label": label, "options": {}, "direction": "noising", "seed": 0}
    method |= {"replacement": "counterfactual", "signed": True, "reference": stratum is not None, "metric_units": True}
    key = {
        "model": {"name": "pocket", "revision": None, "digest": "d" * 64, "prepend_bos": False},
        "dtype": "float32",
        "processing": "none",
        "task": {"name": "ioi", "metric": "logit_diff", "dataset_digest": "x", "split": "evaluation"},
        "pair_ids": [f"ioi-{i}" for i in range(PAIRS)],
        "means": None,
        "method": method | changes,
        "kinds": ["neuron"],
    }
    probability = np.ones_like(mean) if stratum is None else draw(stratum, 0)
    values = np.where(probability > 0, mean, np.nan).astype(np.float32)
    arrays = {"neuron.values": np.stack([values] * PAIRS), "neuron.probability": probability}
    arrays |= {"clean_metric": np.full(PAIRS, 3, np.float32), "corrupted_metric": np.full(PAIRS, -1, np.float32)}
    if stratum is not None:
        arrays["neuron.stratum"] = stratum
    write_cell(folder, Cell.from_json({"key": key}, arrays))


def blocks(folder: Path) -> list[Block]:
    record_run(folder, {"asked": {}, "resolved": {}})
    return verified_section(sections(Results(folder))[0])


def tables(found: list[Block]) -> dict[str, Table]:
    return {block.stem.rpartition("-")[2]: block for block in found if isinstance(block, Table)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    add_cell(tmp_path, VERIFIED, effects(), stratify(effects() + 0.1 * effects(1), 80))
    add_cell(tmp_path, "attribution-patching", effects() + 0.1 * effects(1))
    add_cell(tmp_path, "activation-difference", np.abs(effects()), signed=False)
    return tmp_path


def test_without_a_verified_cell_nothing_is_said(tmp_path: Path) -> None:
    add_cell(tmp_path, "attribution-patching", effects())
    assert blocks(tmp_path) == []


def test_the_numbers_are_those_of_the_estimators(folder: Path) -> None:
    stratum = stratify(effects() + 0.1 * effects(1), 80)
    measured = draw(stratum, 0).ravel() > 0
    sample = Sample(np.where(measured, effects().ravel().astype(float), np.nan), stratum.ravel())
    want = agreement_estimates(sample, (effects() + 0.1 * effects(1)).ravel().astype(float))
    data = tables(blocks(folder))["estimates"].data
    rows = data[(data.method == "attribution-patching") & (data.statistic != "top_k_overlap")]
    np.testing.assert_allclose(rows[["value", "low", "high"]], [[e.value, e.low, e.high] for e in want])


def test_an_unsigned_method_is_compared_by_size_only(folder: Path) -> None:
    shown = tables(blocks(folder))["estimates"].shown.set_index("method")
    assert shown.loc["activation-difference", "Pearson"] == "-"
    assert shown.loc["activation-difference", "Pearson by size"].startswith("1.000")


def test_the_missed_are_bounded_at_ranks_of_candidates_and_shares_of_the_gap(folder: Path) -> None:
    data = tables(blocks(folder))["missed"].data.set_index("what")
    assert data.loc["1% of the gap", "size"] == pytest.approx(0.04)
    assert list(data.index) == [
        "rank 10 of the candidates",
        "rank 30 of the candidates",
        "1% of the gap",
        "5% of the gap",
    ]
    for row in data.itertuples():
        assert row.drawn == 40
        assert row.share == row[4] / 520
    first = data.iloc[0]
    assert first["count"] == most_above(int(first.found), 40, 560, 4 / 56) - first.found


def test_the_words_say_how_many_were_patched_and_that_pairs_are_another_matter(folder: Path) -> None:
    found = blocks(folder)
    words = next(block.text for block in found if isinstance(block, Paragraph))
    assert "the 40 neurons that attribution patching finds strongest, and 40 drawn" in words
    assert "4 from each of 10 strata" in words
    assert all("not other pairs" in table.facts for table in tables(found).values())


def test_methods_of_another_direction_or_with_gaps_are_left_out(folder: Path) -> None:
    add_cell(folder, "integrated-gradients", effects(), direction="denoising")
    add_cell(folder, "random", np.where(effects() > 0, effects(), np.nan))
    found = tables(blocks(folder))["estimates"].data
    assert {label.split()[0] for label in found.method} == {"attribution-patching", "activation-difference"}


def test_layers_outside_the_population_are_left_out(tmp_path: Path) -> None:
    scores = effects() + 0.1 * effects(1)
    scores[1] = np.nan
    stratum = stratify(scores, 80)
    assert (stratum[1] == OUTSIDE).all()
    add_cell(tmp_path, VERIFIED, effects(), stratum)
    add_cell(tmp_path, "attribution-patching", scores)
    found = blocks(tmp_path)
    assert "Over the 400 neurons" in tables(found)["estimates"].facts


def test_with_all_patched_there_is_nothing_to_miss(tmp_path: Path) -> None:
    add_cell(tmp_path, VERIFIED, effects(), stratify(effects(), 600))
    found = blocks(tmp_path)
    assert not tables(found)
    assert "All 600 neurons were patched" in next(block.text for block in found if isinstance(block, Paragraph))
