"""PACS (Li et al., ICCV 2017): seven classes as photographs, art paintings, cartoons and sketches, 9,991 pictures.

Read from the user's folder, `<data_dir>/<domain>/<class>/<pictures>`, or one level down, in `kfold/`, as the archive
has it. Sketches are PNG files, the others JPEG; the content tells. Nothing is downloaded.
"""

from pathlib import Path

from absl import logging

from sib_tf.datasets.builder import PictureListBuilder, PictureListConfig
from sib_tf.errors import InputError
from sib_tf.pictures.files import Picture, listing_digest, pictures_of

DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
# The published numbers of pictures.
PICTURES = {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}
SIZE = 224
_LAYOUT = "<data_dir>/<domain>/<class>/<pictures>, with or without kfold/ above the domains"


class Builder(PictureListBuilder):
    """PACS from the user's folder; a picture's shorter side is scaled to the size, the longer one cropped."""

    name = "pacs"
    VERSION = "1.0.0"
    SPLITS = DOMAINS


def builder_config(data_dir: str | None, size: int) -> PictureListConfig:
    """The digest covers names, sizes and times of the files; an InputError names the first that is missing.

    Other numbers of pictures than the published ones are warned of.
    """
    root = _root(data_dir)
    pictures = {d: [picture for name in CLASSES for picture in _of_class(root / d / name)] for d in DOMAINS}
    counts = {domain: len(of_domain) for domain, of_domain in pictures.items()}
    if counts != PICTURES:
        logging.warning("%s has %s pictures; PACS has %s.", root, counts, PICTURES)
    files = [(f"{domain}/{picture.id}", picture.path) for domain in DOMAINS for picture in pictures[domain]]
    digest = listing_digest(files, f"pacs {size}")
    return PictureListConfig(image_size=size, digest=digest, pictures=pictures)


def _of_class(folder: Path) -> list[Picture]:
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; lay PACS out as {_LAYOUT}.")
    return pictures_of(folder)


def _root(data_dir: str | None) -> Path:
    if data_dir is None:
        raise InputError(f"data_dir is required for data set 'pacs': name a folder laid out as {_LAYOUT}.")
    root = Path(data_dir)
    if not root.is_dir():
        raise InputError(f"data_dir must be an existing folder; {data_dir} is not.")
    nested = root / "kfold"
    return nested if nested.is_dir() and not any((root / domain).is_dir() for domain in DOMAINS) else root
