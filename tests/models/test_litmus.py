"""Planted models do what they say: known effects and Shapley values against patching loops that share no code."""

from itertools import permutations, product
from math import isnan

import pytest
import torch
from torch import Tensor

from benchmark.components import WAYS
from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.models.litmus import LITMUS, load_litmus
from benchmark.models.litmus.litmus import Litmus
from benchmark.models.loading import load_model
from benchmark.prompts.pairs import PairBatch
from benchmark.running.litmus_grid import litmus_plans
from benchmark.running.plugins import discover, load_method, load_task

Component = tuple[str, int, int]
_HOOKS = {"head": "blocks.{}.attn.hook_z", "neuron": "blocks.{}.mlp.hook_post"}


@pytest.fixture(scope="module", params=LITMUS)
def litmus(request: pytest.FixtureRequest) -> Litmus:
    return load_litmus(request.param)


def _batch(litmus: Litmus, model: Model, pairs: int = 3) -> PairBatch:
    return next(litmus.task.pairs(model, limit=pairs).batches())


def _activations(model: Model, tokens: Tensor) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}
    names = [hook.format(layer) for hook in _HOOKS.values() for layer in range(model.n_layers)]
    hooks = [(name, lambda value, hook, name=name: kept.update({name: value.clone()})) for name in names]
    model.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    return kept


def _patched(model: Model, tokens: Tensor, source: dict[str, Tensor], which: list[Component]) -> Tensor:
    """Last-position logits with each of these components' activation taken from another run."""

    def patch(value: Tensor, hook: object, name: str, indices: list[int]) -> Tensor:
        value = value.clone()
        value[:, :, indices] = source[name][:, :, indices]
        return value

    hooks = []
    for kind, layer in dict.fromkeys((kind, layer) for kind, layer, _ in which):
        name = _HOOKS[kind].format(layer)
        indices = [index for k, la, index in which if (k, la) == (kind, layer)]
        hooks.append((name, lambda value, hook, name=name, indices=indices: patch(value, hook, name, indices)))
    logits: Tensor = model.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
    return logits[:, -1]


def _metric(batch: PairBatch, logits: Tensor) -> Tensor:
    places = torch.arange(len(batch))
    return logits[places, batch.answers.correct[:, 0]] - logits[places, batch.answers.incorrect[:, 0]]


def _components(litmus: Litmus, model: Model) -> list[Component]:
    kinds = litmus.effects
    return [(kind, la, i) for kind in kinds for la in range(model.n_layers) for i in range(model.size(kind))]


def test_every_row_becomes_a_pair_and_the_model_does_the_task(litmus: Litmus) -> None:
    model = litmus.model()
    pairs = litmus.task.pairs(model, limit=None)
    assert len(pairs) == len(pairs.discovery) == 16
    assert not pairs.audit.dropped
    found = metrics(model, pairs)
    assert (found["clean"] > 0).all()
    assert (found["clean"] > found["corrupted"] + 0.5).all()


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_known_effects_are_what_patching_one_component_alone_does(litmus: Litmus, direction: str) -> None:
    model = litmus.model(dtype=torch.float64)
    batch = _batch(litmus, model)
    clean, corrupted = batch.both()
    base, other = (clean, corrupted) if direction == "noising" else (corrupted, clean)
    source, start = _activations(model, other), _metric(batch, model.bridge(base)[:, -1])
    for kind, layer, index in _components(litmus, model):
        effect = litmus.effects[kind].get((layer, index), 0.0)
        if not isnan(effect):
            moved = start - _metric(batch, _patched(model, base, source, [(kind, layer, index)]))
            wanted = effect if direction == "noising" else -effect
            torch.testing.assert_close(moved, torch.full_like(moved, wanted), atol=1e-9, rtol=0)


def _shapley(litmus: Litmus, players: list[Component]) -> dict[Component, float]:
    """Brute force: the mean over all orders of what each adds when it comes back; the rest of the model is live."""
    model = litmus.model(dtype=torch.float64)
    batch = _batch(litmus, model, pairs=1)
    clean, corrupted = batch.both()
    source = _activations(model, corrupted)
    worth = {
        absent: _metric(batch, _patched(model, clean, source, list(absent))).item()
        for size in product([False, True], repeat=len(players))
        for absent in [tuple(player for player, out in zip(players, size, strict=True) if out)]
    }
    totals = dict.fromkeys(players, 0.0)
    orders = list(permutations(players))
    for order in orders:
        for place, player in enumerate(order):
            before = tuple(p for p in players if p in order[place:])
            after = tuple(p for p in players if p in order[place + 1 :])
            totals[player] += (worth[after] - worth[before]) / len(orders)
    return totals


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("linear-chain", {(0, 0): 0.5, (1, 0): 1.5}),
        ("and-gate", {(0, 0): 0.5, (1, 1): 0.5}),
        ("or-gate", {(0, 0): 0.5, (1, 1): 0.5}),
        ("same-site-interaction", {(0, 0): 1.0, (0, 1): 0.0}),
        ("saturation", {(0, 0): 1.0, (1, 3): 0.0}),
    ],
)
def test_shapley_values_are_what_the_lessons_say(name: str, wanted: dict[tuple[int, int], float]) -> None:
    players = [("head", layer, index) for layer, index in wanted]
    assert _shapley(load_litmus(name), players) == pytest.approx(
        {("head", *place): value for place, value in wanted.items()}, abs=1e-9
    )


