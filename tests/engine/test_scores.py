"""Claims about scores: what they show, in which order, and that wrong arguments get a sentence."""

from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

from benchmark.engine.model import Model
from benchmark.engine.request import Design
from benchmark.engine.scores import Scores
from benchmark.errors import BenchmarkError
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import make_pairs
from benchmark.running.plugins import load_method
from benchmark.running.runner import run
from tests.tiny import PAIRS, tiny_pairs

matplotlib.use("Agg")
PAIR = PAIRS[0]
NAN = float("nan")
# two pairs, whose mean is [[1, -3, unmeasured], [3, 0, -0.5]]
VALUES = [[[0.0, -4.0, NAN], [2.0, 1.0, -0.5]], [[2.0, -2.0, NAN], [4.0, -1.0, -0.5]]]


def scores(kind: str = "head", values: list[Any] = VALUES, error: list[float] | None = None) -> Scores:
    tensor = torch.tensor(values)
    return Scores(
        kind=kind,
        values=tensor,
        design=Design((~tensor.isnan().any(0)).float()),
        pair_ids=tuple(f"p{number}" for number in range(len(values))),
        clean_metric=torch.ones(len(values)),
        corrupted_metric=torch.zeros(len(values)),
        completeness_error=None if error is None else torch.tensor(error),
        provenance={"label": "mine:steps=2", "direction": "noising", "replacement": "zero"},
    )


def test_the_top_is_by_size_and_ties_stand_in_the_order_of_the_components() -> None:
    top = scores().top()
    assert list(top.columns) == ["component", "layer", "index", "score"]
    assert top.component.tolist() == ["L0H1", "L1H0", "L0H0", "L1H2", "L1H1"]
    assert top.score.tolist() == [-3.0, 3.0, 1.0, -0.5, 0.0]
    assert list(zip(top.layer, top["index"], strict=True)) == [(0, 1), (1, 0), (0, 0), (1, 2), (1, 1)]
    assert scores().top(2).component.tolist() == ["L0H1", "L1H0"]
    assert scores("neuron").top(1).component.tolist() == ["L0N1"]
    ties = scores(values=[[[1.0, -1.0] * 20]])
    assert ties.top(40)["index"].tolist() == list(range(40))


def test_magnitudes_are_taken_before_the_mean_so_that_no_effects_cancel() -> None:
    """Head 1.1 has 1 on one pair and -1 on the other: a mean of 0, and a mean magnitude of 1."""
    one = scores()
    torch.testing.assert_close(one.mean(), torch.tensor([[1, -3, NAN], [3, 0, -0.5]]), equal_nan=True)
    torch.testing.assert_close(one.mean(magnitudes=True), torch.tensor([[1, 3, NAN], [3, 1, 0.5]]), equal_nan=True)
    top = one.top(magnitudes=True)
    assert top.component.tolist() == ["L0H1", "L1H0", "L0H0", "L1H1", "L1H2"]
    assert top.score.tolist() == [3.0, 3.0, 1.0, 1.0, 0.5]


def test_what_was_not_measured_is_in_no_top_and_in_no_frame() -> None:
    assert "L0H2" not in scores().top(100).component.tolist()
    nothing = scores(values=[[[NAN, NAN]]])
    assert len(nothing.top()) == len(nothing.to_frame()) == 0
    assert "strongest by mean score: none" in repr(nothing)


def test_a_frame_holds_every_measured_score_of_every_pair() -> None:
    frame = scores().to_frame()
    assert list(frame.columns) == ["pair", "layer", "index", "score"]
    assert len(frame) == 2 * 5
    want = {
        (f"p{pair}", layer, index): value
        for pair, layers in enumerate(VALUES)
        for layer, row in enumerate(layers)
        for index, value in enumerate(row)
        if value == value
    }
    assert {(row.pair, row.layer, row[3]): row.score for row in frame.itertuples()} == want


def test_a_plot_of_heads_is_a_map_and_one_of_neurons_a_dot_each() -> None:
    heads = scores().plot()
    assert (heads.get_xlabel(), heads.get_ylabel()) == ("head", "layer")
    assert heads.collections[0].get_array().shape == (2, 3)
    assert heads.get_title() == "mine:steps=2, 2 pairs"
    neurons = scores("neuron").plot()
    assert (neurons.get_xlabel(), neurons.get_ylabel()) == ("layer", "mean score")
    assert sorted(neurons.lines[0].get_ydata().tolist()) == [-3.0, -0.5, 0.0, 1.0, 3.0]
    assert scores().plot(neurons) is neurons
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("kind", ["head", "neuron"])
def test_a_repr_says_in_five_lines_at_most_what_was_measured_and_what_is_strongest(kind: str) -> None:
    said = repr(scores(kind, error=[0.25, 0.5]))
    assert len(said.splitlines()) <= 5
    assert f"{kind}s by mine:steps=2 (noising, zero): 2 pairs x 2 layers x 3, 5 of 6 measured" in said
    assert f"L0{kind[0].upper()}1 -3" in said
    assert "at most 0.5 on a pair" in said
    assert "completeness" not in repr(scores(kind))
    assert "measured" not in repr(scores(kind, [[[1.0, 2.0]]]))


def test_what_is_easily_handed_over_by_mistake_gets_a_sentence(llama: Model, tmp_path: Path) -> None:
    method, pairs = load_method("random"), tiny_pairs(llama)
    mistakes = [
        (
            lambda: method.scores(llama, [PAIR]),
            r"needs pairs that were tokenised for the model, not list: use `task\.p",
        ),
        (lambda: method.scores("llama", pairs), r"scores\(\) needs a model from `load_model`, not str"),
        (lambda: method.scores(llama, pairs, components="head"), r"components is 'head'; give a tuple .* \('head',\)"),
        (lambda: method.scores(llama, pairs, ()), r"components is \(\); give a tuple of kinds, such as \('head',\)"),
        (lambda: make_pairs("llama", [PAIR], logit_diff), r"make_pairs\(\) needs a model from `load_model`, not str"),
        (lambda: make_pairs(llama, PAIR, logit_diff), r"make_pairs\(\) needs a list of PromptPair"),
        (lambda: make_pairs(llama, [PAIR.clean], logit_diff), r"make_pairs\(\) needs a list of PromptPair"),
        (lambda: make_pairs(llama, [PAIR], "logit_diff"), r"metric is 'logit_diff'; give a Metric, such as"),
        (lambda: run("pocket", tmp_path / "r", tasks="ioi"), r"tasks is 'ioi'; give a tuple .* \('ioi',\)"),
        (lambda: run("pocket", tmp_path / "r", methods="random"), r"methods is 'random'; give a tuple of names"),
    ]
    for mistake, sentence in mistakes:
        with pytest.raises(BenchmarkError, match=sentence):
            mistake()
    assert not (tmp_path / "r").exists()
