"""SHA-256 of files, recorded when they are written and checked before anything parses them."""

import hashlib
import os
from pathlib import Path

from sib_tf.errors import InputError
from sib_tf.storage import atomic

# Of a folder's own record.
FILE = "digests.json"


def of_file(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_folder(folder: str | os.PathLike) -> dict[str, str]:
    """Returns the SHA-256 of all files under a folder, by name below it.

    What a killed process left half-written does not count: it will be removed.
    """
    folder = Path(folder)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {name.as_posix(): of_file(folder / name) for name in names if not any(map(atomic.is_temporary, name.parts))}


def check(folder: str | os.PathLike, files: dict[str, str], way_out: str) -> None:
    """Checks that a folder holds `files`, as `of_folder` recorded them; others are passed over.

    Raises an InputError that ends with `way_out`, a clause, if one is missing or another, or `files` is no such record.
    """
    folder = Path(folder)
    if not isinstance(files, dict):
        raise InputError(f"{folder} has no list of its files; {way_out}.")
    for name, digest in files.items():
        path = folder / name
        try:
            same = path.is_file() and of_file(path) == digest
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); {way_out}.") from error
        if not same:
            raise InputError(f"{path} is missing or damaged; {way_out}.")
