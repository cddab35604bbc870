"""Ray's workers: the scores of one process, whoever dies. `python -m tests.performance.workers` tries more, by hand."""

import sys
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.running import cluster
from benchmark.running.plan import Asked
from benchmark.running.runner import execute, prepare
from tests import kills

PLUGIN = """
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from benchmark import PromptPair, Task, logit_diff
from methods.attribution_patching import AttributionPatching

PAIRS = [
    PromptPair("Mary and John gave milk to", "Ann and John gave milk to", " Mary", " John"),
    PromptPair("John likes the fish and", "John sees the fish and", " Mary", " Tom"),
]
one = Task(name="one", title="One", metric=logit_diff, summary="s", prompt_pairs=PAIRS)


@dataclass(frozen=True)
class Deadly(AttributionPatching):
    name = "deadly"
    mark: str = ""

    def attribute(self, model, batch, request):
        mark = Path(self.mark)
        if self.mark and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().attribute(model, batch, request)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process")
def test_a_worker_that_dies_costs_its_part(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker begins twice; files are named from where the run was started, which isn't where workers are."""
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    Path("plugin.py").write_text(PLUGIN)
    mark = tmp_path / "mark"
    asked = Asked(str(folder), ("one",), (f"deadly:mark={mark}",), ("head",), plugins=("plugin.py",), device="cpu")
    said: list[str] = []
    plan = prepare(asked, tmp_path / "r", part_seconds=0, threads=1)
    with cluster.workers(1, device="cpu") as crew:
        results = execute(plan, tmp_path / "r", said.append, crew=crew)
    assert mark.exists()
    assert [words.partition(";")[0] for words in said] == ["A worker died"]
    assert not results.failures
    assert sum(part.pairs for part in results.cells[0].provenance.parts) == 2
    execute(plan, tmp_path / "here", said.append)  # now nobody dies
    assert kills.bits(tmp_path / "r") == kills.bits(tmp_path / "here")
    with pytest.raises(BenchmarkError, match="at least 1 worker"), cluster.workers(0):
        pass


def test_without_ray_workers_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchmarkError, match=r"pip install 'attribution-bench\[ray\]'"), cluster.workers(2):
        pass
