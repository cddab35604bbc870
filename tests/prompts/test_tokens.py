"""Tokens as the model will see them: what stands in front, and which tokens of an answer follow its own prompt."""

from dataclasses import replace

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from benchmark.engine.intervention import Intervention
from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model
from benchmark.prompts.dataset import PromptPair, read_csv, write_csv
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import Dropped, TokenPair, make_pairs, tokenise
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from benchmark.running.plugins import load_method
from tests.tiny import PAIRS, WORDS, hf_model, tiny_model, tokenizer

CAPITAL = PromptPair("The capital of France is", "The capital of Spain is", " Paris", " Madrid", id="capital")


def with_template(single: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer, that puts special tokens around every text."""
    made = tokenizer()
    ids = [(name, made.convert_tokens_to_ids(name)) for name in ("<unk>", "<bos>")]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return made


@pytest.mark.parametrize(
    ("single", "front"),
    [("<bos> $A", (1,)), ("<bos> $A <unk>", (1,)), ("<unk> <bos> $A", (0, 1)), ("$A <unk>", ()), ("$A", ())],
)
def test_the_prefix_is_what_the_tokenizer_puts_in_front(single: str, front: tuple[int, ...]) -> None:
    made = with_template(single)
    assert Tokens(made).prefix == front
    assert Tokens(made).encode("the cat") == [*front, *tokenizer()("the cat")["input_ids"]]
    assert Tokens(made, prepend_bos=False).encode("the cat") == tokenizer()("the cat")["input_ids"]


def test_a_bos_is_put_in_front_once() -> None:
    assert Tokens(with_template("<bos> $A"), prepend_bos=True).prefix == (1,)
    assert Tokens(with_template("<unk> $A"), prepend_bos=True).prefix == (1, 0)
    assert Tokens(tokenizer(), model_type="gpt2").prefix == (1,)


def test_a_tokenizer_that_changes_the_text_itself_is_refused() -> None:
    class Odd:
        bos_token_id = None

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [5, 6] if add_special_tokens else [7]}

        def decode(self, ids: list[int], **_: object) -> str:
            return str(ids)

    with pytest.raises(BenchmarkError, match="can't be told"):
        Tokens(Odd())
    assert Tokens(Odd(), prepend_bos=False).prefix == ()


def test_zero_and_mean_spare_the_whole_prefix() -> None:
    model = Model.from_hf(hf_model("gpt2"), with_template("<unk> <bos> $A"), "two in front", prepend_bos=None)
    pairs = make_pairs(model, PAIRS[:1], logit_diff)
    assert (pairs.bos, pairs.pairs[0].clean[:2]) == (2, (0, 1))
    run = Intervention(model, next(pairs.batches()), Request(("head",), "zero", "noising", 0))
    for site in run.sites:
        assert (run.replacement[site][:, : pairs.bos] == run.live[site][:, : pairs.bos]).all()
        assert (run.replacement[site][:, pairs.bos :] == 0).all()


def test_a_prompt_that_brings_the_prefix_is_dropped_and_named(gpt2_tokens: Tokens) -> None:
    brings = replace(CAPITAL, clean=f"<|endoftext|>{CAPITAL.clean}", corrupted=f"<|endoftext|>{CAPITAL.corrupted}")
    dropped = tokenise(brings, gpt2_tokens)
    assert isinstance(dropped, Dropped)
    assert dropped.startswith("a prompt starts with '<|endoftext|>', which is put in front anyway")
    ids = gpt2_tokens.encode(brings.clean)
    assert ids.count(gpt2_tokens.tokenizer.bos_token_id) == 1


def test_prompts_beyond_the_models_positions_or_embedding_are_dropped_rows_and_no_more() -> None:
    model = tiny_model("gpt2")  # 32 positions
    long = PromptPair("the cat " * 16 + "near", "the dog " * 16 + "near", " is", " are", id="long")
    task = Task("t", "T", logit_diff, "s", prompt_pairs=[*PAIRS, long])
    audit = task.audit(model.tokens)
    assert audit.dropped == {"a prompt is longer than the model's 32 positions": 1}
    assert audit.examples["a prompt is longer than the model's 32 positions"] == ("long: 33 tokens",)
    assert len(task.pairs(model)) == len(PAIRS)

    larger = tokenizer()
    larger.add_tokens(["zorblax"])
    model = Model.from_hf(hf_model("gpt2"), larger, "small embedding", prepend_bos=False)
    odd = PromptPair("the zorblax near a cat", "the zorblax near a dog", " is", " are", id="odd")
    audit = Task("t", "T", logit_diff, "s", prompt_pairs=[*PAIRS, odd]).audit(model.tokens)
    assert audit.dropped == {"a prompt has a token beyond the model's embedding of 23 rows": 1}
    answers = replace(PAIRS[0], correct=" zorblax", id="answer")
    assert Task("t", "T", logit_diff, "s", prompt_pairs=[answers]).audit(model.tokens).kept == 0


def test_lengths_that_differ_are_shown_side_by_side(gpt2_tokens: Tokens) -> None:
    audit = Task(
        "t", "T", logit_diff, "s", prompt_pairs=[replace(CAPITAL, corrupted="The capital of Liechtenstein is")]
    ).audit(gpt2_tokens)
    [[line]] = audit.examples.values()
    assert line.startswith("capital:\n  6 tokens: ")
    assert " Lie | ch | ten | stein" in line


@pytest.mark.parametrize(
    ("clean", "right", "wrong"),
    [("x = (a + b", ")", "]"), ("x = [a + b", "]", ")"), ("f(x", "):", "]:"), ("It is 3,", " and", " or")],
)
def test_answers_are_what_follows_their_own_prompt(smollm2_tokens: Tokens, clean: str, right: str, wrong: str) -> None:
    pair = PromptPair(clean, clean.replace("x", "y").replace("It", "He"), right, wrong)
    made = tokenise(pair, smollm2_tokens)
    assert isinstance(made, TokenPair)
    joint = smollm2_tokens.tokenizer(clean + right)["input_ids"]
    assert joint[: len(made.clean)] == list(made.clean)
    assert joint[len(made.clean)] == made.correct[0]


def test_a_space_at_the_prompts_end_drops_the_row_and_a_newline_does_not(smollm2_tokens: Tokens) -> None:
    space = tokenise(replace(CAPITAL, clean=f"{CAPITAL.clean} ", corrupted=f"{CAPITAL.corrupted} ", correct="Paris",
                             incorrect="Madrid"), smollm2_tokens)  # fmt: skip
    assert isinstance(space, Dropped)
    assert "join into other tokens" in space
    newline = replace(CAPITAL, clean="France's capital:\n", corrupted="Spain's capital:\n", correct="Paris",
                      incorrect="Madrid")  # fmt: skip
    made = tokenise(newline, smollm2_tokens)
    assert isinstance(made, TokenPair)
    assert smollm2_tokens.decode(made.correct) == "Paris"


def test_an_answer_that_goes_on_inside_a_word_is_not_taken_from_its_middle(gpt2_tokens: Tokens) -> None:
    """ "ma" and "tching rug" are " matching", " rug" together: the token after the prompt's would be " rug"."""
    dropped = tokenise(PromptPair("It sits on the ma", "It sat on the ma", "tching rug", "tching chair"), gpt2_tokens)
    assert isinstance(dropped, Dropped)
    assert "join into other tokens" in dropped


def test_an_answer_that_the_corrupted_prompt_would_join_is_dropped(gpt2_tokens: Tokens) -> None:
    pair = PromptPair("It lasted from 1832 to 18", "It lasted from 1832 to 1,", "45", "31")
    assert isinstance(tokenise(pair, gpt2_tokens), Dropped)
    assert isinstance(
        tokenise(replace(pair, corrupted="It lasted from 1801 to 18"), gpt2_tokens, "continuation"), TokenPair
    )


def test_many_answers_have_the_tokens_that_each_has_alone(gpt2_tokens: Tokens) -> None:
    """They are found once for the prompt's last word; that must be what the whole prompt gives."""
    answers = [" is", " are", " chastises", " was", " were", "'s", ",", " "]
    for prompt in ("The key to the cabinets", "The cabinets", "A 'quoted", "x\n", "It ends, "):
        one_by_one = [gpt2_tokens.following(prompt, [answer])[0] for answer in answers]
        assert gpt2_tokens.following(prompt, answers) == one_by_one


def test_answers_of_several_tokens_are_scored_by_the_first_and_counted(gpt2_tokens: Tokens) -> None:
    long = replace(CAPITAL, correct=" Ouagadougou", clean="A town of France is", corrupted="A town of Spain is", id="l")
    other = replace(long, clean="A city of France is", corrupted="A city of Spain is", id="other")
    audit = Task("t", "T", logit_diff, "s", prompt_pairs=[CAPITAL, long, other]).audit(gpt2_tokens)
    assert audit.cut == {" Ouagadougou": 2}
    made = tokenise(long, gpt2_tokens)
    assert isinstance(made, TokenPair)
    assert made.cut == (" Ouagadougou",)
    assert len(made.correct) == 1


def test_a_chat_pair_is_put_into_the_tokenizers_own_template(smollm2_tokens: Tokens, smollm2: Model) -> None:
    pair = PromptPair.chat("The capital of France is?", "The capital of Spain is?", "Paris", "Madrid", id="c")
    made = tokenise(pair, smollm2_tokens)
    assert isinstance(made, TokenPair)
    text = smollm2_tokens.decode(made.clean)
    assert text.endswith("The capital of France is?<|im_end|>\n<|im_start|>assistant\n")
    assert smollm2_tokens.decode(made.correct) == "Paris"
    with_system = tokenise(
        PromptPair.chat("The capital of France is?", "The capital of Spain is?", "Paris", "Madrid", "Be brief."),
        smollm2_tokens,
    )
    assert isinstance(with_system, TokenPair)
    assert "system\nBe brief." in smollm2_tokens.decode(with_system.clean)
    pairs = make_pairs(smollm2, [pair], logit_diff)
    assert metrics(smollm2, pairs)["clean"] > 0 > metrics(smollm2, pairs)["corrupted"]


def test_a_chat_column_does_the_same_and_a_tokenizer_without_template_says_so(
    tmp_path, smollm2_tokens: Tokens, gpt2_tokens: Tokens
) -> None:
    pair = PromptPair.chat("The capital of France is?", "The capital of Spain is?", "Paris", "Madrid", id="c")
    (tmp_path / "chat.csv").write_text(write_csv([pair, replace(CAPITAL, extra={})]))
    chat, plain = read_csv(tmp_path / "chat.csv")
    assert (chat.is_chat, plain.is_chat) == (True, False)
    assert tokenise(chat, smollm2_tokens).clean == tokenise(pair, smollm2_tokens).clean
    assert tokenise(chat, gpt2_tokens) == "the tokenizer has no chat template"


def test_a_template_that_brings_the_bos_puts_it_in_front_once() -> None:
    made = with_template("<bos> $A")
    made.chat_template = "{{ bos_token }}{% for m in messages %} {{ m.content }}{% endfor %} to"
    tokens = Tokens(made)
    pair = tokenise(PromptPair.chat("the cat", "the dog", " is", " are"), tokens)
    assert isinstance(pair, TokenPair)
    assert pair.clean == (1, *tokenizer()("the cat to")["input_ids"])


def test_the_marker_of_a_sentencepiece_token_is_the_space_before_its_word() -> None:
    vocabulary = {"<unk>": 0, "\u2581": 1, "\u2581Paris": 2, "ing": 3}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokens = Tokens(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"), prepend_bos=False)
    assert tokens.decode([2]) == "Paris"
    assert (tokens.word(2), tokens.word(3)) == (" Paris", "ing")


def test_tokens_that_were_found_before_are_those_of_the_text_whatever_a_caller_did_with_them() -> None:
    tokens, texts = Tokens(tokenizer()), [f"the cat{' to' * times}" for times in range(1, 100)]
    for text in (*texts, *texts):
        assert tokens.encode(text) == tokenizer_of_its_own(text)
        tokens.encode(text).append(0)
        assert tokens.encode(text) == tokenizer_of_its_own(text)


def tokenizer_of_its_own(text: str) -> list[int]:
    return [WORDS.index(word) + 2 for word in text.split()]


def test_pocket_and_smollm2_keep_the_prefixes_they_had() -> None:
    assert load_model("pocket").tokens.prefix != ()
    assert tiny_model("llama").tokens.prefix == ()


def reasons(rows: list[PromptPair], tokens: Tokens, **rules: object) -> dict[str, int]:
    return Task("t", "T", logit_diff, "s", prompt_pairs=rows, **rules).audit(tokens).dropped


def test_one_row_that_is_no_pair_drops_alone(gpt2_tokens: Tokens) -> None:
    bad = {
        "an answer is no text and no list of texts": replace(CAPITAL, correct=None, id="a"),
        "an answer is empty": replace(CAPITAL, incorrect=[" Madrid", ""], id="b"),
        "a prompt is empty": replace(CAPITAL, corrupted="", id="c"),
        "a prompt is no text": replace(CAPITAL, clean=7, id="d"),
        "Pair 'e' has 2 corrupted candidates: give as many entries in `incorrect`, in the same order.": replace(
            CAPITAL, corrupted=["x", "y"], id="e"
        ),
        "the column 'chat' holds 'y', and not yes or no": replace(CAPITAL, extra={"chat": "y"}, id="f"),
    }
    assert reasons([CAPITAL, *bad.values()], gpt2_tokens) == dict.fromkeys(bad, 1)
    nested = replace(CAPITAL, correct=[[" Paris"]], id="g")
    assert reasons([CAPITAL, nested], gpt2_tokens) == {"an answer is no text and no list of texts": 1}


def test_a_template_or_a_rule_that_refuses_one_row_drops_it_alone(gpt2_tokens: Tokens) -> None:
    made = with_template("$A")
    made.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[0].content }} to"
    )
    rows = [PromptPair.chat("the cat", "the dog", " is", " are", system, id=system) for system in ("", "Be brief.")]
    assert reasons(rows, Tokens(made)) == {"the chat template refuses it (no system)": 1}
    brackets = PromptPair("f(x", "f(y", "),", "],", id="brackets")
    assert sum(reasons([CAPITAL, brackets], gpt2_tokens, answer_tokens="continuation").values()) <= 1
    unequal = replace(CAPITAL, correct=[" Paris", " Rome"], id="unequal")
    [reason] = reasons([CAPITAL, unequal], gpt2_tokens, answer_tokens="one-token")
    assert "as many correct as incorrect answers" in reason


