"""Interactions: what planted models say of themselves, against double patching in a plain loop, and the command."""

import base64
import re
import zlib
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from benchmark import load_model
from benchmark.cli import main
from benchmark.components import KIND_WORDS, KINDS, WAYS, Way, component_name, component_named
from benchmark.conformance.trial import base_and_replacement
from benchmark.engine.means import mean_activations
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.interactions.command import there
from benchmark.interactions.effects import Component, Interactions, interactions
from benchmark.models.litmus import load_litmus
from benchmark.packaged import POCKET
from benchmark.statistics.interaction import reading
from reports.interactions.picture import matrix
from reports.interactions.writing import lines
from tests.fixtures import undrawn
from tests.tiny import PAIRS, tiny_model, tiny_pairs

FOUR: list[Component] = [("head", 0, 0), ("head", 1, 1), ("head", 1, 0), ("head", 0, 1)]


def of_litmus(
    name: str, direction: str = "noising", given: tuple[Component, ...] = (), pairs: int = 16
) -> Interactions:
    litmus = load_litmus(name)
    model = litmus.model()
    request = Request(("head",), direction=direction)
    return interactions(model, litmus.task.pairs(model, limit=16), request, FOUR, given, FOUR if given else ())


@pytest.mark.parametrize(
    ("name", "direction", "couple", "size", "word"),
    [
        ("or-gate", "noising", "L0H0 L1H1", -1, "backup"),
        ("or-gate", "denoising", "L0H0 L1H1", 1, "either suffices"),
        ("and-gate", "noising", "L0H0 L1H1", 1, "AND partner"),
        ("and-gate", "denoising", "L0H0 L1H1", -1, "AND partner"),
        ("backup-head", "noising", "L0H0 L1H0", -1, "backup"),
        ("linear-chain", "noising", "L0H0 L1H0", 3, "AND partner"),
        ("linear-chain", "denoising", "L0H0 L1H0", 3, "either suffices"),
    ],
)
def test_planted_gates_are_named_and_nothing_else(
    name: str, direction: str, couple: str, size: float, word: str
) -> None:
    """The same gate in both directions, where the interaction has the other sign."""
    found = of_litmus(name, direction).couples()
    assert f"{found.a[0]} {found.b[0]}" == couple
    assert found.interaction[0] == pytest.approx(size, abs=2e-3)
    assert list(found.reading) == [word, *[""] * 5]
    np.testing.assert_allclose(found.interaction[1:], 0, atol=2e-3)


def test_where_nothing_bends_nothing_interacts() -> None:
    found = of_litmus("linear-parallel")
    np.testing.assert_allclose(found.couples().interaction, 0, atol=1e-5)
    assert not any(found.couples().reading)
    assert "Nothing of 1% of the largest effect" in lines("Linear", found)


def test_with_one_input_out_the_other_is_seen_to_be_its_backup() -> None:
    found = of_litmus("or-gate", given=(("head", 0, 0),)).conditional()
    assert (found.component[0], found.effect[0], found.reading[0]) == ("L1H1", 0, "backup")
    assert found.growth[0] == pytest.approx(1)
    assert "L0H0" not in set(found.component)  # nothing else is out that its effect could be given
    both = of_litmus("or-gate", given=(("head", 0, 0), ("head", 1, 1))).conditional()
    assert dict(zip(both.component, both.growth, strict=True)) == pytest.approx(
        {"L0H0": 1, "L1H1": 1, "L1H0": 0, "L0H1": 0}, abs=1e-5
    )
    chain = of_litmus("linear-chain", given=(("head", 0, 0),)).conditional()
    assert (chain.component[0], chain.reading[0]) == ("L1H0", "AND partner")
    assert chain.growth[0] == pytest.approx(-3)  # less the interactions with what is out, where all go in pairs


