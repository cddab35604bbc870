"""Path effects over pairs: names of ends, order of rows, means with intervals, and the command."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from benchmark import BenchmarkError, Request, path_effects
from benchmark.cli import main
from benchmark.engine.model import Model
from benchmark.engine.paths import Node, Paths
from benchmark.models.litmus import load_litmus
from benchmark.running.paths import mean_effects, receiver, sender
from reports.paths import DRAWN, drawn, lines
from tests.tiny import PAIRS, tiny_pairs


def test_ends_are_named_as_the_model_has_them_or_as_what_a_head_reads(deep_llama: Model) -> None:
    assert deep_llama.size("key") == 2  # four query heads share them
    assert [receiver(f"L1H{head}:key", deep_llama).name for head in range(4)] == ["L1K0", "L1K0", "L1K1", "L1K1"]
    assert receiver("L1H3:query", deep_llama) == receiver("L1Q3", deep_llama) == Node("query", 1, 3)
    assert receiver("logits", deep_llama) == Node("residual", deep_llama.n_layers)
    for name in ("L0H2", "L1M", "L0A", "L2N19"):
        assert sender(name, deep_llama).name == name
    wrong = {"L1K2": "2 keys each", "L1H4:key": "4 heads each", "L3Q0": "layers 0-2", "H1": "is no receiver"}
    for name, said in wrong.items():
        with pytest.raises(BenchmarkError, match=said):
            receiver(name, deep_llama)
    for name in ("L0Q1", "L0X1", "head"):
        with pytest.raises(BenchmarkError, match="is no sender"):
            sender(name, deep_llama)


def test_rows_are_pair_by_pair_whatever_the_lengths_and_all_senders_are_the_heads_below(deep_llama: Model) -> None:
    pairs = tiny_pairs(deep_llama)
    found = path_effects(deep_llama, pairs, "all", ["L2H1:query", "L1V0", "L2Q1"], direction="denoising")
    assert list(found) == ["pair", "sender", "receiver", "effect"]
    assert len(found) == len(pairs) * 8 * 2
    assert list(found.pair.unique()) == list(pairs.ids)
    ends = [Node("head", 0, 3)], [Node("query", 2, 1)]
    rows = found[(found.sender == "L0H3") & (found.receiver == "L2Q1")].effect.to_numpy()
    for batch in pairs.batches():
        want = Paths(deep_llama, batch, Request(("head",), direction="denoising")).effects(*ends)[:, 0, 0]
        np.testing.assert_allclose(rows[list(batch.index)], want, atol=1e-9)
    assert (found[(found.sender.str.startswith("L1")) & (found.receiver == "L1V0")].effect == 0).all()
    estimated = path_effects(deep_llama, pairs, "L0H3", "L2Q1", gradient=True, direction="denoising").effect.to_numpy()
    assert 0.5 < np.corrcoef(estimated, rows)[0, 1] < 1 - 1e-9


def test_means_have_intervals_over_clusters_from_16_pairs_on() -> None:
    litmus = load_litmus("induction")
    model = litmus.model()
    pairs = litmus.task.pairs(model, limit=16)
    rng = np.random.default_rng(0)
    effects = pd.DataFrame(
        {
            "pair": np.repeat(pairs.ids, 2),
            "sender": ["L0H0", "L0H1"] * 16,
            "receiver": "L1K0",
            "effect": rng.normal(size=32),
        }
    )
    means = mean_effects(effects, pairs)
    assert len({pair.prompt.cluster for pair in pairs.pairs}) == 16
    for number, row in enumerate(means.itertuples()):
        values = effects.effect.to_numpy()[number::2]
        want = stats.t.interval(0.95, 15, values.mean(), stats.sem(values))
        assert (row.low, row.high) == pytest.approx(want)
    few = mean_effects(effects.iloc[:30], pairs.take(range(15)))
    assert few.low.isna().all()
    assert few.effect[0] == pytest.approx(effects.effect[:30:2].mean())


def test_what_is_wrong_is_said_in_a_sentence(llama: Model) -> None:
    pairs = tiny_pairs(llama, PAIRS[:1])
    wrong = {
        "choose noising with counterfactual": {"direction": "denoising", "replacement": "zero"},
        "through is 'heads'": {"through": "heads"},
    }
    for said, options in wrong.items():
        with pytest.raises(BenchmarkError, match=said):
            path_effects(llama, pairs, "all", "L1Q0", **options)
    with pytest.raises(BenchmarkError, match="a sender and a receiver"):
        path_effects(llama, pairs, "all", "L0Q0")


def test_the_command_writes_means_pairs_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--model", "litmus/induction", "--task", "litmus/induction", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["paths", *named, "--senders", "L0H0,L0H1", "--receivers", "L1H0:query,L1H0:key"]) == 0
    said = capsys.readouterr().out
    assert "logit_diff 1.7987 clean, -1.7987 corrupted" in said
    assert "L0H0     L1K0 3.5973 [3.5973, 3.5973]" in said
    means = pd.read_csv(tmp_path / "paths.csv")
    assert list(means) == ["sender", "receiver", "effect", "low", "high", "pairs"]
    assert means.effect.tolist() == pytest.approx([0, 3.5973, 0, 0], abs=1e-3)
    assert len(pd.read_csv(tmp_path / "pairs.csv")) == 16 * 4
    assert (tmp_path / "paths.pdf").stat().st_size > 1000
    assert (tmp_path / "paths.png").stat().st_size > 1000
    assert main(["paths", *named, "--receivers", "L1H0"]) == 2
    assert "'L1H0' is no receiver: write a query as L2Q0" in capsys.readouterr().err


def test_a_picture_of_many_senders_shows_the_largest_in_order_of_layer() -> None:
    names = [f"L{layer}H{head}" for layer in range(12) for head in range(12)]
    effects = torch.linspace(-1, 2, len(names)).tolist()
    means = pd.DataFrame({"sender": names, "receiver": "L12Q0", "effect": effects, "low": np.nan, "high": np.nan})
    shown = [label.get_text() for label in drawn(means, "title", "logit_diff").axes[0].get_yticklabels()]
    assert shown == sorted(names, key=lambda name: -abs(effects[names.index(name)]))[:DRAWN][::-1]
    assert "(20 of 144 paths: the largest mean effects)" in lines(means)
    assert lines(means).splitlines()[1].split() == ["L11H11", "L12Q0", "2.0000"]
