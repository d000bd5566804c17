"""Files of pictures to rows of features: read, embedded and forgotten by as many threads as there are cores."""

import collections
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sib_tf.errors import InputError
from sib_tf.photographs.feature_store import FeatureStore
from sib_tf.pictures.pixels import read_picture

# Every worker holds a copy of the weights, some 35 MB.
_MOST_WORKERS = 16
# Pictures a worker that are on their way: a slow one does not hold up the others.
_AHEAD = 8


class Embedded(NamedTuple):
    """Pictures that could be read.

    Attributes:
        paths: file of each.
        places: `[pictures]` int64, of their rows in the store; files with the same content have the same.
        kept: `[files]` bool, which of the files that were given these are.
        skipped: a sentence for each of the others, which names the file and the reason.
    """

    paths: list[Path]
    places: np.ndarray
    kept: np.ndarray
    skipped: list[str]


def workers() -> int:
    """How many threads embed where nobody says otherwise: one for each core, up to 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_WORKERS)


def embed(
    paths: list[Path], image_size: int, opened: Callable, store: FeatureStore, threads: int, what: str
) -> Embedded:
    """Embeds what the store does not have, with a progress bar; the memory does not grow with the number of pictures.

    Args:
        paths: the files.
        image_size: side in pixels of what the embedder takes.
        opened: makes an embedder, whose `embed` takes one picture; called once for each thread.
        store: where features are looked up and kept.
        threads: that read and embed.
        what: is embedded, for the bar.
    """
    own = threading.local()

    def place_of(path: Path) -> int | str:
        try:
            digest = _digest(path)
            place = store.find(digest)
            if place is not None:
                return place
            pixels = read_picture(path, image_size)
        except InputError as error:
            return str(error)
        if not hasattr(own, "embedder"):
            own.embedder = opened()
        return store.add(digest, own.embedder.embed(pixels))

    places, skipped = np.full(len(paths), -1, np.int64), []
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(paths), unit="picture", desc=what, delay=1) as progress:
        for number, found in enumerate(_in_order(pool, place_of, paths, threads * _AHEAD)):
            if isinstance(found, str):
                skipped.append(found)
            else:
                places[number] = found
            progress.update()
    kept = places >= 0
    return Embedded([path for path, read in zip(paths, kept, strict=True) if read], places[kept], kept, skipped)


def _in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """Results in the order of the items, of which at most `ahead` are on their way."""
    waiting = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InputError(f"{path} cannot be read as a picture ({error.strerror}); replace or remove it.") from error
