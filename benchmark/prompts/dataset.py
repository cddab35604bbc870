"""Prompt pairs as text, and the CSV files that hold them: nothing here knows a tokenizer."""

import ast
import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, did_you_mean

Answer = str | Sequence[str]
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "", "none")
COLUMNS = ("id", "clean", "corrupted", "correct", "incorrect", "template", "cluster", "split")
NEEDED = ("clean", "corrupted", "correct", "incorrect")  # the others are made up: a cluster a row, all evaluation
SPLITS = ("discovery", "evaluation")


@dataclass(frozen=True)
class PromptPair:
    """A clean and a corrupted prompt with the clean prompt's correct and incorrect answers, as text.

    An answer carries the space that stands before it (`" Mary"`); several answers are a sequence of strings.
    `corrupted` may hold several candidates, with `incorrect` in parallel: the first that fits the tokenizer is
    taken. `corrupted=None` leaves only zero and mean replacement. `cluster` names what rows share.
    """

    clean: str
    corrupted: str | Sequence[str] | None
    correct: Answer
    incorrect: Answer | Sequence[Answer]
    id: str = ""
    template: str = ""
    cluster: str = ""
    split: str = "evaluation"
    extra: dict[str, str] = field(default_factory=dict)

    @classmethod
    def chat(
        cls,
        clean: str,
        corrupted: str | Sequence[str] | None,
        correct: Answer,
        incorrect: Answer | Sequence[Answer],
        system: str = "",
        **fields: Any,
    ) -> "PromptPair":
        """A pair of messages to a chat model: each is put into the chat template that its tokenizer brings.

        The answers stand where the model's answer begins, mostly without a space: `"Paris"`. In a CSV file the columns
        `chat` (yes) and `system` do the same.
        """
        extra = {**fields.pop("extra", {}), "chat": "yes", "system": system}
        return cls(clean, corrupted, correct, incorrect, extra=extra, **fields)

    @property
    def is_chat(self) -> bool:
        """Whether the prompts are messages of a user, to be put into the tokenizer's chat template."""
        said = str(self.extra.get("chat", "")).strip().lower()
        if said not in _YES + _NO:
            raise BenchmarkError(f"the column 'chat' holds {said!r}, and not yes or no")
        return said in _YES

    def candidates(self) -> list[tuple[str | None, tuple[str, ...]]]:
        """Every (corrupted prompt, incorrect answers) of this pair, in order of preference."""
        if self.corrupted is None or isinstance(self.corrupted, str):
            return [(self.corrupted, answers(self.incorrect))]  # type: ignore[arg-type]
        if isinstance(self.incorrect, str) or len(self.incorrect) != len(self.corrupted):
            raise BenchmarkError(
                f"Pair {self.id!r} has {len(self.corrupted)} corrupted candidates: "
                "give as many entries in `incorrect`, in the same order."
            )
        return [(prompt, answers(wrong)) for prompt, wrong in zip(self.corrupted, self.incorrect, strict=True)]


def answers(value: Answer) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def with_answer_sets(row: PromptPair, sets: Mapping[str, Sequence[str]]) -> PromptPair:
    """The row with each `@name` that stands for its answers replaced by the answer set of that name."""
    if row.corrupted is None or isinstance(row.corrupted, str):
        incorrect = _named(row.incorrect, row, sets)
    else:
        incorrect = [_named(wrong, row, sets) for wrong in row.incorrect]
    return replace(row, correct=_named(row.correct, row, sets), incorrect=incorrect)


def _named(value: Any, row: PromptPair, sets: Mapping[str, Sequence[str]]) -> Any:
    if not isinstance(value, str) or not value.startswith("@") or not sets or value == "@":
        return value
    if value[1:] not in sets:
        raise BenchmarkError(
            f"Pair {row.id!r} names the answer set {value!r}; its task has {', '.join(sets) or 'none'}. "
            f"Add it to the task's `answer_sets`.{did_you_mean(value[1:], tuple(sets))}"
        )
    return sets[value[1:]]


