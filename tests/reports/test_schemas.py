"""Claims about results folders of older schemas: what was once written can be read, and reported, for ever.

`schemas/N` is a small folder that the code wrote when the schema was N: `attribution-bench run --model pocket --tasks
ioi --methods activation-patching,attribution-patching,random,external:file=mine.csv --components head --pairs 16`. Add
one with every new schema, and never write one of these anew.
"""

import shutil
from pathlib import Path

import pytest

from benchmark.analysis.comparisons import compared, primary
from benchmark.store.folder import SCHEMA, Results
from reports.report import write_report
from reports.terminal import terminal_summary

STORED = Path(__file__).parent / "schemas"


def test_every_schema_up_to_this_one_is_stored() -> None:
    assert {path.name for path in STORED.iterdir()} == {str(schema) for schema in range(1, SCHEMA + 1)}


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("schema", range(1, SCHEMA + 1))
def test_a_folder_of_that_schema_reads_as_it_did(schema: int, tmp_path: Path) -> None:
    shutil.copytree(STORED / str(schema), folder := tmp_path / "results")
    results = Results(folder)
    assert results.damaged == []
    assert results.failures == []
    assert len(results.runs) == 1
    assert {cell.schema for cell in results.cells} == {schema}
    assert results.scores("ioi", "attribution-patching", "head").shape == (16, 4, 8)
    [part] = compared(results)
    found = {method.label: primary(rows) for method, _, rows in part.against_reference}
    values = {label: (round(row["value"], 3), row["n_components"]) for label, row in found.items()}
    assert values == {"attribution-patching": (0.999, 32), "external:mine": (-0.603, 5), "random": (0.312, 32)}
    assert not next(method for method in part.methods if method.label == "external:mine").per_pair
    assert "accuracy 0.94" in terminal_summary(results)
    text = write_report(results, tmp_path / "report").with_suffix(".md").read_text()
    assert "damaged: " not in text
    assert "failed: " not in text
