"""How to read a report and how its numbers are made: said once, and captions point here."""

from benchmark.analysis.comparisons import Comparisons
from benchmark.statistics.inclusion import CORE, NOISE
from benchmark.statistics.influence import DECIDES
from reports.writing import captions
from reports.writing.blocks import Block, Bullets

_READING = (
    "**Score**: an amount of the metric. Positive: the component's clean activation pushes it towards the clean "
    "answer. Statistics are of the components' mean scores over the pairs. **Share**: mean score over the mean gap, "
    "f(clean) - f(corrupted).",
    "**By size**: by |mean score|, else scores keep their signs; an unsigned method has sizes only. E|score|, where no "
    "signs cancel, is what `attribution-bench top --mean-of magnitudes` ranks by.",
    "**Pearson** is led by the strongest components and blind to scale. **Spearman, Kendall** (tau-b) weigh all alike: "
    "mostly the order of noise. **Top-k overlap**: share of the k strongest in common, by chance k over the number of "
    "components. **Sign, rank agreement**: those of them with the same sign, at the same rank.",
    f"**One pair decides** where one pair, or cluster, holds more than {DECIDES:.0%} of a method's mean scores. There "
    "is no interval then: other pairs would show something else, and these can't tell how far.",
    "**Best**: the highest signed Pearson among methods that see the metric, have an interval and aren't exact "
    "patching by construction (`integrated-gradients:path=component`). Not told apart from it: whose difference has an "
    "interval that holds 0, from the same half-samples, Bonferroni over the methods of the task. **Mean over tasks**: "
    "its interval adds theirs up as of independent estimates, in full where tasks share clusters of pairs; where one "
    "task has none, neither has the mean.",
    "**Reliability**: a method's agreement with itself on different pairs; **ceiling**: root of two reliabilities, "
    "what noise lets methods reach on different pairs. **Disattenuated**: agreement on different pairs over the "
    "ceiling, an estimate for all prompts of the kind, without an interval.",
    "**p, within layers**: do they agree on more than which layers matter? The floor of layer means is how far one "
    "gets by knowing the layers alone.",
    "**Cost to find**: how many times the fewest possible exact patches it takes to find the strongest, in a method's "
    "order. **Frontier**: no method is cheaper and agrees at least as well.",
    f"**Core**: in a method's top in {CORE:.0%} of half-samples or more; **contingent**: in {NOISE:.0%} to that.",
    "**Completeness error**: a pair's largest difference between the sum of scores and what they must sum to.",
)


def how_it_is_made(parts: list[Comparisons], circuits: tuple[str, ...] = ()) -> list[Block]:
    """What the words mean, of circuits too; then pairs, intervals, nulls, corrections and models of this folder."""
    facts = {
        "Pairs": captions.sample(parts),
        "Intervals": captions.intervals(parts, decided=False) if parts else "",
        "Nulls": captions.null(parts),
        "Samples": captions.chosen(parts),
        "Without pairs": captions.not_resampled(parts),
        "Models": captions.made_by(part.section for part in parts),
    }
    made = [f"**{name}**: {words}" for name, words in facts.items() if words]
    last = (
        "All definitions, what each interval is for and how often it covers: `docs/statistics.md` of attribution-bench."
    )
    return [Bullets((*_READING, *circuits, *made, last))]
