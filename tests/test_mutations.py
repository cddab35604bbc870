"""The mutants of `tests.mutations` still fit the code; running them is left to a person."""

import pytest

from tests.mutants import MUTANTS, Mutant
from tests.mutations import occurrences


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_that_a_mutant_replaces_occurs_exactly_once(mutant: Mutant) -> None:
    assert occurrences(mutant) == 1


def test_no_two_mutants_share_a_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
