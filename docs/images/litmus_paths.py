"""Draws `litmus_paths.png`: what three methods read off the same F. Run it in this folder."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from reports.writing.drawing import canvas, colour, place, style


def saturation(m: np.ndarray) -> np.ndarray:
    return 2 * m - np.maximum(2 * m - 1, 0)


def same_site(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + 6 * np.maximum(a + 2 * b - 2, 0) - 6 * np.maximum(a + b - 1, 0)


def draw_saturation(axis: Axes) -> None:
    m = np.linspace(0, 1, 201)
    axis.plot(m, saturation(m), color="black", label="F(m)")
    axis.plot([0, 1], [0, 1], color=colour(0), linestyle="--", marker="o", label="patching: F(1) - F(0) = 1")
    axis.plot([0.5, 1], [1, 1], color=colour(3), linewidth=3, alpha=0.6, label="slope at m = 1: 0")
    axis.text(
        0.02, 1.08, "integrated gradients: slope 2 for\nhalf of the way, then 0: mean 1", color=colour(2), fontsize=6
    )
    axis.set(xlabel="m of head 0.0", ylabel="metric", ylim=(-0.05, 1.35), title="saturation")
    axis.legend(loc="lower right", frameon=False, fontsize=6)


def draw_same_site(axis: Axes) -> None:
    grid = np.linspace(0, 1, 201)
    a, b = np.meshgrid(grid, grid)
    shades = axis.contourf(a, b, same_site(a, b), levels=np.linspace(-2, 1, 13), cmap="cividis")
    axis.plot([0, 1], [0, 1], color="white", linestyle="--")
    axis.text(0.5, 0.62, "site path", color="white", rotation=45, ha="center", fontsize=6)
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        axis.plot(x, y, "o", color=colour(3), clip_on=False, zorder=5)
        axis.annotate(
            f"{same_site(np.float64(x), np.float64(y)):.0f}", (x, y), (-9, -2) if x else (7, -10 if y else 8),
            textcoords="offset points", color="black", fontsize=8, ha="center",
        )  # fmt: skip
    axis.set(xlabel="m of head 0.0 (a)", ylabel="m of head 0.1 (b)", title="same-site-interaction")
    axis.figure.colorbar(shades, cax=place(axis.figure, 6.45, 0.3, 0.1, 2.0), label="metric", ticks=[-2, -1, 0, 1])


if __name__ == "__main__":
    with style():
        figure = canvas(7.0, 2.8)
        draw_saturation(place(figure, 0.5, 0.3, 2.6, 2.0))
        draw_same_site(place(figure, 3.9, 0.3, 2.3, 2.0))
        figure.savefig(Path(__file__).with_suffix(".png"))
