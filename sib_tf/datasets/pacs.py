"""PACS (Li et al., ICCV 2017): seven classes as photographs, art paintings, cartoons and sketches, 9,991 pictures.

Read from the user's folder, `<data_dir>/<domain>/<class>/<pictures>`, or one level down, in `kfold/`, as the archive
has it. Sketches are PNG files, the others JPEG; the content tells. Nothing is downloaded.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sib_tf.datasets.domains import Pictures
from sib_tf.errors import InputError
from sib_tf.pictures.files import find_pictures, listing_digest
from sib_tf.pictures.pixels import read_picture

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
SIZE = 224
_LAYOUT = "<data_dir>/<domain>/<class>/<pictures>, with or without kfold/ above the domains"


def digest(data_dir: str | None, size: int) -> str:
    """SHA-256 over names, sizes and times of the files.

    Raises:
        InputError: no folder was named, or it lacks a domain, a class or pictures; the first that is missing is named.
    """
    files = [(f"{domain}/{name}/{path.name}", path) for domain, name, path in _files(data_dir)]
    return listing_digest(files, f"pacs {size}")


def read(data_dir: str | None, size: int) -> Iterator[tuple[str, Pictures]]:
    """Yields (domain, pictures); the shorter side is scaled to `size` pixels, the longer one cropped.

    Raises:
        InputError: a picture is broken, or the folder is not laid out as needed.
    """
    files = list(_files(data_dir))
    for domain in DOMAINS:
        own = [(name, path) for of, name, path in files if of == domain]
        images = np.empty((len(own), size, size, 3), np.uint8)
        for i, (_, path) in enumerate(own):
            images[i] = read_picture(path, size)
        yield domain, Pictures(images, np.array([CLASSES.index(name) for name, _ in own], np.int64))


def _files(data_dir: str | None) -> Iterator[tuple[str, str, Path]]:
    root = _root(data_dir)
    for domain in DOMAINS:
        for name in CLASSES:
            folder = root / domain / name
            if not folder.is_dir():
                raise InputError(f"data_dir {data_dir} has no folder {domain}/{name}; lay it out as {_LAYOUT}.")
            paths = find_pictures(folder)
            if not paths:
                raise InputError(f"{folder} must hold pictures; got none. Fetch PACS again, whole.")
            yield from ((domain, name, path) for path in paths)


def _root(data_dir: str | None) -> Path:
    if data_dir is None:
        raise InputError(f"data_dir is required for data set 'pacs': name a folder laid out as {_LAYOUT}.")
    root = Path(data_dir)
    if not root.is_dir():
        raise InputError(f"data_dir must be an existing folder; {data_dir} is not.")
    nested = root / "kfold"
    return nested if nested.is_dir() and not any((root / domain).is_dir() for domain in DOMAINS) else root
