"""Could two methods agree this far if one knew nothing of the components? Permutation tests of the primary statistic.

And before that: do a method's own scores say more than noise from pair to pair (`noise_test`)?

The free null deals one method's scores out to all components anew. Scores that share no more than a trend over layers
pass it every time, so a second null deals them out within each layer only: it keeps each layer's own scores together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from benchmark.statistics.agreement import PRIMARY, Layer, by_measured, primary_version, undefined
from benchmark.statistics.score_rows import ScoreRows, Version

Means = Float[np.ndarray, "method component"]
_BLOCK = 2**22  # components permuted at a time: 32 MB


@dataclass(frozen=True)
class NullTest:
    """One-sided p-values, unadjusted: how often methods that know no more than the null agree at least as far.

    `*_95` is the 95th percentile of the null, `within_layer_mean` what layers alone bring about.
    """

    a: int
    b: int
    statistic: str
    version: Version
    value: float
    p_free: float
    p_within_layer: float
    free_95: float
    within_layer_mean: float
    within_layer_95: float
    permutations: int
    note: str


def enough_permutations(family: int, alpha: float = 0.05) -> int:
    """Permutations after which the smallest p-value of a family that Holm adjusts can be five times below alpha/family.

    `family / alpha` is the least that can reject anything at all. At least 1999, so that p = 0.05 is told to 0.01.

    >>> enough_permutations(1), enough_permutations(90)
    (1999, 8999)
    """
    return max(2000, int(np.ceil(5 * family / alpha))) - 1


def permutation_tests(
    means: Means,
    signed: Sequence[bool],
    layer: Layer,
    permutations: int | None = None,
    family: int | None = None,
    seed: int = 0,
) -> list[NullTest]:
    """Test every two rows of mean scores against both nulls; NaN (unmeasured) in either leaves a component out.

    `family`, the number of comparisons that `holm` will adjust over, sets the number of permutations unless that is
    given; by default it is the number of comparisons here. The same permutations serve all comparisons.
    p = (1 + permutations that reach the value) / (1 + permutations): Phipson & Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    groups = by_measured(means)
    permutations = permutations or enough_permutations(family or sum(map(len, groups.values())))
    found = []
    for measured, group in groups.items():
        kept = np.array(measured)
        found += _tests(means[:, kept].astype(np.float64), group, signed, layer[kept], permutations, seed)
    return sorted(found, key=lambda test: (test.a, test.b))


def _tests(
    means: Means, couples: list[tuple[int, int]], signed: Sequence[bool], layer: Layer, permutations: int, seed: int
) -> list[NullTest]:
    versions = {(a, b): primary_version(signed[a], signed[b]) for a, b in couples}
    reasons = {
        (a, b): undefined(*(ScoreRows.of(means[m][None], versions[a, b]).values[0] for m in (a, b))) for a, b in couples
    }
    tested: dict[Version, list[tuple[int, int]]] = {
        version: [c for c in couples if versions[c] == version and not reasons[c]] for version in ("signed", "by_size")
    }
    found = []
    for version, group in tested.items():
        unit = {m: ScoreRows.of(means[m][None], version).deviations[0] for couple in group for m in couple}
        free, within = (_null(unit, group, stratum, permutations, seed) for stratum in (np.zeros_like(layer), layer))
        for a, b in group:
            found.append(_test(a, b, version, float(unit[a] @ unit[b]), free[a, b], within[a, b]))
    nan = float("nan")
    return found + [
        NullTest(a, b, PRIMARY, versions[a, b], nan, nan, nan, nan, nan, nan, permutations=0, note=reason)
        for (a, b), reason in reasons.items()
        if reason
    ]


def _null(
    unit: dict[int, Float[np.ndarray, " component"]],
    couples: list[tuple[int, int]],
    stratum: Int[np.ndarray, " component"],
    permutations: int,
    seed: int,
) -> dict[tuple[int, int], Float[np.ndarray, " permutation"]]:
    """Correlations under permutations within strata: of each first method, dealt out anew, with the second."""
    seconds = {a: [b for first, b in couples if first == a] for a, _ in couples}
    parts: dict[tuple[int, int], list[Float[np.ndarray, " permutation"]]] = {couple: [] for couple in couples}
    for dealt in _permutations(stratum, permutations, seed):
        for a, others in seconds.items():
            drawn = unit[a][dealt] @ np.stack([unit[b] for b in others], axis=1)
            for b, column in zip(others, drawn.T, strict=True):
                parts[a, b].append(column)
    return {couple: np.concatenate(found) for couple, found in parts.items()}


def _permutations(
    stratum: Int[np.ndarray, " component"], count: int, seed: int
) -> Iterator[Int[np.ndarray, "permutation component"]]:
    rng = np.random.default_rng(seed)
    home = np.argsort(stratum, kind="stable")
    step = max(1, _BLOCK // max(1, len(stratum)))
    for start in range(0, count, step):
        keys = rng.random((min(step, count - start), len(stratum)))
        dealt = np.empty(keys.shape, dtype=np.int64)
        dealt[:, home] = np.argsort(keys + stratum, axis=1)
        yield dealt


def _test(
    a: int,
    b: int,
    version: Version,
    value: float,
    free: Float[np.ndarray, " permutation"],
    within: Float[np.ndarray, " permutation"],
) -> NullTest:
    # Rounding must not tell a permutation that changes nothing from the value itself.
    p_free, p_within = (float((1 + (null >= value - 1e-12).sum()) / (1 + len(null))) for null in (free, within))
    return NullTest(
        a=a,
        b=b,
        statistic=PRIMARY,
        version=version,
        value=value,
        p_free=p_free,
        p_within_layer=p_within,
        free_95=float(np.quantile(free, 0.95)),
        within_layer_mean=float(within.mean()),
        within_layer_95=float(np.quantile(within, 0.95)),
        permutations=len(free),
        note="",
    )


def noise_test(
    scores: Float[np.ndarray, "pair component"], cluster: Int[np.ndarray, " pair"], flips: int = 999, seed: int = 0
) -> float:
    """How often random signs for the clusters' scores give a mean vector as long as this: a p-value.

    Every pair's scores are taken from their own mean over components, as Pearson takes them. Noise that is as likely to
    be positive as negative gives p <= x in a share x of studies at most, however unequal or correlated it is over
    components. It is the randomisation test of Fisher 1935, The Design of Experiments, section 21, on a vector. NaN in
    any pair leaves a component out.
    """
    kept = scores[:, ~np.isnan(scores).any(axis=0)].astype(np.float64)
    if not kept.size:
        return 1.0
    member = np.equal.outer(np.arange(cluster.max() + 1), cluster).astype(np.float64)
    sums = member @ (kept - kept.mean(axis=1, keepdims=True))
    products = sums @ sums.T
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(flips, len(sums)))
    lengths = np.einsum("fc,fc->f", signs @ products, signs)
    return float((1 + (lengths >= products.sum() * (1 - 1e-12)).sum()) / (1 + flips))


def holm(p: Sequence[float | int]) -> list[float]:
    """p-values adjusted over the family that they are, by Holm's step-down method; NaN stays and doesn't count.

    Holm 1979, Scandinavian Journal of Statistics 6, 65-70.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    places = np.flatnonzero(~np.isnan(values))
    order = places[np.argsort(values[places], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted = values.copy()
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(one) for one in adjusted]
