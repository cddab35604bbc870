"""Runs that start in the middle of another one equal whole runs."""

from functools import cache, partial
from itertools import combinations
from typing import Any

import pytest
import torch

from benchmark.components import DEFAULT_KINDS, KINDS
from benchmark.engine import replay
from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model, Site
from benchmark.engine.replay import SHORTCUTS, Recording, record, resume, shortcuts
from benchmark.engine.request import Request
from benchmark.prompts.metrics import METRICS
from benchmark.running.plugins import load_method
from tests.tiny import ARCHITECTURES, PAIRS, linear_model, tiny_model, tiny_pairs

WAYS = [(), ("layers",), ("layers", "prefix"), ("layers", "site"), ("last position",), tuple(SHORTCUTS)]
# one by one on two architectures; on the others all at once, where edits of several sites leave "site" to the others
RESUMED = [(name, ways) for name in ARCHITECTURES for ways in (WAYS if name in ("llama", "gemma2") else WAYS[-1:])]
ROWS = torch.tensor([1, 0, 1])


def _named(one: str | tuple[str, ...]) -> str:
    return one if isinstance(one, str) else "+".join(one) or "whole"


@cache
def whole_runs(model: Model) -> tuple[Recording, list[tuple[list[Site], int, dict[Site, torch.Tensor], torch.Tensor]]]:
    """A traced run; and sites, prefix, the noise that is added there, and the logits of a whole run with it."""
    batch = next(tiny_pairs(model).batches())
    traced = record(model, batch.clean, model.sites(KINDS))
    last = model.n_layers - 1
    sets = [[site] for site in model.sites(KINDS)]
    sets += [
        [one, other] for one, other in combinations(model.sites(DEFAULT_KINDS), 2) if last in (one.layer, other.layer)
    ]
    runs = []
    for sites in sets:
        for prefix in (0, 1, batch.clean.shape[1] - 1):
            noises = {site: torch.randn_like(traced.activations[site][ROWS]) for site in sites}
            for noise in noises.values():
                noise[:, :prefix] = 0
            edits = {site: lambda value, noise=noise: value + noise for site, noise in noises.items()}
            runs.append((sites, prefix, noises, model.run(batch.clean[ROWS], edits)))
    return traced, runs


@pytest.mark.parametrize(("deep_model", "ways"), RESUMED, indirect=["deep_model"], ids=_named)
def test_resuming_equals_running_from_the_start(deep_model: Model, ways: tuple[str, ...]) -> None:
    """From any layer, behind any prefix, rows picked at will, with edits of one site and of several."""
    model = deep_model
    traced, runs = whole_runs(model)
    vocabulary = torch.tensor([3, 7, 12])
    kinds = KINDS if ways == tuple(SHORTCUTS) else DEFAULT_KINDS
    for sites, prefix, noises, whole in runs:
        if {site.kind for site in sites} <= set(kinds):
            edits = {
                site: lambda value, noise=noise: value + noise[:, -value.shape[1] :] for site, noise in noises.items()
            }
            starts = [min(model.start(site) for site in sites)] * 3
            resumed = resume(model, traced, ROWS, starts, prefix, edits, None, vocabulary, ways)
            torch.testing.assert_close(resumed, whole[:, vocabulary], atol=1e-6, rtol=1e-6)
            moved = (resumed - traced.logits[ROWS][:, vocabulary]).abs().max()
            # the first position has one pattern and its key no rival
            assert moved > 1e-4 or (prefix == 0 and sites[0].kind in ("query", "key"))