def test_rows_without_a_corrupted_prompt_drop_only_where_one_is_needed() -> None:
    model = tiny_model("llama")
    task = Task("t", "T", logit_diff, "s", prompt_pairs=[*PAIRS, replace(PAIRS[0], clean="the cat", corrupted=None)])
    assert len(task.pairs(model)) == 6
    paired = task.pairs(model, paired=True)
    assert len(paired) == 5
    assert paired.audit.dropped == {"it has no corrupted prompt: use the replacement 'zero' or 'mean'": 1}


def test_pairs_of_another_tokenizer_are_refused(gpt2_tokens: Tokens) -> None:
    llama = tiny_model("llama")
    pairs = make_pairs(llama, PAIRS, logit_diff)
    pairs.refuse_other_tokens(tiny_model("gpt2").tokens)  # the same tokenizer
    with pytest.raises(BenchmarkError, match="made for a model with another tokenizer"):
        load_method("random").scores(load_model("pocket"), pairs, ("head",))


def test_pairs_may_come_from_a_generator_and_none_is_an_error() -> None:
    model = tiny_model("llama")
    assert len(make_pairs(model, (pair for pair in PAIRS), logit_diff)) == len(PAIRS)
    with pytest.raises(BenchmarkError, match="needs a list of PromptPair"):
        make_pairs(model, [], logit_diff)


