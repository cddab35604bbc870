"""What each method costs and how far it agrees with the reference: who is on the Pareto frontier of the two."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons, primary
from benchmark.analysis.sections import Scored


def frontier_data(parts: list[Comparisons]) -> pd.DataFrame:
    """What each method costs and how far it agrees with the reference, a row a method and section.

    Passes are forward and backward, a pair; a cell's cost is for all kinds that it scored. Forward passes are whole
    forwards (`unit`), which leave out what shortcuts save, or rows of a batch if some cell stores no more than those.
    Of scores from elsewhere the cost is unknown. The reference agrees with itself by definition.
    """
    rows = []
    for part in parts:
        agreement = {method.label: primary(found)["value"] for method, _, found in part.against_whole}
        for method in part.methods:
            if (method.label in agreement or method.reference) and not method.sampled:
                rows.append(
                    {"task": part.section.short, "method": method.label, "reference": method.reference}
                    | _cost(method, part.section.n_pairs)
                    | {"value": agreement.get(method.label, 1.0)}
                )
    data = pd.DataFrame(rows)
    whole = not data.whole_forwards[data.forward_rows.notna()].isna().any()
    data["unit"] = "whole forwards" if whole else "forward rows"
    data["passes"] = (data.whole_forwards if whole else data.forward_rows) + data.backward
    for cost in ("passes", "seconds"):
        data[f"on_frontier_by_{cost}"] = np.concatenate(
            [on_frontier(group[cost].tolist(), group.value.tolist()) for _, group in data.groupby("task", sort=False)]
        )
    return data


def _cost(method: Scored, n_pairs: int) -> dict[str, Any]:
    origin = method.cell.provenance
    forward, backward = (origin.passes.forward, origin.passes.backward) if origin.passes else (None, None)
    counts = {
        "forward_rows": forward,
        "whole_forwards": origin.whole_forwards,
        "backward": backward,
        "seconds": origin.seconds,
    }
    known = {name: np.nan if n is None or method.elsewhere else n / n_pairs for name, n in counts.items()}
    return {"kinds": "+".join(method.cell.kinds)} | known


def on_frontier(cost: Sequence[float | int], agreement: Sequence[float | int]) -> list[bool]:
    """Which methods no other beats: none costs no more and agrees at least as far, and is better in one of the two.

    A method whose cost or agreement is unknown (NaN) is not on the frontier and beats nobody.

    >>> on_frontier([1, 2, 3, 2], [0.5, 0.9, 0.9, 0.4])
    [True, True, False, False]
    """
    points = np.array([cost, agreement], dtype=np.float64).T
    known = ~np.isnan(points).any(axis=1)
    cheap, good = points[:, 0], points[:, 1]
    beats = (cheap[:, None] <= cheap) & (good[:, None] >= good) & ((cheap[:, None] < cheap) | (good[:, None] > good))
    beaten = np.asarray(beats.any(axis=0))
    return [bool(one) for one in known & ~beaten]
