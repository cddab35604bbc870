"""Claims about data frames from a results folder: what they take to compute."""

import subprocess
import sys
from pathlib import Path

from benchmark.store.folder import record_run
from tests.reports.test_reports import add_cell

_COMPUTE = """
import sys
from pathlib import Path
from benchmark.analysis.comparisons import agreement_table, compared
from benchmark.analysis.frontier import frontier_data
from benchmark.store.folder import Results
from benchmark.analysis.side_by_side import side_by_side
parts = compared(Results(Path(sys.argv[1])), tested=False)
assert side_by_side(*[Results(sys.argv[1])] * 2).identical
print(len(agreement_table(parts)), len(frontier_data(parts)), *sorted({"torch", "reports"} & set(sys.modules)))
"""


def test_agreement_of_a_results_folder_loads_neither_torch_nor_reports(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    add_cell(tmp_path, "activation-patching")
    add_cell(tmp_path, "attribution-patching")
    command = [sys.executable, "-c", _COMPUTE, str(tmp_path)]
    rows, costs, *loaded = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert (int(rows) > 10, int(costs)) == (True, 2)
    assert not loaded
