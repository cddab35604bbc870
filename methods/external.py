"""Scores that other code made, from a CSV or safetensors file, held against the methods here."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Design, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch, Pairs
from methods._score_file import ScoreFile, read_scores


@dataclass(frozen=True)
class External(Method):
    """The scores of a file, whatever direction and replacement they are compared under.

    A component that the file doesn't name is unmeasured. Where it names no pairs, every pair has the same scores of
    that kind; `per_pair` says so by kind, and no statistic over pairs says anything of these scores.
    """

    name: ClassVar[str] = "external"
    summary: ClassVar[str] = "scores made by other code, from a .csv or .safetensors file"
    on_request: ClassVar[bool] = True
    elsewhere: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ()  # what a file says can't be checked on another model
    file: str = ""
    signed: bool = True  # type: ignore[misc]
    metric_units: bool = True  # type: ignore[misc]

    def __post_init__(self) -> None:
        if not self.file:
            raise BenchmarkError(f"Method {self.name!r} reads a file: write {self.name}:file=scores.csv.")
        self.content  # noqa: B018 (a bad file is refused before any model is loaded)

    @cached_property
    def content(self) -> ScoreFile:
        return read_scores(Path(self.file))

    @property
    def options(self) -> dict[str, Any]:
        """The file by name and content, so that it may lie anywhere and a change to it makes a new cell."""
        return super().options | {"file": Path(self.file).name, "sha256": self.content.sha256}

    @property
    def per_pair(self) -> dict[str, bool]:
        return self.content.per_pair

    @property
    def label(self) -> str:
        rest = [f"{name}=False" for name in ("signed", "metric_units") if not getattr(self, name)]
        return ":".join([self.name, Path(self.file).stem, *rest])

    def cost(self, model: Model, request: Request) -> Cost:
        """Nothing. The plan asks for it, and a file that doesn't fit the model is refused there."""
        for kind in request.kinds:
            self.content.refuse_unknown(kind, model.layers(kind), model.size(kind), model.name)
        return Cost(forward=0, backward=0)

    def prepare(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Tensor]:
        """Scores `[pair, layer, index]` by kind, the pairs in the order in which they were drawn."""
        found = {}
        for kind in request.kinds:
            self.content.refuse_unknown(kind, model.layers(kind), model.size(kind), model.name)
            scores = self.content.scores(kind, model.layers(kind), model.size(kind), pairs.task, pairs.ids)
            found[kind] = torch.from_numpy(scores)
        return found

    def design(self, model: Model, pairs: Pairs, request: Request) -> dict[str, Design]:
        return {kind: Design((~scores.isnan().any(0)).float()) for kind, scores in request.prepared.items()}

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        return {kind: scores[list(batch.index)] for kind, scores in request.prepared.items()}
