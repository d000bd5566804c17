"""Anyone's embeddings to a feature cache: in blocks, so that they need not fit into memory."""

import hashlib
import os
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from sib_tf.datasets import META_SPLITS
from sib_tf.datasets.embeddings import Embeddings, at_row
from sib_tf.errors import InputError
from sib_tf.features import FORMAT, FeatureCache, SplitRows
from sib_tf.storage import digests, run_lock

# Numbers of a block: 16 MiB in float32.
_BLOCK = 1 << 22
# Squared lengths between which float32 tells directions.
_SHORT, _LONG = 1e-10, 1e36


def import_embeddings(found: Embeddings, folder: str | os.PathLike, name: str | None = None) -> bool:
    """Writes embeddings as the feature cache `folder`, which appears in one move and may replace another.

    Rows keep their order. To models the file is the backbone: they take features of the file that they were trained on,
    known by its SHA-256, and of no other.

    Args:
        found: the embeddings; in the cache they are float32.
        folder: where the cache goes.
        name: what the backbone is called; None: as the file, without its ending.

    Returns:
        False if `folder` already held this very cache, and nothing was done.

    Raises:
        InputError: a number is not finite in float32, a row is so short or long that its direction is lost there, or
            the folder holds other files or is in use.
    """
    identity = _identity(found, name or found.path.stem)
    if FeatureCache.holds(folder, identity):
        return False
    with run_lock.held(folder, beside=True):
        FeatureCache.write(folder, identity, {split: _split_rows(found, split) for split in META_SPLITS})
    return True


def _identity(found: Embeddings, name: str) -> dict:
    digest = digests.of_file(found.path)
    prints = {split: _fingerprint(found, split, digest) for split in META_SPLITS}
    return {
        "format": FORMAT,
        "dataset": {"name": found.path.stem, "version": digest[:12], "fingerprints": prints},
        "backbone": {"name": name, "weights": digest},
        "source": {"file": found.path.name, "sha256": digest},
        "feature_dim": found.features.shape[1],
        "views": 1,
    }


def _fingerprint(found: Embeddings, split: str, digest: str) -> str:
    """SHA-256 over a split's class names, row numbers and labels, and the digest of the file of its features."""
    result = hashlib.sha256(repr((digest, found.classes[split])).encode(errors="surrogateescape"))
    for values in found.members(split):
        result.update(values.astype("<i8"))
    return result.hexdigest()


def _split_rows(found: Embeddings, split: str) -> SplitRows:
    rows, labels = found.members(split)
    return SplitRows(labels, (1, len(rows), found.features.shape[1]), _blocks(found, rows, split))


def _check_lengths(block: np.ndarray, path: os.PathLike, rows: np.ndarray) -> None:
    """Rows are divided by their length; float32 makes 0 of the squares of tiny ones, and infinity of huge ones."""
    with np.errstate(over="ignore", under="ignore"):
        square = np.einsum("rd,rd->r", block, block)
    lost = np.flatnonzero((square > _LONG) | ((square < _SHORT) & block.any(axis=1)))
    if len(lost):
        length = np.linalg.norm(block[lost[0]].astype(np.float64))
        raise InputError(
            f"{at_row(path, rows[lost[0]])} has a length of {length:.3g}; of features from {_SHORT**0.5:.0e} to "
            f"{_LONG**0.5:.0e} long the directions can be told. Multiply all features by one number."
        )


def _blocks(found: Embeddings, rows: np.ndarray, split: str) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK // found.features.shape[1])
    with tqdm(total=len(rows), unit="row", desc=f"import {split}") as progress:
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            given = found.features[some]
            with np.errstate(over="ignore"):  # What overflows is found below.
                block = given.astype(np.float32)
            wrong = np.argwhere(~np.isfinite(block))
            if len(wrong):
                row, column = wrong[0]
                raise InputError(
                    f"{at_row(found.path, some[row])} has {given[row, column]} in feature {column}; features must be "
                    "finite in float32. Leave such rows out, or mend them."
                )
            _check_lengths(block, found.path, some)
            yield block
            progress.update(len(some))
