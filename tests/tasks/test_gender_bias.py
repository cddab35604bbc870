"""Claims about the gender-bias rows."""

from collections import Counter

import pytest

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.pairs import draw
from benchmark.prompts.tokens import Tokens
from tasks.gender_bias import gender_bias


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(gender_bias.generate())


def test_the_corrupted_prompt_has_the_word_of_the_other_gender(rows: list[PromptPair]) -> None:
    word_for = {" she": "man", " he": "woman"}
    for row in rows:
        assert row.corrupted == row.clean.replace(f"The {row.cluster} ", f"The {word_for[row.correct]} ")
        assert {row.correct, row.incorrect} == set(word_for)


def test_a_profession_has_one_stereotype(rows: list[PromptPair]) -> None:
    assert len({(row.cluster, row.correct) for row in rows}) == len({row.cluster for row in rows}) == 64


def test_professions_and_predicates_are_held_out(rows: list[PromptPair]) -> None:
    for shared in ("cluster", "template"):
        halves = [{getattr(row, shared) for row in rows if row.split == split} for split in ("discovery", "evaluation")]
        assert len(halves[0]) == len(halves[1])
        assert not halves[0] & halves[1]


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
@pytest.mark.parametrize("split", ["discovery", "evaluation"])
def test_she_and_he_survivors_are_equally_many(vocabulary: str, split: str, request: pytest.FixtureRequest) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    pairs = draw(gender_bias.source_of_pairs, tokens, limit=None, split=split, seed=0, metric=gender_bias.metric)
    assert Counter(pair.prompt.correct for pair in pairs.pairs) == {" she": 160, " he": 160}
