"""A task on trial: its rows, and what the tokenizer of one model makes of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from benchmark.conformance.findings import NotApplicable
from benchmark.engine.model import Model
from benchmark.prompts.dataset import PromptPair
from benchmark.prompts.pairs import Pairs, TokenPair, tokenise
from benchmark.prompts.task import Task

LOOKED_AT = 16  # pairs on which the metrics are computed


@dataclass(frozen=True)
class TaskTrial:
    """One task under one model."""

    task: Task
    model: Model

    @cached_property
    def rows(self) -> list[PromptPair]:
        return self.task.rows()

    @cached_property
    def outcomes(self) -> list[TokenPair | str]:
        """Every row as tokens, or why it drops."""
        return [tokenise(row, self.model.tokens, self.task.answer_tokens, self.task.check) for row in self.rows]

    def survivors(self, split: str) -> list[TokenPair]:
        return [pair for pair in self.outcomes if isinstance(pair, TokenPair) and pair.prompt.split == split]

    def pairs(self) -> Pairs:
        """A few evaluation pairs for the model."""
        if not self.survivors("evaluation"):
            raise NotApplicable("no evaluation pair survives the audit")
        return self._drawn

    @cached_property
    def _drawn(self) -> Pairs:
        return self.task.pairs(self.model, limit=LOOKED_AT)


def few(names: Iterable[object]) -> str:
    """The first three, and how many more."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
