"""Claims about the agreement rows."""

from collections import Counter
from dataclasses import replace

import pytest

from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from tasks._lexicon_sva import LARGE_THINGS, PEOPLE, RELATIONS, SMALL_THINGS, VERBS
from tasks.sva import sva


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(sva.generate())


def _nouns(split: str) -> dict[str, str]:
    """Every noun form of a split with its number."""
    nouns = [noun for words in (PEOPLE, SMALL_THINGS, LARGE_THINGS, RELATIONS) for noun in words[split]]
    return {form: number for noun in nouns for form, number in zip(noun, ("singular", "plural"), strict=True)}


def _words(prompt: str) -> list[str]:
    return prompt.replace(",", "").split()


def test_only_the_subject_noun_differs_and_it_flips_the_answer(rows: list[PromptPair]) -> None:
    for row in rows:
        differing = [pair for pair in zip(_words(row.clean), _words(row.corrupted), strict=True) if pair[0] != pair[1]]
        assert [tuple(_nouns(row.split)[noun] for noun in pair) for pair in differing] == [
            (row.correct[1:], row.incorrect[1:])
        ]


def test_subject_and_distractor_numbers_are_crossed_evenly(rows: list[PromptPair]) -> None:
    cells = Counter((row.template, row.split, row.correct, row.extra["distractor"]) for row in rows)
    assert {count for cell, count in cells.items() if cell[0] != "simple"} == {40}
    assert {count for cell, count in cells.items() if cell[0] == "simple"} == {80}


def test_no_noun_of_one_split_stands_in_the_other(rows: list[PromptPair]) -> None:
    nouns = {split: _nouns(split).keys() for split in ("discovery", "evaluation")}
    assert not nouns["discovery"] & nouns["evaluation"]
    for row in rows:
        other = nouns["evaluation" if row.split == "discovery" else "discovery"]
        assert not other & set(_words(row.clean) + _words(row.corrupted))


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_every_verb_form_is_one_token_of_its_own(vocabulary: str, request: pytest.FixtureRequest) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    forms = [tuple(tokens.answer(form)) for forms in VERBS for form in forms]
    assert {len(form) for form in forms} == {1}
    assert len(set(forms)) == 2 * len(VERBS)


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_a_subject_has_one_length_in_both_numbers(
    vocabulary: str, rows: list[PromptPair], request: pytest.FixtureRequest
) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    for row in rows:
        assert len(tokens.encode(row.clean)) == len(tokens.encode(str(row.corrupted)))


def test_rows_name_answer_sets_that_the_task_writes_out() -> None:
    row = sva.rows()[0]
    assert {len(row.correct), len(row.incorrect)} == {len(VERBS)}
    assert (row.correct[0], row.incorrect[0]) == (" is", " are")


def test_an_unknown_answer_set_is_named_with_its_row() -> None:
    row = PromptPair("The key", "The keys", "@singular", "@plurl", id="key")
    task = Task("mine", "Mine", sva.metric, "", prompt_pairs=[row], answer_sets=sva.answer_sets)
    with pytest.raises(BenchmarkError, match=r"(?s)'key'.*'@plurl'.*'plural'"):
        task.rows()
    assert replace(task, prompt_pairs=[replace(row, incorrect="@plural")]).rows()[0].incorrect[0] == " are"
