"""Mistakes made on purpose, one at a time, in a copy of the project: tests that pass all the same see nothing.

Run by hand, in a checkout: `python -m tests.mutations`. `--list` names the mutants, `--only NAME` takes some of them.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]
LIMIT = 120.0  # seconds; unmutated tests take a sixth of it at most
FAILED = 1  # pytest's exit code where tests ran and some failed


class Outcome(NamedTuple):
    """pytest's exit code (None: it hung), the first test that failed, and what was printed."""

    code: int | None
    failed: str
    output: str


def occurrences(mutant: Mutant, root: Path = ROOT) -> int:
    return (root / mutant.file).read_text().count(mutant.old)


def copied(to: Path) -> None:
    """All files that git knows of, as they are now."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # one that was deleted is still known
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)


def tested(root: Path, tests: Sequence[str], limit: float) -> Outcome:
    """The tests, run on the copy by a process of its own."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", *tests]
    # bytecode is told from its source by size and second: two quick mutants would pass for each other
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output = process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what the tests started
            return Outcome(None, "", process.communicate()[0])
    failed = re.search(r"^FAILED (.*?)(?: - .*)?$", output, re.MULTILINE)
    return Outcome(process.returncode, failed[1] if failed else "", output)


def judged(mutant: Mutant, root: Path) -> tuple[bool, str]:
    """Whether the mutant was caught, and how. Only a failed test counts: a file that no longer loads proves nothing."""
    if (found := occurrences(mutant, root)) != 1:
        return False, f"NOT CAUGHT: its text occurs {found} times in {mutant.file}, not once"
    path = root / mutant.file
    source = path.read_text()
    started = time.monotonic()
    path.write_text(source.replace(mutant.old, mutant.new))
    try:
        outcome = tested(root, mutant.tests, LIMIT)
    finally:
        path.write_text(source)
    seconds = f"{time.monotonic() - started:.0f} s"
    if outcome.code is None:
        return True, f"caught by a hang: no end after {seconds}"
    if outcome.code == FAILED and outcome.failed:
        return True, f"caught by {outcome.failed} in {seconds}"
    return False, f"NOT CAUGHT: pytest ended with {outcome.code} in {seconds}. {mutant.breaks}"


def chosen(names: Sequence[str]) -> list[Mutant]:
    if unknown := set(names) - {mutant.name for mutant in MUTANTS}:
        raise SystemExit(f"There is no mutant {', '.join(sorted(unknown))}; --list names them.")
    return [mutant for mutant in MUTANTS if not names or mutant.name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this mutant; may be given again")
    parser.add_argument("--list", action="store_true", help="name the mutants and what they break, and run nothing")
    asked = parser.parse_args()
    mutants = chosen(asked.only)
    if asked.list:
        print("\n".join(f"{mutant.name}: {mutant.breaks}" for mutant in mutants))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        copied(root := Path(folder))
        tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        unmutated = tested(root, tests, LIMIT * len(tests))
        if unmutated.code != 0:
            print(f"{unmutated.output}\nThe tests don't pass as they are: nothing was mutated.")
            return 1
        survived = 0
        for mutant in mutants:
            caught, said = judged(mutant, root)
            survived += not caught
            print(f"{mutant.name}: {said}", flush=True)
    print(f"{len(mutants) - survived} of {len(mutants)} mutants were caught.")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
