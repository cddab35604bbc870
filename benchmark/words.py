"""Counts in words, the same everywhere that a person reads them. Imports nothing of the project."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool


def counted(count: int, what: str, several: str = "") -> str:
    """
    >>> counted(1, "pair"), counted(2, "pair"), counted(2, "matrix", "matrices")
    ('1 pair', '2 pairs', '2 matrices')
    """
    return f"{count} {what if count == 1 else several or f'{what}s'}"


def runs(numbers: Sequence[int]) -> str:
    """
    >>> runs([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{low}-{high}" if high > low else str(low) for low, high in found)


def ran_out(what: str, unfinished: Bool[np.ndarray, "pair layer"], pair_ids: Sequence[str]) -> str:
    """Of which components and pairs an integral's nodes ran out before its tolerance held."""
    pairs = [pair_ids[place] for place in np.flatnonzero(unfinished.any(1)).tolist()]
    layers = np.flatnonzero(unfinished.any(0)).tolist()
    some = ", ".join(pairs[:5]) + (f" and {len(pairs) - 5} more" if len(pairs) > 5 else "")
    return (
        f"integrals of {what} of {'layers' if len(layers) > 1 else 'layer'} {runs(layers)} have not converged on "
        f"{counted(len(pairs), 'pair')} ({some}): their nodes ran out. Allow more (nodes=N), or see how large the "
        "completeness error is."
    )
