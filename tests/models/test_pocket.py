"""Claims about the shipped model pocket: what it was trained on, what it can do, and what lies in its folder."""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model
from benchmark.pocket import measure, train
from benchmark.pocket.facts import TASKS
from benchmark.pocket.lessons import LESSONS
from benchmark.pocket.stories import STORIES
from benchmark.pocket.training import Recipe
from benchmark.pocket.training import train as train_steps
from benchmark.pocket.vocabulary import build_tokenizer
from benchmark.pocket.world import MIXTURE, World
from benchmark.running.plugins import discover

SHIPPED = Path(measure.__file__).parent
TEXTS = 20_000


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def texts(world: World) -> list[str]:
    """The first texts that the shipped model was trained on."""
    return list(islice(world.texts(Recipe().seed), TEXTS))


@pytest.fixture(scope="module")
def built(world: World) -> PreTrainedTokenizerFast:
    return build_tokenizer(world)


@pytest.fixture(scope="module")
def pocket() -> Model:
    return load_model(str(SHIPPED / "model"), device="cpu")


@pytest.fixture(scope="module")
def checkpoints() -> dict[int, Path]:
    found = {int(folder.name.removeprefix("step-")): folder for folder in (SHIPPED / "checkpoints").iterdir()}
    return {**found, Recipe.steps: SHIPPED / "model"}  # the last one is the model itself


def test_no_evaluation_prompt_begins_a_training_text_or_a_sentence_of_one(world: World, texts: list[str]) -> None:
    rows = [row for task in TASKS for row in world.facts.rows[task]["evaluation"]]
    held_out = {_words(prompt) for row in rows for prompt, _ in [(row.clean, ()), *row.candidates()] if prompt}
    assert held_out == {_words(prompt) for prompt in world.facts.held_out}
    sentences = [_words(sentence) for text in texts for sentence in (text, *text.split(". ")[1:])]
    given_away = [words for words in sentences if any(words[:end] in held_out for end in range(1, len(words) + 1))]
    assert given_away == []


def test_the_guard_stops_a_text_that_begins_with_an_evaluation_prompt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = world.facts.rows["sva"]["evaluation"][0]
    monkeypatch.setitem(STORIES, "number", lambda facts, rng: f"It is so. {row.clean} is here.")
    with pytest.raises(BenchmarkError, match="evaluation prompt"):
        list(islice(world.texts(0), 200))


@pytest.mark.parametrize("held_out", ["names", "nouns"])
def test_lessons_hold_neither_names_nor_nouns_of_the_evaluation_split(world: World, held_out: str) -> None:
    lesson = LESSONS[{"names": "ioi", "nouns": "sva"}[held_out]]
    absent = {
        "names": set(world.facts.names["evaluation"]),
        "nouns": {form for noun in world.facts.nouns["evaluation"] for form in (noun.singular, noun.plural)},
    }[held_out]
    rng = random.Random(0)
    for _ in range(2000):
        assert not absent & set(_words(lesson(world.facts, rng)))


def test_every_word_of_an_evaluation_prompt_stands_in_training_texts(world: World, texts: list[str]) -> None:
    words = {word for text in texts for word in _words(text)}
    drawn_in_turn = {form for kind in world.facts.kinds for form in (kind.noun, kind.noun.capitalize())}
    drawn_in_turn |= {*world.facts.events, *(person.name for person in world.facts.professions)}
    drawn_in_turn |= {word for state in world.facts.states for word in _words(state.capital)}
    unseen = {word for prompt in world.facts.held_out for word in _words(prompt)} - words
    assert unseen - drawn_in_turn == set()


def test_the_mixture_is_whole_and_agreement_has_the_largest_share() -> None:
    assert math.isclose(sum(MIXTURE.values()), 1)
    assert max(MIXTURE, key=lambda source: MIXTURE[source]) == "sva"
    assert set(MIXTURE) == {*LESSONS, *STORIES}


def test_the_shipped_tokenizer_is_the_one_that_the_script_builds(built: PreTrainedTokenizerFast, pocket: Model) -> None:
    assert built.get_vocab() == pocket.tokenizer.get_vocab()


def test_words_names_years_and_countries_are_one_token(world: World, pocket: Model) -> None:
    facts = world.facts
    words = [*facts.names["discovery"], *facts.names["evaluation"], *(kind.noun for kind in facts.kinds)]
    words += [form for verb in facts.verbs for form in verb]
    words += [form for split in facts.nouns.values() for noun in split for form in (noun.singular, noun.plural)]
    words += [place for state in facts.states for place in (state.capital, state.country)]
    words += [f"{year:02d}" for year in range(100)]
    assert [word for word in words if len(pocket.tokens.answer(f" {word}")) != 1] == []
    assert pocket.tokenizer.tokenize("the year 1745, key.") == ["the", "year", "17", "45", ",", "key", "."]


