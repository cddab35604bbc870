"""The components with the largest mean scores, a row each, with the pages of features that have some."""

import json
from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote

import numpy as np
import pandas as pd

from benchmark.analysis.sections import Section, sections
from benchmark.components import component_name, plural
from benchmark.errors import BenchmarkError
from benchmark.statistics.halves import halves
from benchmark.statistics.mean_score import mean_scores
from benchmark.store.cell import Cell
from benchmark.store.folder import Results

COLUMNS = (
    "model", "task", "method", "direction", "replacement", "mean_of", "component", "layer", "index", "score", "low",
    "high", "in_pairs", "pairs", "page",
)  # fmt: skip
SHOWN = 30
MeanOf = Literal["scores", "magnitudes"]  # |mean of the scores|, or the mean of |score|
_SITE = "https://www.neuronpedia.org"


def top_components(
    results: Results,
    kind: str,
    threshold: float = 0.0,
    count: int | None = None,
    tasks: Iterable[str] = ("all",),
    methods: Iterable[str] = ("all",),
    mean_of: MeanOf = "scores",
) -> pd.DataFrame:
    """Of every method on every task, the components of a kind with |mean score| >= `threshold`, at most `count`.

    The largest first. `score` is the mean over the pairs, of scores or of their magnitudes as `mean_of` says; `low` and
    `high` are the ends of its 95% interval, `in_pairs` says in how many of `pairs` it isn't 0, `page` is the feature's
    page on Neuronpedia where one is known. `tasks` and `methods` are names; a method's is its label, or its name
    whatever its options. `all` methods are those whose scores are in the metric's units. Raises BenchmarkError where
    there are none.
    """
    chosen, wanted = tuple(tasks), {*methods}
    frames = []
    for section in sections(results):
        if chosen != ("all",) and section.key.task.name not in chosen:
            continue
        frames += [
            _of_one(section, one.cell, kind, threshold, count, mean_of)
            for one in section.scored(kind)
            if {one.cell.key.method.label, one.cell.key.method.name, "all" if one.metric_units else ""} & wanted
        ]
    if not frames:
        there = sorted(
            {f"{plural(one)} by {cell.key.method.label} on {cell.task}" for cell in results.cells for one in cell.kinds}
        )
        raise BenchmarkError(
            f"{results.folder} holds no scores of {plural(kind)} for these tasks and methods. It holds "
            f"{'; '.join(there[:8])}{' ...' * (len(there) > 8)}."
        )
    found = pd.concat(frames, ignore_index=True)[list(COLUMNS)]
    if found.empty:
        raise BenchmarkError(f"--threshold {threshold:g}: no mean score of {plural(kind)} there is of that size.")
    return found


def _of_one(
    section: Section, cell: Cell, kind: str, threshold: float, count: int | None, mean_of: MeanOf
) -> pd.DataFrame:
    values = cell.values(kind)
    size = values.shape[2]
    flat = values.reshape(len(values), -1)
    measured = np.flatnonzero(~np.isnan(flat).any(axis=0))
    kept = np.abs(flat[:, measured]) if mean_of == "magnitudes" else flat[:, measured]
    mean, low, high = mean_scores(kept, halves(section.n_pairs, section.clusters, section.templates))
    order = np.argsort(-np.abs(mean), kind="stable")
    order = order[np.abs(mean[order]) >= threshold][:count]
    pages = {one.layer: one.page for one in cell.dictionaries if one.kind == kind and one.page}
    layers, indices = np.divmod(measured[order], size)
    places = list(zip(layers.tolist(), indices.tolist(), strict=True))
    told = cell.key.method.per_pair.get(kind, True)
    return pd.DataFrame(
        {
            "model": section.model,
            "task": section.short,
            "method": cell.key.method.label,
            "direction": cell.key.method.direction,
            "replacement": cell.key.method.replacement,
            "mean_of": mean_of,
            "component": [component_name(kind, *place, size) for place in places],
            "layer": layers,
            "index": indices,
            "score": mean[order],
            "low": low[order] if told else np.nan,
            "high": high[order] if told else np.nan,
            "in_pairs": (kept[:, order] != 0).sum(axis=0),
            "pairs": section.n_pairs,
            "page": [
                page_of(pages[layer], index) if layer in pages and index < size - 1 else "" for layer, index in places
            ],
        }
    )


def page_of(source: tuple[str, str], index: int) -> str:
    """A feature's page on Neuronpedia, from its model and source there. Nothing is fetched.

    >>> page_of(("pythia-70m-deduped", "3-res-sm"), 19924)
    'https://www.neuronpedia.org/pythia-70m-deduped/3-res-sm/19924'
    """
    model, name = source
    return f"{_SITE}/{quote(model)}/{quote(name)}/{index}"


def quick_list(pages: Iterable[str], name: str) -> str:
    """One link that opens all of these pages side by side; empty where there are none."""
    places = [page.removeprefix(_SITE).strip("/").split("/") for page in dict.fromkeys(pages) if page]
    if not places:
        return ""
    features = [{"modelId": model, "layer": source, "index": index} for model, source, index in places]
    listed = json.dumps(features, separators=(",", ":"))
    return f"https://neuronpedia.org/quick-list/?name={quote(name)}&features={quote(listed)}"