def test_shapley_values_of_the_backup_head_are_a_half_each() -> None:
    found = _shapley(load_litmus("backup-head"), [("head", 0, 0), ("head", 1, 0)])
    assert list(found.values()) == pytest.approx([0.5, 0.5], abs=0.01)


def _heads(name: str, method: str, direction: str = "noising", **options: object) -> Tensor:
    litmus = load_litmus(name)
    model = litmus.model()
    pairs = litmus.task.pairs(model, limit=2)
    return load_method(method, **options).scores(model, pairs, ("head",), direction=direction)["head"].mean()


def test_attribution_patching_is_blind_in_saturation_and_integrated_gradients_are_not() -> None:
    assert _heads("saturation", "attribution-patching")[0, 0] == 0
    assert _heads("saturation", "integrated-gradients")[0, 0] == pytest.approx(1.0, abs=1e-3)


def test_both_gradient_methods_name_the_wrong_head_within_a_site_and_patching_does_not() -> None:
    assert _heads("same-site-interaction", "activation-patching")[0, :2].tolist() == pytest.approx([1, 0], abs=1e-5)
    assert _heads("same-site-interaction", "attribution-patching")[0, :2].tolist() == pytest.approx([1, 6], abs=1e-5)
    site = _heads("same-site-interaction", "integrated-gradients", steps=512)[0, :2]
    assert site.tolist() == pytest.approx([0, 1], abs=0.02)  # 1 - 6 (2/3 - 1/2) and 6 (2/3 - 1/2)


@pytest.mark.parametrize(("gate", "noising", "denoising"), [("and-gate", 1.0, 0.0), ("or-gate", 0.0, 1.0)])
def test_noising_sees_necessity_and_denoising_sufficiency(gate: str, noising: float, denoising: float) -> None:
    for direction, wanted in (("noising", noising), ("denoising", denoising)):
        scores = _heads(gate, "activation-patching", direction)
        assert [scores[0, 0].item(), scores[1, 1].item()] == pytest.approx([wanted, wanted], abs=1e-5)


def test_the_joint_path_shares_a_chain_as_shapley_values_do() -> None:
    scores = _heads("linear-chain", "integrated-gradients", path="joint")
    assert [scores[0, 0].item(), scores[1, 0].item()] == pytest.approx([0.5, 1.5], abs=1e-5)


def test_attribution_patching_gives_the_slope_of_a_nearly_sure_softmax() -> None:
    sure = torch.tensor([0.0, 4.0, 0.0, 0.0, 0.0, 0.0]).softmax(0)
    # the scores of two positions change places: -4 where it looked, +4 elsewhere; 2 is what a letter adds to its logit
    change = torch.tensor([0.0, -4.0, 0.0, 4.0, 0.0, 0.0])
    slope = sure * (change - (sure * change).sum())
    assert _heads("induction", "attribution-patching")[0, 0] == pytest.approx(
        2 * (slope[3] - slope[1]).item(), abs=1e-4
    )


def test_a_planted_model_loads_and_its_task_is_found_by_name_but_is_not_among_all() -> None:
    assert load_model("litmus/or-gate").name == "litmus/or-gate"
    assert load_task("litmus/or-gate").truth is not None
    assert load_model("litmus/or-gate").digest != load_model("litmus/and-gate").digest
    registry = discover()
    assert "litmus/or-gate" in registry.tasks
    assert not [task.name for task in registry.chosen_tasks(("all",)) if task.name.startswith("litmus/")]


def test_an_unknown_litmus_is_an_error_with_a_hint() -> None:
    with pytest.raises(BenchmarkError, match=r"no litmus 'litmus/or-gait'.*or-gate"):
        load_model("litmus/or-gait")


def test_each_setting_asks_only_methods_that_can_do_it() -> None:
    plans = litmus_plans(discover(), ["saturation"], ("all",))
    assert [(plan["direction"], plan["replacement"]) for plan in plans] == list(WAYS)
    asked = [set(plan["methods"]) for plan in plans]
    assert "integrated-gradients:path=input" in asked[0] & asked[1]
    assert "integrated-gradients:path=input" not in asked[2] | asked[3]
    assert {"activation-patching:neurons=0", "attribution-patching", "random"} <= asked[0] & asked[1] & asked[2]


def test_settings_without_a_method_that_can_do_them_are_left_out() -> None:
    plans = litmus_plans(discover(), ["saturation"], ("integrated-gradients:path=input",))
    assert [plan["replacement"] for plan in plans] == ["counterfactual", "counterfactual"]


def test_every_model_has_bystanders_that_change_and_do_nothing(litmus: Litmus) -> None:
    model = litmus.model()
    batch = _batch(litmus, model)
    clean, corrupted = (_activations(model, tokens) for tokens in batch.both())
    head, neuron = litmus.bystanders
    change = (clean[_HOOKS["head"].format(head.layer)] - corrupted[_HOOKS["head"].format(head.layer)])[:, :, head.index]
    assert change.abs().max() > 1
    assert (head.layer, head.index) not in litmus.effects.get("head", {})
    assert (neuron.layer, neuron.index) not in litmus.effects.get("neuron", {})
