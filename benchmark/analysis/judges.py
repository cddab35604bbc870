"""The two judges of a method: its agreement with exact patching, and the faithfulness of the circuit that it finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from benchmark.analysis.circuits import Game, games
from benchmark.analysis.comparisons import Comparisons, primary
from benchmark.analysis.evidence import FLOORS
from benchmark.analysis.sections import Scored
from benchmark.statistics.agreement import primary_version, statistic
from benchmark.statistics.faithfulness import resampled
from benchmark.statistics.halves import Halves
from benchmark.statistics.score_rows import ScoreRows
from benchmark.store.circuit import Circuit
from benchmark.store.folder import Results

_TIED = 6  # decimals to which numbers are the same that differ by rounding


class _Judged(NamedTuple):
    """A circuit, and the scores that it is from beside those of the reference."""

    circuit: Circuit
    method: Scored
    reference: Scored
    scored: Halves  # of the pairs that were scored
    agreement: float

    def draws(self) -> Float[np.ndarray, " draw"]:
        """The primary statistic in every half-sample of the pairs that were scored."""
        version = primary_version(self.method.signed, self.reference.signed)
        kept = ~np.isnan(self.method.vector) & ~np.isnan(self.reference.vector)
        weights = resampled(self.scored)
        a, b = (ScoreRows.of(weights @ one.scores[:, kept], version) for one in (self.method, self.reference))
        return np.asarray(statistic("pearson", version).rows(a, b, 1, None))


@dataclass(frozen=True)
class Judges:
    """Two judges of the methods of one game: agreement with the reference, and share of the best circuit.

    `correlation` is Spearman's between the two over `methods`; NaN below three of them. `draws` are its values in
    half-samples of the pairs that were scored and, independently, of those that were measured.
    """

    game: Game
    table: pd.DataFrame  # a row a method: agreement, ranking, share, area, cpr, cmd
    correlation: float
    draws: Float[np.ndarray, " draw"]

    @property
    def interval(self) -> tuple[float, float]:
        return _interval(self.correlation, self.draws, self.game.halves.n_clusters)


def tops_of(parts: Iterable[Comparisons]) -> set[tuple[str, int]]:
    """How many components of each kind tables of agreement have in their tops."""
    return {(part.kind, part.k) for part in parts}


def two_judges(results: Results, parts: Iterable[Comparisons]) -> list[Judges]:
    """Of each game of a single kind in the way of its scores: does the method that agrees best find the best circuit?

    Signed rankings where a method has them. Neither the reference itself is judged, nor floors, which see no metric,
    nor a method whose scores are the same for every pair; and no game whose gap is known not to be told from 0.
    """
    parts = list(parts)
    known = {
        (method.cell.key.digest, part.kind): (method, reference, part.halves, float(primary(rows)["value"]))
        for part in parts
        for method, reference, rows in part.against_whole
        if len(rows) and method.per_pair and method.cell.key.method.name not in FLOORS
    }
    found = []
    for game in games(results, tops_of(parts)):
        if len(game.key.kinds) == 1 and game.of("random") and game.told is not False:
            own = [one for one in game.of("scores") if one.key.source.way == tuple(one.key.way)]
            cells = [(one, (cell, game.kinds)) for one in own for cell in one.key.source.cells]
            if judged := [_Judged(one, *known[cell]) for one, cell in cells if cell in known]:
                found.append(_judges(game, judged))
    return found


def _judges(game: Game, judged: list[_Judged]) -> Judges:
    rows = []
    for one in judged:
        numbers = game.numbers(one.circuit)
        rows.append(
            {"method": game.labels[one.circuit.key.digest], "agreement": one.agreement}
            | {"ranking": one.circuit.key.rankings[0]}
            | {name: float(numbers[name][0]) for name in ("share", "area", "cpr", "cmd")}
        )
    table, draws = pd.DataFrame(rows), np.zeros(0)
    if len(judged) >= 3 and len(game.draws) and not judged[0].scored.refusal:
        shares = [game.numbers(one.circuit, drawn=True)["share"][:, 0] for one in judged]
        both = zip(np.stack([one.draws() for one in judged], 1), np.stack(shares, 1), strict=False)
        draws = np.array([_spearman(agreement, share) for agreement, share in both])
    return Judges(game, table, _spearman(table.agreement.to_numpy(), table.share.to_numpy()), draws)


def overall(judges: list[Judges]) -> tuple[float, float, float]:
    """Mean rank correlation over games of different tasks, with its 95% interval from pairs, tasks as they are.

    Games whose circuits have no order aren't in it.
    """
    ordered = [one for one in judges if not np.isnan(one.correlation)]
    if not ordered:
        return np.nan, np.nan, np.nan
    mean = float(np.mean([one.correlation for one in ordered]))
    if not all(len(one.draws) for one in ordered):
        return mean, np.nan, np.nan
    draws = np.mean([one.draws for one in ordered], axis=0)
    return mean, *_interval(mean, draws, min(one.game.halves.n_clusters for one in ordered))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.round(_TIED), b.round(_TIED)
    known = ~np.isnan(a) & ~np.isnan(b)
    if known.sum() < 3 or len({*a[known]}) < 2 or len({*b[known]}) < 2:
        return float("nan")
    return float(stats.spearmanr(a[known], b[known]).statistic)


def _interval(value: float, draws: np.ndarray, clusters: int) -> tuple[float, float]:
    if not len(draws) or np.isnan(draws).any() or np.isnan(value):
        return np.nan, np.nan
    reach = float(stats.t.ppf(0.975, clusters - 1) * draws.std())
    return max(-1.0, value - reach), min(1.0, value + reach)
