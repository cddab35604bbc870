"""`tests/hub` holds the tool to published numbers of GPT-2. Where no hub answers, its code runs on other models.

Here that is a random GPT-2 with the real one's tokenizer, layers, heads and neurons, and SmolLM2. Each sort of number
is held against the untouched Hugging Face model and forward hooks.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model, Site
from benchmark.engine.request import Request
from benchmark.engine.weights import unembedding_bias
from benchmark.errors import BenchmarkError
from benchmark.models import smollm2 as smollm2_files
from benchmark.models.loading import load_model
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import make_pairs
from benchmark.prompts.tokens import Tokens
from benchmark.tracing.trace import trace
from tests.hub.__main__ import main, outcome, table
from tests.hub.checks import CHECKS, PUBLISHED, Check, Measured, Rank

PRONOUNS, TAGS = PUBLISHED["pronouns"], PUBLISHED["tag_questions"]
CLEAN, CORRUPTED = PRONOUNS["clean"], PRONOUNS["corrupted"]


@dataclass
class Plain:
    """A Hugging Face model and where its parts are."""

    model: Any
    tokenizer: Any
    prefix: list[int]
    heads: str  # the module that takes in all heads' results
    neurons: str
    values: str
    value: Callable[[Tensor, int], Tensor]  # one head's part of what that module gives, as a view
    blank: Callable[[int, int], Tensor]  # what one head's value is where nothing is read

    def ids(self, prompt: str) -> Tensor:
        return torch.tensor([[*self.prefix, *self.tokenizer(prompt, add_special_tokens=False)["input_ids"]]])

    @torch.no_grad()
    def logits(self, prompt: str) -> Tensor:
        return self.model(self.ids(prompt), use_cache=False).logits[0]

    def logit_diff(self, prompt: str) -> float:
        she, he = (self.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (" she", " he"))
        last = self.logits(prompt)[-1]
        return float(last[she] - last[he])

    def log_likelihood(self, prompt: str) -> float:
        logs = self.logits(prompt).log_softmax(-1)
        return float(torch.stack([logs[at, token] for at, token in enumerate(self.ids(prompt)[0, 1:])]).mean())

    @contextmanager
    def entering(self, module: str, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
        place = self.model.get_submodule(module)
        handle = place.register_forward_pre_hook(lambda _, arguments: (edit(arguments[0].clone()),))
        yield
        handle.remove()

    @contextmanager
    def leaving(self, module: str, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
        handle = self.model.get_submodule(module).register_forward_hook(lambda *seen: edit(seen[2].clone()))
        yield
        handle.remove()

    def restored(self, module: str, channels: slice) -> float:
        """The share of the gap that these channels' clean activations restore in the corrupted prompt."""
        kept: list[Tensor] = []
        with self.entering(module, lambda value: (kept.append(value.clone()), value)[1]):
            clean = self.logit_diff(CLEAN)

        def put(value: Tensor) -> Tensor:
            value[..., channels] = kept[0][..., channels]
            return value

        corrupted = self.logit_diff(CORRUPTED)
        with self.entering(module, put):
            return (self.logit_diff(CORRUPTED) - corrupted) / (clean - corrupted)

    def without_value(self, layer: int, head: int, metric: Callable[[], float]) -> float:
        """How far the metric falls when one head's value is what it is without input, at every position."""

        def put(value: Tensor) -> Tensor:
            self.value(value, head)[:] = self.blank(layer, head)
            return value

        before = metric()
        with self.leaving(self.values.format(layer), put):
            return before - metric()


@pytest.fixture(scope="module")
def gpt2_folder(gpt2_tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of the real one's shape but for the width of its residual stream."""
    end, folder = gpt2_tokens.tokenizer.eos_token_id, tmp_path_factory.mktemp("random-gpt2")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(  # relu: three layers of neurons in a second
                n_embd=48,
                n_inner=3072,
                n_positions=64,
                activation_function="relu",
                initializer_range=0.2,
                bos_token_id=end,
                eos_token_id=end,
            )
        )
        for weight in model.parameters():  # biases and norms too
            weight += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    gpt2_tokens.tokenizer.save_pretrained(folder)
    return folder


