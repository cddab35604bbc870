"""Draws methods-frontier.png from the table of docs/methods.md: what each method costs, and how far it agrees.

    python docs/images/methods_frontier.py

Passes are the table's: whole forwards and backward rows of a pair, on average over the tasks.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.analysis.frontier import on_frontier
from reports.agreement.frontier import cost_frontier
from reports.writing.drawing import style

HERE = Path(__file__).parent


def table(page: Path) -> pd.DataFrame:
    """The rows of the first table whose head is `method`, then tasks, then the mean, passes and seconds."""
    lines = page.read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| method | ioi |"))
    head, _, *rows = [line.strip("| ").split(" | ") for line in lines[first:] if line.startswith("|")]
    return pd.DataFrame(rows, columns=head)


def main() -> None:
    found = table(HERE.parent / "methods.md")
    found = found[~found.method.str.endswith("by size")]  # another statistic
    data = found.melt(["method", "mean", "passes", "seconds"], var_name="task")
    data["method"] = data.method.str.strip("`")
    data = data.astype({"passes": float, "value": float}).assign(unit="whole forwards")
    best = [on_frontier(rows.passes.tolist(), rows.value.tolist()) for _, rows in data.groupby("task", sort=False)]
    data["on_frontier_by_passes"] = np.concatenate(best)
    with style():
        cost_frontier(data).savefig(HERE / "methods-frontier.png", dpi=130)


if __name__ == "__main__":
    main()
