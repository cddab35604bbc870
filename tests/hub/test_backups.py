"""Scores find GPT-2 small's backup name movers as well as was published. `backups.py` says how, and how sure."""

import pytest

from benchmark.errors import BenchmarkError
from tests.hub import backups

pytestmark = pytest.mark.hub


@pytest.fixture(scope="module")
def gpt2() -> dict[str, tuple[float, float, float]]:
    """By score: what was published, what is obtained, and how far they may be apart."""
    return of_model(backups.PUBLISHED["model"])


def of_model(name: str) -> dict[str, tuple[float, float, float]]:
    try:
        return {what: tuple(numbers) for what, *numbers in backups.rows(name)}
    except BenchmarkError as error:
        if "hub did not give it" not in str(error):
            raise
        pytest.skip(f"No Hugging Face hub answers here. {error}")


@pytest.mark.parametrize("score", backups.PUBLISHED["roc_auc"])
def test_the_published_roc_auc_comes_out(score: str, gpt2: dict[str, tuple[float, float, float]]) -> None:
    """Within four of the published standard deviations over draws of prompts, and 0.002 of rounding."""
    published, obtained, apart = gpt2[score]
    assert obtained == pytest.approx(published, abs=apart)
