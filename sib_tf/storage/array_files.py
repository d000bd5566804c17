"""NumPy's files, read with care: no pickles, nothing larger than the file has bytes for, nothing left unread."""

import io
import math
import os
from pathlib import Path

import numpy as np

from sib_tf.errors import InputError
from sib_tf.storage import zip_files

# The largest .npz files that we write have the answers of every episode: some MB.
MOST_BYTES = 1 << 30


def read_npz(path: str | os.PathLike, way_out: str) -> dict[str, np.ndarray]:
    """Reads all arrays of a .npz file, by name.

    Args:
        path: the file.
        way_out: what to do if it is damaged, a clause.

    Raises:
        InputError: the file is missing, damaged, holds something else than arrays of numbers, or unpacks to more than
            1 GiB.
    """
    try:
        with zip_files.open_zip(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"it unpacks to {size:,} bytes; at most {MOST_BYTES:,} are read")
            # Whole members: zipfile compares their checksums at the end only, which a wrong shape would not reach.
            members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
        return {name: parse_npy(data) for name, data in members.items()}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {way_out}.") from error
    except Exception as error:  # zipfile and NumPy raise whatever the broken bytes lead them to.
        raise InputError(f"{path} is damaged ({_one_line(error)}); {way_out}.") from error


def parse_npy(data: bytes) -> np.ndarray:
    """Returns the array of a .npy file's bytes.

    Raises:
        ValueError: they are not one array of numbers and nothing else.
    """
    file = io.BytesIO(data)
    shape, _, kind = _read_header(file)
    _check_size(shape, kind, len(data) - file.tell())
    file.seek(0)
    return np.load(file, allow_pickle=False)


def open_npy(path: str | os.PathLike, way_out: str) -> np.ndarray:
    """Maps a .npy file into memory; only its header is read.

    Raises:
        InputError: the file is missing, or is not one array of numbers and nothing else.
    """
    try:
        with Path(path).open("rb") as file:
            shape, _, kind = _read_header(file)
            _check_size(shape, kind, os.fstat(file.fileno()).st_size - file.tell())
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {way_out}.") from error
    except Exception as error:  # NumPy raises whatever the broken bytes lead it to.
        raise InputError(f"{path} is damaged ({_one_line(error)}); {way_out}.") from error


def _read_header(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it has version {version} of the format")
    return readers[version](file)


def _check_size(shape: tuple[int, ...], kind: np.dtype, there: int) -> None:
    """Before memory is taken: a header may claim any shape."""
    if kind.kind not in "biufUSc":
        raise ValueError(f"it holds {kind}, no plain numbers or text")
    needed = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or needed != there:
        raise ValueError(f"its shape {shape} needs {needed:,} bytes; it has {there:,}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
