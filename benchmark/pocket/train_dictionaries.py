"""`python -m benchmark.pocket.train_dictionaries`: trains pocket's sparse autoencoders and writes what is shipped.

One for the attention output, the MLP output and the residual output of each layer, all from the same texts. The largest
activations of a whole batch stay, `k` a token on average (BatchTopK: Bussmann et al. 2024, arXiv:2412.06410). They are
stored as jump ReLUs, whose one threshold is the least activation that stayed, in the layout of SAELens, in half
precision. `measured.json` holds what they are worth on texts that weren't trained on.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from benchmark.engine.dictionary import Dictionary
from benchmark.engine.model import Model, Site
from benchmark.models.loading import load_model
from benchmark.pocket.training import IGNORED, encoded, padded
from benchmark.pocket.world import World
from benchmark.running.dictionaries import Fit

HOOKS = {"attention": "hook_attn_out", "mlp": "hook_mlp_out", "residual": "hook_resid_post"}
TEXTS_OF_TEST = 1 << 20  # this seed's texts are for measuring


@dataclass(frozen=True)
class Recipe:
    """All that the weights depend on, beside pocket, its world and the number of threads."""

    steps: int = 4000
    texts: int = 128  # a step
    features: int = 512
    k: int = 8
    seed: int = 1
    peak_rate: float = 2e-3
    dead_after: int = 100  # steps without any activation
    revive: int = 64  # dead features that explain what is left over, at each token
    revive_weight: float = 1 / 32


class Learner(nn.Module):
    """One autoencoder in training; inputs are scaled so that a token's squared norm is `d_in` on average."""

    def __init__(self, x: Float[Tensor, "token d_in"], recipe: Recipe, generator: torch.Generator) -> None:
        super().__init__()
        self.recipe, width = recipe, x.shape[1]
        centre = x.mean(0)
        self.scale = float(((x - centre).square().sum(1).mean() / width).sqrt())
        decoder = torch.randn(recipe.features, width, generator=generator)
        self.decoder = nn.Parameter(decoder / decoder.norm(dim=1, keepdim=True))
        self.encoder = nn.Parameter(self.decoder.detach().T.clone())
        self.bias = nn.Parameter(torch.zeros(recipe.features))
        self.centre = nn.Parameter(centre / self.scale)
        self.threshold = 0.0
        self.silent = torch.zeros(recipe.features, dtype=torch.long)  # steps since a feature was last active

    def loss(self, x: Float[Tensor, "token d_in"]) -> Tensor:
        """Squared error a dimension; and of what is left over, as dead features would explain it."""
        x = x / self.scale
        before = ((x - self.centre) @ self.encoder + self.bias).relu()
        least = before.flatten().topk(len(x) * self.recipe.k).values[-1].detach()
        features = before * (before >= least)
        self.threshold = 0.99 * self.threshold + 0.01 * float(least) if self.threshold else float(least)
        self.silent = torch.where((features > 0).any(0), 0, self.silent + 1)
        left = x - self.centre - features @ self.decoder
        loss = left.square().mean()
        dead = self.silent > self.recipe.dead_after
        if dead.any():
            chosen = before[:, dead].topk(min(self.recipe.revive, int(dead.sum())), dim=1)
            revived = torch.zeros_like(before[:, dead]).scatter(1, chosen.indices, chosen.values)
            loss = loss + self.recipe.revive_weight * (left.detach() - revived @ self.decoder[dead]).square().mean()
        return loss

    @torch.no_grad()
    def unit(self) -> None:
        """Decoder rows of length one."""
        self.decoder.div_(self.decoder.norm(dim=1, keepdim=True))

    @torch.no_grad()
    def weights(self) -> dict[str, Tensor]:
        """As SAELens names them; with the scale folded in, so that features are in the activation's units."""
        bias = self.bias - self.centre @ self.encoder
        return {
            "W_enc": self.encoder.clone(), "b_enc": bias * self.scale,
            "W_dec": self.decoder.clone(), "b_dec": self.centre * self.scale,
            "threshold": torch.full((self.recipe.features,), self.threshold * self.scale),
        }  # fmt: skip


def texts_of(model: Model, seed: int, size: int) -> Iterator[tuple[Tensor, Tensor, Bool[Tensor, "row pos"]]]:
    """Inputs, labels, and where a token stands that is no BOS, of batches without end."""
    texts = World().texts(seed)
    while True:
        inputs, labels = padded(encoded(list(islice(texts, size)), model.tokenizer))
        there = labels != IGNORED
        there[:, 0] = False
        yield inputs, labels, there


def sites(model: Model) -> dict[Site, str]:
    """What is read, and the hook's name: the output of attention, of the MLP, and of the whole layer."""
    return {
        Site(kind, layer + (kind == "residual")): f"blocks.{layer}.{hook}"
        for kind, hook in HOOKS.items()
        for layer in range(model.n_layers)
    }


