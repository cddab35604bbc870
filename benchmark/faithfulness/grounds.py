"""What circuits are measured on: the pairs of the split that was not scored, in one way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from benchmark.analysis.sections import Section
from benchmark.components import FEATURE_KINDS, MEAN, Way
from benchmark.engine.means import mean_activations
from benchmark.engine.memory import choose_chunk, fitting_chunk, parse_bytes
from benchmark.engine.model import Model
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.faithfulness.wanted import Wanted
from benchmark.prompts.pairs import Pairs
from benchmark.prompts.task import Task
from benchmark.running.behaviour import Behaviour, behaviour
from benchmark.running.bench import Bench
from benchmark.running.crew import Say
from benchmark.running.plan import Asked, dictionaries_digest
from benchmark.store.cell import PairFacts


@dataclass(frozen=True)
class Ground:
    """The pairs `found` of the split that `section` wasn't scored on; `asked` is the run that the scores are from."""

    section: Section
    asked: Asked
    model: Model
    task: Task
    way: Way
    split: str
    found: Behaviour

    @property
    def pairs(self) -> Pairs:
        assert self.found.pairs is not None
        return self.found.pairs

    @property
    def facts(self) -> tuple[PairFacts, ...]:
        said = ((one.prompt, len(one.clean)) for one in self.pairs.pairs)
        return tuple(PairFacts(prompt.id, prompt.template, prompt.cluster, length) for prompt, length in said)

    def scored_pairs(self) -> Pairs:
        """Those that the scores are from. Raises BenchmarkError where this way can't be had on them."""
        metric = self.asked.rows_of(self.task.name).chosen_metric(self.task)
        pairs = self.task.pairs_named(self.model, self.section.key.pair_ids, metric)
        pairs.refuse_replacement(self.way.replacement)
        return pairs

    def request(self, kinds: tuple[str, ...]) -> Request:
        mean = self.way.replacement == MEAN.replacement
        chunk = fitting_chunk(self.model, self.pairs.longest, gradients=False)
        if self.asked.memory:
            budget = parse_bytes(self.asked.memory)
            chunk = choose_chunk(self.model, self.pairs.longest, budget, gradients=False)
        means = mean_activations(self.model, self.pairs, kinds, chunk.pairs) if mean else {}
        return Request(
            kinds, self.way.replacement, self.way.direction, self.asked.seed, means, chunk.tokens, chunk.rows,
            chunk.pairs,
        )  # fmt: skip


def grounds(section: Section, kinds: Iterable[str], wanted: Wanted, bench: Bench, say: Say) -> Iterator[Ground]:
    """One for each way that is wanted and can be had.

    Raises BenchmarkError where the model, the dictionaries of these kinds or the rows aren't those of the scores.
    """
    asked, key = _asked(section, wanted), section.key
    model = bench.model(asked.source)
    _refuse_others(section, kinds, model)
    source = asked.rows_of(key.task.name)
    [task] = bench.tasks((key.task.name,), source, asked.plugins, model.tokens)
    split = "discovery" if key.task.split == "evaluation" else "evaluation"
    metric, count = source.chosen_metric(task), wanted.pairs or section.n_pairs
    for way in wanted.ways:
        found = behaviour(model, task, metric, count, split, asked.seed, way.replacement, key.task.min_metric)
        if found.pairs is None:
            say(f"{section.short}, {way}, on the {split} split: {found.error}")
        elif found.dataset_digest != key.task.dataset_digest or {*found.pairs.ids} & {*key.pair_ids}:
            raise BenchmarkError(
                f"The rows of {section.short} aren't those that were scored: the file has changed since. Run again."
            )
        else:
            yield Ground(section, asked, model, task, way, split, found)


def _asked(section: Section, wanted: Wanted) -> Asked:
    """The run that the scores are from, with the device and memory that are asked for now."""
    cells = sorted(section.cells, key=lambda cell: not set(cell.kinds) & set(FEATURE_KINDS))  # loads dictionaries
    passed = cells[0].provenance.passed
    if not passed:
        raise BenchmarkError(
            f"The cells of {section.title} don't say what was asked for when they were made: an older version wrote "
            "them. Run again."
        )
    asked = Asked.from_json(passed)
    return replace(asked, device=wanted.device or asked.device, memory=wanted.memory or asked.memory)


def _refuse_others(section: Section, kinds: Iterable[str], model: Model) -> None:
    """Refuse other weights, or other dictionaries of these kinds, than those of the scores."""
    if model.digest != section.key.model.digest:
        raise BenchmarkError(
            f"These are scores of another {model.name!r} than what that name loads now: their weights differ. Run "
            "again into another folder."
        )
    for kind in {*kinds} & {*FEATURE_KINDS}:
        if dictionaries_digest(model, kind) != section.read_by[kind]:
            raise BenchmarkError(
                f"These are scores of features by other dictionaries than {model.name!r} is loaded with now. Run again "
                "into another folder."
            )
