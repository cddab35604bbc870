"""What the dictionaries behind features are worth, and what share of the scores their errors carry."""

import numpy as np
import pandas as pd
from jaxtyping import Bool

from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import Scored
from benchmark.components import plural
from reports.writing import captions
from reports.writing.blocks import Block, Table, number


def features_section(part: Comparisons, stem: str) -> list[Block]:
    """The dictionaries of a kind of features, and the errors that they leave, where the cells say so."""
    facts = captions.made_by([part.section])
    known = next((one.cell.dictionaries for one in part.methods if one.cell.dictionaries), ())
    rows = [vars(one) for one in known if one.kind == part.kind]
    blocks: list[Block] = [_dictionaries(pd.DataFrame(rows), part, f"{stem}-dictionaries", facts)] if rows else []
    counted = [method for method in part.methods if method.metric_units and method.signed]
    shared = np.all([~np.isnan(method.mean) for method in part.methods], axis=0)
    left_over = pd.DataFrame([row for method in counted for row in _by_layer(method, shared)])
    return [*blocks, _errors(left_over, part, f"{stem}-errors", facts)] if len(left_over) else blocks


def _dictionaries(data: pd.DataFrame, part: Comparisons, stem: str, facts: str) -> Table:
    data = data.drop(columns=["kind", "page"])
    shown = pd.DataFrame(
        {
            "layer": data.layer.astype(str),
            "dictionary": data.name,
            "features": data.features.astype(str),
            "variance explained": [f"{one:.1%}" for one in data.variance_explained],
            "active at a token": [number(one, ".1f") for one in data.l0],
            "metric": [number(one, ".3f") for one in data.metric],
            "metric with it in place": [number(one, ".3f") for one in data.metric_with_it],
        }
    )
    caption = (
        f"The dictionaries of the {plural(part.kind)}: how well they reconstruct clean activations (below 0%, the mean "
        "does better), and the metric with them in place."
    )
    return Table(stem, caption, facts, shown, data)


def _errors(data: pd.DataFrame, part: Comparisons, stem: str, facts: str) -> Table:
    """By method and layer: the sum of the features' mean scores, the error's, and its share of all sizes."""
    layers = sorted(set(data.layer))
    shown = []
    for method, group in data.groupby("method", sort=False):
        shares = dict(zip(group.layer, group.share, strict=True))
        whole = group.error.abs().sum() / (group.error.abs().sum() + group.sizes.sum())
        cells = {f"layer {layer}": number(shares.get(layer), ".0%") for layer in layers}
        measured = int(group.measured.sum())
        shown.append({"method": method, "features": str(measured)} | cells | {"all layers": f"{whole:.0%}"})
    caption = (
        f"The share of all |mean score| that the errors carry, beside the {plural(part.kind)} that all these methods "
        "measured."
    )
    return Table(stem, caption, facts, pd.DataFrame(shown), data)


def _by_layer(method: Scored, shared: Bool[np.ndarray, "layer index"]) -> list[dict[str, object]]:
    errors = method.cell.values(method.kind)[..., -1].mean(axis=0, dtype=np.float64)
    found = []
    for layer, error in enumerate(errors):
        there = method.mean[layer, shared[layer]]
        if np.isnan(error):
            continue
        sizes = float(np.abs(there).sum())
        share = abs(error) / (abs(error) + sizes) if abs(error) + sizes > 0 else np.nan
        found.append(
            {
                "method": method.label,
                "layer": layer,
                "measured": len(there),
                "features": float(there.sum()),
                "sizes": sizes,
                "error": float(error),
                "share": share,
            }
        )
    return found
