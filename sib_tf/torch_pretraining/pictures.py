"""The file in which training pictures travel to a machine without TensorFlow."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from sib_tf.errors import InputError
from sib_tf.storage import array_files, atomic

_WAY_OUT = "write it anew with train.pack_pictures"


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The meta-training pictures of a data set, as `sib_tf.datasets.MetaDataset` has them.

    Attributes:
        images: `[pictures, side, side, 3]` uint8, RGB.
        labels: `[pictures]` int64 in `[0, classes)`.
        mean, std: `[3]` float32, of the normalisation, 0-255.
        picture_size: side in pixels of the pictures that backbones take, at most the stored side.
    """

    images: np.ndarray
    labels: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    picture_size: np.ndarray


def save(data, path: str | os.PathLike) -> None:
    """Writes the training pictures of `data`, a `MetaDataset`, to `path`, an .npz file, in one move."""
    (mean, std), size = data.normalization, data.picture_size
    train = Pictures(data.train.images, data.train.labels, np.float32(mean), np.float32(std), np.int64(size))
    with atomic.new_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **vars(train))


def load(path: str | os.PathLike) -> Pictures:
    """Reads a file of `save`; an InputError if it is damaged or another."""
    if not Path(path).is_file():
        raise InputError(f"There is no file of pictures {path}; train.pack_pictures writes one.")
    arrays, names = array_files.read_npz(path, _WAY_OUT), [field.name for field in dataclasses.fields(Pictures)]
    if sorted(arrays) != sorted(names):
        raise InputError(f"{path} is no file of train.pack_pictures; {_WAY_OUT}.")
    found = Pictures(**arrays)
    side = found.images.shape[1] if found.images.ndim == 4 else 0
    good = (
        found.images.dtype == np.uint8
        and found.labels.ndim == 1
        and found.images.shape == (len(found.labels), side, side, 3)
        and found.labels.dtype == np.int64
        and found.mean.shape == found.std.shape == (3,)
        and np.isfinite([found.mean, found.std]).all()
        and found.std.min() > 0
        and found.picture_size.shape == ()
        and 1 <= found.picture_size <= side
    )
    if not good or found.labels.min(initial=0) < 0:
        raise InputError(f"{path} is no file of train.pack_pictures: its arrays do not fit; {_WAY_OUT}.")
    return found
