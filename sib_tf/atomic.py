"""Outputs that are either whole or not there: written under a temporary name, then moved into place."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sib_tf import sealed_json
from sib_tf.errors import InputError


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; moves it to `path` if the block ends well, removes it otherwise.

    The temporary name keeps the suffixes of `path`, because Keras picks the file format by them.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file.")
    with _writing_to(path.parent):
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix="-" + path.name, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`; moves it to `path` (replacing it) if the block ends well."""
    path = Path(path)
    if path.is_file():
        raise InputError(f"{path} is a file; name a folder.")
    with _writing_to(path.parent):
        partial = Path(tempfile.mkdtemp(prefix=".partial-", suffix="-" + path.name, dir=path.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        if path.exists():
            # A folder cannot be replaced in one move: the old one steps aside first.
            aside = Path(tempfile.mkdtemp(prefix=".old-", suffix="-" + path.name, dir=path.parent))
            path.replace(aside)
            partial.replace(path)
            shutil.rmtree(aside)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
def _writing_to(folder: Path) -> Iterator[None]:
    """Makes `folder` where there is none; a refusal by the system, then or in the block, names it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"Cannot write to the folder {folder} ({error.strerror}); name one that can be.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
