"""Whether values out of a file are of the types that a record's fields name.

By hand, because dacite takes booleans for numbers and raises what it likes where an object stands for a list, and
cattrs converts instead of refusing and knows no union of a number and a pair.
"""

import dataclasses
import types
import typing
from numbers import Integral, Real


def matches(value, hint) -> bool:
    """Whether `value` is what the annotation `hint` says: numbers, text, None, tuples and unions of them.

    Whole numbers are floats too, booleans are no numbers; a number may stand for a range from and to it; a record may
    still be the dictionary that it is made from.
    """
    if dataclasses.is_dataclass(hint):
        return isinstance(value, dict | hint)
    if isinstance(hint, type) and not typing.get_args(hint):
        kind = {int: Integral, float: Real}.get(hint, hint)
        return isinstance(value, kind) and (hint is bool or not isinstance(value, bool))
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(matches(value, each) for each in arguments)
    if arguments == (int, int) and matches(value, int):
        return True
    if not isinstance(value, list | tuple):
        return False
    kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
    return len(value) == len(kinds) and all(map(matches, value, kinds))


def describe(hint) -> str:
    """Returns the annotation as errors print it."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
