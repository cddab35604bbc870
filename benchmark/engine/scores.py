"""What a method gives: the scores of one kind of component, and ways to look at them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmark.components import component_name, many, plural
from benchmark.engine.request import Design
from benchmark.errors import BenchmarkError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class Scores:
    """One method's scores of one kind of component, or of its places: then `values` has positions as a last axis.

    `values` is NaN where a component wasn't measured, and behind the end of a shorter prompt. The metrics are those of
    the unpatched prompts, NaN where a pair has no corrupted prompt. `completeness_error` is the largest difference, a
    pair, between the sum of scores and what a complete method's scores must sum to; None where the method claims no
    completeness. All are in units of the metric, but for the values of a method whose scores are no amounts of it.
    `extras` is what a method says besides, by the names of `store.cell`: `[pair]`, or of each component as `values`.
    """

    kind: str
    values: Float[Tensor, "pair layer index *pos"]
    design: Design
    pair_ids: tuple[str, ...]
    clean_metric: Float[Tensor, " pair"]
    corrupted_metric: Float[Tensor, " pair"]
    completeness_error: Float[Tensor, " pair"] | None
    provenance: dict[str, Any]
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def measured(self) -> Bool[Tensor, "layer index"]:
        return self.design.measured

    @property
    def by_position(self) -> bool:
        return self.values.ndim == 4

    def mean(self, magnitudes: bool = False) -> Float[Tensor, "layer index *pos"]:
        """Mean score over the pairs; of a place, over the pairs that have this position.

        With `magnitudes`, the mean of |score|: effects of opposite signs on different pairs don't cancel then.
        """
        values = self.values.abs() if magnitudes else self.values
        return values.nanmean(0) if self.by_position else values.mean(0)

    def top(self, k: int = 10, magnitudes: bool = False) -> pd.DataFrame:
        """The k components with the largest |mean score|, a row each: component (`L23H3`), layer, index, score.

        By position: the k places, with a column position. With `magnitudes`, those with the largest mean |score|.
        """
        mean = self.mean(magnitudes)
        order = mean.abs().nan_to_num(nan=-1.0).flatten().argsort(descending=True, stable=True)
        order = order[: min(k, int((~mean.isnan()).sum()))]
        layer, index, *position = (axis.tolist() for axis in torch.unravel_index(order, mean.shape))
        return pd.DataFrame(
            {
                "component": [
                    component_name(self.kind, *place, mean.shape[1]) for place in zip(layer, index, strict=True)
                ],
                "layer": layer,
                "index": index,
                **({"position": position[0]} if position else {}),
                "score": mean.flatten()[order].tolist(),
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """Every measured score, a row each: pair (its id), layer, index, score; by position, with a column position."""
        there = self.measured.reshape(1, *self.measured.shape, *[1] * self.by_position).expand_as(self.values)
        pair, layer, index, *position = (there & ~self.values.isnan()).nonzero(as_tuple=True)
        return pd.DataFrame(
            {
                "pair": [self.pair_ids[number] for number in pair.tolist()],
                "layer": layer.numpy(),
                "index": index.numpy(),
                **({"position": position[0].numpy()} if position else {}),
                "score": self.values[(pair, layer, index, *position)].numpy(),
            }
        )

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Mean scores drawn: a map layer x index, or a dot a component where a layer has very many.

        By position: a map layer x position, of kinds of which a layer has one component.
        """
        if self.by_position and self.values.shape[2] > 1:
            raise BenchmarkError(
                f"Places of {plural(self.kind)} fill no one picture: look at `to_frame()`, or draw one pair with "
                "`trace`."
            )
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
            sns.heatmap((mean[:, 0] if self.by_position else mean).numpy(), ax=axes, **colours)
            axes.set(xlabel="position" if self.by_position else self.kind, ylabel="layer")
        axes.set_title(f"{self.provenance['label']}, {len(self.pair_ids)} pairs", fontsize=9)
        return axes

    def __repr__(self) -> str:
        said = self.provenance
        layers, size = self.design.probability.shape
        measured = int(self.measured.sum())
        some = "" if measured == layers * size else f", {measured} of {layers * size} measured"
        at = " at {}".format if self.by_position else "".format
        strongest = ", ".join(
            f"{row.component}{at(getattr(row, 'position', ''))} {row.score:+.3g}" for row in self.top(5).itertuples()
        )
        places = f" x {self.values.shape[3]} positions" if self.by_position else ""
        lines = [
            f"Scores of {plural(self.kind)} by {said['label']} ({said['direction']}, {said['replacement']}): "
            f"{len(self.pair_ids)} pairs x {layers} layers x {size}{places}{some}",
            f"  strongest by mean score: {strongest or 'none'}",
        ]
        if self.completeness_error is not None:
            lines.append(f"  completeness error: at most {float(self.completeness_error.max()):.2g} on a pair")
        return "\n".join(lines)