def loaded(folder: Path) -> tuple[Any, Any]:
    """The model as transformers loads it, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def gpt2(gpt2_folder: Path) -> tuple[Measured, Plain]:
    model, tokenizer = loaded(gpt2_folder)
    width = model.config.n_embd // model.config.n_head

    def value(joint: Tensor, head: int) -> Tensor:  # behind all queries and all keys
        return joint[..., 2 * model.config.n_embd + head * width :][..., :width]

    def blank(layer: int, head: int) -> Tensor:  # folding puts the norm's bias into those of the values
        block = model.transformer.h[layer]
        return value(block.ln_1.bias @ block.attn.c_attn.weight + block.attn.c_attn.bias, head)

    parts = ("transformer.h.{}.attn.c_proj", "transformer.h.{}.mlp.c_proj", "transformer.h.{}.attn.c_attn")
    plain = Plain(model, tokenizer, [tokenizer.bos_token_id], *parts, value, blank)
    return Measured(load_model(gpt2_folder, device="cpu")), plain


@pytest.fixture(scope="module")
def real(smollm2: Model) -> tuple[Measured, Plain]:
    model, tokenizer = loaded(smollm2_files.folder())
    width = model.config.hidden_size // model.config.num_attention_heads

    def value(all_values: Tensor, head: int) -> Tensor:
        return all_values[..., head * width :][..., :width]

    parts = ("model.layers.{}.self_attn.o_proj", "model.layers.{}.mlp.down_proj", "model.layers.{}.self_attn.v_proj")
    return Measured(smollm2), Plain(model, tokenizer, [], *parts, value, lambda *_: torch.zeros(width))


@pytest.fixture(params=["gpt2", pytest.param("real", marks=pytest.mark.smollm2)])
def both(request: pytest.FixtureRequest) -> tuple[Measured, Plain]:
    """The same model twice: ours, and Hugging Face's own."""
    found: tuple[Measured, Plain] = request.getfixturevalue(request.param)
    return found


def test_likeliest_next_tokens_their_logits_less_the_mean_and_percents(both: tuple[Measured, Plain]) -> None:
    measured, plain = both
    found = measured.next_tokens(CLEAN).iloc[:5]
    last = plain.logits(CLEAN)[-1]
    order = last.argsort(descending=True)[:5]
    assert [word.strip() for word in found.index] == [plain.tokenizer.decode([token]).strip() for token in order]
    assert found.logit.tolist() == pytest.approx((last - last.mean())[order].tolist(), abs=1e-4)
    assert found.percent.tolist() == pytest.approx((last.exp() / last.exp().sum() * 100)[order].tolist(), rel=1e-4)
    shown = trace(measured.model, CLEAN).clean.likeliest
    assert shown.token.tolist() == found.index.tolist()
    assert (100 * shown.probability).tolist() == pytest.approx(found.percent.tolist())


def test_the_logit_difference_of_both_prompts(both: tuple[Measured, Plain]) -> None:
    measured, plain = both
    found = measured.logit_diff(CLEAN, CORRUPTED, " she", " he")
    assert found.clean_metric == pytest.approx(plain.logit_diff(CLEAN), abs=1e-4)
    assert found.corrupted_metric == pytest.approx(plain.logit_diff(CORRUPTED), abs=1e-4)
    alone = measured.logit_diff(CORRUPTED, None, " he", " she")
    assert alone.clean_metric == pytest.approx(-plain.logit_diff(CORRUPTED), abs=1e-4)


def test_the_logit_difference_of_prompts_of_different_lengths(gpt2: tuple[Measured, Plain]) -> None:
    measured, plain = gpt2
    longer = "The very old man was working because"
    found = measured.logit_diff(CLEAN, longer, " she", " he")
    assert len(found.clean) != len(found.corrupted)
    assert found.corrupted_metric == pytest.approx(plain.logit_diff(longer), abs=1e-4)


def test_the_share_of_the_gap_that_a_head_or_a_neuron_restores(gpt2: tuple[Measured, Plain]) -> None:
    measured, plain = gpt2
    width = measured.model.d_head
    neurons = measured.neurons
    assert len(neurons) == 3 * 3072
    strongest = neurons.loc[neurons.share.abs().idxmax()]
    for frame, module, layer, index, channels in (
        (measured.heads, plain.heads, 9, 7, slice(7 * width, 8 * width)),
        (measured.heads, plain.heads, 10, 9, slice(9 * width, 10 * width)),
        (
            neurons,
            plain.neurons,
            strongest.layer,
            strongest["index"],
            slice(strongest["index"], strongest["index"] + 1),
        ),
    ):
        want = plain.restored(module.format(layer), channels)
        assert abs(want) > 1e-3
        assert frame.set_index(["layer", "index"]).share[layer, index] == pytest.approx(want, abs=1e-4)


