"""Claims about the indirect-object rows."""

from collections import Counter

import pytest

from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.tokens import Tokens
from tasks.ioi import MEN, WOMEN, ioi


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(ioi.generate())


def test_the_corrupted_prompt_flips_the_answer(rows: list[PromptPair]) -> None:
    for row in rows:
        io, subject = row.extra["io"], row.extra["subject"]
        assert (row.correct, row.incorrect) == (f" {io}", f" {subject}")
        assert (row.clean.count(io), row.clean.count(subject)) == (1, 2)
        assert (row.corrupted.count(io), row.corrupted.count(subject)) == (2, 1)


def test_clean_and_corrupted_differ_in_the_acting_person_only(rows: list[PromptPair]) -> None:
    for row in rows:
        differing = [pair for pair in zip(row.clean.split(), row.corrupted.split(), strict=True) if pair[0] != pair[1]]
        assert differing == [(row.extra["subject"], row.extra["io"])]


def test_the_first_name_is_the_indirect_object_in_abba_order_only(rows: list[PromptPair]) -> None:
    for row in rows:
        io_first = row.clean.index(row.extra["io"]) < row.clean.index(row.extra["subject"])
        assert io_first == (row.extra["order"] == "ABBA")


def test_every_template_stands_equally_often_in_both_orders(rows: list[PromptPair]) -> None:
    counts = Counter((row.template, row.extra["order"]) for row in rows)
    assert len(counts) == 40
    assert set(counts.values()) == {30}


def test_names_and_templates_are_held_out(rows: list[PromptPair]) -> None:
    halves = [[row for row in rows if row.split == split] for split in ("discovery", "evaluation")]
    names, templates = (
        [{word for row in half for word in words(row)} for half in halves]
        for words in (lambda row: (row.extra["io"], row.extra["subject"]), lambda row: (row.template,))
    )
    assert [len(half) for half in (*names, *templates)] == [30, 30, 10, 10]
    assert not names[0] & names[1]
    assert not templates[0] & templates[1]


def test_every_name_pair_is_a_cluster_of_five_rows(rows: list[PromptPair]) -> None:
    assert set(Counter(row.cluster for row in rows).values()) == {5}


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_every_name_is_one_token_of_its_own(vocabulary: str, request: pytest.FixtureRequest) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    names = [tuple(tokens.answer(f" {name}")) for name in (*WOMEN, *MEN)]
    assert {len(name) for name in names} == {1}
    assert len(set(names)) == 60


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_nothing_is_dropped(vocabulary: str, request: pytest.FixtureRequest) -> None:
    assert ioi.audit(request.getfixturevalue(vocabulary)).dropped == {}
