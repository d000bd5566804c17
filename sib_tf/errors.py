"""The one error that means: what was given cannot be used, and here is the way out."""

from collections.abc import Sequence


class InputError(ValueError):
    """Raised for anything a caller or user can put right: a flag, a file, a folder, a specification.

    The message is one line that names the argument, what was expected, what came, and the way out.
    The command line prints it alone, without a traceback, and ends with exit code 2.
    """


def require(name: str, value, holds: bool, expected: str) -> None:
    """Raises an InputError naming the argument, the value and what was expected, unless `holds`."""
    if not holds:
        raise InputError(f"{name} must be {expected}; got {value}.")


def require_choice(name: str, value, choices: Sequence[str]) -> None:
    """Raises an InputError unless `value` is one of `choices`."""
    require(name, repr(value), value in choices, "one of " + ", ".join(choices))


def first_line(error: Exception) -> str:
    """What an error of a library says, as far as it fits into a message of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
