"""What a report is divided into: one section a setting, and in it every method identity's mean scores.

Only cells of one setting (model, task, pairs, metric, ...) are ever compared.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from benchmark.statistics.sampling import CANDIDATE
from benchmark.store.folder import Cell, Results


@dataclass(frozen=True)
class Scored:
    """The mean scores that one method identity gave one kind of component; NaN where unmeasured."""

    label: str
    cell: Cell
    kind: str
    mean: Float[np.ndarray, "layer index"]

    @property
    def signed(self) -> bool:
        return bool(self.cell.info["key"]["method"]["signed"])

    @property
    def reference(self) -> bool:
        return bool(self.cell.info["key"]["method"]["reference"])

    @property
    def metric_units(self) -> bool:
        """Whether a score is an amount of the metric, so that it may share a scale with others."""
        return bool(self.cell.info["key"]["method"]["metric_units"])

    @property
    def per_pair(self) -> bool:
        """Whether every pair was scored by itself; scores from elsewhere may be the same for all pairs."""
        said = self.cell.info["key"]["method"].get("options", {}).get("per_pair", True)
        return bool(said.get(self.kind, True) if isinstance(said, dict) else said)  # once it was one flag for all kinds

    @property
    def elsewhere(self) -> bool:
        """Whether the scores were read from a file: what they cost is not known."""
        return "sha256" in self.cell.info["key"]["method"].get("options", {})

    @property
    def sampled(self) -> bool:
        """Whether it measured a sample, from which `reports.agreement.verified` estimates what holds for all."""
        stratum = self.cell.stratum(self.kind)
        return stratum is not None and bool(np.isnan(self.mean[stratum >= CANDIDATE]).any())

    @property
    def vector(self) -> Float[np.ndarray, " component"]:
        return self.mean.ravel()

    @property
    def scores(self) -> Float[np.ndarray, "pair component"]:
        """Every pair's scores; the components in the order of `vector`."""
        values = self.cell.values(self.kind)
        return values.reshape(len(values), -1)

    @property
    def layers(self) -> Int[np.ndarray, " component"]:
        """The layer of every component."""
        return np.repeat(np.arange(len(self.mean)), self.mean.shape[1])

    def component(self, number: int) -> str:
        """The name of a place in `vector`: L23H3, L4N1024."""
        layer, index = divmod(number, self.mean.shape[1])
        return f"L{layer}{self.kind[0].upper()}{index}"

    def strongest(self, count: int) -> list[int]:
        """Places in `vector` of the largest sizes, the first component first among equals."""
        sizes = np.where(np.isnan(self.vector), -1.0, np.abs(self.vector))
        order = np.argsort(-sizes, kind="stable")[:count]
        return [int(place) for place in order if sizes[place] >= 0]


@dataclass(frozen=True)
class Section:
    """All finished cells of one setting."""

    title: str
    short: str  # without the model
    slug: str  # starts the names of its files
    cells: tuple[Cell, ...]
    labels: dict[str, str]  # by the cell's `variant`

    @property
    def key(self) -> dict[str, Any]:
        return dict(self.cells[0].info["key"])

    @property
    def model(self) -> str:
        return self.cells[0].model

    @property
    def n_pairs(self) -> int:
        return len(self.key["pair_ids"])

    @property
    def kinds(self) -> list[str]:
        return sorted({kind for cell in self.cells for kind in cell.kinds})

    @property
    def gap(self) -> float:
        """Mean of f(clean) - f(corrupted) over the pairs; NaN where there are no corrupted prompts."""
        arrays = self.cells[0].arrays
        return float(np.mean(arrays["clean_metric"].astype(np.float64) - arrays["corrupted_metric"]))

    def noted(self, name: str) -> Any:
        """What the first cell that holds it says under `name` (accuracy, audit, filter, pairs); {} where none does."""
        return next((cell.info[name] for cell in self.cells if cell.info.get(name)), {})

    def per_pair(self, name: str) -> list[str] | None:
        """The `cluster` or `template` of every pair; None where the cells don't say."""
        pairs = self.noted("pairs")
        return [str(pair[name]) for pair in pairs] if pairs else None

    def label(self, cell: Cell) -> str:
        return self.labels[cell.variant]

    def scored(self, kind: str) -> list[Scored]:
        """Every method once: the reference first, floors in units of their own last."""
        found: dict[str, Scored] = {}
        for cell in sorted(self.cells, key=lambda cell: (len(cell.kinds), cell.folder.name)):
            if kind in cell.kinds and cell.variant not in found:
                mean = cell.values(kind).mean(0, dtype=np.float64)
                found[cell.variant] = Scored(self.label(cell), cell, kind, mean)
        return sorted(found.values(), key=lambda s: (not s.reference, not s.metric_units, not s.signed, s.label))


