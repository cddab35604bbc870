"""Which pictures a report has, their captions, and the numbers that they show. To add one, add it to `pictures`."""

from functools import partial

import pandas as pd

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import slug
from benchmark.components import many, titled
from benchmark.statistics.inclusion import CORE, NOISE
from reports.agreement.agreement_map import agreement_map, shows_intervals
from reports.agreement.finding import finding_curves
from reports.agreement.forest import forest, forest_data
from reports.agreement.formation import courses, formation, formation_data
from reports.agreement.frontier import cost_frontier, frontier_words
from reports.agreement.inclusion import MOST_DRAWN, drawn_components, facts, inclusion_curves, inclusion_map
from reports.agreement.layer_map import layer_bars, layer_map, layer_shares
from reports.agreement.overlap_curves import curves_data, curves_figure
from reports.agreement.scatter import scatter
from reports.writing import captions
from reports.writing.blocks import Picture


def pictures(part: Comparisons, stem: str) -> list[Picture]:
    """The pictures of one section and kind, in reading order."""
    found = []
    if len(part.methods) > 1:
        found.append(_agreement(part, f"{stem}-agreement"))
    found.append(_layers(part, f"{stem}-layers") if many(part.kind) else _maps(part, f"{stem}-maps"))
    if part.references:
        found += [_scatter(part, f"{stem}-scatter"), _curves(part, f"{stem}-curves")]
    return found


def _agreement(part: Comparisons, stem: str) -> Picture:
    shown = part.rows.query(
        "(statistic == 'pearson' and version == 'signed') or (statistic == 'top_k_overlap' and version == 'by_size')"
    )
    data = shown[["method_a", "method_b", "statistic", "version", "k", "value", "low", "high", "n_components", "note"]]
    caption = f"{titled(part.kind)}: agreement of every two methods; numbers on the diagonal name the columns."
    facts = captions.intervals([part])
    if not shows_intervals(part):
        caption += " Intervals: `agreement.csv`."
        facts = " ".join(captions.one_pair_decides([part]))
    return Picture(stem, caption, captions.about([part], facts), partial(agreement_map, part), data)


def _maps(part: Comparisons, stem: str) -> Picture:
    caption = f"{titled(part.kind)}: mean score of each, on one scale unless a title says otherwise."
    draw = partial(layer_map, part.section, part.methods)
    return Picture(stem, caption, captions.about([part]), draw, _mean_scores(part))


def _layers(part: Comparisons, stem: str) -> Picture:
    data = pd.DataFrame({method.label: layer_shares(method) for method in part.methods}).rename_axis("layer")
    caption = f"{titled(part.kind)}: how each method's summed sizes are spread over the layers."
    return Picture(stem, caption, captions.about([part]), partial(layer_bars, part.methods), data.reset_index())


def _scatter(part: Comparisons, stem: str) -> Picture:
    caption = f"{titled(part.kind)}: mean scores against the reference's, the strongest named; dashed: y = x."
    return Picture(stem, caption, captions.about([part]), partial(scatter, part.methods), _mean_scores(part))


def _curves(part: Comparisons, stem: str) -> Picture:
    data = curves_data(part)
    caption = f"{titled(part.kind)}: agreement of the top k by size with the reference's, over k. Grey: chance, 95%."
    facts = "Chance: expectation and central 95% under free permutations."
    if not part.halves.refusal:
        caption += " Shaded: the reference on other pairs."
        facts += " Shaded: the reference's overlap with itself on opposite halves, central 95% over the splits."
    return Picture(stem, caption, captions.about([part], facts), partial(curves_figure, data), data)


def forest_picture(parts: list[Comparisons], stem: str) -> Picture:
    """Every task's agreement with the reference beside the ceiling that noise sets to it."""
    data = forest_data(parts)
    caption = f"{titled(parts[0].kind)}: the same with intervals, beside agreement on different pairs and its ceiling."
    return Picture(stem, caption, captions.about(parts, captions.intervals(parts)), partial(forest, data), data)


def frontier_picture(data: pd.DataFrame, parts: list[Comparisons], stem: str) -> Picture:
    """Every task's agreement with the reference against its cost."""
    caption = f"{titled(parts[0].kind)}: agreement against {data.unit.iloc[0]} and backward rows; line: the frontier."
    draw = partial(cost_frontier, data[data.passes.notna()])
    facts = captions.about(parts, frontier_words(data))
    return Picture(stem, caption, facts, draw, data)


def finding_picture(costs: pd.DataFrame, curves: pd.DataFrame, parts: list[Comparisons], stem: str) -> Picture:
    """Every task's exact patches to the true top k, over k."""
    caption = (
        f"{titled(parts[0].kind)}: exact patches in each method's order until the true top k are all patched; dotted: "
        "the k of the table."
    )
    k = {str(task): int(group.k.iloc[0]) for task, group in costs.groupby("task")}
    return Picture(stem, caption, captions.about(parts), partial(finding_curves, curves, k), curves)


def inclusion_picture(data: pd.DataFrame, part: Comparisons, stem: str) -> Picture:
    """How often each component is in each method's top when the pairs are drawn anew."""
    words = f"{titled(part.kind)}: share of half-samples of the pairs in whose top {part.k} by size each"
    if len(drawn_components(data)) <= MOST_DRAWN:
        caption = f"{words} is (where {NOISE} or more for some method); bold: core, {CORE} or more."
        return Picture(stem, caption, facts(part), partial(inclusion_map, data), data)
    caption = f"{words} is, each method's most frequent first; dotted: above it the core, below it noise."
    return Picture(stem, caption, facts(part), partial(inclusion_curves, data, part.k), data)


def formations(parts: list[Comparisons]) -> list[Picture]:
    """One picture for each task that was run on several training checkpoints of a model."""
    found = courses(parts)
    drawn = []
    for (model, task, metric), course in found.items():
        data = formation_data(course)
        caption = (
            f"{model} on {task}: agreement with activation patching, and effects ({metric}) of the final top heads."
        )
        metrics = [metric] if sum(name[:2] == (model, task) for name in found) > 1 else []
        stem = slug(model, task, *metrics, "formation")
        drawn.append(Picture(stem, caption, captions.about(course.values()), partial(formation, data, metric), data))
    return drawn


def _mean_scores(part: Comparisons) -> pd.DataFrame:
    """Heads: every mean score. Thousands of neurons: the cells that hold them."""
    if many(part.kind):
        rows = [{"method": method.label, "scores_in": method.cell.folder.name} for method in part.methods]
        return pd.DataFrame(rows)
    names = [part.methods[0].component(number) for number in range(part.methods[0].vector.size)]
    return pd.DataFrame({"component": names} | {method.label: method.vector for method in part.methods})
