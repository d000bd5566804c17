"""Data sets of several domains that share their classes: the same things as photographs, paintings, sketches, ...

Not a few-shot data set: classes are the same everywhere, and what is held out is a domain. A module of such a data set
gives `DOMAINS`, `CLASSES`, `SIZE` (pixels), `digest(data_dir, size)`, which names what would be read, and
`read(data_dir, size)`, which reads it. Both are kept here, once for each digest.
"""

import dataclasses
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_tf.errors import InputError, require_choice
from sib_tf.storage import array_files, atomic, digests
from sib_tf.zero_shot.config import DOMAIN_DATASETS


class Pictures(NamedTuple):
    """Pictures of one domain: `images` `[pictures, size, size, 3]` uint8 RGB, `labels` `[pictures]` int64."""

    images: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class DomainDataset:
    """All pictures by domain.

    Attributes:
        name: the data set's name as given to `load`.
        digest: changes when the pictures do.
        class_names: sorted; `class_names[label]` is a picture's class, in every domain.
        domains: the pictures by domain.
    """

    name: str
    digest: str
    class_names: tuple[str, ...]
    domains: dict[str, Pictures]


def names(name: str) -> tuple[str, ...]:
    """The domains of a data set, which need not be read for that."""
    return _module(name).DOMAINS


def load(name: str, data_dir: str | None = None, cache_dir: str | None = None, size: int | None = None):
    """Loads a `DomainDataset`, preparing it first where `cache_dir` does not hold it yet.

    Prepared pictures are mapped, not read: PACS at 224 pixels takes 1.5 GB.

    Args:
        name: one of `DOMAIN_DATASETS`.
        data_dir: the user's folder of pictures; only read. None for a data set that is drawn.
        cache_dir: folder for prepared files. None: `TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.
        size: side in pixels of the stored pictures, >= 16; None: the data set's own.

    Raises:
        InputError: unknown name, missing or broken pictures.
    """
    module = _module(name)
    size = size or module.SIZE
    digest = module.digest(data_dir, size)
    cache = Path(cache_dir or os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")
    folder = cache / "domains" / f"{name}-{size}px-{digest[:16]}"
    if not folder.is_dir():
        with atomic.new_folder(folder) as partial:
            for domain, pictures in module.read(data_dir, size):
                np.save(partial / f"{domain}-images.npy", pictures.images)
                np.save(partial / f"{domain}-labels.npy", pictures.labels)
            atomic.write_json(partial / digests.FILE, digests.of_folder(partial))
    return DomainDataset(name, digest, module.CLASSES, dict(_prepared(folder, module, size)))


def _module(name: str):
    require_choice("dataset", name, DOMAIN_DATASETS)
    return importlib.import_module(f"sib_tf.datasets.{name}")


def _prepared(folder: Path, module, size: int) -> Iterator[tuple[str, Pictures]]:
    way_out = f"remove {folder} to prepare the pictures again"
    if (folder / digests.FILE).is_file():  # Folders of earlier versions have none.
        digests.check(folder, atomic.read_json(folder / digests.FILE, "List of files"), way_out)
    for domain in module.DOMAINS:
        images = array_files.open_npy(folder / f"{domain}-images.npy", way_out)
        labels = np.array(array_files.open_npy(folder / f"{domain}-labels.npy", way_out))
        right = images.dtype == np.uint8 and images.shape == (len(labels), size, size, 3) and labels.dtype == np.int64
        if not right or labels.min(initial=0) < 0 or labels.max(initial=0) >= len(module.CLASSES):
            raise InputError(f"{folder} has other pictures or labels of {domain} than it should; {way_out}.")
        yield domain, Pictures(images, labels)
