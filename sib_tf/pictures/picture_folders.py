"""An episode of the user's own pictures: a folder of labelled ones, one sub-folder a class, and one of unlabelled ones.

Light: no TensorFlow.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sib_tf.errors import InputError
from sib_tf.pictures.class_names import by_class
from sib_tf.pictures.files import list_pictures, loose_pictures, subfolders
from sib_tf.pictures.pixels import read_picture
from sib_tf.pictures.same_pictures import picture_digest, repeats

_LAYOUT = "<support>/<class>/<pictures>"
_NEEDS_PICTURES = "must have at least one picture; it has "


class SupportFiles(NamedTuple):
    """Files of labelled pictures: `paths`, the class of each in `labels`, and what was left out, as `Support` says."""

    paths: list[Path]
    labels: list[str]
    skipped: list[str]


class Support(NamedTuple):
    """Labelled pictures.

    Attributes:
        pictures: `[pictures, size, size, 3]` uint8, RGB; classes in the order of their names.
        labels: class of each, the name of its sub-folder in composed Unicode.
        paths: file of each.
        skipped: what was left out, a sentence each that names the file and the reason.
        notes: pictures with two labels, a sentence each.
    """

    pictures: np.ndarray
    labels: list[str]
    paths: list[Path]
    skipped: list[str]
    notes: Sequence[str] = ()


class Query(NamedTuple):
    """Unlabelled pictures, sorted by path; fields as those of `Support`."""

    pictures: np.ndarray
    paths: list[Path]
    skipped: list[str]


def folder_of_classes(text: str) -> Path:
    """Returns DIR for DIR, DIR/*, DIR/*/* and DIR/<class>/*: patterns that the shell leaves alone in a flag."""
    return Path(text if Path(text).is_dir() else re.sub(r"(/(\*|<class>))?/\*?$", "", text) or "/")


def list_support(folder: str | os.PathLike) -> SupportFiles:
    """Lists `folder/<class>/<pictures>`, at any depth below the class; nothing is decoded.

    Raises:
        InputError: the folder cannot be opened, has fewer than two classes, or two whose names look alike.
    """
    classes, loose = by_class(subfolders(folder)), loose_pictures(folder)
    if len(classes) < 2:
        raise InputError(
            f"support {folder} must have at least two class folders, {_LAYOUT}; it has {len(classes)}, and "
            f"{len(loose)} pictures in none. Move the pictures of each class into a folder of its own."
        )
    skipped = [f"{path} lies in no class folder." for path in loose]
    paths, labels = [], []
    for name, folders in sorted(classes.items()):
        listings = [list_pictures(each) for each in folders]
        of_class = [path for listing in listings for path in listing.pictures]
        left_out = [text for listing in listings for text in listing.skipped]
        if not of_class:
            raise InputError(f"Class folder {folders[0]} of support {_NEEDS_PICTURES}{_why(left_out)}")
        paths += of_class
        labels += [name] * len(of_class)
        skipped += left_out
    return SupportFiles(paths, labels, skipped)


def read_support(folder: str | os.PathLike, size: int) -> Support:
    """Reads the pictures of `list_support`; broken ones are skipped.

    Raises:
        InputError: as `list_support`, or a class has no picture that can be read.
    """
    files = list_support(folder)
    found = _read(files.paths, size)
    read = set(found.paths)
    labels = [label for path, label in zip(files.paths, files.labels, strict=True) if path in read]
    kept = set(labels)
    if lost := [path for path, label in zip(files.paths, files.labels, strict=True) if label not in kept]:
        reason = next(text for text in found.skipped if text.startswith(f"{lost[0]} "))
        name = files.labels[files.paths.index(lost[0])]
        raise InputError(f"Class folder {Path(folder, name)} of support {_NEEDS_PICTURES}only broken ones: {reason}")
    notes = repeats(list(map(picture_digest, found.pictures)), found.paths, labels)
    return Support(found.pictures, labels, found.paths, files.skipped + found.skipped, notes)


def read_query(folder: str | os.PathLike, size: int, allow_empty: bool = False) -> Query:
    """Reads every picture under `folder`, at any depth; broken pictures are skipped.

    Raises:
        InputError: the folder cannot be opened, or has no picture that can be read and `allow_empty` is False.
    """
    listing = list_pictures(folder)
    found = _read(listing.pictures, size)
    skipped = listing.skipped + found.skipped
    if not found.paths and not allow_empty:
        raise InputError(f"query {folder} {_NEEDS_PICTURES}{_why(skipped)}")
    return found._replace(skipped=skipped)


def repeated(support: Support, query: Query) -> list[str]:
    """Says which pictures are labelled and unlabelled, in sentences as those of `repeats`."""
    digests = [picture_digest(picture) for pictures in (support.pictures, query.pictures) for picture in pictures]
    labels = [*support.labels, *[None] * len(query.paths)]
    told = repeats(digests, [*support.paths, *query.paths], labels)
    return [sentence for sentence in told if sentence not in support.notes]


def _why(skipped: list[str]) -> str:
    return f"none that is read: {skipped[-1]}" if skipped else "none; add some."


def _read(paths: list[Path], size: int) -> Query:
    pictures, read, skipped = [np.zeros((0, size, size, 3), np.uint8)], [], []
    # Photographs of many megapixels take a while to decode; of small pictures the bar is never seen.
    for path in tqdm(paths, unit="picture", desc="read", delay=1, leave=False):
        try:
            pictures.append(read_picture(path, size)[None])
            read.append(path)
        except InputError as error:
            skipped.append(str(error))
    return Query(np.concatenate(pictures), read, skipped)
