"""Features of dictionaries as components, against the formulas written out on the Hugging Face model."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark import Intervention, Request, load_method
from benchmark.components import DENOISING, FEATURE_KINDS, MEAN, WAYS, Way
from benchmark.engine.dictionary import Dictionary
from benchmark.engine.means import mean_activations
from benchmark.engine.model import Model, Site
from benchmark.models.tiny import FEATURES_OF, hf_model, random_dictionary
from benchmark.prompts.pairs import Pairs
from tests.engine import plain
from tests.tiny import PAIRS, tiny_model, tiny_pairs

ALL = FEATURES_OF
SORTS: list[dict[str, Any]] = [
    {},
    {"architecture": "jumprelu"},
    {"architecture": "gated"},
    {"architecture": "topk", "k": 6},
    {"normalisation": "layer_norm"},
    {"normalisation": "constant_norm_rescale", "architecture": "jumprelu"},
]
ways = pytest.mark.parametrize("way", WAYS, ids=str)


def identity(width: int) -> Dictionary:
    """Every dimension as two features: what is above 0, and what is below."""
    both = torch.cat([torch.eye(width), -torch.eye(width)]).double()
    zeros = torch.zeros(width).double()
    return Dictionary(both.T.contiguous(), torch.zeros(2 * width).double(), both, zeros, zeros)


_tiny = cache(partial(tiny_model, prepend_bos=True, layers=2))  # which keeps its activation


@cache
def _reference(architecture: str) -> Any:
    """The tiny model as Hugging Face has it."""
    found = hf_model(architecture, layers=2)
    found.set_attn_implementation("eager")
    return found


def read(architecture: str, make: Any, kinds: tuple[str, ...] = tuple(ALL)) -> Model:
    """The tiny model in float64, whose layers' dictionaries `make` gives, by layer: one model for all tests."""
    model = _tiny(architecture)
    for kind in kinds:
        model.attach(kind, ALL[kind], {layer: make(layer) for layer in range(model.layers(ALL[kind]))})
    return model


def run_of(model: Model, pairs: Pairs, way: Way, kinds: tuple[str, ...]) -> Intervention:
    means = mean_activations(model, pairs, kinds) if way.replacement == "mean" else {}
    batch = next(batch for batch in pairs.batches() if 0 in batch.index)
    return Intervention(model, batch, Request(kinds, way.replacement, way.direction, means=means))


# The formulas, written out: x = decode(features) + error, one m each


def encoded(d: Dictionary, x: Tensor, base: Tensor) -> Tensor:
    """Each architecture in its own words, as its paper has it."""
    x = normalised(d, x, base) - d.bias_in
    if d.architecture == "gated":
        return ((x @ d.encoder + d.gate) > 0).double() * torch.relu((x @ (d.encoder * d.gain)) + d.bias)
    hidden = x @ d.encoder + d.bias
    if d.architecture == "jumprelu":
        return torch.where(hidden > d.threshold, torch.relu(hidden), 0.0)
    if d.architecture == "topk":
        least = hidden.sort(descending=True).values[..., d.k - 1 : d.k]
        return torch.relu(hidden) * (hidden >= least)
    return torch.relu(hidden)


def normalised(d: Dictionary, x: Tensor, base: Tensor) -> Tensor:
    shift, size = moments(d, base)
    return (x - shift) / size


def moments(d: Dictionary, base: Tensor) -> tuple[Tensor | float, Tensor | float]:
    if d.normalisation == "layer_norm":
        return base.mean(-1, keepdim=True), base.std(-1, keepdim=True) + 1e-5
    if d.normalisation == "constant_norm_rescale":
        return 0.0, base.square().sum(-1, keepdim=True).sqrt() / base.shape[-1] ** 0.5
    return 0.0, 1.0


def decoded(d: Dictionary, features: Tensor, base: Tensor) -> Tensor:
    shift, size = moments(d, base)
    return (features @ d.decoder + d.bias_out) * size + shift


