"""Flagfiles are looked at before absl reads them: text, of moderate size, and not one inside itself."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sib_tf.errors import InputError

_MOST_BYTES = 1 << 20
_MOST_FILES = 100
_DIRECTIVE = re.compile(r"--?flagfile(?:=(.*))?", re.DOTALL)


def check(arguments: Sequence[str]) -> None:
    """Raises an InputError if a flagfile that arguments or flagfiles name is no text, too large, or inside itself."""
    waiting = [(name, ()) for name in _named(arguments)]
    for name, outer in waiting:  # It grows meanwhile.
        if name in outer:
            raise InputError(f"flagfile {name} is inside itself ({' > '.join([*outer, name])}); remove one of them.")
        if len(waiting) > _MOST_FILES:
            raise InputError(f"flagfile {(*outer, name)[0]} leads to more than {_MOST_FILES} files.")
        lines = (line.strip() for line in _read(name).splitlines())
        flags = [line for line in lines if not line.startswith(("#", "//"))]
        waiting += [(inner, (*outer, name)) for inner in _named(flags)]


def _named(arguments: Sequence[str]) -> Iterator[str]:
    for place, argument in enumerate(arguments):
        if argument == "--":
            return
        if match := _DIRECTIVE.fullmatch(argument):
            following = "".join(arguments[place + 1 : place + 2])
            if name := following if match[1] is None else match[1].strip():
                yield str(Path(name).expanduser())


def _read(name: str) -> str:
    path = Path(name)
    if path.exists() and not path.is_file():  # A folder, or a device that never ends.
        raise InputError(f"flagfile {name} is no file; name a file of flags, one on each line.")
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise InputError(f"flagfile {name} cannot be read ({error.strerror}).") from error
    except ValueError as error:  # Not UTF-8.
        raise InputError(f"flagfile {name} is no text; name a file of flags, one on each line.") from error
    if len(data) > _MOST_BYTES or "\0" in text:
        raise InputError(f"flagfile {name} must be text of at most {_MOST_BYTES:,} bytes; it is not.")
    return text