@pytest.mark.parametrize("way", [WAYS[1], WAYS[3]], ids=str)
def test_every_number_is_what_double_patching_in_a_plain_loop_gives(way: Way) -> None:
    model = tiny_model("gpt2", prepend_bos=True)
    pairs = tiny_pairs(model, (PAIRS[0], PAIRS[1]))  # of two lengths
    kinds, out = ("head", "neuron"), [("head", 0, 1), ("neuron", 1, 7), ("head", 2, 3)]
    means = mean_activations(model, pairs, kinds) if way.replacement == "mean" else {}
    request = Request(kinds, way.replacement, way.direction, means=means)
    found = interactions(model, pairs, request, out, out[:2], [*out, ("head", 1, 0)])
    sign = 1 if way.direction == "noising" else -1

    def plain(*patched: Component) -> Tensor:
        """The effect of patching these at once, `[pair]`."""
        effect = torch.zeros(len(pairs), dtype=torch.float64)
        for batch in pairs.batches():
            base, _, put = base_and_replacement(model, pairs, batch, way)
            rows = torch.arange(len(batch))

            def moved(live: Tensor, site: Site, put: dict[Site, Tensor] = put) -> Tensor:
                live = live.clone()
                for kind, layer, index in patched:
                    if (kind, layer) == (site.kind, site.layer):
                        live[:, :, index] = put[site][:, :, index]
                return live

            edits = {site: partial(moved, site=site) for site in {Site(k, la) for k, la, _ in patched}}
            values = batch.value(model, base, rows) - batch.value(model, base, rows, edits)
            effect[list(batch.index)] = sign * values
        return effect

    couples = found.couples().set_index(["a", "b"])
    for (a, b), names in zip(combinations(out, 2), combinations(["L0H1", "L1N7", "L2H3"], 2), strict=True):
        wanted = plain(a) + plain(b) - plain(a, b)
        assert couples.interaction[names] == pytest.approx(wanted.mean().item(), abs=1e-5)
    assert couples.interaction.abs().max() > 1e-3
    given = found.conditional().set_index("component")
    last = plain(*out) - plain(*out[:2])
    assert given.effect_given["L2H3"] == pytest.approx(last.mean().item(), abs=1e-5)
    member = plain(*out[:2]) - plain(out[1])
    assert given.growth["L0H1"] == pytest.approx((member - plain(out[0])).mean().item(), abs=1e-5)
    assert len(given) == 4


@pytest.mark.parametrize(
    ("effects", "change", "low", "high", "noising", "word"),
    [
        ([(0.1, 0.9)], 0.8, 0.5, 1.1, True, "backup"),
        ([(0.1, 0.9)], 0.8, 0.5, 1.1, False, "AND partner"),
        ([(0.9, 0.1)], -0.8, -1.1, -0.5, False, "either suffices"),
        ([(-0.1, -0.9)], -0.8, -1.1, -0.5, True, "backup"),  # of a job against the answer
        ([(0.9, 0.1), (-0.2, -1.0)], 0.8, 0.5, 1.1, True, "mixed"),
        ([(0.1, 0.9)], 0.8, -0.1, 1.7, True, ""),
        ([(0.1, 0.9)], 0.8, np.nan, np.nan, True, ""),  # too few pairs for an interval
        ([(0.1, 0.104)], 0.004, 0.003, 0.005, True, ""),
    ],
)
def test_words_go_by_the_sizes_of_effects_and_by_what_is_known(
    effects: list[tuple[float, float]], change: float, low: float, high: float, noising: bool, word: str
) -> None:
    assert reading(effects, change, low, high, least=0.01, noising=noising) == word


def test_below_sixteen_pairs_there_is_no_interval_and_it_is_said(llama: Model) -> None:
    found = interactions(llama, tiny_pairs(llama), Request(("head",)), FOUR)
    assert found.couples().low.isna().all()
    said = lines("Tiny", found)
    assert "it takes 16 in 8" in " ".join(said.split())
    assert "while all else is live" in " ".join(said.split())
    assert len(found.conditional()) == 0


def test_the_picture_shows_every_couple_on_both_sides_and_no_diagonal(llama: Model) -> None:
    values = interactions(llama, tiny_pairs(llama), Request(("head",)), FOUR).matrix()
    assert (values.T.fillna(0) == values.fillna(0)).all(axis=None)
    assert np.isnan(np.diag(values)).all()
    axes = matrix(values, "logit_diff", 0.0).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["L0H0", "L1H1", "L1H0", "L0H1"]
    shown = axes.collections[0].get_array()
    assert np.ma.count_masked(shown) == 4
    assert float(shown.reshape(4, 4)[0, 1]) == pytest.approx(values.loc["L0H0", "L1H1"])


