"""The facts that a caption carries, so that a table or a figure can be read away from the report."""

from collections.abc import Iterable
from typing import Any

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import Section
from benchmark.components import plural
from benchmark.statistics.agreement import STATISTICS
from benchmark.statistics.halves import FEWEST_CLUSTERS, FEWEST_PAIRS
from benchmark.store.cell import ModelKey
from benchmark.words import counted

MEAN_OF = {  # which of |mean of the scores| and the mean of |score| is shown
    "scores": "Means over the pairs are of scores with their signs, which may cancel.",
    "magnitudes": "Means over the pairs are of magnitudes: of each pair's |score|, where no signs cancel.",
}


def distinct(values: Iterable[Any], separator: str = ", ") -> str:
    """All different values in the order in which they come, without those that say nothing."""
    return separator.join(dict.fromkeys(str(value) for value in values if value not in (None, "")))


def about(parts: Iterable[Comparisons], *more: str) -> str:
    """The facts of a table or figure of these comparisons: pairs, what means are of, what is added, models, version."""
    parts = list(parts)
    made = made_by(part.section for part in parts)
    titles = [part.section.title for part in parts]
    title = f"{titles[0]}." if len({*titles}) == 1 else ""
    said = [title, sample(parts), MEAN_OF["scores"], *more, chosen(parts), not_resampled(parts), made]
    return " ".join(filter(None, said))


def made_by(found: Iterable[Section]) -> str:
    """The models with the digests of their weights, and the version that scored them."""
    sections = list(found)
    models = distinct(model_name(section.key.model) for section in sections)
    origins = [cell.provenance for section in sections for cell in section.cells]
    versions = distinct(origin.versions.get("attribution-bench") for origin in origins)
    return f"{models}; attribution-bench {versions or 'of unknown version'}."


def model_name(model: ModelKey) -> str:
    revision = f" at {model.revision}" if model.revision else ""
    return f"{model.name}{revision} (weights {model.digest[:12]})"


def sample(parts: Iterable[Comparisons]) -> str:
    """How many pairs, in how many clusters."""
    parts = list(parts)
    each = " a task" if len(parts) > 1 else ""
    words = f"n = {_range((part.section.n_pairs for part in parts), 'pair')}{each}"
    if any(part.section.clusters is None for part in parts):
        return f"{words}."
    return f"{words} in {_range((part.halves.n_clusters for part in parts), 'cluster')}."


def _range(counts: Iterable[int], what: str) -> str:
    least, *_, most = [*sorted(counts)] * 2
    return counted(most, what) if least == most else f"{least} to {counted(most, what)}"


def intervals(parts: Iterable[Comparisons], decided: bool = True) -> str:
    """How the intervals were made, or why there are none; `decided`: and which pairs decide."""
    parts = list(parts)
    refused = refusal(parts)
    if all(part.halves.refusal for part in parts):
        return f"{refused.capitalize()}."
    splits = distinct(len(part.halves.first) for part in parts if not part.halves.refusal)
    words = (
        f"Brackets: 95% intervals over pairs by half-sampling ({splits} splits of the pairs, the same for all methods, "
        "whole clusters together, templates as strata), for the agreement that a study with this many pairs would find."
    )
    return " ".join(
        [words, *[f"Where there is none, {refused}."] * bool(refused), *one_pair_decides(parts if decided else [])]
    )


def refusal(parts: Iterable[Comparisons]) -> str:
    """Why there is no interval, once for all that have none; empty where all have one."""
    none = [part for part in parts if part.halves.refusal]
    if not none:
        return ""
    there = " in ".join(
        _range(counts, what)
        for counts, what in (
            ((part.section.n_pairs for part in none), "pair"), ((part.halves.n_clusters for part in none), "cluster"),
        )
    )  # fmt: skip
    return f"no interval: {there}, and it takes {FEWEST_PAIRS} in {FEWEST_CLUSTERS}"


def one_pair_decides(parts: Iterable[Comparisons]) -> list[str]:
    """A sentence for each part with a pair that decides: which, for which methods, and that no interval is given."""
    parts = list(parts)
    found = []
    for part in (part for part in parts if part.deciding):
        where = f" in {part.section.short}" * (len(parts) > 1)
        several = any(len(one.pairs) > 1 for _, one in part.deciding)
        what = "One pair" + " or one cluster of pairs" * several
        found.append(f"{what} decides{where} on {plural(part.kind)}, and no interval is given: {held_by_one(part)}.")
    return found


def held_by_one(part: Comparisons) -> str:
    """`pair sva-7 holds 93% of the mean scores of A, 73% of B`, for every pair or cluster that decides."""
    holders: dict[tuple[int, ...], list[str]] = {}
    for method, one in part.deciding:
        holders.setdefault(one.pairs, []).append(f"{one.share:.0%} of {method.label}")
    ids = part.section.key.pair_ids
    return "; ".join(
        (f"pair {ids[pairs[0]]} holds " if len(pairs) == 1 else f"the {len(pairs)} pairs with {ids[pairs[0]]} hold ")
        + ", ".join(held).replace("% of ", "% of the mean scores of ", 1)
        for pairs, held in holders.items()
    )


def not_resampled(parts: Iterable[Comparisons]) -> str:
    """Which methods have no scores by pair, and what that means for intervals and ceilings; empty for most."""
    labels = distinct(method.label for part in parts for method in part.methods if not method.per_pair)
    if not labels:
        return ""
    return (
        f"{labels} gives every pair the same scores, so there is nothing to resample: an interval with it is over the "
        "pairs of the other method alone, and it has no reliability and no ceiling."
    )


def left_out(parts: Iterable[Comparisons]) -> list[str]:
    """Why verified samples are missing where tasks stand together; empty for most."""
    parts = list(parts)
    picked = distinct(method.label for part in parts for method in part.methods if method.sampled)
    if not picked:
        return []
    return [
        f"{picked} measured a sample of the {plural(parts[0].kind)}, mostly chosen for their size. No agreement with "
        f"it stands here, since none would be over all {plural(parts[0].kind)}: see the estimates under each task."
    ]


def chosen(parts: Iterable[Comparisons]) -> str:
    """Which methods measured components that were mostly chosen for their size; empty for most."""
    parts = list(parts)
    picked = [(method, part.kind) for part in parts for method in part.methods if method.sampled]
    if not picked:
        return ""
    return (
        f"{distinct(method.label for method, _ in picked)} measured a sample of the {plural(picked[0][1])}, about half "
        "of which attribution patching chose: agreement with it here is agreement on those, and mostly higher than "
        "over all. For all of them see the estimates under the task."
    )


def null(parts: Iterable[Comparisons]) -> str:
    """What the p-values are against, and how they are adjusted."""
    parts = [part for part in parts if "permutations" in part.rows]  # else nothing was held against a reference
    if not any(part.rows.permutations.notna().any() for part in parts):
        return ""
    permutations = distinct(int(n) for part in parts for n in part.rows.permutations.dropna() if n)
    family = max((part.family for part in parts), default=0)
    return (
        f"p: the primary statistic against {permutations} permutations of the components, within layers or free of "
        f"them, one-sided, adjusted by Holm over the {family} p-values of that null in this report. `<=`: no "
        "permutation reached the value, so that p may be smaller."
    )


_HEADINGS = {one.name: one.heading for one in STATISTICS}


def statistic_name(statistic: str, version: str) -> str:
    """What a row or column of a statistic is headed by: `Pearson`, `Pearson by size`."""
    return _HEADINGS[statistic] + " by size" * (version == "by_size")
