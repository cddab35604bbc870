"""Files in the layouts of published circuit work, made here in their shape with sentences of our own."""

import csv
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import answers
from benchmark.prompts.pairs import TokenPair, tokenise
from benchmark.prompts.public_csv import read_pairs, read_public
from benchmark.prompts.task import Task
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
    (row,) = read_public(path, load_task("ioi").answer_sets, gpt2_tokens)
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
    (row,) = read_public(path, load_task(task).answer_sets, gpt2_tokens)
    assert (row.correct, row.incorrect) == (" Peru", " Italy")


def test_lists_of_answers_are_python_lists(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    right, wrong = ids(gpt2_tokens, " birds", " animals"), ids(gpt2_tokens, " tools")
    path = write(
        tmp_path / "h.csv", ["clean", "corrupted", "answers_idx", "corrupted_answers_idx"], ["a", "b", right, wrong]
    )
    (row,) = read_public(path, load_task("hypernymy").answer_sets, gpt2_tokens)
    assert answers(row.correct) == (" birds", " animals")
    assert answers(row.incorrect) == (" tools",)


def test_greater_than_gives_the_start_years_two_digits(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    prompts = [
        "The siege lasted from the year 1745 to the year 17",
        "The siege lasted from the year 1701 to the year 17",
    ]
    path = write(tmp_path / "g.csv", ["clean", "corrupted", "correct_idx"], [*prompts, 45])
    (row,) = read_public(path, load_task("greater-than").answer_sets, gpt2_tokens)
    assert answers(row.correct)[0] == "46"
    assert answers(row.incorrect)[-1] == "45"
    task = load_task("greater-than")
    assert isinstance(tokenise(row, gpt2_tokens, task.answer_tokens, task.check), TokenPair)


def test_agreement_takes_the_tasks_own_verbs(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    path = write(
        tmp_path / "s.csv", ["clean", "corrupted", "plural"], ["The keys", "The key", 1], ["The key", "The keys", 0]
    )
    plural, singular = read_public(path, load_task("sva").answer_sets, gpt2_tokens)
    assert " are" in answers(plural.correct)
    assert " is" in answers(plural.incorrect)
    assert answers(singular.correct) == answers(plural.incorrect)
    with pytest.raises(BenchmarkError, match="use --task sva"):
        read_public(path, load_task("ioi").answer_sets, gpt2_tokens)


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
        read_public(path, load_task("ioi").answer_sets, gpt2_tokens)


def test_the_wrong_tokenizer_is_noticed(tmp_path: Path, gpt2_tokens: Tokens, smollm2_tokens: Tokens) -> None:
    names = [" Mary", " John", " Paul", " Alice", " Tom", " Henry"]
    rows = [[CLEAN, CORRUPTED, *ids(gpt2_tokens, one, other)] for one in names for other in names if one != other]
    path = write(tmp_path / "f.csv", ["clean", "corrupted", "correct_idx", "incorrect_idx"], *rows)
    with pytest.raises(
        BenchmarkError, match=r"not the start of a word under this tokenizer.*--dataset-tokenizer MODEL"
    ):
        read_public(path, load_task("ioi").answer_sets, smollm2_tokens)


def test_unknown_layouts_say_what_is_known(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    path = write(tmp_path / "f.csv", ["clean", "corrupted", "label"], ["a", "b", "c"])
    with pytest.raises(BenchmarkError, match=r"no answer columns that are known \(correct_idx \+ incorrect_idx"):
        read_public(path, load_task("ioi").answer_sets, gpt2_tokens)
    path = write(tmp_path / "f.csv", ["clean", "correct_idx"], ["a", "1"])
    with pytest.raises(BenchmarkError, match="has no column 'corrupted'"):
        read_public(path, load_task("ioi").answer_sets, gpt2_tokens)


def test_a_file_without_rows_or_none_at_all_is_named(tmp_path: Path, gpt2_tokens: Tokens) -> None:
    path = write(tmp_path / "f.csv", ["clean", "corrupted", "correct_idx", "incorrect_idx"])
    with pytest.raises(BenchmarkError, match=r"f.csv' has no rows"):
        Task.from_csv(path, tokens=gpt2_tokens)
    with pytest.raises(BenchmarkError, match=r"none.csv' can't be read: No such"):
        Task.from_csv(tmp_path / "none.csv")


def test_token_ids_need_their_tokenizer(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", ["clean", "corrupted", "correct_idx", "incorrect_idx"], ["a", "b", 1, 2])
    with pytest.raises(BenchmarkError, match=r"f.csv holds token ids: say of which tokenizer"):
        Task.from_csv(path)


def test_several_corrupted_columns_are_told_apart_and_one_is_chosen(tmp_path: Path) -> None:
    header = ["clean", "corrupted", "corrupted_hard", "correct", "incorrect"]
    path = write(tmp_path / "f.csv", header, ["the cat", "the dog", "a fish", " is", " are"])
    rows, notes = read_pairs(path, {})
    assert rows[0].corrupted == "the dog"
    assert notes == (
        "Corrupted prompts are those of the column 'corrupted'; f.csv also has 'corrupted_hard' (--corrupted-column).",
    )
    rows, notes = read_pairs(path, {}, corrupted="corrupted_hard")
    assert rows[0].corrupted == "a fish"
    assert "those of the column 'corrupted_hard'; f.csv also has 'corrupted'" in notes[0]
    with pytest.raises(BenchmarkError, match=r"no column 'corupted_hard' .* Did you mean 'corrupted_hard'"):
        read_pairs(path, {}, corrupted="corupted_hard")


def test_four_columns_are_a_task_with_a_cluster_a_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "my own (2).csv", ["clean", "corrupted", "correct", "incorrect"],
        ["the cat", "the dog", " is", " are"], ["the bird", "the fish", " is", '[" are", " to"]'],
    )  # fmt: skip
    task = Task.from_csv(path, title="Mine")
    first, second = task.rows()
    assert (task.name, task.title, task.metric.name, task.citation) == ("my-own-2", "Mine", "logit_diff", "")
    assert (first.id, second.id) == ("my own (2)-0001", "my own (2)-0002")
    assert first.cluster != second.cluster
    assert (first.split, first.template) == ("evaluation", "")
    assert second.incorrect == [" are", " to"]


def test_a_file_may_follow_the_rules_of_a_task(tmp_path: Path) -> None:
    path = write(tmp_path / "verbs.csv", ["clean", "corrupted", "plural"], ["The keys", "The key", 1])
    sva = load_task("sva")
    task = Task.from_csv(path, like=sva)
    assert (task.answer_tokens, task.check, task.metric) == (sva.answer_tokens, sva.check, sva.metric)
    assert (task.name, task.title, task.dataset) == ("verbs", "verbs.csv", "")
    assert len(task.rows()) == 1
