"""What a method gives: the scores of one kind of component, and ways to look at them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from benchmark.components import component_name, many, plural
from benchmark.engine.request import Design

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class Scores:
    """One method's scores of one kind of component.

    `values` is NaN where a component wasn't measured. The metrics are those of the unpatched prompts, NaN where a pair
    has no corrupted prompt. `completeness_error` is the largest difference, a pair, between the sum of scores and what
    a complete method's scores must sum to; None where the method claims no completeness. All are in units of the
    metric, but for the values of a method whose scores are no amounts of it.
    """

    kind: str
    values: Float[Tensor, "pair layer index"]
    design: Design
    pair_ids: tuple[str, ...]
    clean_metric: Float[Tensor, " pair"]
    corrupted_metric: Float[Tensor, " pair"]
    completeness_error: Float[Tensor, " pair"] | None
    provenance: dict[str, Any]

    @property
    def measured(self) -> Bool[Tensor, "layer index"]:
        return self.design.measured

    def mean(self) -> Float[Tensor, "layer index"]:
        """Mean score over the pairs."""
        return self.values.mean(0)

    def top(self, k: int = 10) -> pd.DataFrame:
        """The k components with the largest |mean score|, a row each: component (`L23H3`), layer, index, score."""
        mean = self.mean()
        sizes = mean.abs().nan_to_num(nan=-1.0).flatten()
        order = sizes.argsort(descending=True, stable=True)[: min(k, int(self.measured.sum()))].tolist()
        rows = [divmod(place, mean.shape[1]) for place in order]
        return pd.DataFrame(
            {
                "component": [component_name(self.kind, *row) for row in rows],
                "layer": [layer for layer, _ in rows],
                "index": [index for _, index in rows],
                "score": [float(mean[row]) for row in rows],
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """Every measured score, a row each: pair (its id), layer, index, score."""
        layer, index = self.measured.nonzero(as_tuple=True)
        values = self.values[:, layer, index]
        return pd.DataFrame(
            {
                "pair": [pair for pair in self.pair_ids for _ in range(len(layer))],
                "layer": layer.repeat(len(values)).numpy(),
                "index": index.repeat(len(values)).numpy(),
                "score": values.flatten().numpy(),
            }
        )

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Mean scores drawn: a map layer x index, or a dot a component where a layer has very many."""
        import matplotlib.pyplot as plt
        import seaborn as sns

        axes = axes or plt.subplots(figsize=(5, 3.2))[1]
        mean = self.mean()
        if many(self.kind):
            layer, index = self.measured.nonzero(as_tuple=True)
            axes.plot(layer + 0.7 * (index / mean.shape[1] - 0.5), mean[layer, index], ".", ms=2, color="#2b6ca3")
            axes.axhline(0, color="0.7", lw=0.6, zorder=0)
            axes.set(xlabel="layer", ylabel="mean score")
        else:
            colours = {"cmap": "RdBu", "center": 0.0, "cbar_kws": {"label": "mean score"}}
            sns.heatmap(mean.numpy(), ax=axes, **colours)
            axes.set(xlabel=self.kind, ylabel="layer")
        axes.set_title(f"{self.provenance['label']}, {len(self.pair_ids)} pairs", fontsize=9)
        return axes

    def __repr__(self) -> str:
        said = self.provenance
        layers, size = self.design.probability.shape
        measured = int(self.measured.sum())
        some = "" if measured == layers * size else f", {measured} of {layers * size} measured"
        strongest = ", ".join(f"{row.component} {row.score:+.3g}" for row in self.top(5).itertuples())
        lines = [
            f"Scores of {plural(self.kind)} by {said['label']} ({said['direction']}, {said['replacement']}): "
            f"{len(self.pair_ids)} pairs x {layers} layers x {size}{some}",
            f"  strongest by mean score: {strongest or 'none'}",
        ]
        if self.completeness_error is not None:
            lines.append(f"  completeness error: at most {float(self.completeness_error.max()):.2g} on a pair")
        return "\n".join(lines)
