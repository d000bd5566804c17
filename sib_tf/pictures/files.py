"""Which picture files a folder holds, by class, and whether they have changed; none is opened here."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sib_tf.errors import InputError

SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"])


class Picture(NamedTuple):
    """One picture file of a class; `id` is `<class>/<path below the class folder>`."""

    class_name: str
    id: str
    path: Path


def is_picture(name: str | os.PathLike) -> bool:
    """Whether a file is called like a picture; hidden files, such as macOS's `._cat.jpg`, are not."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and not _is_hidden(path.name)


def find_pictures(folder: str | os.PathLike) -> list[Path]:
    """Returns the picture files under `folder` at any depth, sorted; hidden files and folders are passed over.

    Links are followed. A folder that is reached twice, as by a link to one above it, is entered once only.

    Raises:
        InputError: a folder cannot be opened, or a name is not valid UTF-8.
    """
    found, entered = [], set()
    for parent, folders, files in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        real = os.path.realpath(parent)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found += [Path(parent, name) for name in files if is_picture(name)]
    if unreadable := [path for path in found if not _is_text(str(path))]:
        raise InputError(f"{ascii(str(unreadable[0]))} has a name that is not valid UTF-8; rename it.")
    return sorted(found)


def pictures_of(folder: Path) -> list[Picture]:
    """Returns the pictures under a class's folder, which is called like the class, sorted by path.

    Raises:
        InputError: it has none, or cannot be read.
    """
    paths = find_pictures(folder)
    if not paths:
        raise InputError(f"Class folder {folder} has no pictures; add some or remove the folder.")
    return [Picture(folder.name, f"{folder.name}/{path.relative_to(folder).as_posix()}", path) for path in paths]


def subfolders(folder: str | os.PathLike) -> list[Path]:
    """Returns the folders in `folder`, sorted, but for hidden ones.

    Raises:
        InputError: it cannot be opened.
    """
    return [entry for entry in _entries(folder) if entry.is_dir() and not _is_hidden(entry.name)]


def loose_pictures(folder: str | os.PathLike) -> list[Path]:
    """Returns the picture files in `folder` itself, sorted: where sub-folders are the classes, they are of none."""
    return [entry for entry in _entries(folder) if is_picture(entry) and entry.is_file()]


def listing_digest(files: Iterable[tuple[str, Path]], *context: str) -> str:
    """SHA-256 over (name, path) pairs and `context`: it changes when a file is added, removed, renamed or written.

    Contents are not read: each file counts by its name here, its size and its time of modification.
    """
    digest = hashlib.sha256(repr(context).encode())
    for name, path in sorted(files):
        digest.update(f"{name!r} {_size_and_time(path)}\n".encode())
    return digest.hexdigest()


def _entries(folder: str | os.PathLike) -> list[Path]:
    try:
        return sorted(Path(folder).iterdir())
    except OSError as error:
        _raise_unreadable(error)


def _raise_unreadable(error: OSError) -> None:
    raise InputError(f"Folder {error.filename} cannot be opened ({error.strerror}); allow reading it, or name another.")


def _is_hidden(name: str) -> bool:
    """Whether the system, not the user, put a file or folder of that name there."""
    return name.startswith(".") or name == "__MACOSX"


def _is_text(name: str) -> bool:
    # Python stands lone surrogates for the bytes of a file name that are not UTF-8; they cannot be stored.
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1  # A link to nothing: reading it names it.
    return status.st_size, status.st_mtime_ns
