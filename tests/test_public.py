"""What users see first: the names of the package, and the two ways to start the command line."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
from benchmark.cli import main
from benchmark.components import DEFAULT_KINDS, FEATURE_KINDS, KINDS, PLACES_ONLY, REPLACEMENTS, component_name
from benchmark.engine.kinds import KIND


def test_every_public_name_is_there_and_editors_see_the_same_ones() -> None:
    assert dir(benchmark) == sorted(benchmark.__all__)
    for name in benchmark.__all__:
        assert getattr(benchmark, name) is not None
    tree = ast.parse(Path(benchmark.__file__).read_text())
    shown = {
        (alias.asname, f"benchmark.{benchmark._HOME[str(alias.asname)]}" == node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmark.")
        for alias in node.names
    }
    assert shown == {(name, True) for name in benchmark.__all__}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, benchmark; sys.exit(bool({'torch', 'pandas', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_line_starts_as_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmark", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"attribution-bench {importlib.metadata.version('attribution-bench')}\n"


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert importlib.metadata.version("attribution-bench") in capsys.readouterr().out


def test_every_named_kind_is_one_that_the_engine_can_read_and_write() -> None:
    assert (*KIND, *FEATURE_KINDS) == KINDS  # features are read where one of the others is
    assert set(DEFAULT_KINDS) | set(PLACES_ONLY) <= set(KINDS)
    assert all(set(kind.replacements) <= set(REPLACEMENTS) for kind in KIND.values())
    names = [component_name(kind, 2, 3) for kind in KINDS]
    assert " ".join(names) == "L2H3 L2N3 L2R L2E L2A L2M L2Q3 L2K3 L2V3 L2P3 L2AF3 L2MF3 L2RF3"