def test_a_task_is_held_to_its_own_words() -> None:
    with pytest.raises(BenchmarkError, match=r"answer_tokens is 'first_token'.* Did you mean 'first-token'"):
        Task("t", "T", logit_diff, "s", prompt_pairs=PAIRS, answer_tokens="first_token")
    with pytest.raises(BenchmarkError, match="the id 'a' stands twice"):
        Task("t", "T", logit_diff, "s", prompt_pairs=[replace(PAIRS[0], id="a"), replace(PAIRS[1], id="a")]).rows()
    with pytest.raises(BenchmarkError, match="prompt_pairs holds a tuple, no PromptPair"):
        Task("t", "T", logit_diff, "s", prompt_pairs=[("a", "b")]).rows()
    with pytest.raises(BenchmarkError, match="limit is 0"):
        Task("t", "T", logit_diff, "s", prompt_pairs=PAIRS).pairs(tiny_model("llama"), limit=0)


def test_what_spreadsheets_do_to_a_file_does_no_harm(tmp_path) -> None:
    file = tmp_path / "sheet.csv"
    file.write_text(
        "\ufeffid,clean,corrupted,correct,incorrect,split\r\n"
        ",the cat,the dog, is, are,\r\nb,the bird,the dog,@, are,Evaluation \r\n,,,,,\r\n",
        encoding="utf-8",
    )
    first, second = Task.from_csv(file).rows()
    assert (first.id, first.split, second.id, second.split) == ("sheet-0001", "evaluation", "b", "evaluation")
    assert second.correct == "@"
    file.write_text("clean,corrupted,correct,incorrect,correct\na,b,c,d,e\n")
    with pytest.raises(BenchmarkError, match=r"sheet.csv has the column 'correct' twice"):
        Task.from_csv(file)
    with pytest.raises(BenchmarkError, match="metric is 'logit_diff'; give a Metric"):
        Task.from_csv(file, metric="logit_diff")
