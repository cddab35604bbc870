"""The content of a report: which headings, paragraphs, tables and pictures it has, in which order."""

from benchmark.analysis.behaviour import incomplete, only_rounding
from benchmark.analysis.comparisons import Comparisons, by_model_and_kind
from benchmark.analysis.finding import finding_data
from benchmark.analysis.frontier import frontier_data
from benchmark.analysis.inclusion import inclusion_data
from benchmark.analysis.litmus import untold
from benchmark.analysis.matched_baselines import experiments
from benchmark.analysis.sections import Section, sections
from benchmark.components import FEATURE_KINDS, plural, titled
from benchmark.statistics.influence import DECIDES
from benchmark.store.folder import Results
from benchmark.words import counted
from reports import run_tables as tables
from reports.agreement import figures
from reports.agreement import tables as agreement_tables
from reports.agreement.features import features_section
from reports.agreement.finding import finding_table, not_known
from reports.agreement.frontier import frontier_table
from reports.agreement.inclusion import inclusion_table
from reports.agreement.verified import verified_section
from reports.baselines import section as baselines
from reports.circuits.section import circuits_section
from reports.litmus import section as litmus
from reports.writing import captions
from reports.writing.blocks import Block, Bullets, Heading, Paragraph, number
from reports.writing.references import Reference

HOW_TO_READ = (
    "A **score** is an amount of the metric. Positive: the component's clean activation pushes the metric towards the "
    "clean answer. All statistics are over the components' mean scores over the pairs.",
    "**By size** means by |mean score|; without these words scores are taken with their sign. An unsigned method has "
    "sizes only. A signed method's mean is taken first and its size then, |E score|: a component that helps on some "
    "pairs and hurts on others is small. E|score|, the mean of each pair's size, is what `attribution-bench top "
    "--mean-of magnitudes` ranks by.",
    "**Pearson**, the primary statistic, is led by the strongest components. **Spearman and Kendall** (tau-b) weigh "
    "all components alike, and most of those have scores near zero: over all components they mostly measure the order "
    "of noise. Read the panel, never one of them.",
    "**Top-k overlap** is the share of the k strongest components that two methods have in common; independent methods "
    "reach k/n on average. Components tied at rank k share the places left; one that scores 0 has none.",
    "**Sign agreement** is the share of k of the components that are in both methods' top k by size and have the same "
    "sign, **rank agreement** of those at the same rank in both, so neither exceeds the overlap by size.",
    "**Intervals** are over pairs of prompts, not over components. They hold the agreement that studies with this many "
    "pairs find on average.",
    "**Disattenuated** is an estimate of the agreement over all prompts, for signed Pearson. It has no interval and "
    "may exceed 1.",
    f"**One pair decides** where one pair, or cluster, holds more than {DECIDES:.0%} of a method's mean scores. That "
    "method has no intervals then: other pairs would show something else, and these can't tell how far.",
    "**Reliability** is a method's agreement with itself on different pairs, stepped up to all pairs; the **ceiling** "
    "is the root of two methods' reliabilities: what noise lets them reach on different pairs. On the same pairs they "
    "share the pairs' noise, and may agree beyond it.",
    "**p, within layers** asks whether two methods agree on more than which layers matter. The floor of layer means is "
    "how far one gets by knowing the layers alone.",
    "**Cost to find**: how many times the fewest possible exact patches it takes to find the strongest components when "
    "a method says in which order to patch. 1 is perfect.",
    "**Core** components are in a method's top for nearly any half of the pairs, **contingent** ones for some. A paper "
    "should name the core.",
    "**Accuracy** is the share of pairs with a clean metric above 0 and above the corrupted metric, before any filter; "
    "its interval is Wilson's, 95%.",
    "**Share** is mean score / mean gap f(clean) - f(corrupted). Shares needn't sum to 1.",
    "**Completeness error** is a pair's largest difference between the sum of scores and what they must sum to; a dash "
    "where the method claims no completeness.",
    "Every statistic's definition, what its interval is for, and how often it covers: `docs/statistics.md` of "
    "attribution-bench.",
)


def contents(results: Results, parts: list[Comparisons]) -> tuple[list[Block], dict[str, Reference]]:
    """All blocks of the report, and the sources that it names by key; `parts` compare the methods on real models."""
    everything, found = sections(results), sections(untold(results))
    table, cited = tables.sources(results, bool(found), len(found) < len(everything))
    blocks: list[Block] = [
        Heading("Attribution benchmark", 1),
        Heading("What was run", 2),
        tables.what_was_run(results, everything),
        *litmus.together(results),
    ]
    if found:
        blocks += [Heading("Can the model do the tasks?", 2), tables.accuracy_table(found), *_beware(found)]
        blocks += [Heading("Which rows became pairs", 2), tables.audit_table(found)]
    blocks += _overview(parts)
    blocks += circuits_section(results, parts)
    tried = experiments(parts)
    blocks += baselines.together(tried)
    if formed := figures.formations(parts):
        blocks += [Heading("Over training", 2), *formed]
    for section in found:
        blocks += _section(section, [part for part in parts if part.section.slug == section.slug])
        blocks += baselines.details(tried, section)
    blocks += [Heading("Failed, damaged and missing cells", 2), *_trouble(results)]
    if found:
        blocks += [Heading("How to read this", 2), Bullets(HOW_TO_READ)]
    blocks += [Heading("Sources", 2), table]
    return blocks, cited


