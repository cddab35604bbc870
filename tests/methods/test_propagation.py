"""Claims about backward rules: the forward is the same to the bit, and gradients are as papers write them down."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import gim
import pytest
import torch
from torch import Tensor
from transformers.models.llama import modeling_llama

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.backward import PRESETS, RULES, _say_no_norm, acting, backward_rules
from benchmark.engine.model import Model, Site
from benchmark.errors import BenchmarkError
from benchmark.prompts.metrics import logit_diff, prob_diff
from benchmark.prompts.pairs import make_pairs
from benchmark.prompts.tokens import Tokens
from benchmark.running.plugins import load_method
from tests.engine import zoo
from tests.tiny import PAIRS, hf_model, linear_model, tiny_model, tiny_pairs, tokenizer

GIM = ("frozen-norm", "softmax-temperature", "quarter-quarter-half")


def scores(model: Model, name: str = "propagation", metric: Any = logit_diff, **options: Any) -> dict[str, Tensor]:
    direction = options.pop("direction", "noising")
    found = load_method(name, **options).scores(model, tiny_pairs(model, PAIRS[:1], metric), direction=direction)
    return {kind: one.values for kind, one in found.items()}


def alike(found: dict[str, Tensor], wanted: dict[str, Tensor], atol: float = 1e-5) -> bool:
    return all(torch.allclose(found[kind], wanted[kind], atol=atol, rtol=1e-4) for kind in DEFAULT_KINDS)


@pytest.mark.parametrize("rules", PRESETS)
def test_the_forward_is_the_same_to_the_bit_and_every_rule_acts_in_every_block(model: Model, rules: str) -> None:
    tokens = torch.tensor([[3, 4, 5, 6, 7], [3, 9, 5, 2, 8]])
    site = Site("residual", 0)
    start = model.activations(tokens, [site])[1][site]
    plain = model.run(tokens)
    with backward_rules(model, acting(model, rules)) as running:
        leaf = start.clone().requires_grad_()
        logits = model.run(tokens, {site: lambda _: leaf})
    logits.sum().backward()
    assert torch.equal(logits, plain)
    for rule in running.rules:
        acted = {run.where for run in running.runs if run.acted[rule]}
        ends = {"the final norm"} if rule == "frozen-norm" else set()
        assert acted == {f"block {layer}" for layer in range(model.n_layers)} | ends, rule


def test_with_a_temperature_of_one_it_is_attribution_patching(model: Model) -> None:
    found = scores(model, rules="softmax-temperature", temperature=1)
    assert alike(found, scores(model, "attribution-patching"), 1e-6)
    assert not alike(found, scores(model, rules="softmax-temperature"), 1e-4)


def model_without_cap(architecture: str, biases: bool) -> Model:
    """No rule acts on a cap, behind the final norm."""
    reference = hf_model(architecture)
    reference.config.final_logit_softcapping = None
    with torch.no_grad():
        for name, weight in reference.named_parameters():
            if name.endswith("bias") and not biases:
                weight.zero_()
    return Model.from_hf(reference, tokenizer(), architecture, False)


def missing(model: Model, *rules: str) -> float:
    """How much e . G of what enters block 0 is off f, as a share of f."""
    tokens, site = torch.tensor([[3, 4, 5, 6, 7]]), Site("residual", 0)
    start = model.activations(tokens, [site])[1][site]
    with backward_rules(model, rules):
        leaf = start.clone().requires_grad_()
        logits = model.run(tokens, {site: lambda _: leaf})[0]
    f = logits[3] - logits[9]
    [gradient] = torch.autograd.grad(f, leaf)
    return abs(float(((start * gradient).sum() - f).detach() / f.detach().abs().clamp(min=0.1)))


@pytest.mark.parametrize("architecture", ["gpt2", "neox", "llama", "qwen2", "qwen3", "gemma2"])
def test_relevance_is_conserved_where_all_but_constants_is_linear(architecture: str) -> None:
    """Without biases, and with every bend of the model a constant, f = e . G: what enters block 0 gets all of f."""
    model = model_without_cap(architecture, biases=False)
    gated = "half" in acting(model, "relp")
    assert missing(model, "frozen-norm", "identity", "frozen-attention", *["half"] * gated) < 1e-5
    assert missing(model, "frozen-norm", "frozen-attention", "frozen-gate" if gated else "identity") < 1e-5
    assert missing(model, "frozen-norm", "identity", *["half"] * gated) > 1e-3  # the softmax bends
    assert missing(model, "identity", "frozen-attention", *["half"] * gated) > 1e-3


@pytest.mark.parametrize("architecture", ["gpt2", "neox", "qwen2"])
def test_biases_take_relevance(architecture: str) -> None:
    model = model_without_cap(architecture, biases=True)
    assert missing(model, *acting(model, "relp"), "frozen-attention") > 1e-3


@pytest.mark.parametrize("architecture", ["gpt2", "neox", "llama"])
def test_what_writes_straight_to_the_logits_gets_its_direct_effect_by_a_frozen_norm(architecture: str) -> None:
    """((a - r) W - mean) w / s . (u - u'): the last neurons', and the last heads' where no MLP reads them."""
    model = tiny_model(architecture)
    pair = tiny_pairs(model, PAIRS[:1]).pairs[0]
    sites = [Site("neuron", 2), Site("head", 2)]
    block, final = model.bridge.blocks[2], model.bridge.ln_final

    def direct() -> dict[str, Tensor]:
        (_, clean), (_, corrupted) = (model.activations(torch.tensor([x]), sites) for x in (pair.clean, pair.corrupted))
        entering: list[Tensor] = []
        model.logits(torch.tensor([pair.clean]), [("ln_final.hook_in", lambda value, hook: entering.append(value))])
        last, own = entering[0][0, -1], final.original_component
        weight, _ = model.unembedding()
        reading = final.weight * (weight[list(pair.correct)] - weight[list(pair.incorrect)])[0]
        if architecture == "llama":  # an RMS norm
            reading = reading / (last.square().mean() + own.variance_epsilon).sqrt()
        else:
            reading = reading / (last.var(correction=0) + own.eps).sqrt()
            reading = reading - reading.mean()
        moved = {site.kind: (clean[site] - corrupted[site])[0, -1] for site in sites}
        return {
            "neuron": (moved["neuron"][:, 0] * (block.mlp.W_out @ reading)).float(),
            "head": (moved["head"] * (block.attn.W_O @ reading)).sum(-1).float(),
        }

    wanted = direct()
    for rules in (*PRESETS, "frozen-norm"):
        found = scores(model, rules=rules)
        torch.testing.assert_close(found["neuron"][0, 2], wanted["neuron"], atol=1e-5, rtol=1e-4)
        head = torch.allclose(found["head"][0, 2], wanted["head"], atol=1e-5, rtol=1e-4)
        assert head == (architecture == "neox")  # whose MLP stands beside the heads
    assert not torch.allclose(scores(model, "attribution-patching")["neuron"][0, 2], wanted["neuron"], atol=1e-3)
    with torch.no_grad():
        model.blocks[2].mlp_output.weight.zero_()
    wanted = direct()
    for rules in (*PRESETS, "frozen-norm"):
        torch.testing.assert_close(scores(model, rules=rules)["head"][0, 2], wanted["head"], atol=1e-5, rtol=1e-4)


def test_where_attention_is_uniform_the_temperature_changes_nothing() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        for block in model.bridge.blocks:
            block.attn.q.weight.zero_()
    assert alike(scores(model, rules="softmax-temperature", temperature=7), scores(model, "attribution-patching"), 1e-6)


@pytest.mark.filterwarnings("ignore:Backward rules")
def test_without_norms_and_with_patterns_that_stand_still_frozen_attention_is_exact() -> None:
    model = linear_model()
    with torch.no_grad():
        for name, weight in model.bridge.named_parameters():
            if ".q." in name or "fc_in" in name:
                weight.zero_()
    exact = scores(model, "activation-patching")["head"]
    assert exact.abs().amax((0, 2)).min() > 1e-2
    torch.testing.assert_close(scores(model, rules="cp-lrp")["head"], exact, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(scores(model, rules="attn-lrp")["head"][:, 0], exact[:, 0], atol=1e-3)


def test_the_identity_rule_is_the_derivative_of_a_relu() -> None:
    model = linear_model()
    assert alike(scores(model, rules="identity"), scores(model, "attribution-patching"), 0)


@pytest.mark.filterwarnings("ignore:Backward rules")
def test_a_rule_that_finds_nothing_is_an_error_and_a_preset_leaves_out_what_the_model_lacks(llama: Model) -> None:
    linear, gpt2 = linear_model(), tiny_model("gpt2")
    nothing = [("frozen-norm", linear), ("half", linear), ("frozen-gate", gpt2), ("identity+half", gpt2)]
    for rules, model in nothing:
        with pytest.raises(
            BenchmarkError, match=rf"{rules.split('+')[-1]}' finds nothing to act on in .*{model.name!r}"
        ):
            scores(model, rules=rules)
    assert acting(linear, "relp") == ("identity",)
    assert acting(gpt2, "relp") == ("frozen-norm", "identity")
    assert acting(llama, "relp") == ("frozen-norm", "identity", "half")
    assert acting(llama, "cp-lrp") == ("frozen-norm", "frozen-attention", "frozen-gate")


@pytest.mark.parametrize("name", ["latent attention, v2", "a gate behind attention"])
def test_a_gate_is_found_whatever_the_model_calls_it(name: str) -> None:
    model = Model.from_hf(zoo.hf_model(zoo.ZOO[name]), tokenizer(), name, False)
    assert acting(model, "relp") == ("frozen-norm", "identity", "half")
    assert acting(model, "cp-lrp") == ("frozen-norm", "frozen-attention", "frozen-gate")


def test_presets_refuse_a_model_of_which_some_mlps_are_gated_but_for_one_that_has_no_rule_of_gates() -> None:
    reference = hf_model("llama")
    mlp = reference.model.layers[1].mlp
    mlp.forward = lambda x: mlp.down_proj(mlp.act_fn(mlp.up_proj(x)) * torch.tensor(2.0))  # a constant is no gate
    model = Model.from_hf(reference, tokenizer(), "mixed", False)
    for rules in ("relp", "attn-lrp", "cp-lrp"):
        with pytest.raises(BenchmarkError, match="'mixed' has gated MLPs, and others in block 1;"):
            acting(model, rules)
    assert acting(model, "gim") == PRESETS["gim"].always
    assert acting(model, "frozen-norm+identity") == ("frozen-norm", "identity")


def _constant_bend(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: x * (activation(x) / x).detach()


@pytest.mark.parametrize("name", ["experts and sinks", "distances in the attention", "an MLP of 1.5 widths"])
def test_activations_that_are_operations_or_functions_or_stand_in_the_block_are_found(name: str) -> None:
    """Rules equal plain gradients of a model whose MLPs are written anew."""
    kept = zoo.ZOO[name]
    if kept.family == "OPT":
        kept = kept._replace(options={**kept.options, "activation_function": "gelu"})  # a ReLU has its own slope
    rules = "identity+half" if kept.family == "GptOss" else "identity"
    own, rewritten = zoo.hf_model(kept), zoo.hf_model(kept)
    for layer in rewritten.get_submodule(kept.heads.partition(".{}")[0]):
        if kept.family == "GptOss":
            layer.mlp.experts._apply_gate = partial(_gate_of_gpt_oss, layer.mlp.experts)
        else:
            activation = layer.activation_fn if kept.family == "OPT" else layer.mlp.gelu_impl
            activation.forward = _constant_bend(activation.forward)

    def found(model: Model, method: str, **options: Any) -> Tensor:
        pairs = make_pairs(model, [zoo.PAIR], logit_diff)
        return load_method(method, **options).scores(model, pairs, ("head",))["head"].values

    model, anew = (Model.from_hf(reference, tokenizer(), name, False) for reference in (own, rewritten))
    plain, wanted = found(model, "attribution-patching"), found(anew, "attribution-patching")
    assert (wanted - plain).abs().max() > 1e-3 * plain.abs().max()
    torch.testing.assert_close(found(model, "propagation", rules=rules), wanted, atol=1e-5, rtol=1e-4)


def _gate_of_gpt_oss(experts: Any, gate_up: Tensor) -> Tensor:
    gate, up = gate_up[..., ::2].clamp(max=experts.limit), gate_up[..., 1::2].clamp(-experts.limit, experts.limit)
    return _scaled((up + 1) * gate * torch.sigmoid(gate * experts.alpha).detach(), 0.5)


def test_a_preset_says_that_it_leaves_out_the_norms() -> None:
    _say_no_norm.cache_clear()
    with pytest.warns(UserWarning, match="leave out 'frozen-norm' on a model that has no norm"):
        acting(linear_model(), "gim")


def test_a_norm_that_no_rule_knows_is_an_error_though_others_are_known() -> None:
    class OddNorm(torch.nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return value / value.square().mean(-1, keepdim=True).log().mul(0.5).exp()

    reference = hf_model("llama")
    reference.model.layers[1].post_attention_layernorm.forward = OddNorm().forward
    model = Model.from_hf(reference, tokenizer(), "odd", False)
    with pytest.raises(BenchmarkError, match="'frozen-norm' finds nothing to act on in block 1 of model 'odd'"):
        acting(model, "relp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": "relpp"}, "no backward rule 'relpp'. Choose one of relp, attn-lrp"),
        ({"rules": "identity+identity"}, "twice"),
        ({"rules": "half+frozen-gate"}, "leaves 'half' nothing"),
        ({"rules": "frozen-attention+softmax-temperature"}, "leaves 'softmax-temperature' nothing"),
        ({"rules": "relp", "temperature": 3.0}, "no use for a temperature"),
        ({"rules": "gim", "temperature": 0.0}, "above 0"),
    ],
)
def test_rules_that_can_not_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        load_method("propagation", **options)


def test_queries_and_keys_are_refused_where_patterns_are_constants(llama: Model) -> None:
    with pytest.raises(BenchmarkError, match="takes attention patterns as constants"):
        load_method("propagation", rules="cp-lrp").scores(llama, tiny_pairs(llama), ("query",))
    load_method("propagation", rules="gim").scores(llama, tiny_pairs(llama), ("query",))


def _scaled(value: Tensor, share: float) -> Tensor:
    return share * value + (1 - share) * value.detach()


def _rewritten(preset: str) -> dict[str, Callable[..., Any]]:
    """A Llama's norm, MLP and attention as papers write them down for a preset."""

    def norm(self: Any, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (x * wide.pow(2).mean(-1, keepdim=True).add(self.variance_epsilon).rsqrt().detach())

    def mlp(self: Any, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        if preset == "gim":
            return self.down_proj(self.act_fn(gate) * up)
        if preset == "cp-lrp":
            return self.down_proj(self.act_fn(gate).detach() * up)
        return self.down_proj(_scaled(gate * (self.act_fn(gate) / gate).detach() * up, 0.5))

    def attention(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, **_: Any) -> Any:
        q_share, k_share, v_share = {"relp": (1, 1, 1), "cp-lrp": (0, 0, 1)}.get(preset, (0.25, 0.25, 0.5))
        k, v = (x.repeat_interleave(module.num_key_value_groups, 1) for x in (_scaled(k, k_share), _scaled(v, v_share)))
        logits = _scaled(q, q_share) @ k.transpose(2, 3) * scaling + mask
        weights = logits.softmax(-1)
        if preset == "gim":
            flat = 2 * (logits / 2).softmax(-1)
            weights = weights.detach() + flat - flat.detach()
        return (weights @ v).transpose(1, 2).contiguous(), weights

    return {"LlamaRMSNorm.forward": norm, "LlamaMLP.forward": mlp, "eager_attention_forward": attention}


@pytest.mark.parametrize("metric", [logit_diff, prob_diff], ids=lambda metric: metric.name)
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_equal_a_llama_that_is_written_anew(
    deep_llama: Model, monkeypatch: pytest.MonkeyPatch, preset: str, metric: Any
) -> None:
    # before the classes are rewritten, which are this model's too
    found = scores(deep_llama, metric=metric, rules=preset)
    reference = hf_model("llama")
    reference.set_attn_implementation("eager")
    batch = next(tiny_pairs(deep_llama, PAIRS[:1], metric).batches())
    places = {"head": "self_attn.o_proj", "neuron": "mlp.down_proj"}
    sites = {
        (kind, i): reference.model.layers[i].get_submodule(path) for kind, path in places.items() for i in range(3)
    }

    def run(tokens: Tensor) -> tuple[Tensor, dict[Any, Tensor]]:
        seen: dict[Any, Tensor] = {}

        def watch(site: Any, value: Tensor) -> Tensor:
            seen[site] = value.detach().requires_grad_() if site == ("head", 0) else value
            seen[site].retain_grad()
            return seen[site]

        handles = [
            module.register_forward_pre_hook(lambda _, inputs, site=site: watch(site, inputs[0]))
            for site, module in sites.items()
        ]
        logits = reference(tokens, use_cache=False).logits[:, -1]
        for handle in handles:
            handle.remove()
        return logits, seen

    _, corrupted = run(batch.corrupted)
    for name, function in _rewritten(preset).items():
        monkeypatch.setattr(f"{modeling_llama.__name__}.{name}", function)
    logits, clean = run(batch.clean)
    batch.metric(logits, torch.arange(1)).sum().backward()
    for (kind, layer), activation in clean.items():
        moved = (activation - corrupted[kind, layer]) * activation.grad
        wanted = moved.reshape(1, len(batch.clean[0]), deep_llama.size(kind), -1).sum((1, 3))
        torch.testing.assert_close(found[kind][:, layer], wanted.detach().float(), atol=1e-5, rtol=1e-4)


def native_llama() -> Model:
    """A Llama in the layout of which gim-explain finds every norm, softmax, query, key and value."""
    import transformer_lens.model_bridge.sources.native  # noqa: F401 (registers boot_native)
    from transformer_lens import TransformerBridge, TransformerBridgeConfig

    config = TransformerBridgeConfig(
        n_layers=2, d_model=24, n_ctx=32, d_head=6, n_heads=4, n_key_value_heads=2, d_mlp=20, d_vocab=23, act_fn="silu",
        gated_mlp=True, normalization_type="RMS", final_rms=True, positional_embedding_type="rotary", seed=0,
    )  # fmt: skip
    bridge = TransformerBridge.boot_native(config).double().eval().requires_grad_(False)
    with torch.no_grad():
        for weight in bridge.parameters():
            weight.mul_(3 if weight.ndim > 1 else 1)
    return Model(bridge, Tokens(tokenizer(), False), "native-llama", "0" * 64)


@pytest.mark.filterwarnings("ignore:A forward hook edited hook_scale")
def test_rules_of_gim_equal_gim_explain() -> None:
    """Softmax and products to the last bit; norms but for rounding: theirs are in float64, the model's in float32."""
    model, tokens = native_llama(), torch.tensor([[3, 4, 5, 6, 7, 8]])

    def gradient(context: AbstractContextManager[Any]) -> Tensor:
        leaves: list[Tensor] = []

        def watch(value: Tensor, hook: Any) -> Tensor:
            leaves.append(value.clone().requires_grad_())
            return leaves[0]

        with context:
            logits = model.bridge.run_with_hooks(tokens, fwd_hooks=[("embed.hook_out", watch)])[0, -1]
            [found] = torch.autograd.grad(logits[4] - logits[9], leaves)
        return found

    off: dict[str, Any] = {
        "freeze_norm": False, "softmax_temperature": None, "q_scale": None, "k_scale": None, "v_scale": None,
    }  # fmt: skip
    scales = {"q_scale": 0.25, "k_scale": 0.25, "v_scale": 0.5}
    plain = gradient(gim.GIM(model.bridge, **off))
    for rules, options in {
        ("softmax-temperature",): {"softmax_temperature": 2},
        ("quarter-quarter-half",): scales,
        ("frozen-norm",): {"freeze_norm": True},
        GIM: {"freeze_norm": True, "softmax_temperature": 2, **scales},
    }.items():
        ours, theirs = gradient(backward_rules(model, rules)), gradient(gim.GIM(model.bridge, **off | options))
        assert (theirs - plain).abs().max() > 1
        assert (ours - theirs).abs().max() < (1e-5 if "frozen-norm" in rules else 1e-12)


def test_every_rule_is_in_a_preset_and_every_preset_is_of_rules() -> None:
    assert {rule for preset in PRESETS.values() for rule in sum(preset, ())} == set(RULES)
