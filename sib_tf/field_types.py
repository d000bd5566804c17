"""Whether values out of a file are of the types that a record's fields name."""

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
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if hint in (bool, str, dict, types.NoneType):
        return isinstance(value, hint)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(matches(value, each) for each in arguments)
    if arguments == (int, int) and not isinstance(value, list | tuple):
        return matches(value, int)
    if arguments[-1] is Ellipsis:
        return isinstance(value, list | tuple) and all(matches(each, arguments[0]) for each in value)
    return isinstance(value, list | tuple) and len(value) == len(arguments) and all(map(matches, value, arguments))


def describe(hint) -> str:
    """Returns the annotation as errors print it."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