def test_rows_of_higher_layers_join_in_there(deep_model: Model) -> None:
    batch = next(tiny_pairs(deep_model).batches())
    traced = record(deep_model, batch.clean, deep_model.sites(DEFAULT_KINDS))
    rows, starts = torch.tensor([1, 0, 1, 0]), [0, 1, 1, 2]
    noise = {
        layer: torch.randn_like(traced.activations[Site("neuron", layer)][:1]) for layer in range(deep_model.n_layers)
    }
    for prefix in (0, 2):
        seen = {}

        def edit(live: torch.Tensor, layer: int, prefix: int = prefix, seen: dict = seen) -> torch.Tensor:
            seen[layer] = len(live)
            own = torch.tensor([start == layer for start in starts[: len(live)]])
            return live + own[:, None, None, None] * noise[layer][:, prefix:][:, -live.shape[1] :]

        edits = {Site("neuron", layer): partial(edit, layer=layer) for layer in range(deep_model.n_layers)}
        together = resume(deep_model, traced, rows, starts, prefix, edits)
        assert seen == {0: 1, 1: 3, 2: 4}
        for number, (row, start) in enumerate(zip(rows, starts, strict=True)):

            def alone(live: torch.Tensor, start: int = start, prefix: int = prefix) -> torch.Tensor:
                return live + torch.cat([0 * noise[start][:, :prefix], noise[start][:, prefix:]], dim=1)

            want = deep_model.run(batch.clean[row][None], {Site("neuron", start): alone})[0]
            torch.testing.assert_close(together[number], want, atol=1e-6, rtol=1e-6)


def test_every_shortcut_works_on_every_architecture(model: Model) -> None:
    assert shortcuts(model) == tuple(SHORTCUTS)


def test_trying_shortcuts_counts_as_no_pass() -> None:
    model = tiny_model("llama")
    assert shortcuts(model)
    assert model.passes.forward == 0


def test_edits_that_only_round_cost_no_shortcut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last MLP is silent: its edit moves logits by 0, or by a rounding where sums have another order."""

    def rounded_otherwise(*arguments: Any) -> torch.Tensor:
        logits = resume(*arguments)
        return logits + 4 * torch.finfo(logits.dtype).eps * logits.abs().max()

    monkeypatch.setattr(replay, "resume", rounded_otherwise)
    assert shortcuts(linear_model()) == tuple(SHORTCUTS)


def test_a_native_model_has_no_cache_and_takes_the_other_shortcuts() -> None:
    model = linear_model()
    assert shortcuts(model) == tuple(SHORTCUTS)
    batch = next(tiny_pairs(model).batches())
    traced = record(model, batch.clean, model.sites(DEFAULT_KINDS))
    resume(model, traced, torch.tensor([0]), [1], 2, {Site("head", 1): lambda live: live / 2})
    assert "prefix" not in model.passes.shortcuts


def test_a_shortcut_that_changes_the_logits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a model whose attention adds the residual stream itself: handing its traced output on would lose that."""
    model = tiny_model("llama")
    attention = model.blocks[2].attention
    plain = attention.forward
    vars(attention)["forward"] = lambda *a, **k: (plain(*a, **k)[0] + k["hidden_states"], None)
    assert "site" not in shortcuts(model)
    assert {"layers", "prefix", "answers"} <= set(shortcuts(model))


def test_a_shortcut_that_fails_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise TypeError

    monkeypatch.setattr(replay, "_at_last_position", fails)
    assert shortcuts(tiny_model("llama")) == tuple(way for way in SHORTCUTS if way != "last position")


def test_nothing_is_left_on_the_model(model: Model) -> None:
    batch = next(tiny_pairs(model).batches())
    before = model.run(batch.clean)
    traced = record(model, batch.clean, model.sites(DEFAULT_KINDS))
    with pytest.raises(ZeroDivisionError):
        resume(model, traced, torch.tensor([0]), [1], 1, {Site("head", 1): lambda live: 1 / 0})
    assert torch.equal(model.run(batch.clean), before)
    assert not [module for module in model.bridge.modules() if "forward" in vars(module)]


