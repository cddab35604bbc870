"""Claims about the hypernymy rows."""

from collections import Counter
from itertools import combinations

import pytest

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.pairs import draw
from benchmark.prompts.tokens import Tokens
from tasks._lexicon_hypernymy import CATEGORIES
from tasks.hypernymy import CANDIDATES, hypernymy


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(hypernymy.generate())


def test_no_noun_belongs_to_two_categories() -> None:
    assert set(Counter(member for category in CATEGORIES for member in category.members).values()) == {1}


def test_unrelated_categories_share_no_word() -> None:
    for one, other in combinations(CATEGORIES, 2):
        assert one.domains & other.domains or not set(one.words) & set(other.words)


def test_a_corrupted_prompt_swaps_in_a_noun_of_an_unrelated_category(rows: list[PromptPair]) -> None:
    category_of = {member: category for category in CATEGORIES for member in category.members}
    for row in rows:
        own = category_of[row.extra["noun"]]
        candidates = row.candidates()
        assert (own.name, own.words) == (row.cluster, row.correct)
        assert len(candidates) == CANDIDATES
        for prompt, wrong in candidates:
            (swapped,) = [
                pair
                for pair in zip(row.clean.lower().split(), prompt.lower().split(), strict=True)
                if pair[0] != pair[1]
            ]
            noun, other = (word.rstrip(",") for word in swapped)
            assert noun == row.extra["noun"]
            assert wrong == category_of[other].words
            assert not own.domains & category_of[other].domains


def test_nouns_are_held_out(rows: list[PromptPair]) -> None:
    words = {
        split: {
            word.strip(",").lower()
            for row in rows
            if row.split == split
            for prompt in (row.clean, *row.corrupted)
            for word in prompt.split()
        }
        for split in ("discovery", "evaluation")
    }
    nouns = {member for category in CATEGORIES for member in category.members}
    assert not nouns & words["discovery"] & words["evaluation"]


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_nearly_all_rows_survive_with_three_answers_on_each_side(
    vocabulary: str, request: pytest.FixtureRequest
) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    pairs = [
        pair
        for split in ("discovery", "evaluation")
        for pair in draw(
            hypernymy.source_of_pairs, tokens, limit=None, split=split, seed=0, metric=hypernymy.metric
        ).pairs
    ]
    assert len(pairs) >= 800
    assert {len(side) for pair in pairs for side in (pair.correct, pair.incorrect)} == {3}
