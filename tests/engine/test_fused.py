"""Parts that run as one operation: which ones are taken, and when they are left alone."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmark.engine.backward import acting, backward_rules
from benchmark.engine.fused import parts
from benchmark.engine.model import Model, Site
from benchmark.engine.replay import SHORTCUTS, Recording, record, resume
from tests.tiny import hf_model, tiny_model, tiny_pairs, tokenizer

ROWS = torch.tensor([1, 0])
AT_ONCE = {"norm", "activation", "attention"}


def changed(change: Callable[[nn.Module], None]) -> Model:
    """A float32 GPT-2 that was changed before it was taken over."""
    plain = hf_model("gpt2").float()
    change(plain)
    return Model.from_hf(plain, tokenizer(), "gpt2", False)


def found(model: Model) -> Counter[str]:
    return Counter(part.name for part in parts(model))


@pytest.fixture(scope="module")
def gpt2() -> tuple[Model, Recording]:
    model = tiny_model("gpt2")
    return model, record(model, next(tiny_pairs(model).batches()).clean, model.sites(["head"]))


def resumed(gpt2: tuple[Model, Recording], **options: object) -> tuple[Tensor, set[str]]:
    """The logits after an edit in the first layer, and what ran at once."""
    model, recorded = gpt2
    model.passes.shortcuts.clear()
    edits = {Site("head", 0): lambda live: -2 * live}
    logits = resume(model, recorded, ROWS, [0, 0], 0, edits, taking=tuple(SHORTCUTS), **options)  # type: ignore[arg-type]
    return logits, AT_ONCE & set(model.passes.shortcuts)


def test_every_part_is_found_where_it_is_the_same_to_rounding() -> None:
    """A Llama in float64 isn't: its norms and its softmax are computed in float32."""
    assert found(tiny_model("gpt2")) == {"norm": 6, "activation": 3, "attention": 3}
    assert found(tiny_model("llama", dtype=torch.float32)) == {"norm": 6, "attention": 3}
    assert not found(tiny_model("llama"))
    assert found(tiny_model("gemma2", dtype=torch.float32)) == {"norm": 12, "attention": 3}  # its weights are 1 + w


def test_another_activation_of_the_same_name_is_left_alone() -> None:
    class NewGELUActivation(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(1.702 * x)  # a coarser approximation

    NewGELUActivation.__module__ = "transformers.activations"

    def change(plain: nn.Module) -> None:
        for block in plain.transformer.h:
            block.mlp.act = NewGELUActivation()

    assert found(changed(change)) == {"norm": 6, "attention": 3}


def test_a_norm_that_is_another_than_its_epsilon_says_is_left_alone() -> None:
    model = tiny_model("gpt2", dtype=torch.float32)
    for block in model.blocks:
        block.module.ln1.original_component.eps *= 4  # the bridge has its own
    assert found(model)["norm"] == 3


def test_an_attention_that_is_not_the_one_inside_is_left_alone() -> None:
    def change(plain: nn.Module) -> None:
        for block in plain.transformer.h:
            block.attn.scaling *= 2

    assert "attention" not in found(changed(change))


def test_they_give_the_same_and_are_said(gpt2: tuple[Model, Recording]) -> None:
    logits, taken = resumed(gpt2)
    assert taken == AT_ONCE
    torch.testing.assert_close(
        logits,
        resume(gpt2[0], gpt2[1], ROWS, [0, 0], 0, {Site("head", 0): lambda live: -2 * live}, taking=()),
        atol=1e-13,
        rtol=1e-13,
    )


@pytest.mark.parametrize("place", ["blocks.1.ln2.hook_scale", "blocks.1.attn.hook_attn_scores"])
def test_what_is_hooked_runs_step_by_step(gpt2: tuple[Model, Recording], place: str) -> None:
    """A hook inside acts and sees what it saw; the other parts still run at once."""
    seen: list[Tensor] = []

    def halve(value: Tensor, hook: object) -> Tensor:
        seen.append(value)
        return value / 2

    logits, taken = resumed(gpt2, hooks=[(place, halve)])
    assert len(seen) == 1
    assert taken == (AT_ONCE - {"attention"} if "attn" in place else AT_ONCE)  # only one attention isn't the last's
    assert (logits - resumed(gpt2)[0]).abs().max() > 1e-3


def test_backward_rules_find_every_operation(gpt2: tuple[Model, Recording]) -> None:
    """Under rules, nothing that they act on runs at once."""
    model, recorded = gpt2
    rules = acting(model, "attn-lrp")
    assert parts(model)
    gradients = []
    for ways in ((), tuple(SHORTCUTS)):
        leaf = torch.zeros_like(recorded.activations[Site("head", 0)][ROWS], requires_grad=True)
        edits = {Site("head", 0): lambda live, leaf=leaf: live + leaf}
        model.passes.shortcuts.clear()
        with torch.enable_grad(), backward_rules(model, rules):
            logits = resume(model, recorded, ROWS, [0, 0], 0, edits, taking=ways)
            gradients.append(torch.autograd.grad(logits[:, 3].sum(), leaf)[0])
        assert not AT_ONCE & set(model.passes.shortcuts)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-12, rtol=1e-10)
    with torch.enable_grad():
        leaf = torch.zeros_like(leaf, requires_grad=True)
        logits = resume(model, recorded, ROWS, [0, 0], 0, {Site("head", 0): lambda live: live + leaf}, taking=())
        plain = torch.autograd.grad(logits[:, 3].sum(), leaf)[0]
    fresh = tiny_model("gpt2")
    with backward_rules(fresh, rules):
        assert not parts(fresh)
    assert parts(fresh)
    assert (plain - gradients[0]).abs().max() > 1e-3 * plain.abs().max()
