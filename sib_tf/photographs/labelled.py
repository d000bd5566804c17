"""The labelled pictures of a folder, listed and embedded; those that are there twice are said. Nothing is kept of them.

Unlike `picture_folders.read_support`, whose pictures are all in memory.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_tf.errors import InputError
from sib_tf.photographs.streaming import Embedded
from sib_tf.pictures.class_names import by_class
from sib_tf.pictures.files import list_class, loose_pictures, subfolders
from sib_tf.pictures.picture_folders import SupportFiles, list_support
from sib_tf.pictures.same_pictures import repeats

# Of a class, what is embedded: more hardly move its mean.
MOST_OF_CLASS = 2000


class Listed(NamedTuple):
    """Files of labelled pictures: fields as those of `SupportFiles`, and `notes`, sentences that should be said."""

    paths: list[Path]
    labels: list[str]
    skipped: list[str]
    notes: list[str]


class Labelled(NamedTuple):
    """Labelled pictures that could be read.

    Attributes:
        pictures: as embedded.
        labels: class of each.
        skipped, notes: sentences, of what was left out, and of what should be known.
    """

    pictures: Embedded
    labels: list[str]
    skipped: list[str]
    notes: list[str]


def listed(support: Path | None, add: Path | None, known: Sequence[str] = ()) -> Listed:
    """Lists `support/<class>/<pictures>`, two classes or more, and `add/<class>/<pictures>`, one or more.

    `known` are the classes that `add` is added to.

    Raises:
        InputError: they are none such folders, or names of classes look alike.
    """
    parts = [] if support is None else [list_support(support)]
    parts += [] if add is None else [_list_added(add, known)]
    paths, labels, skipped = ([item for part in parts for item in part[column]] for column in range(3))
    notes = [
        f"Of {count} labelled pictures of {name}, {MOST_OF_CLASS} are read, drawn at random (seed 0)."
        for name, count in Counter(labels).items()
        if count > MOST_OF_CLASS
    ]
    return Listed(*_at_most(paths, labels), skipped, notes)


def checked(files: Listed, pictures: Embedded) -> Labelled:
    """Returns what was read of the files; raises an InputError if a class has no picture left."""
    labels = [label for label, kept in zip(files.labels, pictures.kept, strict=True) if kept]
    if lost := sorted(set(files.labels) - set(labels)):
        path = files.paths[files.labels.index(lost[0])]
        reason = next(text for text in pictures.skipped if text.startswith(f"{path} "))
        raise InputError(f"Class folder {lost[0]} must have at least one picture; it has only broken ones: {reason}")
    notes = files.notes + repeats(_names_of(pictures), pictures.paths, labels)
    return Labelled(pictures, labels, files.skipped + pictures.skipped, notes)


def without_label(labelled: Labelled, query: Embedded) -> np.ndarray:
    """Returns the places of the unlabelled pictures that are not among the labelled ones too."""
    return np.flatnonzero(~np.isin(query.places, labelled.pictures.places))


def also_unlabelled(labelled: Labelled, query: Embedded) -> list[str]:
    """Says how many of the labelled pictures are among the unlabelled ones."""
    names = _names_of(labelled.pictures) + _names_of(query)
    said = repeats(names, labelled.pictures.paths + query.paths, [*labelled.labels, *[None] * len(query.paths)])
    return [sentence for sentence in said if sentence not in labelled.notes]


def _names_of(pictures: Embedded) -> list[bytes]:
    # Files with the same content have the same row.
    return [place.to_bytes(8, "little") for place in pictures.places.tolist()]


def _list_added(folder: Path, known: Sequence[str]) -> SupportFiles:
    classes = by_class(subfolders(folder), known)
    if not classes:
        raise InputError(f"add {folder} must have a folder of pictures for each class, <add>/<class>/; it has none.")
    loose = [f"{path} lies in no class folder." for path in loose_pictures(folder)]
    listings = {name: list_class(*folders) for name, folders in classes.items()}
    paths = [picture.path for listing in listings.values() for picture in listing.pictures]
    labels = [name for name, listing in listings.items() for _ in listing.pictures]
    return SupportFiles(paths, labels, loose + [text for listing in listings.values() for text in listing.skipped])


def _at_most(paths: list[Path], labels: list[str]) -> tuple[list[Path], list[str]]:
    """All files, or of a class with very many a seeded sample."""
    if not labels or max(Counter(labels).values()) <= MOST_OF_CLASS:
        return paths, labels
    given, random = np.array(labels), np.random.default_rng(0)
    own = [np.flatnonzero(given == name) for name in dict.fromkeys(labels)]
    some = [random.permutation(places)[:MOST_OF_CLASS] for places in own]
    places = np.sort(np.concatenate(some)).tolist()
    return [paths[place] for place in places], [labels[place] for place in places]
