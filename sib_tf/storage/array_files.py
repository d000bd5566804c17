"""NumPy's files, read with care: no pickles, nothing larger than the file has bytes for, nothing left unread."""

import contextlib
import io
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sib_tf.errors import InputError
from sib_tf.storage import zip_files

# The largest .npz files that we pack have the answers of every episode: some MB.
MOST_BYTES = 1 << 30


def read_npz(path: str | os.PathLike, way_out: str, most_bytes: int | None = None) -> dict[str, np.ndarray]:
    """Reads all arrays of a .npz file, by name.

    Raises an InputError, which ends with `way_out`, a clause, if the file is missing, damaged, holds something else
    than arrays of numbers, or unpacks to more than `most_bytes`, with None `MOST_BYTES`.
    """
    with _named(path, way_out), zip_files.open_zip(path, most_bytes or MOST_BYTES) as archive:
        # Whole members: zipfile compares their checksums at the end only, which a wrong shape would not reach.
        return {name.removesuffix(".npy"): _parse(archive.read(name)) for name in archive.namelist()}


def open_npy(path: str | os.PathLike, way_out: str) -> np.ndarray:
    """Maps a .npy file into memory; only its header is read; `way_out` as for `read_npz`.

    Raises an InputError if the file is missing, or is not one array of numbers and nothing else.
    """
    with _named(path, way_out):
        with Path(path).open("rb") as file:
            _check_header(file, os.fstat(file.fileno()).st_size)
        return np.load(path, mmap_mode="r", allow_pickle=False)


def write_npy(path: Path, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Writes a float32 array of `shape` whose rows come in blocks, so that it need not fit into memory.

    Not through a map: on a full disk a write is refused, where a map would kill the process.
    """
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<f4"))


def _parse(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    _check_header(file, len(data))
    file.seek(0)
    return np.load(file, allow_pickle=False)


def _check_header(file: BinaryIO, size: int) -> None:
    """Before memory is taken: a header may claim any shape."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, kind = readers[np.lib.format.read_magic(file)](file)
    if kind.kind not in "biufUSc":
        raise ValueError(f"it holds {kind}, no plain numbers or text")
    needed, there = math.prod(shape) * kind.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or needed != there:
        raise ValueError(f"its shape {shape} needs {needed:,} bytes; it has {there:,}")


@contextlib.contextmanager
def _named(path: str | os.PathLike, way_out: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {way_out}.") from error
    except Exception as error:  # zipfile and NumPy raise whatever the broken bytes lead them to.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is damaged ({reason}); {way_out}.") from error