def _beware(found: list[Section]) -> list[Block]:
    """The caveats of all tasks, before any number that they are about."""
    words = tuple(f"**{section.title}**: {caveat}" for section in found for caveat in section.caveats)
    return [Bullets(words)] if words else []


def _overview(parts: list[Comparisons]) -> list[Block]:
    """All tasks together, for each model and kind of component that is held against a reference."""
    blocks: list[Block] = []
    held = [part for part in parts if part.references]
    for heading, stem, together in by_model_and_kind(held, lambda part: part, "all"):
        blocks += [Heading(heading, 3), *map(Paragraph, captions.left_out(together))]
        if whole := [part for part in together if part.against_whole]:
            blocks += [
                agreement_tables.overview(whole, f"{stem}-agreement"),
                figures.forest_picture(whole, f"{stem}-forest"),
                *_frontier(whole, f"{stem}-frontier"),
                *_finding(whole, f"{stem}-finding"),
            ]
    return [Heading("Agreement with the reference", 2), *blocks] if blocks else []


def _frontier(parts: list[Comparisons], stem: str) -> list[Block]:
    """Agreement against cost, where the cells say what they cost."""
    data = frontier_data(parts)
    if not (data.passes > 0).any():
        return []
    return [frontier_table(data, parts, stem), figures.frontier_picture(data, parts, stem)]


def _finding(parts: list[Comparisons], stem: str) -> list[Block]:
    """What each method's order is worth to somebody who patches exactly, where the true top is known."""
    costs, curves = finding_data(parts)
    words: list[Block] = [Paragraph(lacking)] if (lacking := not_known(parts)) else []
    if costs.empty:
        return words
    return [*words, finding_table(costs, parts, stem), figures.finding_picture(costs, curves, parts, f"{stem}-curves")]


def _section(section: Section, parts: list[Comparisons]) -> list[Block]:
    gap = number(section.gap, ".3f")
    metric = section.metric
    line = f"{counted(section.n_pairs, 'pair')}; mean f(clean) - f(corrupted) = {gap} ({metric})."
    if parts and (refusal := parts[0].halves.refusal):
        line += f" **{refusal.capitalize()}. Take every number below as a first look.**"
    blocks: list[Block] = [Heading(section.title, 2), Paragraph(line)]
    blocks += [Paragraph(f"**{words}**") for words in section.caveats]
    for part in parts:
        blocks += _kind(part)
    blocks += verified_section(section)
    warnings = [Paragraph(f"**{warning}**") for warning in [*incomplete(section), *only_rounding(section)]]
    return [
        *blocks,
        Heading("Cost and completeness", 3),
        *warnings,
        tables.cost_table(section, f"{section.slug}-cost"),
    ]


def _kind(part: Comparisons) -> list[Block]:
    stem = f"{part.section.slug}-{part.kind}"
    blocks: list[Block] = [Heading(titled(part.kind), 3)]
    blocks += [Paragraph(f"**{words}**") for words in captions.one_pair_decides([part])]
    if part.references:
        blocks += [
            agreement_tables.reference_table(part, f"{stem}-reference"),
            agreement_tables.panel_table(part, f"{stem}-panel"),
        ]
    elif len(part.methods) > 1:
        blocks.append(Paragraph("No reference to hold the methods against: see `agreement.csv` for every two methods."))
    else:
        blocks.append(Paragraph(f"One method ({part.methods[0].label}), so nothing to compare."))
    if (concordance := part.concordance) is not None:
        blocks.append(Paragraph(agreement_tables.concordance_words(concordance)))
    blocks.append(tables.strongest_table(part.section, part.methods, f"{stem}-strongest"))
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
    picture = [figures.inclusion_picture(data, part, f"{stem}-frequency")] * bool((data.label == "contingent").any())
    return [inclusion_table(data, part, stem), *picture]


def _trouble(results: Results) -> list[Block]:
    """Cells that failed, were damaged or were never computed, or that there are none."""
    lines = []
    for cell in results.failures:
        message = " ".join(str(cell.error).split())
        names = ", ".join([cell.model, cell.task, " ".join(cell.identity), "+".join(cell.kinds)])
        lines.append(f"failed: {names}: {message}")
    lines += [f"damaged: {str(damage).replace(f'{results.folder}/', '')}" for damage in results.damaged]
    lines += [f"missing: {name}: planned and never computed; the same command goes on" for name in results.missing]
    return [Bullets(tuple(lines)) if lines else Paragraph("No cell failed, none is damaged and none is missing.")]
