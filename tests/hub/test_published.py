"""Numbers that public notebooks printed for GPT-2 small must come out. `python -m tests.hub` shows them as a table."""

import pytest

from benchmark.errors import BenchmarkError
from benchmark.models.loading import load_model
from tests.hub.checks import CHECKS, Check, Measured

pytestmark = pytest.mark.hub


@pytest.fixture(scope="module")
def gpt2() -> Measured:
    try:
        return Measured(load_model("gpt2", device="cpu"))
    except BenchmarkError as error:
        if "hub did not give it" not in str(error):
            raise
        pytest.skip(f"No Hugging Face hub answers here. {error}")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_published_number_comes_out(check: Check, gpt2: Measured) -> None:
    found = check.obtain(gpt2)
    if check.doubt and not check.agrees(found):
        pytest.skip(f"published {check.published}, obtained {found}; not asserted: {check.doubt}")
    assert check.agrees(found), f"published {check.published}, obtained {found}"