@pytest.mark.smollm2
def test_the_share_of_the_gap_that_a_head_or_a_neuron_of_smollm2_restores(real: tuple[Measured, Plain]) -> None:
    measured, plain = real
    model = measured.model
    [batch] = make_pairs(model, [PromptPair(CLEAN, CORRUPTED, " she", " he")], logit_diff).batches()
    run = Intervention(model, batch, Request(("head", "neuron"), direction="denoising"))
    gap = plain.logit_diff(CLEAN) - plain.logit_diff(CORRUPTED)
    head, neurons = Site("head", 9), Site("neuron", 28)
    changes = (run.live[neurons] - run.replacement[neurons]).abs()[0, -1, :, 0]
    neuron = int(changes.argmax())
    for site, index, module, channels in (
        (head, 7, plain.heads, slice(7 * model.d_head, 8 * model.d_head)),
        (neurons, neuron, plain.neurons, slice(neuron, neuron + 1)),
    ):
        want = plain.restored(module.format(site.layer), channels)
        assert abs(want) > 1e-3
        assert run.patch({site: torch.tensor([index])})[site].item() / gap == pytest.approx(want, abs=1e-4)


def test_what_the_loss_loses_with_a_head_s_value(both: tuple[Measured, Plain]) -> None:
    measured, plain = both
    prompt = TAGS["ablation"]["loss"]["prompt"]
    scores = measured.loss_ablations.set_index(["layer", "index"]).score
    for layer, head in ((0, 1), (2, 0)):
        want = plain.without_value(layer, head, lambda: plain.log_likelihood(prompt))
        assert abs(want) > 1e-3
        assert scores[layer, head] == pytest.approx(want, abs=1e-4)


def test_what_the_logit_difference_loses_with_a_head_s_value(gpt2: tuple[Measured, Plain]) -> None:
    measured, plain = gpt2
    scores = measured.logit_diff_ablations.set_index(["layer", "index"]).score
    for layer, head in ((0, 8), (7, 3)):
        want = plain.without_value(layer, head, lambda: plain.logit_diff(TAGS["ablation"]["logit_diff"]["prompt"]))
        assert abs(want) > 1e-3
        assert scores[layer, head] == pytest.approx(want, abs=1e-4)


def test_the_bias_of_the_unembedding(both: tuple[Measured, Plain]) -> None:
    """What the final norm's bias alone makes of the logits; SmolLM2's norm has none."""
    measured, plain = both
    frame = measured.logit_diff(CLEAN, CORRUPTED, " she", " he").bias.set_index("token")
    if "transformer" not in dict(plain.model.named_children()):
        assert unembedding_bias(measured.model).abs().max() < 1e-6
        assert frame.bias.tolist() == pytest.approx([0, 0], abs=1e-6)
        return
    with torch.no_grad():
        bias = plain.model.lm_head(plain.model.transformer.ln_f.bias)
    she, he = (float(bias[plain.ids(word)[0, -1]] - bias.mean()) for word in (" she", " he"))
    assert abs(she) > 0.05
    assert frame.bias[[" she", " he"]].tolist() == pytest.approx([she, he], abs=1e-4)
    assert frame.odds[" he"] == pytest.approx(math.exp(he - she), rel=1e-4)


def test_the_top_tokens_of_an_ov_circuit(gpt2: tuple[Measured, Plain]) -> None:
    """The circuit's matrix written out from GPT-2's weights, with both norms folded in."""
    measured, plain = gpt2
    network = plain.model.transformer
    block = network.h[9]
    width = measured.model.d_head
    with torch.no_grad():
        columns = 2 * measured.model.d_model + 7 * width
        value = block.attn.c_attn.weight[:, columns : columns + width].double()
        output = block.attn.c_proj.weight[7 * width :][:width].double()
        matrix = block.ln_1.weight.double()[:, None] * value @ output
        matrix = matrix - matrix.mean(0)  # the norm takes the mean off what is read
        matrix = matrix - matrix.mean(1, keepdim=True)  # and the final one off what is written
        lens = plain.model.lm_head.weight.double() * network.ln_f.weight.double()
        lens = lens - lens.mean(0)
        circuit = torch.linalg.svd(matrix)
        vectors = [*circuit.U.T[:4], *circuit.Vh[:4]]
    tops = [(sign * (vector @ lens.T)).topk(8).indices.tolist() for vector in vectors for sign in (1, -1)]
    want = [frozenset(measured.model.tokens.word(token).strip() for token in top) for top in tops]
    found = [frozenset(words) for words in measured.vectors("L9H7")]
    assert len(found) == len(want) == 16
    for at in range(0, 16, 2):  # a vector's sign is free
        assert set(found[at : at + 2]) == set(want[at : at + 2])


