"""The audit of tasks under a model, in words: what becomes of every row, which rows drop, and what to beware of."""

from collections.abc import Iterator, Sequence

from benchmark.engine.model import Model
from benchmark.models.catalogue import DEFAULT_PAIRS
from benchmark.prompts.pairs import Audit
from benchmark.prompts.task import Task
from benchmark.prompts.tokens import Tokens
from benchmark.running.behaviour import behaviour
from benchmark.running.caveats import cut, mostly_dropped

SHOWN = 3  # rows named for each reason, unless all are asked for


def audit_lines(
    tasks: Sequence[Task], name: str, tokens: Tokens, model: Model | None = None, verbose: bool = False
) -> Iterator[str]:
    """A table, then for every task the rows that dropped and the caveats.

    Where there is a model, these are on as many pairs as a run draws by default.
    """
    front = f"{tokens.decode(tokens.prefix)!r} in front" if tokens.prefix else "no BOS"
    yield f"Audit under the tokenizer of {name} ({front})\n"
    yield "| task | rows | kept | dropped |\n|---|---:|---:|---|"
    found: list[tuple[Task, Audit]] = []
    for task in tasks:
        audit = task.audit(tokens)
        found.append((task, audit))
        dropped = "; ".join(f"{count} {reason}" for reason, count in audit.dropped.items()) or "-"
        yield f"| {task.name} | {audit.rows} | {audit.kept} | {dropped} |"
    for task, audit in found:
        lines = [*_examples(audit, verbose), *(f"  ! {words}" for words in _caveats(task, audit, model))]
        if lines:
            yield "\n".join(["", task.name, *lines])


def _examples(audit: Audit, verbose: bool) -> Iterator[str]:
    for reason, rows in audit.examples.items():
        shown = rows if verbose else rows[:SHOWN]
        more = f" ... and {len(rows) - len(shown)} more (--verbose)" if len(shown) < len(rows) else ""
        if any("\n" in row for row in shown):
            yield f"  {reason}:"
            yield from (f"    {row}".replace("\n", "\n    ") for row in shown)
            if more:
                yield f"   {more}"
        else:
            yield f"  {reason}: {', '.join(shown)}{more}"


def _caveats(task: Task, audit: Audit, model: Model | None) -> Sequence[str]:
    """What to beware of on all rows; with a model, on the pairs that a run draws first."""
    of_rows = [*task.notes, mostly_dropped(audit), cut(audit)]
    if model is None or not audit.kept:
        return list(filter(None, of_rows))
    found = behaviour(model, task, task.metric, DEFAULT_PAIRS, "evaluation", 0, "zero")
    heard = {*task.notes, mostly_dropped(found.pairs.audit), cut(found.pairs.audit)} if found.pairs else set()
    return list(filter(None, [*of_rows, *(words for words in found.caveats if words not in heard), found.error]))
