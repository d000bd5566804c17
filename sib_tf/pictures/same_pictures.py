"""Pictures that are there more than once: with two labels, or with one and without."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def picture_digest(pixels: np.ndarray) -> bytes:
    """SHA-256 of pixels `[size, size, 3]`, uint8: copies of a picture under other names have the same."""
    return hashlib.sha256(np.ascontiguousarray(pixels)).digest()


def repeats(digests: Sequence[bytes], paths: Sequence[Path], labels: Sequence[str | None]) -> list[str]:
    """Says which pictures are there with two labels, and which with one and without.

    Args:
        digests: of each picture, of its pixels or of its file.
        paths: file of each.
        labels: class of each; None: unlabelled.

    Returns:
        Sentences that name files; none where all is well.
    """
    places: dict[bytes, dict[str | None, Path]] = {}
    for digest, path, label in zip(digests, paths, labels, strict=True):
        places.setdefault(digest, {}).setdefault(label, path)
    said, both = [], []
    for by_label in places.values():
        labelled = {label: path for label, path in by_label.items() if label is not None}
        if len(labelled) > 1:
            files, classes = (" and ".join(map(str, names)) for names in (labelled.values(), labelled))
            said.append(f"{files} are the same picture, labelled as {classes}; keep one.")
        if labelled and None in by_label:
            both.append(f"{next(iter(labelled.values()))} ({by_label[None]})")
    if both:
        said.append(
            f"{len(both)} labelled pictures are among the unlabelled ones too, such as {both[0]}: leave these out "
            "where answers are counted."
        )
    return said
