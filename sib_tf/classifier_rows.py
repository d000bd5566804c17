"""The rows that a classifier keeps: what it needs to learn again, with more of them or fewer classes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sib_tf import classifier_labels

# Numbers in the largest arrays of labelled rows, 128 MB each: D, or classes, times rows.
_MOST_LABELLED = 1 << 25
# More rows of a class hardly move its mean.
_MOST_SHOTS = 500
# Pairs of an unlabelled row and a class that the steps see: of each there are some hundred numbers.
_MOST_PAIRS = 400_000


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some of the rows that there were, each as likely as the others.

    Attributes:
        rows: `[kept, D]` float32.
        seen: how many there were.
    """

    rows: np.ndarray
    seen: int

    def with_more(self, X, places: np.ndarray, most: int, random: np.random.RandomState) -> "Sample":
        """Returns a sample of at most `most` of these and of the rows of X (see `float_rows`) at `places`."""
        seen, new = self.seen + len(places), len(places)
        if seen > most:
            # How many of the new rows a draw from all rows, also those that were not kept, has.
            new = int(random.hypergeometric(len(places), self.seen, most))
        old = self.rows[_some(len(self.rows), min(len(self.rows), most - new), random)] if seen > most else self.rows
        return Sample(np.concatenate([old, float_rows(X, places[_some(len(places), new, random)])]), seen)


@dataclasses.dataclass(frozen=True)
class KeptRows:
    """Labelled rows, a sample for every class, and a sample of the unlabelled ones.

    Attributes:
        classes: `[way]`, sorted.
        labelled: a sample for each of them.
        unlabelled: whatever the other rows are of.
    """

    classes: np.ndarray
    labelled: Sequence[Sample]
    unlabelled: Sample

    @classmethod
    def none(cls, feature_dim: int) -> "KeptRows":
        """No rows and no classes, of features of length D."""
        return cls(np.zeros(0, int), (), Sample(np.zeros((0, feature_dim), np.float32), 0))

    def with_more(self, X, classes, numbers, most_unlabelled: int, random: np.random.RandomState) -> "KeptRows":
        """Returns these and the rows of X, `[rows, D]`, of numbered `classes` as `classifier_labels.numbered` has them."""
        every = classifier_labels.joined(self.classes, classes)
        way, dim = max(len(every), 1), X.shape[1]
        shots = max(1, min(_MOST_SHOTS, _MOST_LABELLED // (way * max(way, dim))))
        own, new = (dict(zip(some.tolist(), range(len(some)), strict=True)) for some in (self.classes, classes))
        order = np.argsort(numbers, kind="stable")
        ends = np.searchsorted(numbers[order], np.arange(len(classes) + 1))
        labelled = []
        for label in every.tolist():
            before = self.labelled[own[label]] if label in own else Sample(self.unlabelled.rows[:0], 0)
            places = order[ends[new[label]] : ends[new[label] + 1]] if label in new else order[:0]
            labelled.append(before.with_more(X, places, shots, random))
        most = min(most_unlabelled, max(1, _MOST_PAIRS // way))
        return KeptRows(every, tuple(labelled), self.unlabelled.with_more(X, order[: ends[0]], most, random))

    def without(self, label) -> "KeptRows":
        """Returns these less the class `label`, which must be one of them, and its rows."""
        stays = self.classes != label
        labelled = tuple(sample for sample, there in zip(self.labelled, stays, strict=True) if there)
        return KeptRows(self.classes[stays], labelled, self.unlabelled)

    def support(self) -> tuple[np.ndarray, np.ndarray]:
        """The labelled rows `[rows, D]` float32 and their classes' numbers `[rows]`."""
        counts = [len(sample.rows) for sample in self.labelled]
        return np.concatenate([sample.rows for sample in self.labelled]), np.repeat(np.arange(len(counts)), counts)


def float_rows(X, places) -> np.ndarray:
    """Rows of X, dense or a SciPy CSR matrix, at `places`, an index or slice, as `[rows, D]` float32 of their own."""
    rows = X[places]
    return np.array(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float32)


def _some(rows: int, count: int, random: np.random.RandomState) -> np.ndarray:
    """`count` of so many rows, in their order."""
    if count == rows:
        return np.arange(rows)
    return np.sort(random.choice(rows, count, replace=False))
