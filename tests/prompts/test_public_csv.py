"""Files in the layouts of published circuit work, made here in their shape with sentences of our own."""

import csv
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import answers
from benchmark.prompts.pairs import TokenPair, tokenise
from benchmark.prompts.public_csv import read_public, with_dataset
from benchmark.prompts.tokens import Tokens
from benchmark.running.plugins import load_task


def write(path: Path, header: list[str], *rows: list[object]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def ids(tokens: Tokens, *words: str) -> list[int]:
    return [tokens.answer(word)[0] for word in words]


CLEAN, CORRUPTED = "When Mary and John sat down, John gave tea to", "When Mary and John sat down, Mary gave tea to"


def test_ioi_ids_are_decoded_by_the_files_tokenizer_and_run_on_another(
    tmp_path: Path, gpt2_tokens: Tokens, smollm2_tokens: Tokens
) -> None:
    mary, john = ids(gpt2_tokens, " Mary", " John")
    path = write(
        tmp_path / "ioi.csv", ["clean", "corrupted", "corrupted_hard", "correct_idx", "incorrect_idx"],
        [CLEAN, CORRUPTED, "x", mary, john],
    )  # fmt: skip
    (row,) = read_public(path, load_task("ioi"), gpt2_tokens)
    assert (row.correct, row.incorrect) == (" Mary", " John")
    made = tokenise(row, smollm2_tokens)
    assert isinstance(made, TokenPair)
    assert made.correct == smollm2_tokens.answer(" Mary")


@pytest.mark.parametrize(
    ("task", "header"),
    [
        ("capital-country", ["country_idx", "corrupted_country_idx"]),
        ("gender-bias", ["clean_answer_idx", "corrupted_answer_idx"]),
    ],
)
def test_single_answers(tmp_path: Path, gpt2_tokens: Tokens, task: str, header: list[str]) -> None:
    path = write(tmp_path / "f.csv", ["clean", "corrupted", *header], ["a", "b", *ids(gpt2_tokens, " Peru", " Italy")])
    (row,) = read_public(path, load_task(task), gpt2_tokens)
    assert (row.correct, row.incorrect) == (" Peru", " Italy")


def test_lists_of_answers_are_python_lists(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    right, wrong = ids(gpt2_tokens, " birds", " animals"), ids(gpt2_tokens, " tools")
    path = write(
        tmp_path / "h.csv", ["clean", "corrupted", "answers_idx", "corrupted_answers_idx"], ["a", "b", right, wrong]
    )
    (row,) = read_public(path, load_task("hypernymy"), gpt2_tokens)
    assert answers(row.correct) == (" birds", " animals")
    assert answers(row.incorrect) == (" tools",)


def test_greater_than_gives_the_start_years_two_digits(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    prompts = [
        "The siege lasted from the year 1745 to the year 17",
        "The siege lasted from the year 1701 to the year 17",
    ]
    path = write(tmp_path / "g.csv", ["clean", "corrupted", "correct_idx"], [*prompts, 45])
    (row,) = read_public(path, load_task("greater-than"), gpt2_tokens)
    assert answers(row.correct)[0] == "46"
    assert answers(row.incorrect)[-1] == "45"
    task = load_task("greater-than")
    assert isinstance(tokenise(row, gpt2_tokens, task.answer_tokens, task.check), TokenPair)


def test_agreement_takes_the_tasks_own_verbs(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    path = write(
        tmp_path / "s.csv", ["clean", "corrupted", "plural"], ["The keys", "The key", 1], ["The key", "The keys", 0]
    )
    plural, singular = read_public(path, load_task("sva"), gpt2_tokens)
    assert " are" in answers(plural.correct)
    assert " is" in answers(plural.incorrect)
    assert answers(singular.correct) == answers(plural.incorrect)
    with pytest.raises(BenchmarkError, match="use sva"):
        read_public(path, load_task("ioi"), gpt2_tokens)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("__import__('os').system('true')", r"line 3, correct_idx: .* neither a token id nor a list"),
        ("[1, 'x']", r"line 3, correct_idx: .* neither a token id nor a list"),
        ("[]", r"line 3, correct_idx: the list of answers is empty"),
        ("999999", r"line 3, correct_idx: token 999999 is out of its range .*--dataset-tokenizer"),
        ("-1", r"token -1 is out of its range"),
    ],
)
def test_bad_cells_are_named_with_their_line_and_never_run(
    tmp_path: Path, gpt2_tokens: Tokens, cell: str, message: str
) -> None:
    good = ids(gpt2_tokens, " Mary", " John")
    path = write(
        tmp_path / "f.csv", ["clean", "corrupted", "correct_idx", "incorrect_idx"],
        [CLEAN, CORRUPTED, *good], [CLEAN, CORRUPTED, cell, good[1]],
    )  # fmt: skip
    with pytest.raises(BenchmarkError, match=message):
        read_public(path, load_task("ioi"), gpt2_tokens)


def test_the_wrong_tokenizer_is_noticed(tmp_path: Path, gpt2_tokens: Tokens, smollm2_tokens: Tokens) -> None:
    names = [" Mary", " John", " Paul", " Alice", " Tom", " Henry"]
    rows = [[CLEAN, CORRUPTED, *ids(gpt2_tokens, one, other)] for one in names for other in names if one != other]
    path = write(tmp_path / "f.csv", ["clean", "corrupted", "correct_idx", "incorrect_idx"], *rows)
    with pytest.raises(
        BenchmarkError, match=r"not the start of a word under this tokenizer.*--dataset-tokenizer MODEL"
    ):
        read_public(path, load_task("ioi"), smollm2_tokens)


def test_unknown_layouts_say_what_is_known(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    path = write(tmp_path / "f.csv", ["clean", "corrupted", "label"], ["a", "b", "c"])
    with pytest.raises(BenchmarkError, match=r"no answer columns that are known \(correct_idx \+ incorrect_idx"):
        read_public(path, load_task("ioi"), gpt2_tokens)
    path = write(tmp_path / "f.csv", ["clean", "correct_idx"], ["a", "1"])
    with pytest.raises(BenchmarkError, match="has no column 'corrupted'"):
        read_public(path, load_task("ioi"), gpt2_tokens)


def test_a_dataset_needs_one_task_and_rows(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    path = write(tmp_path / "f.csv", ["clean", "corrupted", "correct_idx", "incorrect_idx"])
    with pytest.raises(BenchmarkError, match=r"has no rows"):
        with_dataset([load_task("ioi")], str(path), gpt2_tokens)
    with pytest.raises(BenchmarkError, match=r"name it with --task"):
        with_dataset([load_task("ioi"), load_task("sva")], str(path), gpt2_tokens)
    with pytest.raises(BenchmarkError, match=r"can't be read"):
        with_dataset([load_task("ioi")], str(tmp_path / "none.csv"), gpt2_tokens)


def test_a_file_in_our_own_layout_runs_too(gpt2_tokens: Tokens) -> None:
    path = Path(__file__).parents[2] / "datasets" / "ioi.csv"
    task = with_dataset([load_task("ioi")], str(path), gpt2_tokens)
    assert task.digest() == load_task("ioi").digest()