def test_every_check_runs_and_a_random_model_doesn_t_agree(
    gpt2: tuple[Measured, Plain], capsys: pytest.CaptureFixture[str]
) -> None:
    assert table(gpt2[0]) == 1
    heading, *rows, total = capsys.readouterr().out.splitlines()
    assert heading.split() == ["number", "published", "agrees", "obtained"]
    assert len(rows) == len(CHECKS)
    assert f"{sum('  NO  ' in row for row in rows)} NO" in total
    assert sum("  may be stale  " in row for row in rows) == 2


def test_one_line_where_no_hub_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(name: str) -> Model:
        raise BenchmarkError(f"Model {name!r}: the Hugging Face hub\ndid not give it.")

    monkeypatch.setattr("tests.hub.__main__.load_model", refuse)
    assert main([]) == 2
    assert capsys.readouterr().out == "Model 'gpt2': the Hugging Face hub did not give it.\n"


def test_a_model_of_another_shape_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "pocket"]) == 2
    assert capsys.readouterr().out.startswith("'pocket' isn't GPT-2 small: it has 4 layers of 8 heads")


def test_a_check_that_can_t_be_asked_is_a_row_of_its_own(gpt2: tuple[Measured, Plain]) -> None:
    def refuse(_: Measured) -> float:
        raise BenchmarkError("No such\nword.")

    assert outcome(Check("a", "1.0", refuse, bool), gpt2[0]) == ("NO", "No such word.")


def test_a_check_agrees_with_what_was_published_and_not_with_what_is_two_units_off() -> None:
    numbers = [check for check in CHECKS if check.published.lstrip("-").replace(".", "").isdigit()]
    assert len(numbers) == 115
    for check in numbers:
        unit = 10.0 ** -len(check.published.partition(".")[2])
        assert check.agrees(float(check.published))
        for sign in (1, -1):
            assert check.agrees(float(check.published) + sign * 0.49 * unit)
            assert not check.agrees(float(check.published) + sign * max(2 * unit, 1e-3))
        assert not check.agrees(math.nan)


def test_facts_agree_with_what_they_say_alone() -> None:
    named = {check.name: check.agrees for check in CHECKS}
    head, neuron = named["L9H7, denoising"], named["L4N2814, denoising"]
    assert head(Rank(-0.2, 5))
    assert not head(Rank(0.2, 6))
    assert neuron(Rank(-0.2, 1))
    assert not neuron(Rank(0.2, 1))
    assert not neuron(Rank(-0.2, 2))
    assert named["L5N1777, denoising"](Rank(0.2, 2))
    assert not named["L5N1777, denoising"](Rank(0.2, 3))
    for name, sign in (
        ("loss without the value of L0H7", 1),
        ("loss without the value of L2H0", -1),
        ("logit diff without the value of L0H8", 1),
        ("logit diff without the value of L7H3", -1),
    ):
        assert named[name](Rank(sign * 0.1, 1))
        assert not named[name](Rank(-sign * 0.1, 1)) or name.endswith("L0H7")
    assert not named["loss without the value of L0H7"](Rank(0.1, 2))
    assert not named["loss without the value of L2H0"](Rank(0.1, 1))
    vectors = named["L10H9: top tokens of the OV circuit's first vectors"]
    assert vectors(["her", "Her", "she", "the"])
    assert not vectors(["her", "Her", "a", "the"])
    order = named[f"{CLEAN}: top 5 next tokens"]
    assert order([" she", " he", " of", " the", " they"])
    assert not order([" he", " she", " of", " the", " they"])
    tied = named["Matrix is a great movie, isn’t: top 10 next tokens"]
    words = [word for word, *_ in TAGS["tables"]["Matrix is a great movie, isn’t"]]
    words[3], words[4] = words[4], words[3]  # the same logit to both decimals
    assert tied(words)