class Plain:
    """One pair at one site of the Hugging Face model: its features and error, and what replaces them."""

    def __init__(
        self, reference: Any, model: Model, pairs: Pairs, site: Site, way: Way, architecture: str | None = None
    ) -> None:
        [pair, *_], bos = pairs.pairs, pairs.bos
        clean, corrupted = torch.tensor([pair.clean]), torch.tensor([pair.corrupted])
        self.base, other = (clean, corrupted) if way.direction == "noising" else (corrupted, clean)
        self.reference, self.architecture, self.pair = reference, architecture or model.name, pair
        self.whole, self.layer, self.d = ALL[site.kind], site.layer, model.dictionaries[site]
        self.x = self.activation(self.base)
        self.features = encoded(self.d, self.x, self.x)
        self.error = self.x - decoded(self.d, self.features, self.x)
        if way.replacement == "counterfactual":
            x = self.activation(other)
            features = encoded(self.d, x, self.x)
        elif way.replacement == "zero":
            x, features = torch.zeros_like(self.x), torch.zeros_like(self.features)
        else:
            prompts = [prompt for one in pairs.discovery for prompt in (one.clean, one.corrupted)]
            seen = torch.cat([self.activation(torch.tensor([prompt]))[0, bos:] for prompt in prompts])
            x = seen.mean(0).expand_as(self.x)
            features = encoded(self.d, seen, seen).mean(0).expand_as(self.features)
        self.other_features, self.other_error = features, x - decoded(self.d, features, self.x)
        for mine, others in ((self.features, self.other_features), (self.error, self.other_error)):
            others.data = torch.cat([mine[:, :bos], others[:, bos:]], dim=1)  # a BOS keeps its own

    def activation(self, tokens: Tensor) -> Tensor:
        return plain.activation(self.reference, self.architecture, self.whole, self.layer, tokens)[:, :, 0]

    def metric(self, features: Tensor, error: Tensor) -> Tensor:
        x = decoded(self.d, features, self.x) + error
        with plain.at(self.reference, self.architecture, self.whole, self.layer, lambda _: x[:, :, None]):
            logits = self.reference(self.base).logits[0, -1]
        return logits[list(self.pair.correct)].logsumexp(0) - logits[list(self.pair.incorrect)].logsumexp(0)

    def at(self, m: Tensor, error: float | Tensor) -> Tensor:
        """F: one m a feature, and one for the error."""
        return self.metric(
            self.other_features + m * (self.features - self.other_features),
            self.other_error + error * (self.error - self.other_error),
        )

    def mean_slopes(self, nodes: list[float]) -> tuple[Tensor, Tensor]:
        """Marks et al. 2024: the mean gradient of features and of the error on the line between both, times what they
        differ by; the model's own gradient, through no encoder."""
        totals = [torch.zeros_like(part) for part in (self.features, self.error)]
        for node in nodes:
            moved = [
                (other + node * (mine - other)).requires_grad_()
                for mine, other in ((self.features, self.other_features), (self.error, self.other_error))
            ]
            for total, gradient in zip(totals, torch.autograd.grad(self.metric(*moved), moved), strict=True):
                total += gradient / len(nodes)
        return (
            (totals[0] * (self.features - self.other_features)).sum((0, 1)),
            (totals[1] * (self.error - self.other_error)).sum(),
        )


def doubled(architecture: str, make: Any) -> tuple[Model, Any, Pairs]:
    """A model that dictionaries read, the same of Hugging Face, and two pairs."""
    model = read(architecture, make)
    return model, _reference(architecture), tiny_pairs(model, PAIRS[:2])


CASES = [  # each replacement and direction, and each sort of dictionary with one of them
    *((SORTS[0], way) for way in WAYS),
    *((sort, WAYS[number % len(WAYS)]) for number, sort in enumerate(SORTS[1:])),
    (SORTS[4], DENOISING),
    (SORTS[4], MEAN),
]
cases = pytest.mark.parametrize(
    ("sort", "way"), CASES, ids=["-".join([*map(str, sort.values()), str(way)]) for sort, way in CASES]
)


