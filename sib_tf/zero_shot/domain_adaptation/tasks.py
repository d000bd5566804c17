"""Minibatches of one domain, their turned copies, and who sees which labels.

Training gets labels of the source domains only: `Sources` has no place for the target's, and its pictures come alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from keras import ops

from sib_tf.datasets import Split
from sib_tf.datasets.domains import DomainDataset

# Streams of random numbers: held-out pictures, order of testing, order of training.
_SPLIT, _TEST, _TRAIN = 0, 1, 2


class Rows(NamedTuple):
    """Some pictures of a domain, not copied: all of them, and the `rows` of those meant."""

    pictures: Split
    rows: np.ndarray


class Sources(NamedTuple):
    """What training sees: labelled pictures by source domain, disjoint, and the target's, without labels."""

    train: dict[str, Rows]
    validation: dict[str, Rows]
    target: np.ndarray


def split(dataset: DomainDataset, target: str, fraction: float) -> Sources:
    """Sets the target's labels aside and holds out `fraction` of every source's pictures, by class.

    The same pictures are held out whatever the seed of the run. A class keeps at least one picture to train on.
    """
    train, validation = {}, {}
    for domain, pictures in dataset.domains.items():
        if domain == target:
            continue
        random = _random(_SPLIT, len(pictures.labels))
        held = []
        for label in np.unique(pictures.labels):
            own = random.permutation(np.flatnonzero(pictures.labels == label))
            held.append(own[: min(max(1, round(fraction * len(own))), len(own) - 1)])
        held = np.sort(np.concatenate(held))
        validation[domain] = Rows(pictures, held)
        train[domain] = Rows(pictures, np.setdiff1d(np.arange(len(pictures.labels)), held))
    return Sources(train, validation, dataset.domains[target].images)


def endless(rows: np.ndarray, size: int, seed: int, domain: str) -> Iterator[np.ndarray]:
    """Yields minibatches `[size]` for ever: shuffled passes over `rows`, one after the other."""
    random = _random(_TRAIN, seed, *domain.encode())
    left = np.empty(0, int)
    while True:
        while len(left) < size:
            left = np.concatenate([left, random.permutation(rows)])
        yield left[:size]
        left = left[size:]


def fixed(rows: np.ndarray, size: int) -> np.ndarray:
    """Minibatches `[minibatches, size]` that hold every one of `rows`, shuffled, the same for ever.

    The last one is filled up with pictures of the first ones, which count twice.
    """
    order = _random(_TEST, len(rows)).permutation(rows)
    return np.resize(order, (-(-len(order) // size), size))


def turn(images):
    """Turned copies of `[tasks, n, size, size, 3]`: `[tasks, 4, n, size, size, 3]`, by 0, 90, 180, 270 degrees."""
    return ops.stack([ops.rot90(images, turns, axes=(2, 3)) for turns in range(4)], axis=1)


def _random(*seed: int) -> np.random.RandomState:
    return np.random.RandomState(np.random.Philox(np.random.SeedSequence(seed)))
