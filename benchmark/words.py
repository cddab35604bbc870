"""Counts in words, the same everywhere that a person reads them. Imports nothing."""


def counted(count: int, what: str) -> str:
    """
    >>> counted(1, "pair"), counted(2, "pair")
    ('1 pair', '2 pairs')
    """
    return f"{count} {what}" + "s" * (count != 1)
