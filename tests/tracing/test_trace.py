"""`trace` against plain Hugging Face loops, what it refuses, and what it writes."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark import (
    BenchmarkError,
    PromptPair,
    Task,
    Trace,
    load_method,
    load_model,
    load_task,
    logit_diff,
    make_pairs,
    prob_diff,
    trace,
)
from benchmark.cli import main
from benchmark.engine.model import Model
from benchmark.engine.weights import ov_circuit, unembedding_bias
from benchmark.models.tiny import ARCHITECTURES, hf_model
from benchmark.prompts.align import partners
from benchmark.tracing.subject import labels
from tests.engine import plain
from tests.fixtures import undrawn
from tests.tiny import tiny_model, tokenizer

SHORT, LONG = "the cat near a dog", "the bird and a fish near a dog"
PAIR = PromptPair(SHORT, LONG, " is", " are")


@pytest.fixture(scope="module")
def gpt2() -> tuple[Model, Any]:
    reference = hf_model("gpt2")
    reference.set_attn_implementation("eager")
    return tiny_model("gpt2"), reference


@pytest.fixture(scope="module")
def traced(gpt2: tuple[Model, Any]) -> Trace:
    methods = ("activation-patching", "attribution-patching")
    return trace(gpt2[0], PAIR, neurons=(1,), align="edges", methods=methods, ov=((2, 3),), patterns=((0, 1),))


@pytest.mark.parametrize(
    ("align", "want"),
    [
        ("edges", ((0, 0), (1, 4), (2, 5), (3, 6), (4, 7))),
        ("end", ((0, 3), (1, 4), (2, 5), (3, 6), (4, 7))),
        ("start", ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4))),
    ],
)
def test_positions_that_are_the_same(align: Any, want: Any) -> None:
    clean, corrupted = SHORT.split(), LONG.split()
    assert partners(clean, corrupted, align) == want  # type: ignore[arg-type]
    assert partners(corrupted, clean, align) == tuple((there, here) for here, there in want)  # type: ignore[arg-type]


def test_a_prompt_that_begins_as_the_other_one_is_aligned_by_its_end() -> None:
    assert partners([1, 2, 3], [1, 2, 3, 4, 5], "edges") == ((0, 0), (1, 1), (2, 4))


@pytest.mark.parametrize("align", ["edges", "end", "start"])
@pytest.mark.parametrize("kind", ["residual", "attention", "mlp", "head"])
@torch.no_grad()
def test_prompts_of_different_lengths_are_patched_where_positions_are_the_same(
    gpt2: tuple[Model, Any], align: Any, kind: str
) -> None:
    model, reference = gpt2
    found = trace(model, PAIR, (kind,), align=align, by_position=(kind,))
    ids = {"noising": (found.clean.ids, found.corrupted.ids), "denoising": (found.corrupted.ids, found.clean.ids)}
    for direction, (base, other) in ids.items():
        turned = found.partners if direction == "noising" else [(there, here) for here, there in found.partners]
        tokens, others = torch.tensor([base]), torch.tensor([other])

        def metric(ids: torch.Tensor) -> float:
            logits = reference(ids, use_cache=False).logits[0, -1]
            right, wrong = (model.tokens.answer(text)[0] for text in (" is", " are"))
            return float(logits[right] - logits[wrong])

        values = found.map(kind, direction).values
        assert values.shape[2] == len(base)
        before = metric(tokens)
        for layer in (0, len(values) - 1):
            new = plain.activation(reference, "gpt2", kind, layer, others)
            for here, there in turned:

                def put(value: torch.Tensor, here: int = here, there: int = there, new: Any = new) -> torch.Tensor:
                    value = value.clone()
                    value[:, here, 0] = new[:, there, 0]
                    return value

                with plain.at(reference, "gpt2", kind, layer, put):
                    moved = before - metric(tokens)
                assert values[layer, 0, here] == pytest.approx(moved if direction == "noising" else -moved, abs=1e-5)
        alone = set(range(len(base))) - {here for here, _ in turned}
        assert {at for at in range(len(base)) if np.isnan(values[..., at]).all()} == alone


def test_the_frame_is_tidy_and_shares_are_of_the_gap(traced: Trace) -> None:
    frame = traced.frame("residual")
    assert list(frame) == ["component", "layer", "index", "position", "token", "score", "share"]
    assert len(frame) == 4 * 5  # layers and one behind the last, positions that have a partner
    last = frame[(frame.layer == 3) & (frame.position == len(traced.corrupted) - 1)].iloc[0]
    assert last.component == "L3R"
    assert last.token == "dog"
    assert last.share == pytest.approx(1, abs=1e-5)
    assert last.score == pytest.approx(traced.clean_metric - traced.corrupted_metric, abs=1e-5)
    heads = traced.frame("head", "noising")
    assert set(heads.position) == {-1}
    assert set(heads.token) == {"all"}
    assert set(traced.frame("neuron").layer) == {1}
    assert len(traced.frame("neuron")) == 20


def test_its_words_say_the_strongest_places(traced: Trace) -> None:
    said = repr(traced)
    assert f"logit_diff: {traced.clean_metric:.3f} clean, {traced.corrupted_metric:.3f} corrupted" in said
    strongest = traced.top(1, "head").iloc[0]
    assert f"heads (denoising): {strongest.component} {strongest.score:+.3g}" in said
    frame = traced.frame("head")
    assert strongest.score == frame.score[frame.score.abs().idxmax()]


def test_methods_stand_side_by_side_on_the_same_places(traced: Trace) -> None:
    exact, estimate = (traced.frame("mlp", method=name) for name in traced.methods)
    assert exact[["component", "position"]].equals(estimate[["component", "position"]])
    assert not np.allclose(exact.score, estimate.score)
    with pytest.raises(BenchmarkError, match="There are no scores of 'key'"):
        traced.map("key")


def test_likeliest_next_tokens_and_patterns_are_the_models(gpt2: tuple[Model, Any], traced: Trace) -> None:
    model, reference = gpt2
    with torch.no_grad():
        output = reference(torch.tensor([traced.clean.ids]), output_attentions=True)
    top = output.logits[0, -1].topk(5)
    assert traced.clean.likeliest.token.tolist() == [model.tokens.word(token) for token in top.indices.tolist()]
    np.testing.assert_allclose(traced.clean.likeliest.logit, top.values.numpy(), atol=1e-5)
    probabilities = output.logits[0, -1].softmax(0)[top.indices]
    np.testing.assert_allclose(traced.clean.likeliest.probability, probabilities.numpy(), atol=1e-6)
    asked = next(pattern for pattern in traced.patterns if pattern.name == "L0H1")
    np.testing.assert_allclose(asked.clean, output.attentions[0][0, 1].numpy(), atol=1e-6)
    assert asked.corrupted is not None
    assert asked.corrupted.shape == (8, 8)
    assert traced.top(1, "head").component[0] in {pattern.name for pattern in traced.patterns}


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@torch.no_grad()
def test_an_ov_circuit_is_the_product_of_the_weights(architecture: str) -> None:
    """The norms' weights folded in, and centred where they centre; read through the final norm and the unembedding."""
    model, reference = tiny_model(architecture), hf_model(architecture)
    layer, head, size = 1, 3, 6
    if architecture == "gpt2":
        block, final, last = reference.transformer.h[layer], reference.transformer.ln_f, reference.lm_head
        before, values, outputs = block.ln_1, block.attn.c_attn.weight[:, 48:], block.attn.c_proj.weight
        kept = values[:, head * size :][:, :size]
    elif architecture == "neox":
        block, final, last = reference.gpt_neox.layers[layer], reference.gpt_neox.final_layer_norm, reference.lm_head
        before, outputs = block.input_layernorm, block.attention.dense.weight.T
        kept = block.attention.query_key_value.weight.view(4, 3, size, 24)[head, 2].T
    else:
        block, final, last = reference.model.layers[layer], reference.model.norm, reference.lm_head
        before, outputs = block.input_layernorm, block.self_attn.o_proj.weight.T
        kept = block.self_attn.v_proj.weight.T[:, (head // 2) * size :][:, :size]
    one = architecture == "gemma2"  # its norms multiply by 1 + weight, and one stands behind the attention
    read = (before.weight + one)[:, None] * kept
    written = outputs[head * size :][:size] * (1 + block.post_attention_layernorm.weight if one else 1)
    lens = last.weight * (final.weight + one)
    if architecture in ("gpt2", "neox"):
        read, written, lens = (
            read - read.mean(0),
            written - written.mean(1, keepdim=True),
            lens - lens.mean(1, keepdim=True),
        )
    lens = lens - lens.mean(0)
    whole = read @ written
    found = ov_circuit(model, layer, head)
    torch.testing.assert_close(found.singular_values, torch.linalg.svdvals(whole)[:size], atol=1e-6, rtol=1e-6)
    together = found.reads.T @ (found.singular_values[:, None] * found.writes)  # signs cancel
    torch.testing.assert_close(together, lens @ whole @ lens.T, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_bias_of_the_unembedding_is_the_final_norms_unembedded() -> None:
    norms = {"gpt2": "transformer.ln_f", "neox": "gpt_neox.final_layer_norm"}
    for architecture in (*norms, "llama"):
        reference = hf_model(architecture)
        bias = torch.zeros(24).double()  # of a norm that has none
        if architecture in norms:
            bias = reference.get_submodule(norms[architecture]).bias
        want = reference.lm_head.weight @ bias
        torch.testing.assert_close(unembedding_bias(tiny_model(architecture)), want - want.mean(), atol=1e-6, rtol=0)


@torch.no_grad()
def test_the_published_ablation_keeps_the_values_biases_and_takes_the_bos() -> None:
    """Biases as transformer_lens folds them: the value's own, and what the norm's makes."""
    model, reference = tiny_model("gpt2", prepend_bos=True), hf_model("gpt2")
    found = trace(model, SHORT, ("value",), replacement="zero", published=("value",), metric="log_likelihood")
    tokens = torch.tensor([found.clean.ids])
    assert tokens[0, 0] == model.tokens.prefix[0]

    def likelihood() -> float:
        logits = reference(tokens, use_cache=False).logits[0, :-1]
        return -float(torch.nn.functional.cross_entropy(logits, tokens[0, 1:]))

    assert found.clean_metric == pytest.approx(likelihood(), abs=1e-6)
    for layer, head in ((0, 2), (2, 3)):
        block = reference.transformer.h[layer]
        bias = block.attn.c_attn(block.ln_1.bias)[48:].view(4, 6)[head]

        def put(value: torch.Tensor, head: int = head, bias: torch.Tensor = bias) -> torch.Tensor:
            value[:, :, head] = bias
            return value

        before = likelihood()
        with plain.at(reference, "gpt2", "value", layer, put):
            assert found.map("value").values[layer, head, 0] == pytest.approx(before - likelihood(), abs=1e-6)
    assert np.isnan(found.gap)
    assert found.frame("value").share.isna().all()


def test_a_pair_of_a_task_draws_from_its_rows(gpt2: tuple[Model, Any]) -> None:
    rows = [replace(PAIR, clean=text, corrupted=None) for text in (SHORT, "the fish and a cat", "a bird near the cat")]
    task = Task(name="rows", title="Rows", metric=logit_diff, summary="s", prompt_pairs=rows)
    pair = task.pairs_named(gpt2[0], ["rows-0000"])
    found = trace(gpt2[0], pair, ("mlp",), by_position=(), replacement="resample")
    [want] = load_method("activation-patching").scores(gpt2[0], pair, ("mlp",), "resample").values()
    assert want.values.abs().max() > 0.01
    np.testing.assert_allclose(found.map("mlp").values[..., 0], want.values[0], atol=1e-6)


def test_a_token_that_comes_again_gets_its_number(gpt2: tuple[Model, Any]) -> None:
    ids = gpt2[0].tokens.encode("the cat near the dog")
    assert labels(gpt2[0].tokens, ids) == ("the (1)", "cat", "near", "the (2)", "dog")


REFUSED = {
    "clean and corrupted differ in length(.|\n)*5 tokens: the(.|\n)*8 tokens: the(.|\n)*--align": {"pair": PAIR},
    "One prompt has nothing to be patched with": {"pair": SHORT, "what": ("mlp",)},
    "The metric logit_diff reads the answers": {"pair": SHORT, "what": ("mlp",), "replacement": "zero"},
    "Two prompts need a correct and an incorrect answer": {"pair": PromptPair(SHORT, LONG, "", "")},
    "Only one of the answers is given": {"pair": PromptPair(SHORT, LONG, " is", "")},
    "There is no metric 'loss'; choose logit_diff, prob_diff, log_likelihood, kl": {"pair": PAIR, "metric": "loss"},
    "There is no kind 'haed'.*Did you mean": {"pair": PAIR, "what": ("haed",), "align": "end"},
    "align is 'middle'; choose end, start, edges": {"pair": PAIR, "align": "middle"},
    "Residual streams are looked at by position only": {"pair": PAIR, "align": "end", "by_position": ()},
    "--ov: there is no head 7.0; 'gpt2' has layers 0-2 with heads 0-3": {"pair": PAIR, "align": "end", "ov": ((7, 0),)},
    "--patterns: there is no head -1.0; 'gpt2' has": {"pair": PAIR, "align": "end", "patterns": ((-1, 0),)},
    "--neurons 9: 'gpt2' has layers 0-2": {"pair": PAIR, "align": "end", "neurons": (1, 9)},
    "takes a PromptPair, a prompt as text, or one pair of a task, not int": {"pair": 5},
    "what is 'head'; give a tuple of kinds": {"pair": PAIR, "align": "end", "what": "head"},
    "needs a prompt of at least 2 tokens": {"pair": "cat", "metric": "log_likelihood"},
    "A mean is taken over a task's discovery rows": {
        "pair": SHORT, "what": ("mlp",), "replacement": "mean", "metric": "kl",
    },
    "Prompts are drawn from a task's other rows": {
        "pair": SHORT, "what": ("mlp",), "replacement": "resample", "metric": "kl",
    },
    "of different lengths can't replace each other": {"pair": PAIR, "align": "end", "what": ("pattern",)},
    "only values are ablated that way": {
        "pair": SHORT, "what": ("mlp",), "published": ("mlp",), "replacement": "zero", "metric": "kl",
    },
}  # fmt: skip


@pytest.mark.parametrize("words", list(REFUSED))
def test_what_cannot_be_traced_is_refused_with_a_reason(gpt2: tuple[Model, Any], words: str) -> None:
    asked: dict[str, Any] = dict(REFUSED[words])
    with pytest.raises(BenchmarkError, match=words):
        trace(gpt2[0], asked.pop("pair"), **asked)


def test_more_pairs_than_one_are_refused() -> None:
    model = load_model("pocket")
    with pytest.raises(BenchmarkError, match="looks into one pair, not 2"):
        trace(model, load_task("ioi").pairs(model, limit=2))


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (PromptPair("Mary gave milk to", "John gave milk to", " Mary", " Ann"), "clean prompt itself holds 'Mary'"),
        (PromptPair("Tom gave milk to", "John gave milk to", " Mary", " John"), "corrupted prompt itself holds 'John'"),
    ],
)
def test_an_answer_inside_one_prompt_is_said(gpt2: tuple[Model, Any], pair: PromptPair, words: str) -> None:
    assert any(words in said for said in trace(gpt2[0], pair, ("mlp",)).cautions)


def test_both_answers_inside_a_prompt_are_a_task_and_no_mistake(gpt2: tuple[Model, Any]) -> None:
    pair = PromptPair("Mary and John gave milk to", "Mary and John sees milk to", " Mary", " John")
    assert not any("itself holds" in said for said in trace(gpt2[0], pair, ("mlp",)).cautions)


def test_a_clean_metric_below_the_corrupted_one_is_said(gpt2: tuple[Model, Any]) -> None:
    pair = PromptPair("Mary gave milk to", "John gave milk to", " is", " are")
    first = trace(gpt2[0], pair, ("mlp",))
    swapped = trace(gpt2[0], PromptPair(pair.corrupted, pair.clean, " is", " are"), ("mlp",))  # type: ignore[arg-type]
    said = [any("it doesn't fall" in words for words in one.cautions) for one in (first, swapped)]
    assert sorted(said) == [False, True]
    assert (first.gap < 0) == said[0]


def test_metrics_without_answers_need_none_and_get_no_caution_about_them(gpt2: tuple[Model, Any]) -> None:
    pair = PromptPair(SHORT, "the bird near a dog", "", "")
    found = trace(gpt2[0], pair, ("mlp", "residual"), metric="kl")
    assert found.cautions == ()
    assert found.clean_metric == pytest.approx(0, abs=1e-6)
    last = found.frame("residual", "denoising").iloc[-1]
    assert last.score == pytest.approx(-found.corrupted_metric, abs=1e-5)
    estimated = trace(gpt2[0], pair, ("mlp",), metric="kl", methods=("attribution-patching",))
    assert any("what attribution patching gives for noising is rounding" in words for words in estimated.cautions)


def test_places_that_are_all_the_same_are_said_to_be(gpt2: tuple[Model, Any]) -> None:
    pair = PromptPair("Mary and John gave", "Mary and John gave milk to", " is", " are")
    found = trace(gpt2[0], pair, ("residual",), align="start")
    assert any("all scores are rounding" in words for words in found.cautions)


def test_embeddings_of_prompts_of_different_lengths_cant_move_into_each_other(gpt2: tuple[Model, Any]) -> None:
    pair = PromptPair("the cat near a dog", "the dog", " is", " are")
    pairs = make_pairs(gpt2[0], [pair], logit_diff, align="edges")
    for method in (load_method("conductance"), load_method("integrated-gradients", path="input")):
        with pytest.raises(BenchmarkError, match="can't move from one prompt to another of a different length"):
            method.scores(gpt2[0], pairs, ("head",))


def test_one_prompt_alone_shows_patterns_and_the_next_tokens(gpt2: tuple[Model, Any]) -> None:
    found = trace(gpt2[0], SHORT)
    assert found.maps == ()
    assert len(found.patterns) == 4
    assert all(pattern.corrupted is None for pattern in found.patterns)
    assert found.top().empty
    assert repr(found) == f"Trace of {SHORT!r} in gpt2"


def test_checkpoints_get_a_map_each() -> None:
    names = ("pocket@0", "pocket@40")
    models = {name: load_model(name) for name in names if name in _pocket_names()} or {"pocket": load_model("pocket")}
    model = load_model("pocket")
    pairs = load_task("ioi").pairs(model, limit=1)
    found = trace(model, pairs, ("residual",), checkpoints={**models, "last": model})
    assert [*found.formation] == [*models, "last"]
    np.testing.assert_allclose(found.formation["last"].values, found.map("residual").values, atol=1e-5)


def _pocket_names() -> list[str]:
    from benchmark.models.catalogue import model_names

    return list(model_names("pocket@all"))


def test_a_tasks_pair_keeps_its_own_metric_unless_another_is_asked_for() -> None:
    model = load_model("pocket")
    pairs = load_task("sva").pairs(model, limit=1)
    assert pairs.metric.name == "prob_diff"
    [batch] = pairs.batches()
    for asked, metric in ((None, prob_diff), ("logit_diff", logit_diff)):
        found = trace(model, pairs, ("mlp",), directions=("noising",), metric=asked)
        assert found.metric == metric.name
        clean, _ = (metric(model.run(tokens), batch.answers) for tokens in batch.both())
        assert found.clean_metric == pytest.approx(float(clean), abs=1e-6)


def test_the_folder_holds_a_page_that_needs_no_network_and_every_number(traced: Trace, tmp_path: Path) -> None:
    page = traced.save(tmp_path / "here")
    text = page.read_text(encoding="utf-8")
    own = text.split("<script>")[0] + text.rpartition("<script>")[2]  # without plotly's own code
    assert not re.search(r"<link[^>]*href=\"http|src=\"http|@import|fetch\(", own)
    charts = json.loads(re.search(r"const charts = (\{.*?\});\n", text)[1])  # type: ignore[index]
    keys = {f"{m}|{d}|{u}" for m in traced.methods for d in ("noising", "denoising") for u in ("metric", "share")}
    assert set(charts["residual"]["variants"]) == keys
    drawn = np.array(
        charts["residual"]["variants"]["activation-patching|denoising|metric"]["data"][0]["z"], dtype=float
    )
    np.testing.assert_allclose(drawn, traced.map("residual").values[:, 0], rtol=1e-4)
    share = np.array(charts["mlp"]["variants"]["activation-patching|noising|share"]["data"][0]["z"], dtype=float)
    np.testing.assert_allclose(share, traced.map("mlp", "noising").values[:, 0] / traced.gap, rtol=1e-4)
    kept = pd.read_csv(page.parent / "head-noising-activation-patching.csv")
    np.testing.assert_allclose(kept.score, traced.frame("head", "noising").score)
    stored = json.loads((page.parent / "trace.json").read_text(encoding="utf-8"))
    assert stored["gap"] == traced.gap
    assert stored["corrupted"]["tokens"] == list(traced.corrupted.labels)
    stems = {path.stem for path in (page.parent / "figures").iterdir()}
    assert {"residual-denoising-activation-patching", "neuron-noising-attribution-patching", "pattern-L0H1"} <= stems
    for stem in stems:
        assert all((page.parent / "figures" / f"{stem}.{end}").stat().st_size > 1000 for end in ("pdf", "png"))


def test_the_command_prints_tokens_and_places_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with undrawn():
        assert main(["trace", "ioi:ioi-0007", "--what", "mlp,head", "--direction", "noising"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"clean +<\|endoftext\|> \| .*\ncorrupted +<\|endoftext\|> \| .*\n +\^+\n", out)
    assert re.search(r"logit_diff: \d+\.\d{4} clean, -\d+\.\d{4} corrupted", out)
    assert re.search(r"Strongest places, noising:\n  MLP outputs: L\dM at .*\n  heads: L0H3 \+", out)
    assert (tmp_path / "traces" / "ioi-ioi-0007-pocket" / "trace.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ioi:ioi-0007", "other"], "is a pair of a task: leave out the second prompt"),
        (["ioi:ioi-9999"], "there is no such row"),
        (["one", "two"], "Two prompts need a correct and an incorrect answer"),
        (["one", "two", "--ablate", "value"], "leave out --what and a second prompt"),
        (["one", "--ablate", "value=all"], "write KIND, or value=published"),
        (["oii:ioi-0007"], "there is no task 'oii'. Did you mean 'ioi'?"),
        (["ioi:ioi-0007", "--replacement", "mean"], "--replacement says what --ablate puts in"),
        (["ioi:ioi-0007", "--ablate", "value=published", "--replacement", "mean"], "leaves biases, and no mean"),
        (["one", "--patterns", "9:7"], "write layer.head, such as 9.7,10.9"),
    ],
)
def test_bad_requests_exit_with_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    try:
        code = main(["trace", *arguments, "--out", str(tmp_path)])
    except SystemExit as left:
        code = left.code  # type: ignore[assignment]
    assert code == 2
    assert words in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_tokenizers_of_the_tests_know_every_word() -> None:
    assert all(token != tokenizer().unk_token_id for token in tokenizer()(f"{SHORT} {LONG} is are")["input_ids"])
