"""`python -m tests.hub`: one table of what was published, what is obtained here, and whether they agree."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model
from tests.hub.checks import CHECKS, Check, Measured, not_gpt2_small

STALE = "may be stale"  # what was printed, so that it is asserted nowhere
PUBLISHED_WIDTH, AGREES_WIDTH = 20, len(STALE)  # what is longer moves its own row only


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all agree; 1: some don't; 2: there is no GPT-2 small to ask."""
    parser = argparse.ArgumentParser("python -m tests.hub", description=__doc__)
    parser.add_argument(
        "--model", default="gpt2", help="GPT-2 small under another name, or a local folder that holds it"
    )
    name = parser.parse_args(arguments).model
    try:
        model = load_model(name)
    except BenchmarkError as error:
        print(" ".join(str(error).split()))
        return 2
    if reason := not_gpt2_small(model):
        print(reason)
        return 2
    return table(Measured(model))


def table(measured: Measured) -> int:
    """Prints a row a number, as they come: some take minutes. 0: all agree; 1: some don't."""
    width = max(len(check.name) for check in CHECKS)
    print(f"{'number':{width}}  {'published':{PUBLISHED_WIDTH}}  {'agrees':{AGREES_WIDTH}}  obtained")
    outcomes = []
    for check in CHECKS:
        answer, found = outcome(check, measured)
        outcomes.append(answer)
        print(
            f"{check.name:{width}}  {check.published:{PUBLISHED_WIDTH}}  {answer:{AGREES_WIDTH}}  {found}", flush=True
        )
    print(", ".join(f"{outcomes.count(answer)} {answer}" for answer in dict.fromkeys(outcomes)))
    return int("NO" in outcomes)


def outcome(check: Check, measured: Measured) -> tuple[str, str]:
    """Whether a check agrees, and what was obtained. One that can't be asked doesn't keep the others from it."""
    try:
        found = check.obtain(measured)
    except BenchmarkError as error:
        return "NO", " ".join(str(error).split())
    if check.agrees(found):
        return "yes", shown(found)
    return (STALE, f"{shown(found)} ({check.doubt})") if check.doubt else ("NO", shown(found))


def shown(found: Any) -> str:
    if isinstance(found, float):
        return f"{found:.5f}"
    return " ".join(map(repr, found)) if isinstance(found, list) else str(found)


if __name__ == "__main__":
    sys.exit(main())
