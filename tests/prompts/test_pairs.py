"""The audit: what becomes of a pair under a tokenizer, and why."""

from dataclasses import replace

import pytest

from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.metrics import logit_diff
from benchmark.prompts.pairs import Dropped, TokenPair, make_pairs, tokenise
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from tests.tiny import PAIRS, tokenizer

GOOD = PromptPair("the cat near a dog", "the bird near a dog", " is", " are", id="good")


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(tokenizer())


REASONS = {
    "clean and corrupted differ in length": replace(GOOD, corrupted="the bird near a dog and"),
    "clean equals corrupted": replace(GOOD, corrupted=GOOD.clean),
    "no answer is left: correct and incorrect share their first tokens": replace(GOOD, incorrect=" is"),
    "an answer is unknown to the tokenizer": replace(GOOD, incorrect=" flies"),
    "a prompt has words unknown to the tokenizer": replace(GOOD, clean="the lion near a dog"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_to_drop_a_pair(tokens: Tokens, reason: str) -> None:
    assert isinstance(tokenise(GOOD, tokens), TokenPair)
    assert tokenise(REASONS[reason], tokens) == reason


def test_answers_that_share_their_first_token_are_no_pair(gpt2_tokens: Tokens) -> None:
    """ " South Africa" and " South Korea" are the same answer to a metric that reads one token."""
    pair = PromptPair("Pretoria, the capital of", "Seoul, the capital of", " South Africa", " South Korea")
    assert isinstance(tokenise(pair, gpt2_tokens), Dropped)


def test_a_token_in_both_sets_stands_in_neither(smollm2_tokens: Tokens) -> None:
    """Digits are single tokens: after 17 of 1745, tens digit 4 is right for 46-49 and wrong for 40-45."""
    later, earlier = [f"{y:02d}" for y in range(46, 100)], [f"{y:02d}" for y in range(46)]
    pair = PromptPair("It lasted from 1745 to the year 17", "It lasted from 1701 to the year 17", later, earlier)
    made = tokenise(pair, smollm2_tokens, "continuation")
    assert isinstance(made, TokenPair)
    assert [smollm2_tokens.decode([token]) for token in made.correct] == list("56789")
    assert [smollm2_tokens.decode([token]) for token in made.incorrect] == list("0123")


def test_one_token_answers_are_kept_or_left_out_as_pairs(tokens: Tokens, gpt2_tokens: Tokens) -> None:
    pair = PromptPair("The key", "The keys", [" is", " chastises", " has"], [" are", " chastise", " have"])
    made = tokenise(pair, gpt2_tokens, "one-token")
    assert isinstance(made, TokenPair)
    assert [gpt2_tokens.decode([token]) for token in made.correct] == [" is", " has"]
    assert [gpt2_tokens.decode([token]) for token in made.incorrect] == [" are", " have"]


def test_the_first_corrupted_candidate_that_fits_is_taken_with_its_own_answer(tokens: Tokens) -> None:
    pair = replace(
        GOOD, corrupted=["the big bird near a dog", "the fish near a dog", "a"], incorrect=[" the", " a", " to"]
    )
    made = tokenise(pair, tokens)
    assert isinstance(made, TokenPair)
    assert made.prompt.corrupted == "the fish near a dog"
    assert made.incorrect == tokens.answer(" a")
    assert "3 corrupted candidates" in tokenise(replace(pair, incorrect=" a"), tokens)


def test_a_check_of_the_task_is_a_reason_of_its_own(llama: Model) -> None:
    task = Task(
        "t",
        "T",
        logit_diff,
        "s",
        prompt_pairs=PAIRS,
        check=lambda tokens, row: "too short" if len(row.clean) < 24 else None,
    )
    audit = task.audit(llama.tokens)
    assert audit.dropped == {"too short": 3}
    assert (audit.rows, audit.kept) == (5, 2)


def test_rows_with_the_same_tokens_count_once(llama: Model) -> None:
    task = Task("t", "T", logit_diff, "s", prompt_pairs=[PAIRS[0], PAIRS[1], PAIRS[0]])
    assert task.audit(llama.tokens).dropped == {"the same tokens as an earlier row": 1}


def test_an_empty_task_says_why(llama: Model) -> None:
    task = Task("t", "T", logit_diff, "s", prompt_pairs=[replace(GOOD, corrupted=GOOD.clean)])
    with pytest.raises(BenchmarkError, match=r"No evaluation pair of task 't' survives.*1 x clean equals corrupted"):
        task.pairs(llama)
    with pytest.raises(BenchmarkError, match="the split is empty"):
        task.pairs(llama, split="discovery")


def test_the_seed_fixes_which_pairs_are_drawn(llama: Model) -> None:
    task = Task("t", "T", logit_diff, "s", prompt_pairs=PAIRS)
    assert task.pairs(llama, limit=3, seed=1).ids == task.pairs(llama, limit=3, seed=1).ids
    assert len({task.pairs(llama, limit=3, seed=seed).ids for seed in range(8)}) > 1
    more, fewer = task.pairs(llama, limit=5, seed=1).ids, task.pairs(llama, limit=3, seed=1).ids
    assert more[:3] == fewer


def test_hand_written_pairs_of_unequal_length_show_their_tokens(llama: Model) -> None:
    with pytest.raises(
        BenchmarkError, match=r"differ in length.\s+5 tokens: the \| cat[^\n]*\n\s+4 tokens: the \| cat"
    ) as caught:
        make_pairs(llama, [PromptPair("the cat near a dog", "the cat near dog", " is", " are")], logit_diff)
    assert "pair-0" in str(caught.value)


def test_bos_stands_in_front_of_both_prompts_and_no_answer(gpt2_tokens: Tokens) -> None:
    made = tokenise(PromptPair("Mary saw", "John saw", " Mary", " John"), gpt2_tokens)
    assert isinstance(made, TokenPair)
    bos = gpt2_tokens.tokenizer.bos_token_id
    assert made.clean[0] == made.corrupted[0] == bos
    assert bos not in made.correct
