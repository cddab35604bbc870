"""Files of pairs of one's own: this project's columns, or the layouts of published circuit work.

Public files hold answers as token ids. The ids are decoded by the tokenizer that the file was made for, so that the
pairs can be run on any model.
"""

import ast
import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.prompts.dataset import NEEDED, Answer, PromptPair, read_csv
from benchmark.prompts.tokens import Tokens

# (column of the correct answers, column of the incorrect ones), in the order in which a file's columns are tried
_ID_COLUMNS = (
    ("correct_idx", "incorrect_idx"),
    ("country_idx", "corrupted_country_idx"),
    ("clean_answer_idx", "corrupted_answer_idx"),
    ("answers_idx", "corrupted_answers_idx"),
)
_LARGEST_CELL = 2**20  # characters
AnswerSets = Mapping[str, Sequence[str]]
Row = dict[str, str]


def read_pairs(
    path: Path, sets: AnswerSets, tokens: Tokens | None = None, corrupted: str | None = None
) -> tuple[list[PromptPair], tuple[str, ...]]:
    """The rows of a user's file, and what is to be known of them: which of several corrupted columns is used.

    `sets` are the answer sets that rows may name; `corrupted` is the column of corrupted prompts.
    """
    csv.field_size_limit(_LARGEST_CELL)
    try:
        with open(path, newline="", encoding="utf-8-sig") as opened:
            columns = next(csv.reader(opened), [])
        chosen, notes = _corrupted_column(path, columns, corrupted)
        own = "correct" in columns or "incorrect" in columns
        rows = read_csv(path, chosen) if own else read_public(path, sets, tokens, chosen)
    except OSError as error:
        reason = error.strerror or error
        raise BenchmarkError(f"The dataset '{path}' can't be read: {reason}. Give the path of a CSV file.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BenchmarkError(f"The dataset '{path}' can't be read: {error}. It must be a CSV file in UTF-8.") from error
    if not rows:
        raise BenchmarkError(f"The dataset '{path}' has no rows.")
    return rows, notes


def _corrupted_column(path: Path, columns: Sequence[str], asked: str | None) -> tuple[str, tuple[str, ...]]:
    there = [name for name in columns if name.startswith("corrupted") and not name.endswith("_idx")]
    if asked is not None and asked not in columns:
        raise BenchmarkError(
            f"{path} has no column {asked!r} (--corrupted-column).{did_you_mean(asked, list(columns))} "
            f"Its columns are {', '.join(columns) or 'none'}."
        )
    chosen = asked or "corrupted"
    others = [name for name in there if name != chosen]
    if not others or chosen not in columns:
        return chosen, ()
    words = f"Corrupted prompts are those of the column {chosen!r}; {path.name} also has {', '.join(map(repr, others))}"
    return chosen, (f"{words} (--corrupted-column).",)


def read_public(path: Path, sets: AnswerSets, tokens: Tokens | None, corrupted: str = "corrupted") -> list[PromptPair]:
    """The rows of a public file, all of them `evaluation`. A bad row is named with its line."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = list(map(str, reader.fieldnames or []))
        missing = [column for column in ("clean", corrupted) if column not in columns]
        if missing:
            raise BenchmarkError(
                f"{path} has no column {', '.join(map(repr, missing))}; its columns are {', '.join(columns) or 'none'}."
            )
        answers = _answer_reader(path, sets, columns, tokens)
        rows = []
        for number, row in enumerate(reader):
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise BenchmarkError(f"{where}: this row has more or fewer cells than the header.")
            correct, incorrect = answers(row, where)
            rows.append(
                PromptPair(row["clean"], row[corrupted], correct, incorrect, f"{path.stem}-{number:05d}", path.stem)
            )
    return rows


def _answer_reader(
    path: Path, sets: AnswerSets, columns: Sequence[str], tokens: Tokens | None
) -> Callable[[Row, str], tuple[Answer, Answer]]:
    """How this file says what is right and wrong."""
    for correct, incorrect in _ID_COLUMNS:
        if correct in columns and incorrect in columns:
            if tokens is None:
                raise BenchmarkError(f"{path} holds token ids: say of which tokenizer (`tokens`).")
            return lambda row, where: (
                _decoded(row[correct], f"{where}, {correct}", tokens),
                _decoded(row[incorrect], f"{where}, {incorrect}", tokens),
            )
    if "correct_idx" in columns:
        return lambda row, where: _years(row["correct_idx"], f"{where}, correct_idx")
    if "plural" in columns:
        return lambda row, where: _verbs(row["plural"], f"{where}, plural", sets)
    known = "; ".join(" + ".join(pair) for pair in _ID_COLUMNS)
    raise BenchmarkError(
        f"{path} has no answer columns that are known ({known}; correct_idx alone for years; plural for verbs), nor "
        f"this project's own ({', '.join(NEEDED)}). Its columns are {', '.join(columns)}."
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


def _verbs(cell: str, where: str, sets: AnswerSets) -> tuple[list[str], list[str]]:
    """Agreement: the cell says whether the clean subject is plural; the verbs are the task's own."""
    if cell.strip().lower() not in ("0", "1", "true", "false"):
        raise BenchmarkError(f"{where}: {cell!r} is not 0 or 1.")
    if not {"singular", "plural"} <= set(sets):
        raise BenchmarkError(f"{where}: no singular and plural verbs are known for such a file: use --task sva.")
    plural = cell.strip().lower() in ("1", "true")
    right, wrong = ("plural", "singular") if plural else ("singular", "plural")
    return list(sets[right]), list(sets[wrong])
