"""What a report is divided into: one section a setting, and in it every method identity's mean scores.

Only cells of one setting (model, task, pairs, metric, ...) are ever compared.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from benchmark.components import FEATURE_KINDS, component_name
from benchmark.statistics.sampling import CANDIDATE
from benchmark.store.cell import Accuracy, AuditCounts, Cell, CellKey, Filter, ModelKey, PairFacts
from benchmark.store.folder import Results


@dataclass(frozen=True)
class Scored:
    """The mean scores that one method identity gave one kind of component; NaN where unmeasured."""

    label: str
    cell: Cell
    kind: str
    mean: Float[np.ndarray, "layer index"]

    @property
    def signed(self) -> bool:
        return self.cell.key.method.signed

    @property
    def reference(self) -> bool:
        return self.cell.key.method.reference

    @property
    def metric_units(self) -> bool:
        """Whether a score is an amount of the metric, so that it may share a scale with others."""
        return self.cell.key.method.metric_units

    @property
    def per_pair(self) -> bool:
        """Whether every pair was scored by itself; scores from elsewhere may be the same for all pairs."""
        return self.cell.key.method.per_pair.get(self.kind, True)

    @property
    def elsewhere(self) -> bool:
        """Whether the scores were read from a file: what they cost is not known."""
        return self.cell.key.method.elsewhere

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
        values = of_features(self.kind, self.cell.values(self.kind))
        return values.reshape(len(values), -1)

    @property
    def layers(self) -> Int[np.ndarray, " component"]:
        """The layer of every component."""
        return np.repeat(np.arange(len(self.mean)), self.mean.shape[1])

    def component(self, number: int) -> str:
        """The name of a place in `vector`: L23H3, L4N1024."""
        layer, index = divmod(number, self.mean.shape[1])
        return component_name(self.kind, layer, index, self.mean.shape[1])

    def strongest(self, count: int) -> list[int]:
        """Places in `vector` of the largest sizes, the first component first among equals."""
        sizes = np.where(np.isnan(self.vector), -1.0, np.abs(self.vector))
        order = np.argsort(-sizes, kind="stable")[:count]
        return [int(place) for place in order if sizes[place] >= 0]


@dataclass(frozen=True)
class Section:
    """All finished cells of one setting, and of one set of dictionaries."""

    title: str
    short: str  # without the model
    slug: str  # starts the names of its files
    cells: tuple[Cell, ...]
    labels: dict[str, str]  # by the cell's `variant`
    model: str  # its name, and where several models have that name, its folder
    read_by: Mapping[str, str]  # of each kind that is compared here the digest of its dictionaries, "" without any

    @property
    def key(self) -> CellKey:
        """That of the first cell: all but the method is the same for all."""
        return self.cells[0].key

    @property
    def metric(self) -> str:
        return self.key.task.metric

    @property
    def n_pairs(self) -> int:
        return len(self.key.pair_ids)

    @property
    def kinds(self) -> list[str]:
        return sorted(self.read_by)

    @property
    def gap(self) -> float:
        """Mean of f(clean) - f(corrupted) over the pairs; NaN where there are no corrupted prompts."""
        return float(np.mean(self.cells[0].gap()))

    @property
    def accuracy(self) -> Accuracy:
        """Of the first cell that says it; of 0 pairs where none does."""
        return next((cell.accuracy for cell in self.cells if cell.accuracy), Accuracy(0, 0))

    @property
    def audit(self) -> AuditCounts | None:
        return next((cell.audit for cell in self.cells if cell.audit), None)

    @property
    def caveats(self) -> list[str]:
        """What a reader should know of these pairs on this model."""
        return list(dict.fromkeys(words for cell in self.cells for words in cell.caveats))

    @property
    def filter(self) -> Filter:
        return next((cell.filter for cell in self.cells if cell.filter != Filter()), Filter())

    @property
    def pairs(self) -> tuple[PairFacts, ...]:
        """What is said of each pair; empty where no cell says anything."""
        return next((cell.pairs for cell in self.cells if cell.pairs), ())

    @property
    def clusters(self) -> list[str] | None:
        """The cluster of every pair; None where the cells don't say."""
        return [pair.cluster for pair in self.pairs] or None

    @property
    def templates(self) -> list[str] | None:
        """The template of every pair; None where the cells don't say."""
        return [pair.template for pair in self.pairs] or None

    def label(self, cell: Cell) -> str:
        return self.labels[cell.variant]

    def scored(self, kind: str) -> list[Scored]:
        """Every method once: the reference first, floors in units of their own last."""
        found: dict[str, Scored] = {}
        for cell in sorted(self.cells, key=lambda cell: (len(cell.kinds), cell.folder.name)):
            alike = kind in cell.kinds and digest_of(cell, kind) == self.read_by[kind]
            if alike and cell.variant not in found:
                mean = of_features(kind, cell.values(kind)).mean(0, dtype=np.float64)
                found[cell.variant] = Scored(self.label(cell), cell, kind, mean)
        return sorted(found.values(), key=lambda s: (not s.reference, not s.metric_units, not s.signed, s.label))


