"""The baselines experiment: do activation patching and integrated gradients agree when their baselines match?

It is reported wherever a folder holds both methods with every baseline. docs/baselines.md explains the numbers.
"""

from functools import partial

from benchmark.analysis.behaviour import incomplete
from benchmark.analysis.comparisons import Comparisons, by_model_and_kind, compared
from benchmark.analysis.litmus import untold
from benchmark.analysis.matched_baselines import SHOWN, Experiment, experiments
from benchmark.analysis.sections import Section
from benchmark.components import BASELINES, plural, titled
from benchmark.store.folder import Results
from reports.agreement.agreement_map import agreement_map
from reports.baselines.tables import matching_table, matrix_table, parting_table
from reports.baselines.words import together_words
from reports.writing.blocks import Block, Heading, Paragraph, Picture, Table


def together(found: list[Experiment]) -> list[Block]:
    """All tasks side by side, for each model and kind; empty where the experiment was not run."""
    blocks: list[Block] = []
    for heading, stem, tasks in by_model_and_kind(found, lambda one: one.part, "baselines"):
        blocks += [
            Heading(heading, 3),
            Paragraph(together_words(tasks)),
            matching_table(tasks, f"{stem}-matching"),
        ]
        if any(one.partings for one in tasks):
            blocks.append(parting_table(tasks, f"{stem}-parting"))
    return blocks


def details(found: list[Experiment], section: Section) -> list[Block]:
    """The experiment on one task: the 6 x 6 matrix as a table and a picture."""
    blocks: list[Block] = []
    for one in (one for one in found if one.section.slug == section.slug):
        stem = f"{section.slug}-{one.part.kind}-baselines"
        labels = [method.label for method in one.part.methods]
        warnings = [words for words in incomplete(section) if any(words.startswith(label) for label in labels)]
        blocks += [
            Heading(f"Baselines: {plural(one.part.kind)}", 3),
            *(Paragraph(f"**{warning}**") for warning in warnings),
            table := matrix_table(one.part, stem),
            _map(one.part, table),
        ]
    return blocks


def _map(part: Comparisons, table: Table) -> Picture:
    caption = (
        f"{titled(part.kind)}: the same as a map; numbers on the diagonal name the columns. Matched baselines: 4 with "
        "1, 5 with 2, 6 with 3."
    )
    return Picture(f"{table.stem}-map", caption, table.facts, partial(agreement_map, part), table.data)


def summary(results: Results, top_k: int | None = None) -> str:
    """The statements in words for a terminal; empty where the experiment was not run."""
    real = untold(results)
    if not {cell.identity[2] for cell in real.cells} >= set(BASELINES):
        return ""
    parts = compared(real, top_k, tested=False, statistics=SHOWN[:1])
    groups = by_model_and_kind(experiments(parts), lambda one: one.part, "baselines")
    return "\n\n".join(together_words(tasks) for _, _, tasks in groups)