@cases
def test_any_mask_gives_what_the_formulas_give(sort: dict[str, Any], way: Way) -> None:
    """Every feature and the error with an m of its own, at the first, a middle and the last site."""
    width = _tiny("gpt2").d_model
    m, hf, pairs = doubled("gpt2", lambda layer: random_dictionary(width, 40 + layer, layer, **sort))
    run = run_of(m, pairs, way, FEATURE_KINDS)
    generator = torch.Generator().manual_seed(3)
    for kind in FEATURE_KINDS:
        for layer in {0, m.layers(kind) - 1}:
            site = Site(kind, layer)
            mask = torch.ones(1, m.layers(kind), m.size(kind), dtype=torch.float64)
            mask[0, layer] = torch.rand(m.size(kind), generator=generator)
            one = Plain(hf, m, pairs, site, way)
            expected = one.at(mask[0, layer, : m.dictionaries[site].size], mask[0, layer, -1])
            whole = one.metric(one.features, one.error).detach()  # what is written back leaves the logits alone
            torch.testing.assert_close(whole, run.full[0], atol=1e-9, rtol=0)
            torch.testing.assert_close(run.value({kind: torch.ones_like(mask)})[0], run.full, atol=1e-9, rtol=0)
            assert float((expected - whole).detach().abs()) > 1e-3
            torch.testing.assert_close(run.value({kind: mask})[0, 0], expected, atol=1e-9, rtol=0)


