"""Dataset files in the layouts of published circuit work: prompts as text, answers as token ids of one tokenizer.

The ids are decoded by the tokenizer that the file was made for, so that the pairs can be run on any model.
"""

import ast
import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import COLUMNS, Answer, PromptPair, read_csv
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens

# (column of the correct answers, column of the incorrect ones), in the order in which a file's columns are tried
_ID_COLUMNS = (
    ("correct_idx", "incorrect_idx"),
    ("country_idx", "corrupted_country_idx"),
    ("clean_answer_idx", "corrupted_answer_idx"),
    ("answers_idx", "corrupted_answers_idx"),
)
Row = dict[str, str]


def with_dataset(tasks: Sequence[Task], file: str, tokens: Tokens) -> Task:
    """The one task of a run, with the pairs of a user's file in place of its own.

    The file may have this project's columns or a public layout; `tokens` is the tokenizer that the ids of a public file
    are for.
    """
    if len(tasks) != 1:
        raise BenchmarkError(f"--dataset {file} holds pairs of one task: name it with --task, e.g. --task ioi.")
    path = Path(file)
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            columns = next(csv.reader(opened), [])
        own = "correct" in columns or "incorrect" in columns
        rows = read_csv(path) if own else read_public(path, tasks[0], tokens)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(f"The dataset {file!r} can't be read: {error}. It must be a CSV file in UTF-8.") from error
    if not rows:
        raise BenchmarkError(f"The dataset {file!r} has no rows.")
    return replace(tasks[0], dataset="", prompt_pairs=rows)


def read_public(path: Path, task: Task, tokens: Tokens) -> list[PromptPair]:
    """The rows of a public file, all of them `evaluation`. A bad row is named with its line."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        missing = [column for column in ("clean", "corrupted") if column not in columns]
        if missing:
            raise BenchmarkError(
                f"{path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(columns) or 'none'}."
            )
        answers = _answer_reader(path, task, columns, tokens)
        rows = []
        for number, row in enumerate(reader):
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise BenchmarkError(f"{where}: this row has more or fewer cells than the header.")
            correct, incorrect = answers(row, where)
            rows.append(
                PromptPair(row["clean"], row["corrupted"], correct, incorrect, f"{path.stem}-{number:05d}", path.stem)
            )
    return rows


def _answer_reader(
    path: Path, task: Task, columns: Sequence[str], tokens: Tokens
) -> Callable[[Row, str], tuple[Answer, Answer]]:
    """How this file says what is right and wrong."""
    for correct, incorrect in _ID_COLUMNS:
        if correct in columns and incorrect in columns:
            return lambda row, where: (
                _decoded(row[correct], f"{where}, {correct}", tokens),
                _decoded(row[incorrect], f"{where}, {incorrect}", tokens),
            )
    if "correct_idx" in columns:
        return lambda row, where: _years(row["correct_idx"], f"{where}, correct_idx")
    if "plural" in columns:
        return lambda row, where: _verbs(row["plural"], f"{where}, plural", task)
    known = "; ".join(" + ".join(pair) for pair in _ID_COLUMNS)
    raise BenchmarkError(
        f"{path} has no answer columns that are known ({known}; correct_idx alone for years; plural for verbs), nor "
        f"this project's own ({', '.join(COLUMNS)}). Its columns are {', '.join(columns)}."
    )


def _decoded(cell: str, where: str, tokens: Tokens) -> Answer:
    """Token ids, one or a Python list, as text. A word starts with a space: else the tokenizer is the wrong one."""
    try:
        value = ast.literal_eval(cell)
        ids = [int(token) for token in (value if isinstance(value, list) else [value])]
    except (ValueError, SyntaxError, TypeError) as error:
        raise BenchmarkError(f"{where}: {cell!r} is neither a token id nor a list of them.") from error
    size = len(tokens.tokenizer)
    words = [tokens.word(token) if 0 <= token < size else "" for token in ids]
    for token, word in zip(ids, words, strict=True):
        if not word.startswith(" ") or not word[1:2].isalpha():
            shown = f"{word!r}, not the start of a word" if word else "out of its range"
            raise BenchmarkError(
                f"{where}: token {token} is {shown} under this tokenizer. Name the one that the file was made for: "
                "--dataset-tokenizer MODEL (such as gpt2, or a folder with its tokenizer)."
            )
    if not words:
        raise BenchmarkError(f"{where}: the list of answers is empty.")
    return words[0] if len(words) == 1 else words


def _years(cell: str, where: str) -> tuple[list[str], list[str]]:
    """Greater-than: the cell is the start year's two digits."""
    try:
        year = int(cell)
    except ValueError as error:
        raise BenchmarkError(f"{where}: {cell!r} is not a two-digit year.") from error
    if not 1 <= year <= 98:
        raise BenchmarkError(f"{where}: {year} leaves no later or no earlier two-digit year.")
    return [f"{y:02d}" for y in range(year + 1, 100)], [f"{y:02d}" for y in range(year + 1)]


def _verbs(cell: str, where: str, task: Task) -> tuple[list[str], list[str]]:
    """Agreement: the cell says whether the clean subject is plural; the verbs are the task's own."""
    if cell.strip().lower() not in ("0", "1", "true", "false"):
        raise BenchmarkError(f"{where}: {cell!r} is not 0 or 1.")
    sets = task.answer_sets
    if not {"singular", "plural"} <= set(sets):
        raise BenchmarkError(f"{where}: task {task.name!r} has no singular and plural verbs for such a file; use sva.")
    plural = cell.strip().lower() in ("1", "true")
    right, wrong = ("plural", "singular") if plural else ("singular", "plural")
    return list(sets[right]), list(sets[wrong])