@pytest.mark.parametrize("task", TASKS)
def test_every_evaluation_row_survives_and_pocket_reaches_its_target_on_them(task: str, pocket: Model) -> None:
    pairs = discover().tasks[task].pairs(pocket, limit=None)
    assert pairs.audit.dropped == ({"the capital names its country": 24} if task == "capital-country" else {})
    found = measure.accuracy(pocket, pairs)
    assert found.share >= measure.TARGETS[task], found


def test_pocket_has_the_promised_shape(pocket: Model) -> None:
    assert (pocket.n_layers, pocket.n_heads, pocket.n_layers * pocket.d_mlp) == (4, 8, 2048)
    assert pocket.tokens.prepend_bos


def test_shipped_weights_match_their_digests() -> None:
    digests = json.loads((SHIPPED / "digest.json").read_text())
    files = [SHIPPED / "model" / train.WEIGHTS, *(SHIPPED / "checkpoints").glob(f"*/{train.WEIGHTS}")]
    assert {file.relative_to(SHIPPED).as_posix() for file in files} == set(digests)
    assert [file for file in files if _sha256(file) != digests[file.relative_to(SHIPPED).as_posix()]] == []


def test_at_least_eight_checkpoints_lie_evenly_on_the_logarithm_of_the_step(checkpoints: dict[int, Path]) -> None:
    recipe = Recipe(**json.loads((SHIPPED / "model" / "training.json").read_text())["recipe"])
    steps = sorted(checkpoints)
    assert tuple(steps) == recipe.checkpoint_steps()
    assert len(steps) >= 8
    assert (steps[0], steps[1], steps[-1]) == (0, 1, recipe.steps)
    ratios = [after / before for before, after in pairwise(steps[1:])]
    assert max(ratios) < 1.5 * min(ratios)  # early steps are rounded


def test_checkpoints_hold_the_models_tensors_in_half_precision(checkpoints: dict[int, Path]) -> None:
    def layout(folder: Path) -> dict[str, tuple[list[int], str]]:
        return {
            name: (list(weight.shape), str(weight.dtype)) for name, weight in load_file(folder / train.WEIGHTS).items()
        }

    shipped = layout(SHIPPED / "model")
    assert {dtype for _, dtype in shipped.values()} == {"torch.float16"}
    assert all(layout(folder) == shipped for folder in checkpoints.values())
    assert load_model(f"pocket@step-{max(checkpoints)}", device="cpu").digest == load_model("pocket").digest


def test_the_model_and_the_checkpoints_stay_small() -> None:
    assert _bytes(SHIPPED / "model") <= 10e6
    assert _bytes(SHIPPED / "checkpoints") <= 25e6


def test_training_from_scratch_lowers_the_loss(world: World, pocket: Model) -> None:
    noticed: list[int] = []
    recipe = Recipe(steps=24, batch=32)
    losses = list(train_steps(recipe, world, pocket.tokenizer, at=lambda step, model: noticed.append(step)))
    assert noticed == list(range(25))
    assert losses[0] == pytest.approx(math.log(len(pocket.tokenizer)), abs=0.3)
    assert sum(losses[-4:]) / 4 < losses[0] - 1


def test_the_same_seed_gives_the_same_texts_and_losses(world: World, pocket: Model) -> None:
    runs = [list(train_steps(Recipe(steps=2, batch=16), world, pocket.tokenizer)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_the_command_writes_a_folder_that_loads(
    tmp_path: Path, world: World, built: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "World", lambda: world)
    monkeypatch.setattr(train, "build_tokenizer", lambda given: {id(world): built}[id(given)])
    train.main(["--steps", "2", "--out", str(tmp_path), "--quiet", "--threads", "1"])
    assert load_model(str(tmp_path / "model"), device="cpu").n_layers == 4
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-0", "step-1"}
    assert (tmp_path / "model" / "loss.png").stat().st_size > 1000


def _words(text: str) -> tuple[str, ...]:
    """Words, marks and pairs of digits, found without the project's own tokenizer."""
    return tuple(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    for mark in (",", ":", "?", ". "):
        text = text.replace(mark, f" {mark} ")
    for word in text.removesuffix(".").split():
        yield from ((word[:2], word[2:]) if len(word) == 4 and word.isdigit() else (word,))


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
