"""Integrals that refine where they must, against fixed steps: completeness error, nodes and seconds, side by side.

    python -m tests.performance.integrals pocket --pairs 16
    python -m tests.performance.integrals smollm2-135m --tasks ioi --pairs 2 --ways noising/zero --steps 16,64

A row is a task, a replacement and a rule: of a pair, the largest and mean completeness error as shares of what the
tolerance is a share of, how many pairs miss it, nodes spent a pair, and seconds.
"""

import argparse
import time

import pandas as pd
import torch

from benchmark.components import WAYS
from benchmark.models.loading import load_model
from benchmark.running.plugins import load_method, load_task

TOLERANCE = 0.01


def main() -> None:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("--tasks", default="ioi,gender-bias,greater-than,capital-country,sva,hypernymy")
    a.add_argument("--ways", default=",".join(f"{direction}/{replacement}" for direction, replacement in WAYS))
    a.add_argument("--pairs", type=int, default=16)
    a.add_argument("--steps", default="16,64")
    a.add_argument("--components", default="head")
    a.add_argument("--path", default="site")
    a.add_argument("--tolerance", type=float, default=TOLERANCE)
    asked = a.parse_args()
    model = load_model(asked.model)
    rows = []
    for task in asked.tasks.split(","):
        pairs = load_task(task).pairs(model, limit=asked.pairs)
        for way in asked.ways.split(","):
            direction, replacement = way.split("/")
            rules = {f"{steps} steps": {"steps": int(steps)} for steps in asked.steps.split(",") if steps}
            for label, options in (rules | {"refined": {"tolerance": asked.tolerance}}).items():
                started = time.perf_counter()
                method = load_method("integrated-gradients", path=asked.path, **options)
                kinds = tuple(asked.components.split(","))
                found = method.scores(model, pairs, kinds, replacement, direction, progress=lambda _: None)[kinds[0]]
                gap = (found.clean_metric - found.corrupted_metric).abs()
                size = torch.maximum(gap, gap.mean())
                nodes = found.extras.get("integral_nodes")
                paths = len(model.sites(kinds)) if asked.path == "site" else 1
                error = found.completeness_error
                share = torch.full_like(size, torch.nan) if error is None else error / size
                rows.append(
                    {
                        "task": task, "way": way, "rule": label, "largest": float(share.max()),
                        "mean": float(share.mean()), "over": int((share > asked.tolerance).sum()),
                        "nodes": paths * int(options["steps"]) if nodes is None else float(nodes.mean()),
                        "seconds": time.perf_counter() - started,
                        "unfinished": int(found.extras.get("unfinished", torch.zeros(1, 1)).any(1).sum()),
                    }
                )  # fmt: skip
                print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)


if __name__ == "__main__":
    main()
