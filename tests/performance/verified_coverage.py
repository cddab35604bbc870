"""How often the intervals of verified neurons hold the truth, where all neurons were patched. Run by hand:

    attribution-bench run --model pocket --tasks ioi,sva,greater-than --pairs 8 --components neuron --out results/all \
        --methods activation-patching:neurons=0,attribution-patching,integrated-gradients:steps=8
    python tests/performance/verified_coverage.py results/all

For every task and method of the folder, and for heavy-tailed made-up effects, the sample is drawn again and again from
the known effects; no model runs. Printed: the truth, and in how many redraws each 95% interval or bound holds it.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmark.analysis.sections import sections
from benchmark.statistics.agreement import default_k
from benchmark.statistics.estimation import agreement_estimates, effect_sizes, shares_above
from benchmark.statistics.sampling import CANDIDATE, Sample, draw, stratify
from benchmark.store.folder import Results

BUDGETS = (128, 256, 512)
DRAWS = 300


class Population(NamedTuple):
    """Exact effects, the scores that choose the candidates, and another method's scores, each `[layer, index]`."""

    name: str
    effects: np.ndarray
    chosen_by: np.ndarray
    other: np.ndarray


def stored(folder: str) -> Iterator[Population]:
    for section in sections(Results(folder)):
        methods = {method.label: method.mean for method in section.scored("neuron")}
        exact = next(mean for label, mean in methods.items() if label.startswith("activation-patching:neurons=0"))
        layers = ~np.isnan(exact).any(1)
        for label, mean in methods.items():
            if not label.startswith("activation-patching"):
                chosen_by = methods["attribution-patching"]
                yield Population(f"{section.short}: {label}", exact[layers], chosen_by[layers], mean[layers])


def made_up() -> Iterator[Population]:
    """Effects with Student's t, candidates chosen by scores near them or by ones that have nothing to do with them."""
    rng = np.random.default_rng(0)
    for freedom in (3, 1.5):
        effects, noise = rng.standard_t(freedom, (2, 8, 500))
        near = effects * rng.lognormal(0, 0.5, effects.shape) + 0.3 * noise
        yield Population(f"t{freedom}, scores near", effects, near, near)
        yield Population(f"t{freedom}, scores at random", effects, noise, noise)


def tau_a(x: np.ndarray, y: np.ndarray) -> float:
    signs = np.sign(np.subtract.outer(x, x)) * np.sign(np.subtract.outer(y, y))
    return float(signs.sum() / (len(x) * (len(x) - 1)))


def coverage(population: Population, budget: int) -> dict[str, object]:
    x, y = population.effects.ravel(), population.other.ravel()
    stratum = stratify(population.chosen_by, budget)
    truth = {"pearson": np.corrcoef(x, y)[0, 1], "tau_a": tau_a(x, y)}
    truth |= {"mean": x.mean(), "mean_square": (x**2).mean()}
    candidates = np.sort(np.abs(x[stratum.ravel() == CANDIDATE]))[::-1]
    size = float(candidates[min(default_k(len(x)), len(candidates)) - 1])
    held: dict[str, list[bool]] = {name: [] for name in [*truth, "share"]}
    widths: dict[str, list[float]] = {name: [] for name in truth}
    for seed in range(DRAWS):
        drawn = draw(stratum, seed).ravel() > 0
        sample = Sample(np.where(drawn, x, np.nan), stratum.ravel())
        for one in agreement_estimates(sample, y) + effect_sizes(sample):
            if (one.statistic, one.version) not in {(name, "signed") for name in truth} | {("mean_square", "by_size")}:
                continue
            held[one.statistic].append(one.low - 1e-12 <= truth[one.statistic] <= one.high + 1e-12)
            widths[one.statistic].append(one.high - one.low)
        held["share"].append((np.abs(x[~drawn]) > size).sum() <= shares_above(sample, [size])[0].count)
    row: dict[str, object] = {"effects: method": population.name, "budget": f"{budget} of {len(x)}"}
    for name in ("pearson", "tau_a"):
        row[name], row[f"{name} holds"] = f"{truth[name]:.3f} +- {np.median(widths[name]) / 2:.2g}", np.mean(held[name])
    return row | {f"{name} holds": np.mean(held[name]) for name in ("mean", "mean_square", "share")}


def main(folders: list[str]) -> None:
    populations = [population for folder in folders for population in stored(folder)] + list(made_up())
    rows = [coverage(population, budget) for population in populations for budget in BUDGETS]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f"))


if __name__ == "__main__":
    main(sys.argv[1:])
