"""The cells of the comparison: every kind of episodes that a data set has classes and rows for."""

import dataclasses
import itertools
import re
from collections.abc import Iterator

import numpy as np

from benchmarks.unseen.data_sets import DataSet
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.errors import InputError

SHOTS = (1, 5, 20)
QUICK_SHOTS = (1, 5)
# "5 of 20": the queries are of five of the twenty labelled classes.
WAYS = {"2 ways": {"way": 2}, "5 ways": {"way": 5}, "20 ways": {"way": 20}, "5 of 20": {"way": 20, "query_classes": 5}}
# Of these all spreads of the queries are one column of the page's table.
COLUMNS_OF_THEIR_OWN = ("2 ways", "5 of 20")
DISTRIBUTIONS = {
    "balanced": {},
    "Dirichlet(2)": {"query_distribution": "dirichlet", "dirichlet_alpha": 2.0},
    "Dirichlet(0.5)": {"query_distribution": "dirichlet", "dirichlet_alpha": 0.5},
}
QUICK_DISTRIBUTIONS = ("balanced", "Dirichlet(0.5)")
UNEVEN = {"shot": (1, 20), "shot_distribution": "uneven"}
# Queries in all; the next of them where rows are too few. The same for every way: piles are of one size.
_TOTALS = (75, 45, 25)


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One kind of episodes of one data set.

    Attributes:
        data_set: what they are drawn from.
        column: of the page's table: "balanced", "Dirichlet(2)", "Dirichlet(0.5)", "5 of 20", "2 ways", "uneven" or
            "gap".
        ways: one of `WAYS`.
        shot: labelled rows of a class: "1", "5", "20", or "1-20" where every class has a number of its own.
        distribution: one of `DISTRIBUTIONS`.
        spec: of the episodes.
    """

    data_set: DataSet
    column: str
    ways: str
    shot: str
    distribution: str
    spec: EpisodeSpec

    @property
    def name(self) -> str:
        """Of its file: lower-case letters, digits and underscores."""
        text = f"{self.data_set.name} {self.ways} {self.shot}shot {self.distribution}".replace("->", "to")
        return re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("_")

    def draw(self, count: int, seed: int) -> EpisodeRows:
        """The episodes of `seed`, rows of the data set's table: the same for ever."""
        data, classes = self.data_set, _classes(self.data_set, self.spec)
        rows = _drawn(data.labels, classes, self.spec, count, seed)
        if not data.is_gap:
            return rows
        # Episodes of the same seed and number of classes are of the same classes.
        other = _drawn(data.query_labels, classes, self.spec, count, seed)
        return rows._replace(query=other.query, query_labels=other.query_labels, query_mask=other.query_mask)


def of_data_set(data_set: DataSet, quick: bool = False) -> Iterator[Cell]:
    """Yields the cells that `data_set` has classes and rows for; `quick` takes a part of them."""
    shots = QUICK_SHOTS if quick else SHOTS
    distributions = QUICK_DISTRIBUTIONS if quick else tuple(DISTRIBUTIONS)
    kinds: list[tuple[str, dict, str]] = [
        (ways, {"shot": shot}, distribution)
        for ways, shot, distribution in itertools.product(WAYS, shots, distributions)
        if not quick or ways in ("5 ways", "5 of 20")
    ]
    kinds += [("5 ways", UNEVEN, distribution) for distribution in ("balanced", "Dirichlet(0.5)")[quick:]]
    if data_set.is_gap:
        kinds = [("5 ways", {"shot": shot}, "balanced") for shot in shots[quick:]]
        kinds += [] if quick else [("5 ways", {"shot": 5}, "Dirichlet(0.5)")]
    for ways, shot, distribution in kinds:
        for total in _TOTALS:
            spec = EpisodeSpec(**WAYS[ways], **shot, **DISTRIBUTIONS[distribution], total_query=total)
            if len(_classes(data_set, spec)) >= spec.way[1]:
                text = "1-20" if shot is UNEVEN else str(shot["shot"])
                yield Cell(data_set, _column(data_set, ways, shot, distribution), ways, text, distribution, spec)
                break


def _column(data_set: DataSet, ways: str, shot: dict, distribution: str) -> str:
    if data_set.is_gap:
        return "gap"
    if shot is UNEVEN:
        return "uneven"
    return ways if ways in COLUMNS_OF_THEIR_OWN else distribution


def _classes(data_set: DataSet, spec: EpisodeSpec) -> np.ndarray:
    """The classes that have rows enough: one may have to give all queries of an imbalanced episode."""
    imbalanced = spec.query_distribution == "dirichlet"
    needed = spec.shot[1] + (spec.max_query if imbalanced else spec.max_query_per_class)
    enough = [_large(data_set.labels, needed)]
    if data_set.is_gap:
        enough.append(_large(data_set.query_labels, needed))
    return np.array(sorted(set.intersection(*enough)), np.int64)


def _large(labels: np.ndarray, needed: int) -> set[int]:
    classes, sizes = np.unique(labels[labels >= 0], return_counts=True)
    return set(classes[sizes >= needed].tolist())


def _drawn(labels: np.ndarray, classes: np.ndarray, spec: EpisodeSpec, count: int, seed: int) -> EpisodeRows:
    """Episodes of `classes` alone, by the rows' places in the whole table."""
    kept = np.flatnonzero(np.isin(labels, classes)).astype(np.int32)
    if not len(kept):
        raise InputError(f"{spec.describe()} needs classes that have rows enough; there are none.")
    rows = EpisodeSampler(labels[kept], spec, seed).sample(count)
    return rows._replace(support=kept[rows.support], query=kept[rows.query])
