"""The content of a report: what it says first, then a section a question, in the order of `SECTIONS`.

To add a section: a function of the `Study` that gives its blocks, and its line in `SECTIONS`. Without blocks it has no
heading either. What most readers skip goes into a `Fold`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from benchmark.analysis.behaviour import incomplete, only_rounding
from benchmark.analysis.circuits import games
from benchmark.analysis.comparisons import Comparisons, by_model_and_kind
from benchmark.analysis.evidence import Evidence, evidence
from benchmark.analysis.finding import finding_data
from benchmark.analysis.frontier import frontier_data
from benchmark.analysis.inclusion import inclusion_data
from benchmark.analysis.litmus import untold
from benchmark.analysis.matched_baselines import Experiment, experiments
from benchmark.analysis.resolution import below_resolution
from benchmark.analysis.sections import Section, sections
from benchmark.components import FEATURE_KINDS, plural, titled
from benchmark.store.folder import Results
from reports import run_tables as tables
from reports.agreement import figures
from reports.agreement import tables as agreement_tables
from reports.agreement.features import features_section
from reports.agreement.finding import finding_table, not_known
from reports.agreement.frontier import frontier_table
from reports.agreement.inclusion import inclusion_table
from reports.agreement.overview import overview
from reports.agreement.verified import verified_section
from reports.baselines import section as baselines
from reports.circuits.section import MADE, circuits_blocks
from reports.findings import findings
from reports.headline import headline
from reports.how import how_it_is_made
from reports.litmus import section as litmus
from reports.writing import captions
from reports.writing.blocks import Block, Bullets, Fold, Heading, Paragraph, Picture, Table
from reports.writing.html import METHODS
from reports.writing.references import Reference


@dataclass(frozen=True)
class Study:
    """A results folder, and all comparisons of its methods on models of which nothing is known."""

    results: Results
    parts: list[Comparisons]

    @cached_property
    def everything(self) -> list[Section]:
        return sections(self.results)

    @cached_property
    def found(self) -> list[Section]:
        """Without planted models."""
        return sections(untold(self.results))

    @cached_property
    def evidence(self) -> Evidence:
        return evidence(self.results, self.parts)

    @cached_property
    def experiments(self) -> list[Experiment]:
        return experiments(self.parts)

    @cached_property
    def groups(self) -> list[tuple[str, str, list[Comparisons]]]:
        """What stands side by side: the tasks of each model and kind that are held against a reference of all."""
        held = [part for part in self.parts if part.against_whole]
        return by_model_and_kind(held, lambda part: part, "all")


def contents(results: Results, parts: list[Comparisons]) -> tuple[list[Block], dict[str, Reference]]:
    """All blocks of the report, and the sources that it names by key."""
    study = Study(results, parts)
    blocks = first_screen(study)
    for title, section in SECTIONS:
        if inside := section(study):
            blocks += [Heading(title, 2), *inside]
    return blocks, _sources(study)[1]


def first_screen(study: Study) -> list[Block]:
    """What was compared, what was found, and the matrix of task by method."""
    blocks: list[Block] = [Heading("Attribution benchmark", 1), Paragraph(headline(study.results, study.everything))]
    if study.found or study.evidence.absent.size:
        blocks.append(Bullets(tuple(one.text for one in findings(study.evidence))))
    return [*blocks, *(overview(parts, study.evidence, f"{stem}-agreement") for _, stem, parts in study.groups)]


def _agreement(study: Study) -> list[Block]:
    """Intervals and ceilings in a picture, or why there are none."""
    blocks: list[Block] = []
    groups = by_model_and_kind([part for part in study.parts if part.references], lambda part: part, "all")
    for heading, stem, parts in groups:
        blocks += [Heading(heading, 3)] * (len(groups) > 1)
        blocks += [Paragraph(words) for words in captions.left_out(parts)]
        if not (whole := [part for part in parts if part.against_whole]):
            continue
        if any(found.low.notna().any() for part in whole for _, _, found in part.against_whole):
            blocks.append(figures.forest_picture(whole, f"{stem}-forest"))
        else:
            blocks.append(Paragraph(captions.intervals(whole)))
    return blocks


def _cost(study: Study) -> list[Block]:
    """Agreement against cost, where the cells say what they cost."""
    blocks: list[Block] = []
    for _, stem, parts in study.groups:
        data = frontier_data(parts)
        if (data.passes > 0).any():
            blocks.append(figures.frontier_picture(data, parts, f"{stem}-frontier"))
            blocks.append(_folded(frontier_table(data, parts, f"{stem}-frontier"), parts))
    return blocks


def _order(study: Study) -> list[Block]:
    """What each method's order is worth to somebody who patches exactly, where the true top is known."""
    blocks: list[Block] = []
    for _, stem, parts in study.groups:
        costs, curves = finding_data(parts)
        if lacking := not_known(parts):
            blocks.append(Paragraph(lacking))
        if not costs.empty:
            blocks.append(figures.finding_picture(costs, curves, parts, f"{stem}-finding-curves"))
            blocks.append(_folded(finding_table(costs, parts, f"{stem}-finding"), parts))
    return blocks


def _folded(block: Block, parts: list[Comparisons]) -> Fold:
    return Fold(f"The numbers: {plural(parts[0].kind)}", (block,), 4)


