"""Checks of a task's rows as text, of the file that holds them, and of what is said about them."""

from collections import Counter

from benchmark.conformance.findings import NotApplicable, expect
from benchmark.conformance.task_trial import TaskTrial, few
from benchmark.prompts.dataset import COLUMNS, SPLITS, PromptPair, answers, write_csv

SUMMARY = 20  # characters: a sentence


def rows_are_complete(trial: TaskTrial) -> None:
    """Every row has prompts, answers and a known split; ids are unique; a dataset has every column, filled."""
    twice = [name for name, count in Counter(row.id for row in trial.rows).items() if count > 1]
    expect(not twice, f"ids {few(twice)} stand twice", "one id a row", "rows copied, or a counter that starts again")
    for row in trial.rows:
        filled: dict[str, object] = {"id": row.id, "clean": row.clean, "correct": "".join(answers(row.correct))}
        filled |= {"incorrect": all(all(wrong) and wrong for _, wrong in row.candidates())}
        if trial.task.dataset:
            filled |= {"template": row.template, "cluster": row.cluster}
        empty = [name for name, value in filled.items() if not value]
        expect(
            not empty, f"row {row.id!r} has no {', '.join(empty)}", "all columns filled", "an empty slot in a template"
        )
        expect(row.split in SPLITS, f"row {row.id!r} has the split {row.split!r}", " or ".join(SPLITS), "a typo")
    if trial.task.dataset:
        header = trial.task.dataset_path().read_text(encoding="utf-8").split("\n")[0].split(",")
        lacking = ", ".join(sorted(set(COLUMNS) - set(header)))
        expect(not lacking, f"the file has no column {lacking}", ", ".join(COLUMNS), "a file written by hand")


def no_identical_prompts(trial: TaskTrial) -> None:
    """No corrupted prompt equals its clean one, and no row stands twice."""
    same = [row.id for row in trial.rows if row.clean in [prompt for prompt, _ in row.candidates()]]
    expect(not same, f"rows {few(same)} have the clean prompt as a corrupted one", "two prompts", "a word drawn twice")
    seen = Counter((row.clean, str(row.corrupted)) for row in trial.rows)
    twice = [repr(clean) for (clean, _), count in seen.items() if count > 1]
    expect(not twice, f"{few(twice)} stands in two rows", "each pair of prompts once", "draws with replacement")


def splits_share_no_prompt(trial: TaskTrial) -> None:
    """No prompt, clean or corrupted, stands in both splits."""
    prompts = [{p for row in trial.rows if row.split == split for p in _prompts(row)} for split in SPLITS]
    shared = sorted(map(repr, set.intersection(*prompts)))
    expect(not shared, f"{few(shared)} stands in both splits", "none", "frames or words that the splits share")


def generator_reproduces_the_file(trial: TaskTrial) -> None:
    """The dataset is what the generator writes, byte for byte, every time."""
    if trial.task.generate is None or not trial.task.dataset:
        raise NotApplicable("it has no dataset with a generator")
    first, second = (write_csv(trial.task.generate()) for _ in range(2))
    cause = "draws from `random` itself, or from a set: use random.Random(SEED) and lists"
    expect(first == second, "two calls of the generator differ", "the same rows", cause)
    made, stored = first.encode(), trial.task.dataset_path().read_bytes()
    lines = zip([*made.split(b"\n"), None], [*stored.split(b"\n"), None], strict=False)
    apart = next((number for number, (one, other) in enumerate(lines, start=1) if one != other), 0)
    again = f"`attribution-bench generate --tasks {trial.task.name}` writes the file"
    expect(
        made == stored, f"the file is another one from line {apart} on", "the same bytes", f"an edit of either; {again}"
    )


def metadata_is_complete(trial: TaskTrial) -> None:
    """Title and summary say what it is; a dataset has a citation, and beside it a card that counts its rows."""
    task = trial.task
    expect(bool(task.title.strip()), "the title is empty", "a title", "not written yet")
    seen = f"the summary is {task.summary!r}"
    expect(len(task.summary) >= SUMMARY, seen, "a sentence that says what both prompts are", "not written yet")
    if not task.dataset:
        return
    expect(bool(task.citation), "the citation is empty", "the key of a paper that has this task", "not written yet")
    card = task.dataset_path().with_suffix(".md")
    expect(
        card.is_file(), f"there is no card {card.name} beside the dataset", "sources, counts, limits", "not written yet"
    )
    text = card.read_text(encoding="utf-8")
    for wanted in (str(len(trial.rows)), f"generate --tasks {task.name}"):
        expect(
            wanted in text, f"{card.name} doesn't say {wanted!r}", "the count of rows, how to make them", "an old card"
        )


def _prompts(row: PromptPair) -> set[str]:
    return {row.clean, *(prompt for prompt, _ in row.candidates() if prompt is not None)}