def read_csv(path: Path, corrupted: str = "corrupted") -> list[PromptPair]:
    """The rows of a dataset file; a missing column or a bad cell is named with its line.

    `corrupted` names the column of corrupted prompts.
    """
    needed = [column if column != "corrupted" else corrupted for column in NEEDED]
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [column for column in needed if column not in (reader.fieldnames or [])]
        if missing:
            raise BenchmarkError(
                f"{path} has no column {', '.join(map(repr, missing))}; {', '.join(needed)} are needed. "
                f"Its columns are {', '.join(map(str, reader.fieldnames or ['none']))}."
            )
        twice = [name for name, count in Counter(reader.fieldnames or []).items() if count > 1]
        if twice:
            raise BenchmarkError(f"{path} has the column {twice[0]!r} twice.")
        filled = (row for row in reader if any(row.values()))  # spreadsheets end in blank rows
        rows = [_row(row, path, reader.line_num, number, corrupted) for number, row in enumerate(filled, 1)]
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise BenchmarkError(f"{path}: the id {row.id!r} stands twice; ids name rows and must differ.")
        seen.add(row.id)
    return rows


def write_csv(rows: Iterable[PromptPair]) -> str:
    """The text of a dataset file, the same bytes for the same rows."""
    rows = list(rows)
    extra = list(dict.fromkeys(name for row in rows for name in row.extra))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *extra])
    for row in rows:
        cells = [_cell(row.clean), _cell(row.corrupted), _cell(row.correct), _cell(row.incorrect)]
        writer.writerow(
            [row.id, *cells, row.template, row.cluster, row.split, *(row.extra.get(name, "") for name in extra)]
        )
    return out.getvalue()


def digest(rows: Iterable[PromptPair]) -> str:
    """sha256 of the rows' contents: changes when anything that reaches the model changes."""
    return hashlib.sha256(write_csv(rows).encode()).hexdigest()


def _cell(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _row(row: dict[str, str], path: Path, line: int, number: int, corrupted: str) -> PromptPair:
    where = f"{path}, line {line}"
    if None in row or None in row.values():
        raise BenchmarkError(f"{where}: this row has more or fewer cells than the header.")
    made_up = {"id": f"{path.stem}-{number:04d}", "template": "", "split": "evaluation"}
    row = {name: cell for name, cell in row.items() if cell or name not in made_up}
    row = made_up | {"cluster": row.get("id") or made_up["id"]} | row | {"corrupted": row[corrupted]}
    row["split"] = row["split"].strip().lower()
    if row["split"] not in SPLITS:
        hint = did_you_mean(row["split"], SPLITS)
        raise BenchmarkError(f"{where}: split is {row['split']!r}, not discovery or evaluation.{hint}")
    parsed = {name: _parsed(row[name], f"{where}, {name}") for name in ("corrupted", "correct", "incorrect")}
    return PromptPair(
        clean=row["clean"],
        corrupted=parsed["corrupted"] or None,
        correct=parsed["correct"],
        incorrect=parsed["incorrect"],
        extra={name: cell for name, cell in row.items() if name not in COLUMNS},
        **{name: row[name] for name in ("id", "template", "cluster", "split")},
    )


def _parsed(cell: str, where: str) -> str | list[Any]:
    """A list, written as in JSON or in Python, as a list; any other text, such as `[INST] Who ...`, as it stands."""
    if not cell.startswith("["):
        return cell
    try:
        value = json.loads(cell)
    except (json.JSONDecodeError, RecursionError):
        try:
            value = None if re.search(r"""["']\s+["']""", cell) else ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        if not isinstance(value, list):
            if re.match(r"""\[\s*["'\[]""", cell):
                raise BenchmarkError(
                    f"{where}: {cell[:40]!r} starts like a list and is none of JSON or Python."
                ) from None
            return cell
    if not value or not all(isinstance(entry, str) or _is_strings(entry) for entry in value):
        raise BenchmarkError(f"{where}: a list must hold strings, at least one.")
    return list(value)


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, str) for entry in value)
