"""The one exception meant for the person at the keyboard."""


class BenchmarkError(Exception):
    """Something the user can fix: the message says what is wrong, where, and how to mend it.

    The command line prints it without a traceback and exits with code 2.
    """


def did_you_mean(name: str, known: "list[str] | tuple[str, ...]") -> str:
    """`" Did you mean 'x'?"` for the closest known names, else an empty string."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def first_line(error: BaseException) -> str:
    """What an error says first; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
