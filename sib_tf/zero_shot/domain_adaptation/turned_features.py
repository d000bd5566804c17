"""Features of a pretrained backbone that stays as it is, in the place of pictures: of each in its four turns.

They are made once, and a head is trained on them in seconds, where the backbone would take hours.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from sib_tf.datasets.domains import DomainDataset
from sib_tf.devices import Devices
from sib_tf.errors import InputError
from sib_tf.features import Embedder
from sib_tf.storage import array_files, atomic
from sib_tf.zero_shot.domain_adaptation.model import TURNS

# Their length. Steps are as large as features are long, and those of backbones differ by hundreds.
LENGTH = 8.0
# That are checked at a time.
_ROWS = 1024


def embed(dataset: DomainDataset, backbone: keras.Model, folder: Path) -> DomainDataset:
    """Returns `dataset` with features `[pictures, 4, F]` float32 for images, `LENGTH` long.

    They are kept in `folder`, a file a domain, of this data set and backbone alone; those that are there are read.
    """
    forward = Embedder(backbone, Devices())
    domains = {}
    for name, split in dataset.domains.items():
        path, shape = folder / f"{name}.npy", (len(split.labels), TURNS, backbone.output_shape[-1])
        if not path.is_file():
            with atomic.new_file(path) as partial:
                array_files.write_npy(partial, shape, _blocks(split.images, forward, name))
        domains[name] = dataclasses.replace(split, images=_kept(path, shape))
    return dataclasses.replace(dataset, domains=domains)


def _kept(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    found = array_files.open_npy(path, f"remove {path}")
    if found.shape != shape or found.dtype != np.float32:
        raise InputError(f"{path} is {found.dtype} {found.shape}; float32 {shape} is needed: remove {path}.")
    longest = max(float(np.square(found[at : at + _ROWS]).sum(-1).max()) for at in range(0, len(found), _ROWS))
    if not longest <= 1.01 * LENGTH**2:  # NaN is not.
        raise InputError(f"{path} has features of another length than {LENGTH:g}, or not finite: remove {path}.")
    return found


def _blocks(images: np.ndarray, forward: Embedder, name: str) -> Iterator[np.ndarray]:
    step = max(1, forward.batch_size // TURNS)
    for start in tqdm(range(0, len(images), step), unit="batch", desc=f"embed {name}"):
        part = images[start : start + step]
        turned = np.concatenate([np.rot90(part, turns, axes=(1, 2)) for turns in range(TURNS)])
        (features,) = forward([turned])
        rows = features.reshape(TURNS, len(part), -1).swapaxes(0, 1)
        yield LENGTH * rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
