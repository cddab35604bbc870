"""Claims about the tag-question rows."""

from collections import Counter

import pytest

from benchmark.engine.model import Model
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.tokens import Tokens
from benchmark.running.behaviour import behaviour
from tasks.tag_questions import MEN, WOMEN, tag_questions

NAMES = {
    " she": {name for names in WOMEN.values() for name in names.split()},
    " he": {name for names in MEN.values() for name in names.split()},
}
TAG_OF = {"is": "isn’t", "was": "wasn’t", "can": "can’t", "has": "hasn’t", "will": "won’t", "does": "doesn’t"}
GENDERED = """
she he her him his hers herself himself woman women man men girl girls boy boys lady ladies gentleman guy sir madam mr
mrs ms miss mother father mom dad wife husband sister brother daughter son aunt uncle grandmother grandfather girlfriend
boyfriend bride groom queen king actress actor waitress waiter nurse pregnant beard dress
"""


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(tag_questions.generate())


def name_in(prompt: str) -> str:
    [name] = (NAMES[" she"] | NAMES[" he"]) & set(prompt.split())
    return name


def test_the_answer_has_the_gender_of_the_only_name_and_the_corrupted_prompt_has_the_other(
    rows: list[PromptPair],
) -> None:
    for row in rows:
        clean, corrupted = name_in(row.clean), name_in(row.corrupted)
        assert clean in NAMES[row.correct]
        assert corrupted in NAMES[row.incorrect]
        assert {row.correct, row.incorrect} == {" she", " he"}
        assert row.corrupted == row.clean.replace(clean, corrupted)
        assert row.clean == row.template.format(name=clean)


def test_the_tag_agrees_with_the_verb_and_has_the_typographic_apostrophe(rows: list[PromptPair]) -> None:
    for row in rows:
        verb = row.clean.split(f" {name_in(row.clean)} ")[1].split()[0]
        assert verb == row.extra["construction"] or (
            row.extra["construction"] == "does" and verb not in TAG_OF and verb.endswith("s")
        )
        assert row.clean.endswith(f", {TAG_OF[row.extra['construction']]}")
        assert "'" not in row.clean + row.corrupted
    assert {row.extra["construction"] for row in rows} == set(TAG_OF)


@pytest.mark.parametrize("place", ["split", "template", "construction", "cluster"])
def test_she_and_he_are_right_equally_often_everywhere(place: str, rows: list[PromptPair]) -> None:
    counts = Counter((row.extra.get(place) or getattr(row, place), row.correct) for row in rows)
    assert all(counts[where, " she"] == counts[where, " he"] for where, _ in counts)


def test_every_couple_stands_in_both_orders_in_every_construction_in_two_frames(rows: list[PromptPair]) -> None:
    found: dict[tuple[str, str], list[PromptPair]] = {}
    for row in rows:
        found.setdefault((row.cluster, row.extra["construction"]), []).append(row)
    assert len(found) == 72 * 6
    for one, other in found.values():
        assert (name_in(one.clean), name_in(one.corrupted)) == (name_in(other.corrupted), name_in(other.clean))
        assert one.template != other.template


def test_rows_frames_and_names_are_as_many_as_the_card_says(rows: list[PromptPair]) -> None:
    assert len(rows) == 864
    assert set(Counter(row.cluster for row in rows).values()) == {12}
    assert sorted(set(Counter(row.template for row in rows).values())) == [18]
    assert set(Counter(name_in(row.clean) for row in rows).values()) == {18}


def test_names_openings_and_frames_are_held_out(rows: list[PromptPair]) -> None:
    halves = [[row for row in rows if row.split == split] for split in ("discovery", "evaluation")]
    for read, count in (
        (lambda row: name_in(row.clean), 24),
        (lambda row: row.template, 24),
        (lambda row: row.template.split("{name}")[1], 24),
        (lambda row: row.template.split(" {name}")[0], 2),
    ):
        discovery, evaluation = ({read(row) for row in half} for half in halves)
        assert len(discovery) == len(evaluation) == count
        assert not discovery & evaluation


def test_no_word_but_the_name_tells_a_gender(rows: list[PromptPair]) -> None:
    assert not {word.strip(",").lower() for row in rows for word in row.template.split()} & set(GENDERED.split())


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_names_are_one_token_each_and_nothing_is_dropped(vocabulary: str, request: pytest.FixtureRequest) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    names = [tuple(tokens.answer(f" {name}")) for name in (*NAMES[" she"], *NAMES[" he"])]
    assert {len(name) for name in names} == {1}
    assert len(set(names)) == 48
    found = tag_questions.audit(tokens)
    assert (found.dropped, found.cut) == ({}, {})


@pytest.mark.parametrize(("vocabulary", "apostrophe"), [("gpt2_tokens", 2), ("smollm2_tokens", 1)])
def test_a_tag_ends_in_an_apostrophe_and_a_t_of_their_own(
    vocabulary: str, apostrophe: int, rows: list[PromptPair], request: pytest.FixtureRequest
) -> None:
    """The typographic apostrophe is two tokens under GPT-2's vocabulary, which has no token for it."""
    tokens: Tokens = request.getfixturevalue(vocabulary)
    for row in rows[::40]:
        ids = tokens.encode(row.clean)
        assert tokens.decode(ids[-1:]) == "t"
        assert tokens.decode(ids[-1 - apostrophe : -1]) == "’"
        assert f" {row.clean.split()[-1]}".startswith(tokens.decode(ids[-2 - apostrophe : -1 - apostrophe]))


@pytest.mark.smollm2
def test_a_real_model_can_do_it(smollm2: Model) -> None:
    found = behaviour(smollm2, tag_questions, tag_questions.metric, 16, "evaluation", 0, "counterfactual")
    assert found.right >= 15
    assert found.caveats == ()