def train(model: Model, recipe: Recipe, quiet: bool) -> tuple[dict[Site, Learner], list[dict[str, float]]]:
    """The learners, and their losses every hundred steps."""
    wanted, generator = sites(model), torch.Generator().manual_seed(recipe.seed)
    batches = texts_of(model, recipe.seed, recipe.texts)
    learners: dict[Site, Learner] = {}
    losses: list[dict[str, float]] = []
    for step in tqdm(range(recipe.steps), disable=quiet):
        inputs, _, there = next(batches)
        found = model.activations(inputs, wanted)[1]
        seen = {site: value[:, :, 0][there] for site, value in found.items()}
        if not learners:
            learners = {site: Learner(seen[site], recipe, generator) for site in wanted}
            parameters = [part for learner in learners.values() for part in learner.parameters()]
            optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
        done = step / recipe.steps
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak_rate * min(1, (step + 1) / 100) * (1 + math.cos(math.pi * done)) / 2
        each = {site: learner.loss(seen[site]) for site, learner in learners.items()}
        torch.stack(list(each.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        for learner in learners.values():
            learner.unit()
        if step % 100 == 0 or step == recipe.steps - 1:
            now = {wanted[site]: round(float(loss.detach()), 5) for site, loss in each.items()}
            losses.append({"step": step} | now)
    return learners, losses


@torch.no_grad()
def measured(model: Model, dictionaries: Mapping[Site, Dictionary], batches: int) -> dict[Site, dict[str, float]]:
    """Of each autoencoder what `Fit` says, and the loss recovered: of what the model's loss rises by where the mean
    stands at its site, the share that its reconstruction gives back."""
    fits = {site: Fit() for site in dictionaries}
    test = list(islice(texts_of(model, TEXTS_OF_TEST, 128), batches))
    for inputs, _, there in test:
        for site, value in model.activations(inputs, dictionaries)[1].items():
            fits[site].add(value[:, :, 0][there], dictionaries[site])
    clean = _loss(model, test, None, None)
    result = {}
    for site, dictionary in dictionaries.items():
        fit, mean = fits[site], fits[site].mean.float()
        stands_in = _loss(model, test, site, lambda x, one=dictionary: one.decode(one.encode(x, None), None))
        ablated = _loss(model, test, site, lambda x, mean=mean: mean.expand_as(x))
        result[site] = {
            "variance_explained": round(fit.variance_explained, 4),
            "l0": round(fit.l0, 2),
            "dead": fit.dead,
            "loss_recovered": round((ablated - stands_in) / (ablated - clean), 4),
            "loss_with_it": round(stands_in, 4),
            "loss_with_mean": round(ablated, 4),
            "loss": round(clean, 4),
        }
    return result


def _loss(model: Model, test: list[tuple[Tensor, Tensor, Tensor]], site: Site | None, change: Any) -> float:
    """Mean loss in nats a token, with a change of the activations at a site, but for the BOS."""
    total = count = 0.0

    def edit(value: Tensor) -> Tensor:
        value = value.clone()
        value[:, 1:] = change(value[:, 1:])
        return value

    for inputs, labels, _ in test:
        logits = model.run(inputs, {} if site is None else {site: edit}, reads="all")
        total += float(
            nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        )
        count += int((labels != IGNORED).sum())
    return total / count


def write(folder: Path, hook: str, weights: Mapping[str, Tensor]) -> None:
    """One autoencoder's folder, as SAELens lays it out."""
    folder.mkdir(parents=True, exist_ok=True)
    features, width = weights["W_dec"].shape
    config = {
        "architecture": "jumprelu", "d_in": width, "d_sae": features, "dtype": "float16",
        "apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"model_name": "pocket", "hook_name": hook, "prepend_bos": True},
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    half = {name: part.half().contiguous() for name, part in weights.items()}
    (folder / "sae_weights.safetensors").write_bytes(save(half))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    from benchmark.models.dictionaries import read_dictionary

    options = _options(arguments)
    torch.set_num_threads(options.threads)
    recipe = Recipe(steps=options.steps)
    model = load_model("pocket", device="cpu")
    learners, losses = train(model, recipe, options.quiet)
    for site, hook in sites(model).items():
        write(options.out / hook, hook, learners[site].weights())
    stored = {site: read_dictionary(options.out / hook) for site, hook in sites(model).items()}
    found = measured(model, stored, options.test)
    report = {
        "recipe": asdict(recipe), "threads": options.threads, "torch": torch.__version__,
        "dictionaries": {sites(model)[site]: values for site, values in found.items()}, "losses": losses,
    }  # fmt: skip
    (options.out / "measured.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report["dictionaries"]))


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The dictionaries as a table for the card."""
    lines = ["| hook | variance explained | L0 | loss recovered | dead |", "|---|---|---|---|---|"]
    lines += [
        f"| {hook} | {row['variance_explained']:.3f} | {row['l0']:.1f} | {row['loss_recovered']:.3f} | {row['dead']} |"
        for hook, row in rows.items()
    ]
    return "\n".join(lines)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.pocket.train_dictionaries", description="Train pocket's sparse autoencoders."
    )
    parser.add_argument("--out", type=Path, default=Path("results/dictionaries"), help="folder to write (%(default)s)")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="optimiser steps (%(default)s)")
    parser.add_argument("--test", type=int, default=16, help="batches to measure on (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    parser.add_argument("--quiet", action="store_true", default=not sys.stderr.isatty(), help="no progress bar")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