@pytest.mark.usefixtures("without_report")
def test_the_command_writes_tables_pictures_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a ranking of its own, and with one that a run has stored."""
    run = ["--model", "litmus/or-gate", "--task", "litmus/or-gate", "--pairs", "16"]
    asked = ["interactions", *run, "--top", "4", "--out", str(tmp_path / "own")]
    with undrawn(svg=True):
        assert main(asked) == 0
    said = capsys.readouterr().out
    assert "L0H0 L1H1  0.000           0.000 1.000 -1.000 [-1.000, -1.000]  backup" in said
    names = {path.relative_to(tmp_path / "own").as_posix() for path in (tmp_path / "own").rglob("*.*")}
    figures = {f"figures/litmus-or-gate.{ending}" for ending in ("png", "pdf", "svg")}
    assert names == {"couples.csv", "conditional.csv", "interactions.html", *figures}
    couples = pd.read_csv(tmp_path / "own" / "couples.csv")
    assert (couples.ranked_by[0], couples.task[0], couples.pairs[0]) == ("shapley:permutations=1", "litmus/or-gate", 16)
    page = (tmp_path / "own" / "interactions.html").read_text()
    [packed] = re.findall(r'data-svg="([^"]+)"', page)
    assert zlib.decompress(base64.b64decode(packed)).startswith(b"<?xml")
    assert "such as a backup that sleeps" in page
    assert main(["run", *run, "--components", "head", "--methods", "random", "--out", str(tmp_path / "run")]) == 0
    stored = ["--results", str(tmp_path / "run"), "--by", "random", "--given", "L0H0", "--out", str(tmp_path / "next")]
    with undrawn():
        assert main(["interactions", *run, "--top", "2", *stored]) == 0
    again = pd.read_csv(tmp_path / "next" / "couples.csv")
    assert (len(again), again.ranked_by[0], again.given[0]) == (1, "random", "L0H0")
    conditional = pd.read_csv(tmp_path / "next" / "conditional.csv")
    assert (conditional.component[0], conditional.reading[0]) == ("L1H1", "backup")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (["--given", "L9H9"], "There is no L9H9: 'litmus/or-gate' has layers 0-1 with 4 heads"),
        (["--given", "9.9"], "'9.9' names no component: write such as L9H7"),
        (["--given", "L0R"], "a layer's residual stream carries everything"),
        (["--top", "1"], "give at least 2 components"),
        (["--by", "shapely"], "There is no method 'shapely'. Did you mean 'shapley'"),
        (["--components", "residual"], "choose from head, neuron"),
        (["--replacement", "mean", "--direction", "denoising"], "Denoising restores"),
    ],
)
def test_what_cant_be_done_is_refused_in_words(wrong: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interactions", "--model", "litmus/or-gate", "--task", "litmus/or-gate", *wrong]) == 2
    assert why in capsys.readouterr().err


def test_a_dictionarys_error_may_be_out_by_its_name() -> None:
    """It is the last of its layer; the library's own message names one that isn't there as it was asked for."""
    asked = load_model("pocket", dictionaries=POCKET / "dictionaries")
    size = asked.size("mlp-feature")
    assert there(asked, component_named("L1MF-error")) == ("mlp-feature", 1, size - 1)
    assert there(asked, component_named("L1MF3")) == ("mlp-feature", 1, 3)
    with pytest.raises(BenchmarkError, match="There is no L9MF-error: 'pocket' has layers 0-3"):
        there(asked, component_named("L9MF-error"))


def test_components_are_read_as_they_are_written() -> None:
    assert component_named("L12MF77") == ("mlp-feature", 12, 77)
    for kind in KINDS:
        one, size = KIND_WORDS[kind].in_a_layer == "one", 5
        for index in (0,) if one else (0, 3, 4):
            again = component_named(component_name(kind, 2, index, size))
            assert (again[0], again[1], again[2] % size) == (kind, 2, index)
    for name in ("L4M3", "L4H", "H4", "L1X3", "L1H3 ", "L1H-error", "L1MF3-error", "L1MF"):
        with pytest.raises(BenchmarkError, match="names no component"):
            component_named(name)
