"""Outputs that are either whole or not there: written under a temporary name, then moved into place.

What is in place has reached the disk, so that it is whole after a loss of power too. A temporary name that a killed
process left is removed by the next writer of the same output: its writer held a lock on it as long as it lived.
"""

import contextlib
import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sib_tf.errors import InputError
from sib_tf.storage import disk_errors, file_locks, sealed_json

_PARTIAL, _OLD = ".partial-", ".old-"
_TEMPORARY = re.compile(r"(\.partial-|\.old-)[a-z0-9_]{8}-(.+)")  # The letters of `tempfile`.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; moves it to `path` if the block ends well, removes it otherwise.

    The temporary name keeps the suffixes of `path`, because Keras picks the file format by them.

    Raises:
        InputError: the disk refuses; names `path`.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file.")
    with writing_to(path.parent):
        sweep(path.parent, path.name)
        partial, handle = _own(path, tempfile.mkstemp)
    try:
        with _refusals(path, partial):
            yield partial
            partial.chmod(0o666 & ~_umask())
            to_disk(partial)
            partial.replace(path)
            to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)
        os.close(handle)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`; moves it to `path` (replacing it) if the block ends well.

    Raises:
        InputError: the disk refuses; names `path`.
    """
    path = Path(path)
    if path.is_file():
        raise InputError(f"{path} is a file; name a folder.")
    with writing_to(path.parent):
        sweep(path.parent, path.name)
        partial, handle = _own(path, tempfile.mkdtemp)
    try:
        with _refusals(path, partial):
            yield partial
            partial.chmod(0o777 & ~_umask())
            for folder, _, files in os.walk(partial, topdown=False):
                for name in (*files, "."):
                    to_disk(Path(folder, name))
            _put_in_place(partial, path)
            to_disk(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(handle)


def is_temporary(name: str) -> bool:
    """Returns whether a file or folder of that name is an output that is not whole yet, and may go at any time."""
    return _TEMPORARY.fullmatch(name) is not None


def sweep(folder: str | os.PathLike, name: str | None = None) -> None:
    """Removes the temporary files and folders in `folder` whose writers were killed; what was moved aside comes back.

    Where the file system has no locks, nobody knows whose they are, and they stay.

    Args:
        folder: where they lie.
        name: of the output that they were written for; None: any.
    """
    for child in list(Path(folder).glob(".*")):
        match = _TEMPORARY.fullmatch(child.name)
        if match and name in (None, match[2]):
            with contextlib.suppress(OSError):  # Another process was first, or may and we may not.
                _remove_if_dead(child, child.with_name(match[2]))


def _remove_if_dead(temporary: Path, output: Path) -> None:
    is_folder = temporary.is_dir()
    handle = os.open(temporary, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        if not file_locks.lock(handle):
            return
        if temporary.name.startswith(_OLD) and not output.exists():
            temporary.replace(output)
        elif is_folder:
            shutil.rmtree(temporary)
        else:
            temporary.unlink()
    finally:
        os.close(handle)


def _own(path: Path, make) -> tuple[Path, int]:
    """Makes a temporary file or folder for `path` and locks it; returns it with the handle that holds the lock."""
    while True:
        made = make(prefix=_PARTIAL, suffix="-" + path.name, dir=path.parent)
        handle, name = made if isinstance(made, tuple) else (os.open(made, os.O_RDONLY), made)
        with contextlib.suppress(file_locks.NoLocksError):
            file_locks.lock(handle, wait=True)
        if file_locks.names(handle, name):
            return Path(name), handle
        os.close(handle)  # Swept between being made and being locked.


def _put_in_place(partial: Path, path: Path) -> None:
    """Moves the folder `partial` to `path`; what was there is at `partial` then, or gone."""
    if not path.exists():
        partial.replace(path)
    elif not _exchange(partial, path):
        # There is a moment without `path`, then: killed in it, `sweep` brings the old one back.
        aside = Path(tempfile.mkdtemp(prefix=_OLD, suffix="-" + path.name, dir=path.parent))
        old = os.open(path, os.O_RDONLY)
        try:
            with contextlib.suppress(file_locks.NoLocksError):
                file_locks.lock(old)
            path.replace(aside)
            partial.replace(path)
            shutil.rmtree(aside)
        finally:
            os.close(old)


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


@contextlib.contextmanager
def _refusals(path: Path, partial: Path) -> Iterator[None]:
    """Says in one line, with `path`, that the disk refused while `partial` was written."""
    try:
        yield
    except Exception as error:
        named = getattr(error, "filename", None)
        refusal = disk_errors.unwritable(path, error)
        if refusal is None or not (named is None or str(named).startswith(str(partial))):
            raise
        raise refusal from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` (UTF-8) to `path` in one move."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value) -> None:
    """Writes `value` as indented JSON, sealed, to `path` in one move; NaN and infinity are refused (not JSON)."""
    write_text(path, sealed_json.dumps(value))


def read_json(path: str | os.PathLike, what: str):
    """Reads JSON from `path`; `what` names the file's role in the error.

    Raises:
        InputError: the file is missing, is not JSON, or is not what `write_json` wrote.
    """
    path = Path(path)
    try:
        return sealed_json.load(path)
    except OSError as error:
        raise InputError(f"{what} {path} cannot be read ({error.strerror}).") from error
    except sealed_json.AlteredError as error:
        raise InputError(f"{what} {path} is damaged ({error}); write it again or restore it.") from error
    except ValueError as error:
        raise InputError(f"{what} {path} is not valid JSON ({error}); write it again or restore it.") from error


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Makes `folder` where there is none; a refusal by the system, then or in the block, names it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        refusal = disk_errors.unwritable(folder, error) if disk_errors.is_full(error) else None
        text = f"Cannot write to the folder {folder} ({error.strerror}); name one that can be."
        raise refusal or InputError(text) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
