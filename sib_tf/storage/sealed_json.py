"""JSON that says whether it is what was written: objects end in the SHA-256 of the rest; and strict reading.

A flipped bit turns one number into another, which no parser notices. Files without the entry, as of earlier versions
and other programs, are read as they are.
"""

import collections
import hashlib
import json
import math
from pathlib import Path

SEAL = "sha256"
# The largest files that are read have results of every episode, a few MB.
MOST_BYTES = 64 << 20


class AlteredError(ValueError):
    """The content is another than was sealed."""


def dumps(value) -> str:
    """Returns `value` as indented JSON; an object gets its seal as the last entry. NaN and infinity are refused."""
    if isinstance(value, dict):
        # As it will be read: keys are text then.
        value = json.loads(json.dumps(value, allow_nan=False))
        value.pop(SEAL, None)
        value[SEAL] = _digest(value)
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def load(path: Path):
    """As `loads`; of files that are too large, no more is read than it takes to see that."""
    with path.open("rb") as file:
        return loads(file.read(MOST_BYTES + 1))


def loads(data: bytes):
    """Parses JSON, checks the seal where there is one, and leaves it out.

    An AlteredError if the content is another, a ValueError if it is not JSON, too large, or has a name twice.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than the {MOST_BYTES:,} bytes allowed")
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite)
        return _opened(value) if isinstance(value, dict) else value
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _opened(value: dict) -> dict:
    *rest, (_, last) = value.items() if value else [("", None)]
    whole = last != _digest(dict(rest))  # The name of the seal may be what is damaged.
    if SEAL in value:
        whole = value.pop(SEAL) == _digest(value)
    if not whole:
        raise AlteredError(f"its checksum differs; if you changed it by hand, remove the entry {SEAL!r}")
    return value


def _digest(value: dict) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _object(pairs: list[tuple]) -> dict:
    value = dict(pairs)
    if len(value) < len(pairs):
        [(name, _)] = collections.Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"it has {name[:60]!r} more than once")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text[:20]}, which is too large")
    return value


def _refuse_constant(text: str):
    raise ValueError(f"it has {text}, which is no number")
