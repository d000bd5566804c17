"""The rows that a classifier keeps: what it needs to learn again, with more of them or fewer classes."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from sib_tf.estimator import labels

# Numbers in the largest arrays of labelled rows, 128 MB each: D, or classes, times rows.
_MOST_LABELLED = 1 << 25
# More rows of a class hardly move its mean.
_MOST_SHOTS = 500
# Pairs of an unlabelled row and a class that the steps see: of each there are some hundred numbers.
_MOST_PAIRS = 400_000
# Squared lengths between which float32 computes well, and the head takes no row for 0.
_SHORT, _LONG = 1e-6, 1e18
# Rows that are compared at once.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class KeptRows:
    """Labelled rows, a sample of each class's, and a sample of the unlabelled ones: every row was as likely as others.

    Attributes:
        classes: `[way]`, sorted.
        support: `[support_rows, D]` float32, the labelled rows.
        numbers: `[support_rows]`, their classes' places in `classes`.
        seen: `[way]`, how many labelled rows of each class there were.
        unlabelled: `[queries, D]` float32.
        unlabelled_seen: how many unlabelled rows there were.
    """

    classes: np.ndarray
    support: np.ndarray
    numbers: np.ndarray
    seen: np.ndarray
    unlabelled: np.ndarray
    unlabelled_seen: int

    @classmethod
    def none(cls, feature_dim: int) -> "KeptRows":
        """No rows and no classes, of features of length D."""
        rows, numbers = np.zeros((0, feature_dim), np.float32), np.zeros(0, np.intp)
        return cls(numbers, rows, numbers, numbers, rows, 0)

    def with_more(self, X, classes, numbers, most_unlabelled: int, random: np.random.RandomState) -> "KeptRows":
        """Returns these and more rows, or a sample of both.

        Args:
            X: `[rows, D]`, as `float_rows` takes it.
            classes, numbers: of `labels.numbered`.
            most_unlabelled: the most unlabelled rows that are kept.
            random: draws the samples.
        """
        every = labels.joined(self.classes, classes)
        way = len(every)
        most = max(1, min(_MOST_SHOTS, _MOST_LABELLED // (way * max(way, X.shape[1]))))
        own = labels.places(every, self.classes)
        here, there = own[self.numbers], _renumbered(every, classes, numbers)
        before, seen = np.zeros(way, np.intp), np.bincount(there[there >= 0], minlength=way)
        before[own] = self.seen
        of_old, of_new = np.flatnonzero(here >= 0), np.flatnonzero(there >= 0)
        for place in np.flatnonzero(before + seen > most):
            some = here[of_old] == place, there[of_new] == place
            chosen = _drawn(of_old[some[0]], of_new[some[1]], before[place], most, random)
            of_old, of_new = (
                np.concatenate([rows[~own], mine])
                for rows, own, mine in zip((of_old, of_new), some, chosen, strict=True)
            )
        most = min(most_unlabelled, max(1, _MOST_PAIRS // way))
        piles = np.arange(len(self.unlabelled)), np.flatnonzero(there < 0)
        kept, new = _drawn(*piles, self.unlabelled_seen, most, random)
        return KeptRows(
            every,
            _joined(self.support[of_old], float_rows(X, of_new)),
            np.concatenate([here[of_old], there[of_new]]),
            before + seen,
            _joined(self.unlabelled[kept], float_rows(X, new)),
            self.unlabelled_seen + len(piles[1]),
        )

    def hold(self, X, classes, numbers) -> np.ndarray:
        """Returns which rows of X are kept, under the same label or without one: `[rows]` bool.

        Arguments as of `with_more`, of some rows; without `numbers`, under any label.
        """
        if numbers is None:
            numbers, of_kept, pile = np.zeros(X.shape[0], np.intp), np.zeros(len(self.support), np.intp), []
        else:
            every = labels.joined(self.classes, classes)
            numbers, of_kept = _renumbered(every, classes, numbers), labels.places(every, self.classes)[self.numbers]
            pile = self.unlabelled
        own = {*zip(of_kept.tolist(), _keys(self.support), strict=True), *((labels.UNLABELLED, k) for k in _keys(pile))}
        given = (
            key for start in range(0, X.shape[0], _BLOCK) for key in _keys(float_rows(X, slice(start, start + _BLOCK)))
        )
        return np.array([pair in own for pair in zip(numbers.tolist(), given, strict=True)], bool)

    def without(self, label) -> "KeptRows":
        """Returns these less the class `label`, which must be one of them, and its rows."""
        [place] = np.flatnonzero(self.classes == label)
        rows, numbers = self.numbers != place, self.numbers - (self.numbers > place)
        return dataclasses.replace(
            self,
            classes=np.delete(self.classes, place),
            support=self.support[rows],
            numbers=numbers[rows],
            seen=np.delete(self.seen, place),
        )


def float_rows(X, places) -> np.ndarray:
    """Rows of X, dense or a SciPy CSR matrix, at `places`, an index or slice, as `[rows, D]` float32.

    Of very short and very long rows, whose squares float32 cannot hold, the directions alone are kept.
    """
    rows = X[places]
    rows = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
    with np.errstate(over="ignore", under="ignore"):
        square = np.einsum("rd,rd->r", rows, rows)
        found = np.asarray(rows, dtype=np.float32)
    odd = np.flatnonzero((square < _SHORT) | (square > _LONG))
    largest = np.abs(rows[odd]).max(axis=1, initial=0.0)
    odd, largest = odd[largest > 0], largest[largest > 0].astype(np.float64)
    if len(odd):
        found = np.array(found)  # Not in what the user gave.
        found[odd] = rows[odd] / np.maximum(largest, np.finfo(float).tiny)[:, None]
    return found


def _keys(rows) -> Iterator[bytes]:
    """Equal for equal rows: 0 and -0 are the same."""
    return ((row + 0.0).tobytes() for row in rows)


def _renumbered(every: np.ndarray, classes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Numbers of `classes` as numbers of `every`, which has them all; those below 0 stay."""
    return np.append(labels.places(every, classes), labels.UNLABELLED)[numbers]


def _drawn(old: np.ndarray, new: np.ndarray, before: int, most: int, random: np.random.RandomState):
    """Some of `old`, a sample of `before` rows, and some of `new`: together at most `most`, a sample of all."""
    if before + len(new) <= most:
        return old, new
    from_new = int(random.hypergeometric(len(new), before, most))
    return _some(old, min(len(old), most - from_new), random), _some(new, from_new, random)


def _some(places: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """`count` of the places, in their order."""
    return places if count == len(places) else places[np.sort(random.choice(len(places), count, replace=False))]


def _joined(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.concatenate([old, new]) if len(old) else new
