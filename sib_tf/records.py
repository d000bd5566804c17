"""What configuration records share: fields with help and bounds, ranges, JSON in and out. Cheap to import."""

import dataclasses
import math
import os
import types
import typing
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import NamedTuple, Self

from sib_tf.errors import InputError, require, require_choice
from sib_tf.storage import atomic

Range = tuple[int, int]
ALPHA = "above 0 and finite, or a range low-high of such"


class Bound(NamedTuple):
    """What a number must be: whether one is, and the words for it."""

    holds: Callable[[float], bool]
    expected: str


ABOVE_0 = Bound(lambda value: 0 < value < math.inf, "above 0 and finite")
FROM_0 = Bound(lambda value: 0 <= value < math.inf, "0 or more and finite")
BELOW_1 = Bound(lambda value: 0 <= value < 1, "in [0, 1)")
SEED = Bound(lambda value: 0 <= value < 2**31, "in [0, 2**31)")


def at_least(least: int, what: str = "") -> Bound:
    """The bound of whole numbers from `least` on; `what` goes on with the words, as in "at least 16 pixels"."""
    return Bound(lambda value: value >= least, f"at least {least} {what}".strip())


def setting(default, text: str, allowed: Bound | tuple[str, ...] | None = None):
    """A field of a record with its help, which is that of its flag too, and its bound, or the texts that it may be.

    A field that is None by default may be None whatever is allowed.
    """
    return dataclasses.field(default=default, metadata={"help": text, "allowed": allowed})


def as_range(name: str, value: int | Sequence[int]) -> Range:
    """Returns (low, high) for a number or a pair; an InputError unless both are at least 1 and in order."""
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair) or not 1 <= pair[0] <= pair[1]:
        given = range_text(pair) if len(pair) == 2 else value
        raise InputError(f"{name} must be a whole number of at least 1, or a range low-high of such; got {given}.")
    return pair


def range_text(pair: Sequence) -> str:
    """Returns a range as flags and reports write it: "5", or "5-20"."""
    low, high = pair
    return str(low) if low == high else f"{low}-{high}"


def alpha_text(pair: tuple[float, float]) -> str:
    """Returns a range of concentrations as flags and reports write it: "2", or "0.1-5"."""
    return range_text([f"{number:g}" for number in pair])


@dataclasses.dataclass(frozen=True)
class Record:
    """Base of the configuration records: JSON in and out, with errors that name the file and the field."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value, allowed = getattr(self, field.name), field.metadata.get("allowed")
            if allowed is None or (value, field.default) == (None, None):
                continue
            if isinstance(allowed, Bound):
                require(field.name, value, allowed.holds(value), allowed.expected)
            else:
                require_choice(field.name, value, allowed)

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """What fields may be that are one of several texts, by name."""
        allowed = {field.name: field.metadata.get("allowed") for field in dataclasses.fields(cls)}
        return {name: texts for name, texts in allowed.items() if texts and not isinstance(texts, Bound)}

    @classmethod
    def help_texts(cls, *without: str) -> dict[str, str]:
        """The help of every field that has one, by name, but for those named."""
        helped = (field for field in dataclasses.fields(cls) if "help" in field.metadata)
        return {field.name: field.metadata["help"] for field in helped if field.name not in without}

    def save(self, path: str | os.PathLike) -> None:
        """Writes the record as JSON to `path`, in one move."""
        atomic.write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a record written by `save`; an InputError if the file is damaged or has other fields."""
        return cls.from_dict(atomic.read_json(path, "Configuration"), path)

    @classmethod
    def from_dict(cls, values: dict | Self, source: str | os.PathLike = "record") -> Self:
        """Builds the record, unless it is one, from the dictionary that `save` writes; `source` names it in errors."""
        if isinstance(values, cls):
            return values
        if not isinstance(values, dict):
            raise InputError(f"{source} must hold a JSON object; got {type(values).__name__}.")
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - names):
            raise InputError(f"{source} has unknown fields {unknown}; a {cls.__name__} has {sorted(names)}.")
        for name, hint in typing.get_type_hints(cls).items():
            if name in values and not _matches(values[name], hint):
                given = str(values[name])[:60]
                raise InputError(f"{source} must have {_described(hint)} as {name}; got {given}.")
        try:
            return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        except TypeError as error:
            raise InputError(f"{source} is not a whole {cls.__name__}: {error}.") from error


# By hand, because dacite takes booleans for numbers and raises what it likes where an object stands for a list, and
# cattrs converts instead of refusing and knows no union of a number and a pair.
def _matches(value, hint) -> bool:
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
        return any(_matches(value, each) for each in arguments)
    if arguments == (int, int) and _matches(value, int):
        return True
    if not isinstance(value, list | tuple):
        return False
    kinds = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
    return len(value) == len(kinds) and all(map(_matches, value, kinds))


def _described(hint) -> str:
    """Returns the annotation as errors print it."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
