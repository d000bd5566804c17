"""An episode of the user's own pictures: a folder of labelled ones, one sub-folder a class, and one of unlabelled ones.

Light: no TensorFlow.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sib_tf.errors import InputError
from sib_tf.pictures.files import find_pictures, loose_pictures, subfolders
from sib_tf.pictures.pixels import read_picture

_LAYOUT = "<support>/<class>/<pictures>"


class Support(NamedTuple):
    """Labelled pictures.

    Attributes:
        pictures: `[pictures, size, size, 3]` uint8, RGB; classes in the order of their names.
        labels: class of each, the name of its sub-folder.
        paths: file of each.
        skipped: what was left out, a sentence each that names the file and the reason.
    """

    pictures: np.ndarray
    labels: list[str]
    paths: list[Path]
    skipped: list[str]


class Query(NamedTuple):
    """Unlabelled pictures, sorted by path; fields as those of `Support`."""

    pictures: np.ndarray
    paths: list[Path]
    skipped: list[str]


def folder_of_classes(text: str) -> Path:
    """Returns DIR for DIR, DIR/*, DIR/*/* and DIR/<class>/*: patterns that the shell leaves alone in a flag."""
    return Path(text if Path(text).is_dir() else re.sub(r"(/(\*|<class>))?/\*?$", "", text) or "/")


def read_support(folder: str | os.PathLike, size: int) -> Support:
    """Reads `folder/<class>/<pictures>`, at any depth below the class; broken pictures are skipped.

    Raises:
        InputError: the folder cannot be opened, has fewer than two classes, or one without a picture that can be read.
    """
    classes, loose = subfolders(folder), loose_pictures(folder)
    if len(classes) < 2:
        raise InputError(
            f"support {folder} must have at least two class folders, {_LAYOUT}; it has {len(classes)}, and "
            f"{len(loose)} pictures in none. Move the pictures of each class into a folder of its own."
        )
    skipped = [f"{path} lies in no class folder." for path in loose]
    pictures, labels, paths = [], [], []
    for entry in classes:
        of_class = _read(find_pictures(entry), size, f"Class folder {entry} of support")
        pictures.append(of_class.pictures)
        labels += [entry.name] * len(of_class.paths)
        paths += of_class.paths
        skipped += of_class.skipped
    return Support(np.concatenate(pictures), labels, paths, skipped)


def read_query(folder: str | os.PathLike, size: int, allow_empty: bool = False) -> Query:
    """Reads every picture under `folder`, at any depth; broken pictures are skipped.

    Raises:
        InputError: the folder cannot be opened, or has no picture that can be read and `allow_empty` is False.
    """
    return _read(find_pictures(folder), size, f"query {folder}", allow_empty)


def _read(paths: list[Path], size: int, what: str, allow_empty: bool = False) -> Query:
    pictures, read, skipped = [np.zeros((0, size, size, 3), np.uint8)], [], []
    # Photographs of many megapixels take a while to decode; of small pictures the bar is never seen.
    for path in tqdm(paths, unit="picture", desc="read", delay=1, leave=False):
        try:
            pictures.append(read_picture(path, size)[None])
            read.append(path)
        except InputError as error:
            skipped.append(str(error))
    if not read and not allow_empty:
        reason = f"only broken ones: {skipped[0]}" if skipped else "none; add some."
        raise InputError(f"{what} must have at least one picture; it has {reason}")
    return Query(np.concatenate(pictures), read, skipped)