@cases
def test_patching_one_feature_or_the_error_is_a_mask_with_one_zero(sort: dict[str, Any], way: Way) -> None:
    width = _tiny("llama").d_model
    m, hf, pairs = doubled("llama", lambda layer: random_dictionary(width, 12, layer, **sort))
    scores = load_method("activation-patching").scores(m, pairs, FEATURE_KINDS, way.replacement, way.direction)
    sign = 1 if way.direction == "noising" else -1
    for kind in FEATURE_KINDS:
        found = scores[kind]
        assert found.measured[:, -1].all()
        assert found.measured.sum() > found.measured.shape[0] * 4
        one = Plain(hf, m, pairs, Site(kind, 1), way)
        full = one.metric(one.features, one.error)
        for index in found.measured[1].nonzero().flatten().tolist():
            mask = torch.ones(13, dtype=torch.float64)
            mask[index] = 0
            expected = sign * (full - one.at(mask[:12], mask[12]))
            torch.testing.assert_close(found.values[0, 1, index].double(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("way", [way for way in WAYS if way.replacement == "counterfactual"], ids=str)
@pytest.mark.parametrize("sort", [SORTS[0], SORTS[1], SORTS[4]], ids=["standard", "jumprelu", "layer_norm"])
def test_gradients_are_those_of_the_published_formulas(sort: dict[str, Any], way: Way) -> None:
    """Attribution patching, and integrated gradients in ten steps from the left ends."""
    width = _tiny("neox").d_model
    m, hf, pairs = doubled("neox", lambda layer: random_dictionary(width, 30, layer, **sort))
    sign = 1 if way.direction == "noising" else -1
    asked = (FEATURE_KINDS, way.replacement, way.direction)
    cases = [
        (load_method("attribution-patching"), [1.0]),
        (load_method("integrated-gradients", steps=10, rule="left"), [1 - step / 10 for step in range(10)]),
    ]
    for method, nodes in cases:
        scores = method.scores(m, pairs, *asked)
        for kind in FEATURE_KINDS:
            for layer in {0, m.layers(kind) - 1}:
                features, error = Plain(hf, m, pairs, Site(kind, layer), way).mean_slopes(nodes)
                assert features.abs().max() > 1e-3
                got = scores[kind].values[0, layer].double().nan_to_num()
                torch.testing.assert_close(got[:-1], sign * features, atol=1e-6, rtol=1e-5)
                torch.testing.assert_close(got[-1], sign * error, atol=1e-6, rtol=1e-5)


@ways
@pytest.mark.parametrize("architecture", ["gpt2", "gemma2"])
def test_converged_integrals_of_any_dictionary_sum_to_the_patch_of_the_site(architecture: str, way: Way) -> None:
    """Features and error together; with any rule, they sum to the site's own score by that rule."""
    width = _tiny(architecture).d_model
    model = read(architecture, lambda layer: random_dictionary(width, 40 + layer, layer, **SORTS[layer % len(SORTS)]))
    pairs, asked = tiny_pairs(model, PAIRS[:3]), (way.replacement, way.direction)
    first, exact = load_method("attribution-patching"), load_method("integrated-gradients", steps=48)
    for method in (first, exact):
        scores = method.scores(model, pairs, FEATURE_KINDS, *asked)
        of_sites = method.scores(model, pairs, tuple(ALL.values()), *asked, by_position=True)
        for kind, whole in ALL.items():
            own = of_sites[whole].values.nansum(-1)[..., 0]
            torch.testing.assert_close(scores[kind].values.nansum(-1), own, atol=1e-5, rtol=1e-4)
    if way.replacement == "zero":  # norms jump near 0, where no fixed rule converges
        return
    for kind, whole in ALL.items():
        run = run_of(model, pairs, way, (whole,))
        patched = run.patch_sites([[site] for site in run.sites]).T.float()
        summed = scores[kind].values[list(run.batch.index)].nansum(-1)
        torch.testing.assert_close(summed, patched, atol=1e-3, rtol=1e-3)
        assert scores[kind].completeness_error.max() < 1e-3


@pytest.mark.parametrize("way", [way for way in WAYS if way.replacement != "zero"], ids=str)
def test_all_features_of_a_kind_together_sum_to_replacing_all_of_its_sites(way: Way) -> None:
    width = _tiny("gpt2").d_model
    model = read("gpt2", lambda layer: random_dictionary(width, 40, layer, **SORTS[layer % len(SORTS)]))
    pairs = tiny_pairs(model, PAIRS[:2])
    joint = load_method("integrated-gradients", steps=96, path="joint")
    together = joint.scores(model, pairs, FEATURE_KINDS, way.replacement, way.direction)
    for kind in FEATURE_KINDS:
        alone = joint.scores(model, pairs, (kind,), way.replacement, way.direction)
        torch.testing.assert_close(alone[kind].values, together[kind].values, atol=1e-5, rtol=1e-4, equal_nan=True)
        run = run_of(model, pairs, way, (kind,))
        total = run.patch_sites([run.sites])[0].float()
        summed = alone[kind].values[list(run.batch.index)].nansum((1, 2))
        torch.testing.assert_close(summed, total, atol=5e-3, rtol=5e-3)


@ways
def test_the_identity_gives_every_dimension_its_own_and_leaves_no_error(way: Way) -> None:
    """Two features a dimension, for what is above 0 and what is below; both together are the dimension's."""
    width = _tiny("gpt2").d_model
    m, hf, pairs = doubled("gpt2", lambda layer: identity(width))
    asked = (way.replacement, way.direction)
    scores = load_method("integrated-gradients", steps=32).scores(m, pairs, FEATURE_KINDS, *asked)
    sign = 1 if way.direction == "noising" else -1
    nodes, weights = (torch.tensor(part).double() for part in _gauss(32))
    for kind in FEATURE_KINDS:
        values = scores[kind].values.nan_to_num().double()
        assert values[..., -1].abs().max() < 1e-6
        one = Plain(hf, m, pairs, Site(kind, 1), way)
        other = decoded(one.d, one.other_features, one.x) + one.other_error
        total = torch.zeros_like(one.x)
        for node, weight in zip(nodes, weights, strict=True):
            x = (other + node * (one.x - other)).requires_grad_()
            total += weight * torch.autograd.grad(one.metric(torch.zeros_like(one.features), x), x)[0]
        dimensions = sign * (total * (one.x - other)).sum((0, 1))
        assert dimensions.abs().max() > 1e-3
        torch.testing.assert_close(values[0, 1, :width] + values[0, 1, width:-1], dimensions, atol=1e-6, rtol=1e-5)


def _gauss(steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from numpy.polynomial.legendre import leggauss

    nodes, weights = leggauss(steps)
    return tuple((1 + nodes) / 2), tuple(weights / 2)


@ways
def test_where_nothing_is_explained_the_error_carries_all(way: Way) -> None:
    width = _tiny("gpt2").d_model
    empty = replace(random_dictionary(width, 9, 0), decoder=torch.zeros(9, width).double())
    model = read("gpt2", lambda layer: empty)
    pairs = tiny_pairs(model, PAIRS[:2])
    scores = load_method("activation-patching").scores(model, pairs, FEATURE_KINDS, way.replacement, way.direction)
    for kind, whole in ALL.items():
        run = run_of(model, pairs, way, (whole,))
        patched = run.patch_sites([[site] for site in run.sites]).T.float()
        values = scores[kind].values[list(run.batch.index)]
        assert patched.abs().max() > 0.01
        torch.testing.assert_close(values[..., -1], patched, atol=1e-6, rtol=1e-5)
        assert not values[..., :-1].nan_to_num().abs().max() > 1e-6


def test_features_in_another_order_have_their_scores_in_that_order() -> None:
    width, order = _tiny("gpt2").d_model, torch.randperm(20, generator=torch.Generator().manual_seed(1))

    def usual(layer: int) -> Dictionary:
        return random_dictionary(width, 20, layer, architecture="jumprelu")

    def shuffled(layer: int) -> Dictionary:
        one = usual(layer)
        parts = {name: getattr(one, name)[order] for name in ("bias", "threshold", "decoder")}
        return replace(one, encoder=one.encoder[:, order], **parts)

    for spec in ("attribution-patching", "activation-patching", "integrated-gradients", "activation-difference"):
        one, two = (
            load_method(spec).scores(read("gpt2", make), tiny_pairs(_tiny("gpt2"), PAIRS[:2]), FEATURE_KINDS)
            for make in (usual, shuffled)
        )
        for kind in FEATURE_KINDS:
            wanted = torch.cat([one[kind].values[..., :-1][..., order], one[kind].values[..., -1:]], dim=-1)
            torch.testing.assert_close(two[kind].values, wanted, atol=1e-6, rtol=1e-5, equal_nan=True)


def test_layers_without_a_dictionary_and_numbers_beyond_a_small_one_are_not_measured() -> None:
    model = tiny_model("gpt2")
    model.attach("mlp-feature", "mlp", {1: random_dictionary(model.d_model, 7, 1)})
    model.attach(
        "residual-feature",
        "residual",
        {0: random_dictionary(model.d_model, 5, 0), 2: random_dictionary(model.d_model, 9, 2)},
    )
    pairs = tiny_pairs(model, PAIRS[:2])
    for spec in ("attribution-patching", "activation-patching", "integrated-gradients:path=component", "random"):
        name, _, option = spec.partition(":")
        method = load_method(name, **dict([option.split("=")] if option else []))
        scores = method.scores(model, pairs, ("mlp-feature", "residual-feature"))
        assert not scores["mlp-feature"].measured[0].any()
        small, large = scores["residual-feature"].measured[0], scores["residual-feature"].measured[2]
        assert not small[5:9].any()
        assert small[9]
        assert large[9]
        assert scores["residual-feature"].values[:, 1].isnan().all()


def test_by_position_features_sum_to_those_of_all_positions() -> None:
    width = _tiny("llama").d_model
    model = read("llama", lambda layer: random_dictionary(width, 15, layer))
    pairs = tiny_pairs(model, PAIRS[:2])
    for spec in ("attribution-patching", "integrated-gradients"):
        placed = load_method(spec).scores(model, pairs, FEATURE_KINDS, by_position=True)
        whole = load_method(spec).scores(model, pairs, FEATURE_KINDS)
        for kind in FEATURE_KINDS:
            torch.testing.assert_close(
                placed[kind].values.nansum(-1), whole[kind].values.nan_to_num(), atol=1e-5, rtol=1e-4
            )
    exact = load_method("activation-patching").scores(model, pairs, ("mlp-feature",), by_position=True)
    assert exact["mlp-feature"].values.nan_to_num().abs().max() > 1e-3
