"""Claims about the greater-than rows, and about what becomes of years under both kinds of tokenizer."""

import re
from collections import Counter

import pytest

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.pairs import TokenPair, tokenise
from benchmark.prompts.tokens import Tokens
from tasks.greater_than import NOT_SPLIT, greater_than, year_is_split


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(greater_than.generate())


def survivors(rows: list[PromptPair], tokens: Tokens) -> list[TokenPair]:
    outcomes = (tokenise(row, tokens, greater_than.answer_tokens, greater_than.check) for row in rows)
    return [outcome for outcome in outcomes if isinstance(outcome, TokenPair)]


def test_the_corrupted_prompt_sets_the_first_year_to_01(rows: list[PromptPair]) -> None:
    for row in rows:
        century, year = row.extra["century"], row.extra["year"]
        assert re.findall(r"\d+", row.clean) == [century + year, century]
        assert row.corrupted == row.clean.replace(century + year, century + "01")


def test_the_answers_are_all_hundred_years_parted_by_the_first_year(rows: list[PromptPair]) -> None:
    for row in rows:
        assert [*row.incorrect, *row.correct] == [f"{year:02d}" for year in range(100)]
        assert row.incorrect[-1] == row.extra["year"]


def test_nouns_are_held_out(rows: list[PromptPair]) -> None:
    nouns = {split: {row.cluster for row in rows if row.split == split} for split in ("discovery", "evaluation")}
    assert not nouns["discovery"] & nouns["evaluation"]
    assert all(len(names) == 24 for names in nouns.values())


def test_every_noun_stands_once_in_every_frame_and_century(rows: list[PromptPair]) -> None:
    counts = Counter((row.cluster, row.template, row.extra["century"]) for row in rows)
    assert len(counts) == 48 * 3 * 7
    assert set(counts.values()) == {1}


def test_gpt2_scores_two_digit_tokens_and_drops_years_it_joins(rows: list[PromptPair], gpt2_tokens: Tokens) -> None:
    kept = survivors(rows, gpt2_tokens)
    assert len(kept) > 900
    assert all(len(pair.correct) + len(pair.incorrect) == 100 for pair in kept)
    joined = next(row for row in rows if len(gpt2_tokens.answer(f" {row.extra['century']}{row.extra['year']}")) == 1)
    assert year_is_split(gpt2_tokens, joined) == NOT_SPLIT


def test_digit_tokens_leave_the_tied_tens_digit_out(rows: list[PromptPair], smollm2_tokens: Tokens) -> None:
    kept = survivors(rows, smollm2_tokens)
    assert len(kept) > 800
    digit = {smollm2_tokens.answer(str(number))[0]: number for number in range(10)}
    for pair in kept:
        year = int(pair.prompt.extra["year"])
        assert {digit[token] for token in pair.correct} == set(range((year + 1 + 9) // 10, 10))
        assert {digit[token] for token in pair.incorrect} == set(range((year + 1) // 10))
    assert {int(pair.prompt.extra["year"]) for pair in kept} == set(range(9, 90))