def reference_for(method: Scored, methods: Iterable[Scored]) -> Scored | None:
    """The reference of the same direction and replacement, else the first one, else None."""
    references = [other for other in methods if other.reference]
    like = [other for other in references if other.cell.identity[1:] == method.cell.identity[1:]]
    return next(iter(like + references), None)


def sections(results: Results) -> list[Section]:
    """The finished cells by setting, in an order that depends on nothing but what they hold."""
    groups = [list(group) for _, group in groupby(sorted(results.cells, key=_order), key=lambda cell: cell.setting)]
    several_models = len({cell.model for cell in results.cells}) > 1
    labels = _labels(results.cells)
    found = []
    for cells in groups:
        suffix = _suffix(cells[0], [g[0] for g in groups if (g[0].model, g[0].task) == (cells[0].model, cells[0].task)])
        title = cells[0].info.get("task_title") or cells[0].task
        place = f"{cells[0].model}-{cells[0].task}" if several_models else cells[0].task
        found.append(
            Section(
                title=", ".join([f"{title} ({cells[0].task})", cells[0].model, *suffix]),
                short=", ".join([cells[0].task, *suffix]),
                slug=slug(place, *suffix),
                cells=tuple(cells),
                labels=labels,
            )
        )
    return found


def slug(*words: str) -> str:
    """Words joined into the name of a file."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(words)).strip("-")


def _order(cell: Cell) -> tuple[Any, ...]:
    return cell.model, cell.task, len(cell.info["key"]["pair_ids"]), cell.setting, cell.folder.name


def _labels(cells: list[Cell]) -> dict[str, str]:
    """Method labels, with only those of direction, replacement and seed that the folder mixes."""
    mixed = [len({cell.identity[place] for cell in cells}) > 1 for place in (1, 2)]
    one_each = {cell.variant: cell for cell in cells}
    twins = Counter((cell.setting, cell.identity) for cell in one_each.values())
    labels = {}
    for digest, cell in one_each.items():
        extra = [word for word, shown in zip(cell.identity[1:], mixed, strict=True) if shown]
        if twins[cell.setting, cell.identity] > 1:
            extra += [f"seed {cell.info['key']['method'].get('seed')}", digest[:4]]
        labels[digest] = cell.identity[0] + (f" [{', '.join(extra)}]" if extra else "")
    return labels


def _suffix(cell: Cell, rivals: list[Cell]) -> list[str]:
    """What tells this setting from the others of its model and task; a digest only where nothing readable does."""

    def traits(other: Cell) -> list[str]:
        key = other.info["key"]
        bos = "BOS" if key["model"].get("prepend_bos") else "no BOS"
        task = key["task"]
        return [f"{len(key['pair_ids'])} pairs", str(task["metric"]), str(task.get("split")), str(key["dtype"]), bos]

    tables = [traits(other) for other in rivals]
    suffix = [own for place, own in enumerate(traits(cell)) if len({table[place] for table in tables}) > 1]
    return suffix if tables.count(traits(cell)) == 1 else [*suffix, cell.setting[:4]]