def of_features(kind: str, values: Float[np.ndarray, "*any layer index"]) -> Float[np.ndarray, "*any layer index"]:
    """Scores without those of the errors, where the kind is one of features: methods are compared on features alone."""
    if kind not in FEATURE_KINDS:
        return values
    values = values.copy()
    values[..., -1] = np.nan
    return values


def reference_for(method: Scored, methods: Iterable[Scored]) -> Scored | None:
    """The reference of the same direction and replacement, else the first one, else None."""
    references = [other for other in methods if other.reference]
    like = [other for other in references if other.cell.identity[1:] == method.cell.identity[1:]]
    return next(iter(like + references), None)


def sections(results: Results) -> list[Section]:
    """The finished cells by setting, in an order that depends on nothing but what they hold."""
    ordered = groupby(sorted(results.cells, key=_order), key=lambda cell: cell.setting)
    groups = [one for _, group in ordered for one in _by_dictionaries(list(group))]
    names = _model_names(results.cells)
    several_models = len({*names.values()}) > 1
    named = labels(results.cells)
    found = []
    for cells, read_by, others in groups:
        model = names[cells[0].key.model]
        rivals = [g[0] for g, _, _ in groups if (names[g[0].key.model], g[0].task) == (model, cells[0].task)]
        suffix = [*_suffix(cells[0], rivals), *others]
        title = cells[0].task_title or cells[0].task
        place = f"{model}-{cells[0].task}" if several_models else cells[0].task
        found.append(
            Section(
                title=", ".join([f"{title} ({cells[0].task})", model, *suffix]),
                short=", ".join([cells[0].task, *suffix]),
                slug=slug(place, *suffix),
                cells=tuple(cells),
                labels=named,
                model=model,
                read_by=read_by,
            )
        )
    return found


def digest_of(cell: Cell, kind: str) -> str:
    """The digest of the dictionaries that a cell's features of a kind were read by; "" for other kinds."""
    return cell.key.dictionaries.get(kind, "")


def _by_dictionaries(cells: list[Cell]) -> list[tuple[list[Cell], dict[str, str], list[str]]]:
    """Cells of one setting, divided such that each kind is read by one set of dictionaries; with what tells them apart.

    In most folders, that is all of them once.
    """
    there = sorted({(kind, digest_of(cell, kind)) for cell in cells for kind in cell.kinds})
    digests = {kind: [digest for one, digest in there if one == kind] for kind, _ in there}
    found = []
    for number in range(max(map(len, digests.values()))):
        read_by = {kind: each[number] for kind, each in digests.items() if number < len(each)}
        mine = [c for c in cells if any(k in c.kinds and digest_of(c, k) == digest for k, digest in read_by.items())]
        found.append((mine, read_by, [f"other dictionaries {number}"] if number else []))
    return found


def _model_names(cells: Iterable[Cell]) -> dict[ModelKey, str]:
    """What each model is called: its name, and its folder too where several weights have that name."""
    models = {cell.key.model: cell for cell in cells}
    twins = Counter(name for name, _ in {(key.name, key.digest) for key in models})
    return {
        key: key.name + f" ({cell.provenance.model_folder or key.digest[:8]})" * (twins[key.name] > 1)
        for key, cell in models.items()
    }


def slug(*words: str) -> str:
    """Words joined into the name of a file."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(words)).strip("-")


def _order(cell: Cell) -> tuple[Any, ...]:
    return cell.model, cell.task, len(cell.key.pair_ids), cell.setting, cell.folder.name


def labels(cells: list[Cell]) -> dict[str, str]:
    """Method labels by the cells' `variant`, with only those of direction, replacement and seed that are mixed."""
    mixed = [len({cell.identity[place] for cell in cells}) > 1 for place in (1, 2)]
    one_each = {cell.variant: cell for cell in cells}
    twins = Counter((cell.setting, cell.identity) for cell in one_each.values())
    found = {}
    for digest, cell in one_each.items():
        extra = [word for word, shown in zip(cell.identity[1:], mixed, strict=True) if shown]
        if twins[cell.setting, cell.identity] > 1:
            extra += [f"seed {cell.key.method.seed}", digest[:4]]
        found[digest] = cell.identity[0] + (f" [{', '.join(extra)}]" if extra else "")
    return found


def _suffix(cell: Cell, rivals: Iterable[Cell]) -> list[str]:
    """What tells this setting from the others of its model and task."""

    def traits(other: Cell) -> list[str]:
        key = other.key
        bos = "BOS" if key.model.prepend_bos else "no BOS"
        return [f"{len(key.pair_ids)} pairs", key.task.metric, key.task.split, key.dtype, key.matmul, bos]

    return told_apart(traits(cell), map(traits, rivals), cell.setting)


def told_apart(own: list[str], rivals: Iterable[list[str]], digest: str) -> list[str]:
    """Those traits that differ among the rivals, itself one of them; besides, a digest where nothing else tells it."""
    tables = list(rivals)
    found = [trait for place, trait in enumerate(own) if len({table[place] for table in tables}) > 1]
    return found if tables.count(own) == 1 else [*found, digest[:4]]
