"""Features of pictures on disk, by the digest of the picture's file: what was embedded once is never embedded again.

A folder of segments: each run that embeds something appends to one of its own, so that several can run at a time. A
segment is two files, `.features` with a row of float32 after the other, and `.keys` with 20 bytes for each row, written
after it: 16 of the file's SHA-256, and a CRC-32 of the row. What a killed run wrote by half has no key.
"""

import os
import tempfile
import threading
import zlib
from pathlib import Path

import numpy as np

from sib_tf.storage import atomic

_DIGEST, _KEY = 16, 20


class FeatureStore:
    """Rows `[D]` float32 by key; safe from several threads. Files are read row by row, and never mapped into memory.

    Args:
        folder: of one embedder's rows; made where there is none.
        feature_dim: D.
    """

    def __init__(self, folder: str | os.PathLike, feature_dim: int):
        self._folder, self._bytes, self._dim = Path(folder), 4 * feature_dim, feature_dim
        self._adding, self._reading = threading.Lock(), threading.Lock()
        # Files to read from; (file, row in it, CRC) by place; place by key.
        self._files, self._rows, self._places = [], [], {}
        self._own = None
        with atomic.writing_to(self._folder):
            for keys in sorted(self._folder.glob("*.keys")):
                self._open(keys)

    def __enter__(self) -> "FeatureStore":
        return self

    def __exit__(self, *_) -> None:
        for file in [*self._files, *(self._own or [])]:
            file.close()

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, digest: bytes) -> int | None:
        """Returns the place of the row of a file's SHA-256; None where there is none that is whole."""
        place = self._places.get(digest[:_DIGEST])
        if place is None or zlib.crc32(self._row(place)) != self._rows[place][2]:
            return None
        return place

    def add(self, digest: bytes, row: np.ndarray) -> int:
        """Appends a row `[D]` float32; returns its place, which is that of a twin that another thread added."""
        content = np.ascontiguousarray(row, np.float32).tobytes()
        with self._adding:
            if (place := self.find(digest)) is not None:
                return place
            features, keys = self._own or self._new_segment()
            features.write(content)
            features.flush()
            keys.write(digest[:_DIGEST] + zlib.crc32(content).to_bytes(4, "little"))
            keys.flush()
            return self._remember(digest[:_DIGEST], len(self._files) - 1, zlib.crc32(content))

    def read(self, places: np.ndarray) -> np.ndarray:
        """Returns the rows at `places`, `[rows]` integers, as `[rows, D]` float32."""
        rows = np.empty((len(places), self._dim), np.float32)
        for row, place in zip(rows, np.asarray(places).tolist(), strict=True):
            row[:] = np.frombuffer(self._row(place), np.float32)
        return rows

    def _open(self, keys: Path) -> None:
        try:
            content, file = keys.read_bytes(), keys.with_suffix(".features").open("rb", buffering=0)
        except FileNotFoundError:  # Somebody clears the cache.
            return
        self._files.append(file)
        whole = min(len(content) // _KEY, os.fstat(file.fileno()).st_size // self._bytes)
        for key in (content[start : start + _KEY] for start in range(0, whole * _KEY, _KEY)):
            self._remember(key[:_DIGEST], len(self._files) - 1, int.from_bytes(key[_DIGEST:], "little"))

    def _new_segment(self):
        """Opens a segment that no other process has."""
        handle, name = tempfile.mkstemp(prefix="segment-", suffix=".features", dir=self._folder)
        self._own = os.fdopen(handle, "wb"), Path(name).with_suffix(".keys").open("wb")
        self._files.append(Path(name).open("rb", buffering=0))  # noqa: SIM115
        return self._own

    def _remember(self, key: bytes, file: int, crc: int) -> int:
        row = 0 if not self._rows or self._rows[-1][0] != file else self._rows[-1][1] + 1
        self._rows.append((file, row, crc))
        self._places[key] = len(self._rows) - 1
        return self._places[key]

    def _row(self, place: int) -> bytes:
        file, row, _ = self._rows[place]
        with self._reading:
            self._files[file].seek(row * self._bytes)
            return self._files[file].read(self._bytes)
