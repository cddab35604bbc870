"""`python -m tests.hub.features --dictionaries FOLDER --pairs FILE`: published scores of features beside those of here.

Sparse feature circuits (Marks et al. 2024, arXiv:2403.19647) on pythia-70m-deduped without a BOS: integrated gradients
in ten steps, their left ends, one site at a time. The dictionaries are the public ones (10_32768); the pairs, of four
tokens each, are a CSV with the columns clean, corrupted, correct and incorrect. Both are yours to bring.

The published anti-stereotypical set is the same pairs with the prompts' roles exchanged and the answers left as they
were. Its scores are therefore the negatives of denoising here, and are asked for as that.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmark import BenchmarkError, Scores, Task, load_method, load_model, logit_diff
from benchmark.components import FEATURE_KINDS
from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.prompts.pairs import Pairs

_FILE = Path(__file__).parent / "features.json"
PUBLISHED: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
THRESHOLD, STEPS = 0.1, 10
METRIC, SCORE = 2e-3, 2e-3  # what another device and another order of sums may change; a guess, not measured
KIND = {"attn": "attention-feature", "mlp": "mlp-feature", "resid": "residual-feature"}
DIRECTIONS = {"stereotypical": (1, "noising"), "anti": (-1, "denoising")}
Row = tuple[str, float, float, float]  # what, published, obtained, how far they may be apart


def place(site: str) -> tuple[str, int]:
    """The kind and the layer of a published site: `resid_2` leaves block 2, and so is what enters block 3."""
    name, _, layer = site.partition("_")
    return KIND[name], int(layer) + (name == "resid")


def obtained(model: Model, pairs: Pairs) -> dict[str, dict[str, Scores]]:
    """Scores of every feature of every site, by published set."""
    method = load_method("integrated-gradients", steps=STEPS, rule="left")
    kinds = [kind for kind in FEATURE_KINDS if kind in model.kinds]
    return {name: method.scores(model, pairs, kinds, direction=way) for name, (_, way) in DIRECTIONS.items()}


def rows(model: Model, pairs: Pairs, said: Mapping[str, Any]) -> Iterator[Row]:
    """Every published number beside what is obtained."""
    behaviour = metrics(model, pairs)
    clean, corrupted = float(behaviour["clean"].mean()), float(behaviour["corrupted"].mean())
    effects = (behaviour["clean"] - behaviour["corrupted"]).tolist()
    for name, mine, gap in (("stereotypical", clean, clean - corrupted), ("anti", corrupted, corrupted - clean)):
        yield f"{name}: clean metric", -said["clean_metric"][name], mine, METRIC
        yield f"{name}: mean total effect", said["mean_total_effect"][name], gap, METRIC
    for number, (theirs, ours) in enumerate(zip(sorted(said["total_effects"]), sorted(effects), strict=False)):
        yield f"total effect {number + 1} of {len(said['total_effects'])}, by size", theirs, ours, METRIC
    for name, scores in obtained(model, pairs).items():
        sign, _ = DIRECTIONS[name]
        means = {kind: sign * one.values.nan_to_num().mean(0)[:, :-1] for kind, one in scores.items()}
        above = sum(int((mean.abs() > THRESHOLD).sum()) for mean in means.values())
        yield f"{name}: features above {THRESHOLD}", said["features_above_0.1"][name], above, 0
        for site, listed in said["listed"][name].items():
            kind, layer = place(site)
            for feature, score in listed.items():
                ours = float(means[kind][layer, int(feature)]) if kind in means else float("nan")
                yield f"{name}: {site} {feature}", score, ours, SCORE


def pairs_of(model: Model, file: str | Path) -> Pairs:
    """All pairs of a CSV, as they stand."""
    return Task.from_csv(file).pairs(model, None, metric=logit_diff)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all agree; 1: some don't; 2: something is lacking."""
    parser = argparse.ArgumentParser("python -m tests.hub.features", description=__doc__)
    parser.add_argument("--dictionaries", required=True, metavar="FOLDER")
    parser.add_argument("--pairs", required=True, metavar="FILE")
    parser.add_argument("--model", default=PUBLISHED["model"])
    asked = parser.parse_args(arguments)
    try:
        model = load_model(asked.model, prepend_bos=False, dictionaries=asked.dictionaries)
        pairs = pairs_of(model, asked.pairs)
    except BenchmarkError as error:
        print(" ".join(str(error).split()))
        return 2
    agree = []
    with torch.no_grad():
        for what, theirs, ours, tolerance in rows(model, pairs, PUBLISHED):
            agree.append(abs(ours - theirs) <= tolerance)
            print(f"{what:45s} {theirs:10.4f} {'yes' if agree[-1] else 'NO':4s} {ours:10.4f}", flush=True)
    print(f"{sum(agree)} of {len(agree)} agree")
    return int(not all(agree))


if __name__ == "__main__":
    sys.exit(main())
