"""Claims about the rows of professions and professions-anti, and about what exchanging two prompts does to scores."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.models.loading import load_model
from benchmark.prompts.dataset import PromptPair, read_csv
from benchmark.prompts.pairs import Pairs, make_pairs
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from benchmark.running.plugins import load_method
from tasks.gender_bias import gender_bias
from tasks.professions import professions, professions_anti

BOTH = (professions, professions_anti)
OTHER = {"she": "he", "he": "she"}
METHODS = {
    "activation-patching": {},
    "attribution-patching": {},
    "integrated-gradients": {"path": "site", "steps": 8},
    "input path": {"path": "input", "steps": 8},
}


@pytest.fixture(scope="module")
def rows() -> list[PromptPair]:
    return list(professions.generate())


@pytest.fixture(scope="module")
def anti() -> list[PromptPair]:
    return list(professions_anti.generate())


@pytest.fixture(scope="module")
def stereotypes() -> dict[str, str]:
    """Of each profession, as the file of gender-bias has them."""
    return {row.cluster: row.extra["stereotype"] for row in read_csv(gender_bias.dataset_path())}


def profession_in(prompt: str) -> str:
    return prompt.split()[1]


def test_the_answer_is_the_pronoun_of_the_clean_profession_and_the_corrupted_one_has_the_other_stereotype(
    rows: list[PromptPair], stereotypes: dict[str, str]
) -> None:
    for row in rows:
        clean, corrupted = profession_in(row.clean), profession_in(row.corrupted)
        assert (row.correct, row.incorrect) == (f" {stereotypes[clean]}", f" {stereotypes[corrupted]}")
        assert stereotypes[clean] == OTHER[stereotypes[corrupted]] == row.extra["stereotype"]
        assert row.template.format(profession=clean) == row.clean
        assert row.template.format(profession=corrupted) == row.corrupted
        assert set(row.cluster.split("/")) == {clean, corrupted}


def test_against_the_stereotype_the_same_prompts_change_places_and_the_answers_stay(
    rows: list[PromptPair], anti: list[PromptPair], stereotypes: dict[str, str]
) -> None:
    for one, other in zip(rows, anti, strict=True):
        assert (other.clean, other.corrupted) == (one.corrupted, one.clean)
        assert (other.correct, other.incorrect) == (one.correct, one.incorrect)
        assert other.correct == f" {OTHER[stereotypes[profession_in(other.clean)]]}"
        assert other.extra["stereotype"] == stereotypes[profession_in(other.clean)]
        assert one.id.removeprefix("professions") == other.id.removeprefix("professions-anti")
        assert (other.split, other.template, other.cluster) == (one.split, one.template, one.cluster)


@pytest.mark.parametrize("place", ["split", "template", "cluster"])
@pytest.mark.parametrize("task", BOTH, ids=lambda task: task.name)
def test_she_and_he_are_right_equally_often_everywhere(place: str, task: Task) -> None:
    counts = Counter((getattr(row, place), row.correct) for row in task.rows())
    assert all(counts[where, " she"] == counts[where, " he"] for where, _ in counts)


def test_no_couple_stands_in_one_frame_in_both_orders(rows: list[PromptPair]) -> None:
    """If all did, the rows against the stereotype would be the same pairs of prompts with their answers swapped."""
    prompts = {(row.clean, row.corrupted) for row in rows}
    assert len(prompts) == len(rows)
    assert not prompts & {(corrupted, clean) for clean, corrupted in prompts}
    assert set(Counter((row.cluster, row.template) for row in rows).values()) == {1}


def test_couples_share_no_profession_and_rows_are_as_many_as_the_card_says(rows: list[PromptPair]) -> None:
    couples = {row.cluster for row in rows}
    assert len(couples) == 32
    assert len({name for couple in couples for name in couple.split("/")}) == 64
    assert Counter(row.split for row in rows) == {"discovery": 128, "evaluation": 128}
    assert set(Counter(row.cluster for row in rows).values()) == {8}
    assert set(Counter(row.template for row in rows).values()) == {16}


def test_professions_and_frames_are_held_out_as_in_gender_bias(rows: list[PromptPair]) -> None:
    splits = {row.cluster: row.split for row in read_csv(gender_bias.dataset_path())}
    assert all(splits[profession_in(prompt)] == row.split for row in rows for prompt in (row.clean, row.corrupted))
    frames = [{row.template for row in rows if row.split == split} for split in ("discovery", "evaluation")]
    assert [len(half) for half in frames] == [8, 8]
    assert not frames[0] & frames[1]


def test_no_prompt_stands_in_gender_bias_too(rows: list[PromptPair]) -> None:
    assert not {row.clean for row in rows} & {row.clean for row in read_csv(gender_bias.dataset_path())}


@pytest.mark.parametrize("vocabulary", ["gpt2_tokens", "smollm2_tokens"])
def test_prompts_are_four_tokens_and_nothing_is_dropped(vocabulary: str, request: pytest.FixtureRequest) -> None:
    tokens: Tokens = request.getfixturevalue(vocabulary)
    for task in BOTH:
        found = task.audit(tokens)
        assert (found.kept, found.dropped, found.cut) == (256, {}, {})
        for row in task.rows():
            assert [len(tokens.encode(prompt)) - len(tokens.prefix) for prompt in (row.clean, row.corrupted)] == [4, 4]


@pytest.fixture(scope="module")
def pocket() -> Model:
    return load_model("pocket", device="cpu")


@pytest.fixture(scope="module")
def drawn(pocket: Model) -> tuple[Pairs, Pairs]:
    """Pairs by the stereotype and against it."""
    by, against = (task.pairs(pocket, limit=32) for task in BOTH)
    return by, against


def test_a_run_of_both_tasks_draws_the_same_pairs_in_the_same_order(drawn: tuple[Pairs, Pairs]) -> None:
    by, against = ([(pair.prompt.clean, pair.prompt.corrupted) for pair in pairs.pairs] for pairs in drawn)
    assert len(by) == 32
    assert by == [(corrupted, clean) for clean, corrupted in against]


def test_pocket_carries_every_row_and_always_goes_by_the_stereotype(pocket: Model) -> None:
    by, against = (metrics(pocket, task.pairs(pocket, limit=None)) for task in BOTH)
    assert len(by["clean"]) == 128
    assert (by["clean"] > 0).all()
    assert (by["clean"] > by["corrupted"]).all()
    assert not (against["clean"] > against["corrupted"]).any()


def test_exchanged_prompts_have_the_negative_total_effect_to_the_last_digit(
    pocket: Model, drawn: tuple[Pairs, Pairs]
) -> None:
    by, against = (metrics(pocket, pairs) for pairs in drawn)
    total, exchanged = (found["clean"] - found["corrupted"] for found in (by, against))
    assert total.abs().min() > 0.1
    assert torch.equal(exchanged, -total)


def heads(model: Model, pairs: Pairs, name: str, direction: str) -> Float[Tensor, "pair layer head"]:
    """Scores of the first few pairs."""
    method = load_method("integrated-gradients" if name == "input path" else name, **METHODS[name])
    return torch.as_tensor(
        method.scores(model, pairs.take(range(8)), components=("head",), direction=direction)["head"].values
    )


@pytest.mark.parametrize("name", METHODS)
def test_noising_exchanged_prompts_is_denoising_with_the_sign_turned(
    name: str, pocket: Model, drawn: tuple[Pairs, Pairs]
) -> None:
    by, against = drawn
    for one, other in (("noising", "denoising"), ("denoising", "noising")):
        torch.testing.assert_close(
            heads(pocket, against, name, one), -heads(pocket, by, name, other), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", METHODS)
def test_noising_exchanged_prompts_is_not_noising_with_the_sign_turned_but_on_the_input_path(
    name: str, pocket: Model, drawn: tuple[Pairs, Pairs]
) -> None:
    by, against = (heads(pocket, pairs, name, "noising") for pairs in drawn)
    apart = float((by + against).abs().max() / by.abs().max())
    assert apart < 1e-5 if name == "input path" else apart > 0.02


@pytest.mark.parametrize("name", METHODS)
def test_swapped_answers_alone_turn_every_sign(name: str, pocket: Model, drawn: tuple[Pairs, Pairs]) -> None:
    swapped = [
        replace(pair.prompt, correct=pair.prompt.incorrect, incorrect=pair.prompt.correct) for pair in drawn[0].pairs
    ]
    pairs = make_pairs(pocket, swapped, professions.metric)
    by, against = (heads(pocket, one, name, "noising") for one in (drawn[0], pairs))
    torch.testing.assert_close(against, -by, atol=1e-5, rtol=1e-5)


@pytest.mark.smollm2
def test_how_often_a_real_model_goes_by_the_stereotype_is_what_the_card_says(smollm2: Model) -> None:
    pairs = professions.pairs(smollm2, limit=None)
    alone = tuple(replace(pair, corrupted=None) for pair in pairs.pairs)
    clean = metrics(smollm2, replace(pairs, pairs=alone))["clean"]
    she = torch.tensor([pair.prompt.correct == " she" for pair in pairs.pairs])
    shares = [round(float((values > 0).float().mean()), 2) for values in (clean, clean[she], clean[~she])]
    card = professions.dataset_path().with_suffix(".md").read_text()
    assert "in {:.0%} of the evaluation rows ({:.0%} of the she-rows, {:.0%} of the he-rows)".format(*shares) in card
