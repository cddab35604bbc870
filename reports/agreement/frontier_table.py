"""What each method costs and how far it agrees with the reference: who is on the frontier of the two."""

from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.comparisons import Comparisons, primary
from benchmark.analysis.frontier import on_frontier
from benchmark.analysis.sections import Scored
from reports.writing import captions
from reports.writing.blocks import Table, number, with_interval


def frontier_data(parts: list[Comparisons]) -> pd.DataFrame:
    """What each method costs and how far it agrees with the reference, a row a method and section.

    Passes are forward and backward, a pair; a cell's cost is for all kinds that it scored. Forward passes are whole
    forwards (`unit`), which leave out what shortcuts save, or rows of a batch if some cell stores no more than those.
    Of scores from elsewhere the cost is unknown. The reference agrees with itself by definition.
    """
    rows = []
    for part in parts:
        agreement = {method.label: primary(found) for method, _, found in part.against_whole}
        own = {"value": 1.0, "low": np.nan, "high": np.nan}
        for method in part.methods:
            main: dict[str, Any] = agreement.get(method.label, own if method.reference else {})
            if main and not method.sampled:
                rows.append(
                    {"task": part.section.short, "method": method.label, "reference": method.reference}
                    | _cost(method, part.section.n_pairs)
                    | {name: main[name] for name in own}
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


def frontier_table(data: pd.DataFrame, parts: list[Comparisons], stem: str) -> Table:
    """Who is on the frontier of cost and agreement with the reference, from `frontier_data`."""
    shown = pd.DataFrame(
        {
            "task": row.task,
            "method": row.method,
            f"{row.unit} a pair": number(row.passes - row.backward, ".1f"),
            "backward a pair": number(row.backward, ".1f"),
            "seconds a pair": number(row.seconds, ".2g"),
            "Pearson": with_interval(row.value, row.low, row.high),
            "frontier by passes": _yes(row.on_frontier_by_passes, row.passes),
            "by seconds": _yes(row.on_frontier_by_seconds, row.seconds),
        }
        for row in data.itertuples()
    )
    return Table(
        stem,
        f"Cost against agreement with the reference on {parts[0].kind}s. On the frontier: no method is cheaper and "
        f"agrees at least as well, or costs the same and agrees better. {frontier_words(data)}",
        captions.about(parts, captions.intervals(parts)),
        shown,
        data,
    )


def frontier_words(data: pd.DataFrame) -> str:
    """What a pass is in `frontier_data`, and of which methods the cost is not known."""
    words = {
        "whole forwards": "Passes are whole forwards and backward rows: a forward row that starts late or ends early, "
        "because the rest is known, counts as the part of a whole one that was computed.",
        "forward rows": "Passes are forward and backward rows of a batch, whatever part of a whole forward they took: "
        "some cells don't store that.",
    }[data.unit.iloc[0]]
    unknown = captions.distinct(data.method[data.passes.isna()])
    missing = f" The cost of {unknown} is unknown, so it is on no frontier and beats nobody." if unknown else ""
    return f"{words} A cell's cost counts for all kinds that it scored.{missing}"


def _yes(on_frontier: bool, cost: float) -> str:
    return "-" if np.isnan(cost) else "yes" if on_frontier else "no"
