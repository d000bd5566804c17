"""The file in which training and validation pictures travel to a machine without TensorFlow."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from sib_tf.errors import InputError
from sib_tf.storage import array_files, atomic

_WAY_OUT = "write it anew with train.pack_pictures"
_KINDS = {"images": np.uint8, "labels": np.int64, "mean": np.float32, "std": np.float32, "picture_size": np.int64}
_KINDS |= {"validation_images": np.uint8}
_KINDS |= dict.fromkeys(("support", "support_labels", "query", "query_labels"), np.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of `sib_tf.datasets.MetaDataset` that pre-training takes, and its validation episodes.

    Attributes:
        images: `[pictures, side, side, 3]` uint8, RGB, of the training classes.
        labels: `[pictures]` int64 in `[0, classes)`.
        mean, std: `[3]` float32, of the normalisation, 0-255.
        picture_size: side in pixels of the pictures that backbones take, at most the stored side.
        validation_images: `[validation pictures, side, side, 3]` uint8, RGB, of the validation classes.
        support, query: `[episodes, way * shot]` and `[episodes, way * query]` int32, rows of `validation_images`.
        support_labels, query_labels: of the same shapes, int32 in `[0, way)`; every class has a labelled row.
    """

    images: np.ndarray
    labels: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    picture_size: np.ndarray
    validation_images: np.ndarray
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


def save(data, episodes, path: str | os.PathLike) -> None:
    """Writes an .npz file in one move: the pictures of `data`, a `MetaDataset`, and its validation `episodes`.

    `episodes` are those of `sib_tf.pretraining.validation_episodes`, so that both trainings choose by the same ones.
    """
    (mean, std), size = data.normalization, data.picture_size
    rows = {name: getattr(episodes, name) for name in ("support", "support_labels", "query", "query_labels")}
    train = data.train.images, data.train.labels, np.float32(mean), np.float32(std), np.int64(size)
    with atomic.new_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **vars(Pictures(*train, data.validation.images, **rows)))


def load(path: str | os.PathLike) -> Pictures:
    """Reads a file of `save`; an InputError if it is damaged or another."""
    if not Path(path).is_file():
        raise InputError(f"There is no file of pictures {path}; train.pack_pictures writes one, an .npz file.")
    # Not packed, so that it is as large as its pictures.
    arrays = array_files.read_npz(path, _WAY_OUT, most_bytes=Path(path).stat().st_size)
    names = [field.name for field in dataclasses.fields(Pictures)]
    if sorted(arrays) != sorted(names):
        raise InputError(f"{path} is no file of train.pack_pictures; {_WAY_OUT}.")
    found = Pictures(**arrays)
    if not (_pictures_fit(found) and _episodes_fit(found)):
        raise InputError(f"{path} is no file of train.pack_pictures: its arrays do not fit; {_WAY_OUT}.")
    return found


def _pictures_fit(found: Pictures) -> bool:
    side = found.images.shape[1] if found.images.ndim == 4 else 0
    return (
        all(getattr(found, name).dtype == kind for name, kind in _KINDS.items())
        and found.labels.ndim == 1
        and found.images.shape == (len(found.labels), side, side, 3)
        and found.validation_images.shape[1:] == (side, side, 3)
        # No more classes than pictures.
        and 0 <= found.labels.min(initial=0) <= found.labels.max(initial=0) < len(found.labels)
        and found.mean.shape == found.std.shape == (3,)
        and np.isfinite([found.mean, found.std]).all()
        and found.std.min() > 0
        and found.picture_size.shape == ()
        and 1 <= found.picture_size <= side
    )


def _episodes_fit(found: Pictures) -> bool:
    pairs = (found.support, found.support_labels), (found.query, found.query_labels)
    if not all(rows.shape == labels.shape and rows.ndim == 2 and rows.size for rows, labels in pairs):
        return False
    way = found.support_labels.max() + 1
    return (
        len(found.support) == len(found.query)
        and all(array.min() >= 0 for pair in pairs for array in pair)
        and max(rows.max() for rows, _ in pairs) < len(found.validation_images)
        and found.query_labels.max() < way
        and (found.support_labels[..., None] == np.arange(way)).any(axis=1).all()
    )
