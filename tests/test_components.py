"""The words of a request stand in one light module, and nobody writes their lists out again."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import components
from benchmark.components import BASELINES, DEFAULT_KINDS, DIRECTIONS

ROOT = Path(__file__).parents[1]
HOME = Path(components.__file__)
LISTS = (DEFAULT_KINDS, DIRECTIONS, BASELINES)


def written_out(source: str) -> list[tuple[int, set[str]]]:
    """Line and words of every tuple, list or set that holds all kinds, all directions or all replacements."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            words = {one.value for one in node.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)}
            if any(words.issuperset(of) for of in LISTS):
                found.append((node.lineno, words))
    return found


def test_the_words_load_nothing_heavy() -> None:
    code = (
        "import sys, benchmark.components\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'transformers', 'transformer_lens'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("package", ["benchmark", "methods", "reports"])
def test_no_other_module_writes_out_the_kinds_directions_or_replacements(package: str) -> None:
    modules = [path for path in (ROOT / package).rglob("*.py") if path != HOME]
    assert modules
    again = [f"{path.relative_to(ROOT)}:{line}" for path in modules for line, _ in written_out(path.read_text())]
    assert again == []


def test_lists_written_out_in_any_order_or_form_are_found() -> None:
    for source in (
        "x = ['neuron', 'head']",
        "x: Literal['noising', 'denoising']",
        "{'zero', 'mean', 'counterfactual'}",
    ):
        assert len(written_out(source)) == 1
    assert written_out("x = ('head', 'layer'), ('zero', 'mean')") == []
    assert len(written_out(HOME.read_text())) == len(LISTS)