def test_passes_say_which_shortcuts_rows_took(deep_llama: Model) -> None:
    batch = next(tiny_pairs(deep_llama).batches())
    length = batch.clean.shape[1]
    traced = record(deep_llama, batch.clean, deep_llama.sites(DEFAULT_KINDS))
    deep_llama.passes.shortcuts.clear()
    before = deep_llama.passes.whole_forward
    resume(deep_llama, traced, torch.tensor([0, 1]), [1, 1], 2, {Site("head", 1): lambda live: live / 2})
    assert deep_llama.passes.shortcuts == {"layers": 2, "site": 2, "prefix": 2, "last position": 2}
    assert deep_llama.passes.whole_forward - before == pytest.approx(2 * (2 / 3) * (length - 2) / length)


SETTINGS = [
    ("noising", "counterfactual", "logit_diff"),
    ("noising", "zero", "prob_diff"),
    ("noising", "mean", "logit_diff"),
    ("denoising", "counterfactual", "prob_diff"),
    ("noising", "counterfactual", "log_likelihood"),
    ("denoising", "counterfactual", "kl"),
]


# what is edited where is the same on every architecture, what a shortcut makes of it isn't: one setting of each sort
SOME = {"llama": SETTINGS, "gemma2": SETTINGS}
CASES = [(architecture, *one) for architecture in ARCHITECTURES for one in SOME.get(architecture, SETTINGS[:5:2])]


@pytest.mark.parametrize(("model", "direction", "replacement", "metric"), CASES, indirect=["model"])
def test_no_score_depends_on_the_shortcuts(model: Model, direction: str, replacement: str, metric: str) -> None:
    pairs = tiny_pairs(model, (PAIRS[1], *PAIRS[3:]), METRICS[metric])  # of one length
    for name, options in (("activation-patching", {"neurons": 5}), ("integrated-gradients", {"steps": 3})):
        method = load_method(name, **options)
        replay.KNOWN[model] = dict.fromkeys(model.kinds, ())
        whole = method.scores(model, pairs, DEFAULT_KINDS, replacement, direction)
        replay.KNOWN[model] = dict.fromkeys(model.kinds, tuple(SHORTCUTS))
        for kind, scores in method.scores(model, pairs, DEFAULT_KINDS, replacement, direction).items():
            torch.testing.assert_close(scores.values, whole[kind].values, atol=1e-5, rtol=0, equal_nan=True)
            taken = scores.provenance["shortcuts"]
            assert ("answers" in taken) == (metric == "logit_diff")
            assert {"layers", "prefix"} <= set(taken)
            assert ("last position" in taken) == (pairs.metric.reads == "last")
            assert whole[kind].provenance["shortcuts"] == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_trying_shortcuts_sees_lost_edits_in_every_precision(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    assert shortcuts(tiny_model("llama", dtype=dtype)) == tuple(SHORTCUTS)

    def without_edits(model: Model, traced: Any, rows: Any, starts: Any, prefix: Any, edits: Any, *rest: Any) -> Any:
        return resume(model, traced, rows, starts, prefix, dict.fromkeys(edits, lambda live: None), *rest)

    monkeypatch.setattr(replay, "resume", without_edits)
    assert shortcuts(tiny_model("llama", dtype=dtype)) == ()


def test_a_replacement_changed_before_the_first_difference_counts_only_where_every_position_is_computed() -> None:
    model = tiny_model("llama")
    batch = next(batch for batch in tiny_pairs(model).batches() if batch.first_difference() > 0)
    request = Request(("head",))

    def scored(shift: float, prefix: int | None = None) -> torch.Tensor:
        run = Intervention(model, batch, request)
        if prefix is not None:
            run.prefix = prefix
        for site in run.sites:
            run.replacement[site][:, : batch.first_difference()] += shift
        return run.stacked(run.integrate([run.sites], AT_ONE))["head"]

    torch.testing.assert_close(scored(1.0), scored(0.0))
    assert (scored(1.0, prefix=0) - scored(0.0)).abs().max() > 1e-3
    torch.testing.assert_close(scored(0.0, prefix=0), scored(0.0))
