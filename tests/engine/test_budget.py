"""The budget from configs against what is counted on models with weights."""

import pytest

from benchmark.engine.memory import needs
from benchmark.models.tiny import hf_model, tiny_model, tiny_pairs
from tests.performance.budget import Sizes, patch_flops
from tests.performance.patching import necessary_flops
from tests.performance.schedule import list_schedule, part_seconds


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_config_says_what_its_model_costs(architecture: str) -> None:
    model = tiny_model(architecture)
    hf = hf_model(architecture)
    sizes, matrices = Sizes.of(hf.config), [weight for weight in hf.parameters() if weight.ndim == 2]
    assert sizes.weights == sum(weight.numel() for weight in matrices)
    [batch, *_] = tiny_pairs(model).batches()
    length, shared = batch.clean.shape[1], batch.first_difference()
    assert batch.vocabulary is not None
    for site in model.sites(("head", "neuron")):
        each = patch_flops(sizes, site.kind, site.layer, length, shared, len(batch.vocabulary))
        assert each * model.size(site.kind) * len(batch) == necessary_flops(model, batch, site)
    for gradients in (False, True):
        assert needs(sizes.as_model(model.dtype), 8, gradients) == needs(model, 8, gradients)


def test_a_feature_costs_its_block_more_than_a_neuron_of_the_block_below() -> None:
    """What a feature at the entrance of a block runs besides its own vectors is what runs above the block below."""
    sizes = Sizes.of(hf_model("llama").config)
    for layer in range(1, sizes.n_layers):
        feature = patch_flops(sizes, "feature", layer, 7, 2, 2)
        assert feature - patch_flops(sizes, "neuron", layer - 1, 7, 2, 2) == 2 * sizes.d_model * (7 - 2)


def test_a_part_goes_to_the_worker_that_is_free_first() -> None:
    assert list_schedule([3, 1, 1, 4], 2) == 6  # the last one waits for two of the others
    assert list_schedule([3, 1, 1, 4], 1, overhead=1) == 13
    assert list_schedule(part_seconds(2.0, 7, 3), 3) == 6
    assert part_seconds(2.0, 7, 3) == [6, 6, 2]