def _behaviour(study: Study) -> list[Block]:
    """The caveats of all tasks; how often the model is right, and which rows became pairs."""
    if not study.found:
        return []
    words = tuple(f"**{one.title}**: {caveat}" for one in study.found for caveat in one.caveats)
    told = (tables.accuracy_table(study.found), tables.audit_table(study.found))
    return [*[Bullets(words)] * bool(words), Fold("Accuracy, and which rows became pairs", told)]


def _tasks(study: Study) -> list[Block]:
    """Each task by itself."""
    return [_task(study, section) for section in study.found]


def _task(study: Study, section: Section) -> Fold:
    parts = [part for part in study.parts if part.section.slug == section.slug]
    blocks: list[Block] = [Paragraph(f"**{words}**") for words in section.caveats]
    if parts and (refusal := parts[0].halves.refusal):
        blocks.append(Paragraph(f"**{refusal.capitalize()}.** Take every number below as a first look."))
    for part in parts:
        blocks += _kind(part)
    blocks += verified_section(section)
    blocks += [Paragraph(f"**{warning}**") for warning in [*incomplete(section), *only_rounding(section)]]
    return Fold(section.title, (*blocks, *baselines.details(study.experiments, section)), stem=f"task-{section.slug}")


def _kind(part: Comparisons) -> list[Block]:
    stem = f"{part.section.slug}-{part.kind}"
    blocks: list[Block] = [Heading(titled(part.kind), 4)]
    blocks += [Paragraph(f"**{words}**") for words in [*captions.one_pair_decides([part]), *below_resolution(part)]]
    blocks.append(tables.strongest_table(part.section, part.methods, f"{stem}-strongest"))
    if part.references:
        blocks += [
            agreement_tables.panel_table(part, f"{stem}-panel"),
            agreement_tables.reference_table(part, f"{stem}-reference"),
        ]
    elif len(part.methods) > 1:
        blocks.append(Paragraph("No reference to hold the methods against: see `agreement.csv` for every two methods."))
    else:
        blocks.append(Paragraph(f"One method ({part.methods[0].label}), so nothing to compare."))
    if (concordance := part.concordance) is not None:
        blocks.append(Paragraph(agreement_tables.concordance_words(concordance)))
    if part.kind in FEATURE_KINDS:
        blocks += features_section(part, stem)
    return [*blocks, *_inclusion(part, f"{stem}-inclusion"), *figures.pictures(part, stem)]


def _inclusion(part: Comparisons, stem: str) -> list[Block]:
    """How far the tops depend on which pairs were drawn, or why that isn't known."""
    if refusal := part.halves.refusal.removeprefix("no interval: "):
        return [Paragraph(f"How often each of the {plural(part.kind)} is in the top {part.k} isn't known: {refusal}.")]
    data = inclusion_data(part)
    if data.empty:
        return []
    picture: list[Picture] = []
    if (data.label == "contingent").any():
        picture.append(figures.inclusion_picture(data, part, f"{stem}-frequency"))
    return [inclusion_table(data, part, stem), *picture]


def _missing(study: Study) -> list[Block]:
    """Cells that failed, were damaged or were never finished, or that there are none."""
    results, lines = study.results, []
    for cell in results.failures:
        message = " ".join(str(cell.error).split())
        names = ", ".join([cell.model, cell.task, " ".join(cell.identity), "+".join(cell.kinds)])
        lines.append(f"failed: {names}: {message}")
    lines += [f"damaged: {str(damage).replace(f'{results.folder}/', '')}" for damage in results.damaged]
    lines += [f"missing: {name}: planned, {why}; the same command goes on" for name, why in results.missing.items()]
    return [Bullets(tuple(lines)) if lines else Paragraph("No cell failed, none is damaged and none is missing.")]


def _methods(study: Study) -> list[Block]:
    made = MADE if games(study.results) else ()
    return how_it_is_made(study.parts, made) if study.found else []


def _provenance(study: Study) -> list[Block]:
    costs = tuple(tables.cost_table(section, f"{section.slug}-cost") for section in study.found)
    return [
        Fold("What was run, and with what", (tables.what_was_run(study.results),)),
        *[Fold("What each cell cost", costs)] * bool(costs),
        Fold("Sources", (_sources(study)[0],)),
    ]


def _sources(study: Study) -> tuple[Table, dict[str, Reference]]:
    return tables.sources(study.results, bool(study.found), len(study.found) < len(study.everything))


def _litmus(study: Study) -> list[Block]:
    return litmus.together(study.results)


def _circuits(study: Study) -> list[Block]:
    return circuits_blocks(study.results, study.parts)


def _baselines(study: Study) -> list[Block]:
    return baselines.together(study.experiments)


def _training(study: Study) -> list[Block]:
    return [*figures.formations(study.parts)]


SECTIONS: tuple[tuple[str, Callable[[Study], list[Block]]], ...] = (
    ("Litmus: what methods can't see", _litmus),
    ("How sure is the agreement?", _agreement),
    ("What does agreement cost?", _cost),
    ("Whose order finds the strongest?", _order),
    ("Is what a method ranks first enough?", _circuits),
    ("Do matched baselines agree?", _baselines),
    ("Over training", _training),
    ("Can the model do the tasks?", _behaviour),
    ("Task by task", _tasks),
    ("What is missing?", _missing),
    (METHODS, _methods),
    ("Provenance", _provenance),
)
