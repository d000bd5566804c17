"""Outputs that are either whole or not there: written in a temporary folder beside their place, then moved there.

What is in place has reached the disk, so that it is whole after a loss of power too. A temporary folder that a killed
process left is removed by the next writer of the same output: its writer held a lock in it as long as it lived.
"""

import contextlib
import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from sib_tf.errors import InputError
from sib_tf.storage import disk_errors, sealed_json

_TEMPORARY = re.compile(r"\.partial-[a-z0-9_]{8}-(.+)")  # The letters of `tempfile`.
_LOCK, _OLD = ".lock", ".old"  # In the temporary folder, beside what is written.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields where to write a file of the same name; moves it to `path` if the block ends well, removes it otherwise.

    A refusal by the disk becomes an InputError that names `path`.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file.")
    with _temporary(path) as partial:
        yield partial
        to_disk(partial)
        partial.replace(path)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields an empty folder to write to; moves it to `path` (replacing it) if the block ends well, else removes it.

    Raises an InputError that names `path` if that is a file, or the disk refuses.
    """
    path = Path(path)
    if path.is_file():
        raise InputError(f"{path} is a file; name a folder.")
    with _temporary(path) as partial:
        partial.mkdir()
        yield partial
        for folder, _, files in os.walk(partial, topdown=False):
            for name in (*files, "."):
                to_disk(Path(folder, name))
        _put_in_place(partial, path)


def require_own(folder: str | os.PathLike, names: Iterable[str], flag: str) -> None:
    """Raises an InputError that names `flag` if `folder` is there and holds more than files of these names."""
    folder = Path(folder)
    others = {entry.name for entry in folder.iterdir()} - set(names) if folder.is_dir() else ()
    if others := sorted(name for name in others if not is_temporary(name)):
        raise InputError(f"{flag} {folder} holds other files; name a new folder. One is {others[0]}.")


def is_temporary(name: str) -> bool:
    """Returns whether a file or folder of that name is an output that is not whole yet, and may go at any time."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: str | os.PathLike, name: str | None = None) -> None:
    """Removes the temporary folders in `folder` whose writers were killed; what was moved aside comes back.

    Where the file system has no locks, nobody knows whose they are, and they stay. With a `name`, only those for the
    output of that name go.
    """
    for child in list(Path(folder).glob(".partial-*")):
        match = _TEMPORARY.fullmatch(child.name)
        if match and name in (None, match[1]):
            # Its writer lives, or another process was first, or may and we may not.
            with contextlib.suppress(OSError), new_lock(child / _LOCK).acquire(blocking=False):
                _clear(child, child.with_name(match[1]))


def new_lock(path: Path) -> filelock.FileLock:
    """Returns a lock on the file `path`, not yet taken, that the kernel releases when its process ends, however."""
    return filelock.FileLock(path, fallback_to_soft=False)


@contextlib.contextmanager
def _temporary(output: Path) -> Iterator[Path]:
    """Yields where to write what the block then moves to `output`: in a temporary folder, which goes with the block."""
    with writing_to(output.parent):
        sweep(output.parent, output.name)
        home, lock = _own_folder(output)
    try:
        with disk_errors.named(output, home):
            yield home / output.name
            to_disk(output.parent)
    finally:
        _clear(home, output)
        lock.release()


def _own_folder(output: Path) -> tuple[Path, filelock.FileLock]:
    """Makes a temporary folder for `output` and locks it; without a lock where there are none."""
    while True:
        home = Path(tempfile.mkdtemp(prefix=".partial-", suffix=f"-{output.name}", dir=output.parent))
        lock = new_lock(home / _LOCK)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            continue  # It is being swept, before it was locked.
        except OSError as error:
            if not disk_errors.has_no_locks(error):
                shutil.rmtree(home, ignore_errors=True)
                raise
        return home, lock


def _clear(home: Path, output: Path) -> None:
    """Removes a temporary folder; what was moved aside comes back where its successor did not take its place."""
    if (home / _OLD).exists() and not output.exists():
        (home / _OLD).replace(output)
    shutil.rmtree(home, ignore_errors=True)


def _put_in_place(partial: Path, path: Path) -> None:
    if path.exists():
        if _exchange(partial, path):
            return
        # There is a moment without `path`, then: killed in it, `sweep` brings the old one back.
        path.replace(partial.with_name(_OLD))
    partial.replace(path)


def _exchange(one: Path, other: Path) -> bool:
    """Lets two folders change places in one move; returns False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, have reached the disk."""
    is_folder = path.is_dir()
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not is_folder:  # Some file systems cannot for folders.
            raise
    finally:
        os.close(handle)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` (UTF-8) to `path` in one move; of names that are none, the bytes are written as escapes."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike, value) -> None:
    """Writes `value` as indented JSON, sealed, to `path` in one move; NaN and infinity are refused (not JSON)."""
    write_text(path, sealed_json.dumps(value))


def read_json(path: str | os.PathLike, what: str):
    """Reads what `write_json` wrote; `what` names the file's role in the InputError of a missing or damaged file."""
    path = Path(path)
    try:
        return sealed_json.load(path)
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        fault = "damaged" if isinstance(error, sealed_json.AlteredError) else "not valid JSON"
        raise InputError(f"{what} {path} is {fault} ({error}); write it again or restore it.") from error


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes `folder` where there is none; a refusal by the system, then or in the block, names it."""
    try:
        with disk_errors.named(folder, only_room=True):
            folder.mkdir(parents=True, exist_ok=True)
            yield
    except OSError as error:
        raise InputError(f"Cannot write to the folder {folder} ({error.strerror}); name one that can be.") from error
