"""The class of every unlabelled picture, beside what nearest prototypes say; written as CSV. No TensorFlow."""

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from sib_tf.errors import InputError
from sib_tf.prediction import open_set
from sib_tf.prediction.model import Model
from sib_tf.storage import atomic

# Of a table of answers: how many columns, and what they hold. Places of three classes; their probabilities, and that of
# being of one at all.
_COLUMNS = (3, np.int32), (4, np.float32)


class Answer(NamedTuple):
    """What is said of one picture; probabilities in [0, 1].

    Attributes:
        file: name of the picture, below the folder of unlabelled ones.
        class_name, probability: the most probable class after K steps.
        second_class, second_probability: the one after it.
        prototype_class, prototype_probability: the most probable class before the steps, that of nearest prototypes.
        known_probability: that the picture is of one of the classes at all; None where the model cannot tell,
            or the picture is alone.
        none_of_these: whether it is taken for a picture of another class.
    """

    file: str
    class_name: str
    probability: float
    second_class: str
    second_probability: float
    prototype_class: str
    prototype_probability: float
    known_probability: float | None
    none_of_these: bool

    @property
    def changed(self) -> bool:
        """Whether the steps changed the class."""
        return self.class_name != self.prototype_class


class AnswerTable(Sequence):
    """Answers as columns of numbers: of many pictures they take a tenth of the memory.

    Args:
        files, classes: names.
        unknown_below: as of `predict`.
        features_of: as `next_labels.choose` takes it.

    Attributes:
        features_of: as given.
    """

    def __init__(self, files: Sequence[str], classes: Sequence[str], unknown_below: float, features_of: Callable):
        self.features_of = features_of
        self._files, self._classes, self._unknown_below = files, classes, unknown_below
        self._places, self._numbers = (np.zeros((len(files), columns), kind) for columns, kind in _COLUMNS)
        self._filled = 0

    def extend(self, before: np.ndarray, after: np.ndarray, known: np.ndarray | None) -> None:
        """Adds the next pictures' probabilities `[pictures, way]`, before and after the steps.

        `known` are `[pictures]`, those of being of one of the classes at all; None: it cannot be told.
        """
        # Stable: of equal probabilities the first class wins, here as in argmax.
        first, second = np.argsort(-after, axis=1, kind="stable")[:, :2].T
        chosen = (after, first), (after, second), (before, before.argmax(axis=1))
        part = slice(self._filled, self._filled + len(after))
        rows = np.arange(len(after))
        self._places[part] = np.stack([place for _, place in chosen], axis=1)
        self._numbers[part, :3] = np.stack([numbers[rows, place] for numbers, place in chosen], axis=1)
        self._numbers[part, 3] = np.nan if known is None else known
        self._filled = part.stop

    def __len__(self) -> int:
        return self._filled

    def __getitem__(self, place: int) -> Answer:
        numbers = self._numbers[place].tolist()
        named = [
            value
            for column, number in zip(self._places[place], numbers[:3], strict=True)
            for value in (self._classes[column], number)
        ]
        known = None if np.isnan(numbers[3]) else numbers[3]
        return Answer(self._files[place], *named, known, known is not None and known < self._unknown_below)

    @property
    def margins(self) -> np.ndarray:
        """`[pictures]`, by how much the most probable class is before the one after it."""
        return self._numbers[: self._filled, 0] - self._numbers[: self._filled, 1]


def check_unknown_below(unknown_below: float, description: dict) -> None:
    """Raises an InputError if pictures of no class are asked for, and the model cannot tell them."""
    if unknown_below and description.get("known") is None:
        raise InputError(
            "unknown_below needs a model that tells known pictures from unknown ones; fit it with train.calibrate, on "
            "validation classes that are more than its way (and export it again)."
        )


def check_sizes(model: Model, labels: Sequence[str], pictures: int) -> None:
    """Raises an InputError if the model takes fewer classes or labelled pictures; of the others any number will do."""
    model.check_sizes(len(labels), len(sample(pictures, model.max_query)), len(set(labels)))


def predict(
    model: Model,
    support: np.ndarray,
    labels: Sequence[str],
    query: np.ndarray,
    files: Sequence[str],
    unknown_below: float = 0.0,
) -> AnswerTable:
    """Learns the classes of `support` with the rows of `query`, and gives each of these a class.

    Where they are more than the model's steps can see at once, these see a sample; every one is answered.

    Args:
        model: from `models.open_model`.
        support: `[support_rows, D]` float32, features of the labelled pictures.
        labels: class of each.
        query: `[queries, D]` float32, of the others; may be empty.
        files: names of these.
        unknown_below: pictures are none of these whose probability of being of one of the classes is below it, in
            [0, 1]; 0: none is.

    Returns:
        An answer for every row of `query`.

    Raises:
        InputError: more classes or labelled pictures than the model takes, or `unknown_below` for one that cannot tell.
    """
    check_unknown_below(unknown_below, model.description)
    classes, numbers = np.unique(labels, return_inverse=True)
    weights = model.adapt(support, numbers, query[sample(len(query), model.max_query)])
    (logits, before), (_, after) = (model.classify(query, weights[step]) for step in (0, -1))
    known, fitted = None, model.description.get("known")
    # One picture alone has nothing to be compared with.
    if fitted is not None and len(query) > 1:
        known = open_set.probability(open_set.score(logits, open_set.centre(logits)), fitted)
    answers = AnswerTable(files, classes.tolist(), unknown_below, query.__getitem__)
    answers.extend(before, after, known)
    return answers


def sample(pictures: int, most: int | None) -> np.ndarray:
    """Returns the places of the pictures that the steps see, sorted: all, or of more than `most` a seeded sample."""
    if most is None or pictures <= most:
        return np.arange(pictures)
    return np.sort(np.random.default_rng(0).choice(pictures, most, replace=False))


def save(path: str | os.PathLike, answers: Iterable[Answer], label_next: Sequence[int] | None = None) -> None:
    """Writes answers as CSV (RFC 4180), a row each; the last column, if asked for, numbers `label_next`, places.

    It is UTF-8 with a mark in front (Python: encoding="utf-8-sig"), without which spreadsheets garble accents.
    Names are written as they are: import them as text where a spreadsheet would take "=1+1" for a formula.
    """
    with atomic.new_file(path) as partial, partial.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        names = ["class" if name == "class_name" else name for name in (*Answer._fields, "changed")]
        table.writerow(names if label_next is None else [*names, "label_next"])
        turns = {place: turn for turn, place in enumerate(label_next or (), start=1)}
        for place, answer in enumerate(answers):
            cells = [_cell(value) for value in (*answer, answer.changed)]
            table.writerow(cells if label_next is None else [*cells, turns.get(place)])


def _cell(value: str | float | bool | None):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6f}" if isinstance(value, float) else value
