"""Claims about the capital-country rows."""

from collections import Counter

import pytest

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.pairs import TokenPair, tokenise
from benchmark.prompts.tokens import Tokens
from tasks._capitals import capitals
from tasks.capital_country import NAMED, SHARED, answer_is_telling, capital_country, states


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(capital_country.generate())


def test_the_table_has_the_193_members_and_two_observers_once() -> None:
    assert len(capitals()) == 195
    assert len(set(dict(capitals()))) == len(set(dict(capitals()).values())) == 195


def test_every_state_stands_in_all_four_frames(rows: list[PromptPair]) -> None:
    named = {state.name for state in states() if state.names(state)}
    assert len(named) == 12
    assert {"Mexico", "Singapore", "San Marino"} <= named
    counts = Counter(row.cluster for row in rows)
    assert set(counts) == {state.name for state in states()}
    assert set(counts.values()) == {4}


def test_no_prompt_has_an_answer_in_it(rows: list[PromptPair]) -> None:
    named = {state.name for state in states() if state.names(state)}  # the audit drops these
    for row in rows:
        for prompt, (wrong,) in row.candidates():
            for answer in (row.correct, wrong) if row.cluster not in named else (wrong,):
                assert answer.split()[0] not in f"{row.clean} {prompt}".replace(",", "").split()


def test_a_candidate_differs_from_the_clean_prompt_in_its_capital_only(rows: list[PromptPair]) -> None:
    by_name = {state.name: state for state in states()}
    for row in rows:
        for prompt, (wrong,) in row.candidates():
            other = by_name[wrong.strip()]
            assert prompt == row.clean.replace(row.extra["capital"], other.capital)
            assert other.article.strip() == row.extra["article"]


def test_frames_are_held_out_and_facts_are_not(rows: list[PromptPair]) -> None:
    for part, shared in ((lambda row: row.template, 0), (lambda row: row.cluster, 195)):
        seen = [{part(row) for row in rows if row.split == split} for split in ("discovery", "evaluation")]
        assert len(seen[0] & seen[1]) == shared


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_labels_are_first_tokens_of_one_state_only(
    vocabulary: str, rows: list[PromptPair], request: pytest.FixtureRequest
) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    outcomes = [tokenise(row, tokens, capital_country.answer_tokens, capital_country.check) for row in rows]
    kept = [outcome for outcome in outcomes if isinstance(outcome, TokenPair)]
    assert len(kept) > 600
    first = Counter((state.article, tokens.answer(f" {state.name}")[0]) for state in states())
    for pair in kept:
        article = " the" if pair.prompt.clean.endswith(" the") else ""
        assert all(first[article, token] == 1 for token in (*pair.correct, *pair.incorrect))


def test_an_answer_that_begins_like_another_is_dropped_with_its_reason(smollm2_tokens: Tokens) -> None:
    pretoria = PromptPair("Pretoria, the capital of", "Paris, the capital of", " South Africa", " France")
    assert answer_is_telling(smollm2_tokens, pretoria) == SHARED
    dublin = PromptPair("Dublin, the capital of", "Paris, the capital of", " Ireland", " France")
    assert answer_is_telling(smollm2_tokens, dublin) is None
    mexico = PromptPair("Mexico City, the capital of", "Paris, the capital of", " Mexico", " France")
    assert answer_is_telling(smollm2_tokens, mexico) == NAMED
