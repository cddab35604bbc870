"""`python -m benchmark.pocket.train`: trains pocket and writes what is shipped.

Under `--out` come `model/` (config, tokenizer, weights in half precision, loss curve), `checkpoints/step-N/` (weights
alone: config and tokenizer are the model's), and `digest.json` with the sha256 of each weights file.
"""

import argparse
import csv
import hashlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmark.pocket.training import Recipe, train
from benchmark.pocket.vocabulary import build_tokenizer
from benchmark.pocket.world import World

WEIGHTS = "model.safetensors"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    recipe = Recipe(steps=options.steps, seed=options.seed)
    world = World()
    tokenizer = build_tokenizer(world)
    kept, began, losses = recipe.checkpoint_steps(), time.monotonic(), []

    def keep(step: int, model: Any) -> None:
        if step == recipe.steps:  # the last checkpoint is the model itself
            save_model(model, tokenizer, options.out / "model")
        elif step in kept:
            save_weights(model, options.out / "checkpoints" / f"step-{step}")

    bar = tqdm(train(recipe, world, tokenizer, options.device, keep), total=recipe.steps, disable=options.quiet)
    for loss in bar:
        losses.append(loss)
        bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
    write_curve(losses, options.out / "model")
    write_training(recipe, options, time.monotonic() - began, options.out / "model")
    write_digests(options.out)


def save_weights(model: Any, folder: Path) -> None:
    """The weights in half precision; the output matrix is the embedding and is not written twice."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    tied = "lm_head.weight"
    weights = {name: weight.half().cpu().contiguous() for name, weight in model.state_dict().items() if name != tied}
    (folder / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """A folder that `load_model` takes."""
    save_weights(model, folder)
    model.config.dtype, model.config.architectures = torch.float16, [type(model).__name__]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_curve(losses: list[float], folder: Path, window: int = 32) -> None:
    """The mean loss of each `window` steps, as loss.csv and loss.png."""
    from matplotlib.figure import Figure

    starts = range(0, len(losses), window)
    points = [(min(start + window, len(losses)), _mean(losses[start : start + window])) for start in starts]
    with open(folder / "loss.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("step", "loss"))
        writer.writerows((step, f"{loss:.4f}") for step, loss in points)
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True))
    axes.set(xlabel="step", ylabel="loss (nats a token)", xscale="log", title="Training loss of pocket")
    figure.savefig(folder / "loss.png", dpi=110)


def write_training(recipe: Recipe, options: argparse.Namespace, seconds: float, folder: Path) -> None:
    """How these weights came about, as training.json."""
    made = {
        "recipe": vars(recipe),
        "threads": options.threads,
        "device": options.device,
        "minutes": round(seconds / 60, 1),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    (folder / "training.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def write_digests(out: Path) -> None:
    """sha256 of each weights file under `out`, by its path, as digest.json."""
    files = sorted(out.glob(f"*/{WEIGHTS}")) + sorted(out.glob(f"checkpoints/*/{WEIGHTS}"), key=_step)
    digests = {file.relative_to(out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (out / "digest.json").write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")


def _step(weights: Path) -> int:
    return int(weights.parent.name.removeprefix("step-"))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmark.pocket.train", description="Train the model pocket.")
    parser.add_argument("--out", type=Path, default=Path("results/pocket"), help="folder to write (%(default)s)")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="optimiser steps (%(default)s)")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="of weights and texts (%(default)s)")
    parser.add_argument("--device", default="cpu", help="a torch device (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    parser.add_argument("--quiet", action="store_true", default=not sys.stderr.isatty(), help="no progress bar")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
