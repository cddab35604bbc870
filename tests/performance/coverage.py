"""How often the intervals cover what they are for: `python tests/performance/coverage.py`, some minutes, no test.

Draws many studies of two methods whose true agreement is known, and prints the tables of docs/statistics.md.
"""

from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmark.statistics.agreement import Statistic, default_k, statistic
from benchmark.statistics.inference import compare, halves
from benchmark.statistics.influence import DECIDES
from benchmark.statistics.score_rows import ScoreRows

SHARES = (0.2, DECIDES, 0.5)  # of a method's mean scores, held by one pair
STUDIES, TRUTH = 200, 600  # intervals drawn; studies whose mean is the truth
SHOWN = (
    statistic("pearson", "signed"),
    statistic("pearson", "by_size"),
    statistic("spearman", "signed"),
    statistic("kendall", "signed"),
    statistic("rank_biased_overlap", "by_size"),
    statistic("top_k_overlap", "by_size"),
    statistic("sign_agreement_top_k", "by_size"),
)
Study = Float[np.ndarray, "study pair component"]


@dataclass(frozen=True)
class World:
    """Two methods that score the same components with noise from pair to pair.

    A fifteenth of the components matter. `noise` is its standard deviation beside effects of size 1, `shared` the part
    of its variance that both methods have in common, `heavy` gives it t(3) tails and components of their own noise
    levels, `cluster` pairs share half of it, and `templates` shift every score by template. A pair is `strong` with
    that probability: then it has effects of its own, exponentially distributed, 5 times as large on average.
    """

    name: str
    components: int
    pairs: int
    noise: float = 1.0
    shared: float = 0.0
    heavy: bool = False
    cluster: int = 1
    templates: int = 1
    strong: float = 0.0

    @property
    def clusters(self) -> list[str]:
        return [f"c{pair // self.cluster}" for pair in range(self.pairs)]

    @property
    def template_names(self) -> list[str]:
        return [f"t{(pair // self.cluster) % self.templates}" for pair in range(self.pairs)]

    def studies(self, count: int, rng: np.random.Generator) -> tuple[Study, Study, list[Float[np.ndarray, "1 c"]]]:
        """Scores of both methods in `count` studies, and the means that they would have over all prompts."""
        fixed = np.random.default_rng(0)
        truth = 0.1 * fixed.normal(size=self.components)
        matter = max(3, self.components // 15)
        truth[:matter] += fixed.normal(size=matter)
        other = truth + 0.5 * np.abs(truth) * fixed.normal(size=self.components)
        level = self.noise * (np.exp(fixed.normal(size=self.components)) if self.heavy else 1.0)
        shift = 0.3 * fixed.normal(size=(self.templates, self.components)) * (self.templates > 1)
        shift = shift - shift.mean(axis=0)
        by_template = shift[[int(name[1:]) for name in self.template_names]]
        both, own, others = (self._errors(count, rng) for _ in range(3))
        mixed = [np.sqrt(self.shared) * both + np.sqrt(1 - self.shared) * one for one in (own, others)]
        own_effects = fixed.normal(size=self.components)
        effects = (own_effects, np.sqrt(0.5) * (own_effects + fixed.normal(size=self.components)))
        shape = (count, self.pairs, 1)
        size = (rng.random(shape) < self.strong) * 5 * rng.standard_exponential(shape) if self.strong else 0.0
        means = (truth, other)
        first, second = (t + by_template + level * e + size * x for t, e, x in zip(means, mixed, effects, strict=True))
        balanced = by_template.mean(axis=0)
        endless = [t[None] + balanced + 5 * self.strong * x for t, x in zip(means, effects, strict=True)]
        return first, second, endless

    def _errors(self, count: int, rng: np.random.Generator) -> Study:
        def draw(pairs: int) -> Study:
            shape = (count, pairs, self.components)
            return rng.standard_t(3, size=shape) / np.sqrt(3) if self.heavy else rng.normal(size=shape)

        if self.cluster == 1:
            return draw(self.pairs)
        common = draw(self.pairs // self.cluster).repeat(self.cluster, axis=1)
        return np.sqrt(0.5) * common + np.sqrt(0.5) * draw(self.pairs)


WORLDS = (
    World("few heads", 32, 32),
    World("many heads", 270, 32),
    World("16 pairs", 144, 16, noise=0.6, shared=0.3),
    World("heavy tails", 144, 32, noise=0.6, heavy=True),
    World("shared prompt noise", 144, 32, shared=0.6),
    World("clusters of 4", 144, 32, shared=0.3, cluster=4),
    World("4 templates", 144, 32, noise=0.5, shared=0.3, templates=4),
    World("little noise", 144, 64, noise=0.15, shared=0.3),
    World("1 strong pair in 64", 144, 64, noise=0.15, strong=1 / 64),
    World("1 strong pair in 16", 144, 64, noise=0.15, strong=1 / 16),
    World("1 strong pair in 8", 144, 32, noise=0.15, strong=1 / 8),
)


def values(s: Statistic, a: Float[np.ndarray, "row c"], b: Float[np.ndarray, "row c"], k: int) -> np.ndarray:
    return s.rows(ScoreRows.of(a, s.version), ScoreRows.of(b, s.version), k)


def simulate(world: World, seed: int = 1) -> pd.DataFrame:
    """One row a statistic: truth, coverage and width of the interval, coverage of the population value."""
    rng = np.random.default_rng(seed)
    k = default_k(world.components)
    truth: dict[Statistic, list[np.ndarray]] = {s: [] for s in SHOWN}
    for _ in range(TRUTH // 100):
        a, b, population = world.studies(100, rng)
        for s in SHOWN:
            truth[s].append(values(s, a.mean(axis=1), b.mean(axis=1), k))
    found = []
    for number in range(STUDIES):
        a, b, _ = world.studies(1, rng)
        splits = halves(world.pairs, world.clusters, world.template_names, seed=number)
        found += [vars(row) for row in compare([a[0], b[0]], [True, True], splits, k, statistics=SHOWN)]
    rows = pd.DataFrame(found)
    table = []
    for s in SHOWN:
        own = rows[(rows.statistic == s.name) & (rows.version == s.version)]
        share = own[["largest_share_a", "largest_share_b"]].max(axis=1)
        decided = share > DECIDES
        mean, spread = np.mean(truth[s]), np.std(truth[s])
        endless = float(values(s, *population, k)[0])
        table.append(
            {"setting": world.name, "statistic": f"{s.name} {s.version.replace('_', ' ')}", "studies find": mean}
            | {"spread": spread, "covered": ((own.low <= mean) & (mean <= own.high)).mean()}
            | {f"above {one}": (share > one).mean() for one in SHARES}
            | {"where given": _covered(own[~decided], mean), "where withheld": _covered(own[decided], mean)}
            | {"width": (own.high - own.low).mean(), "all prompts": endless}
            | {"covers endless": ((own.low <= endless) & (endless <= own.high)).mean()}
            | {"same pairs": own.value.mean(), "disjoint": own.disjoint.mean(), "ceiling": own.ceiling.mean()}
            | {"disattenuated": own.disattenuated.mean(), "sd": own.disattenuated.std()}
        )
    return pd.DataFrame(table)


def _covered(rows: pd.DataFrame, value: float) -> float:
    return float(((rows.low <= value) & (value <= rows.high)).mean())


def main() -> None:
    with patch("benchmark.statistics.influence.DECIDES", np.inf):  # to see what the intervals would be
        found = pd.concat([simulate(world) for world in WORLDS], ignore_index=True)
    covered = found.pivot(index="setting", columns="statistic", values="covered")
    order = [f"{s.name} {s.version.replace('_', ' ')}" for s in SHOWN]
    print(covered.loc[[world.name for world in WORLDS], order].to_markdown(floatfmt=".2f"), "\n")
    endless = found.pivot(index="setting", columns="statistic", values="covers endless")
    print(endless.loc[[world.name for world in WORLDS], order].to_markdown(floatfmt=".2f"), "\n")
    primary = found[found.statistic == "pearson signed"]
    columns = ["setting", "studies find", "spread", "width", "same pairs", "disjoint", "ceiling", "disattenuated", "sd"]
    print(primary[[*columns, "all prompts"]].to_markdown(index=False, floatfmt=".2f"), "\n")
    columns = ["setting", *(f"above {share}" for share in SHARES), "covered", "where given", "where withheld"]
    print(primary[columns].replace({np.nan: "-"}).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main()
