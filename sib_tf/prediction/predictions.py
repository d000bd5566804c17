"""The class of every unlabelled picture, beside what nearest prototypes say; written as CSV. No TensorFlow."""

import csv
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sib_tf.errors import InputError
from sib_tf.pictures.picture_folders import Query, Support
from sib_tf.prediction import open_set
from sib_tf.prediction.model import Model
from sib_tf.storage import atomic

# Pictures between two movements of the progress bar.
_CHUNK = 32


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


def predict(
    model: Model, support: Support, query: Query, query_folder: str | os.PathLike, unknown_below: float = 0.0
) -> list[Answer]:
    """Learns the classes of `support` with all pictures of `query` at once, and gives each of these a class.

    Args:
        model: from `models.open_model`.
        support, query: read at the model's `image_size`; `query` may be empty.
        query_folder: what the names of the query's files are relative to.
        unknown_below: pictures are none of these whose probability of being of one of the classes is below it, in
            [0, 1]; 0: none is.

    Returns:
        An answer for every picture, in the order of the files.

    Raises:
        InputError: more classes or pictures than the model takes, or `unknown_below` for a model that cannot tell.
    """
    classes, labels = np.unique(support.labels, return_inverse=True)
    # Before the pictures are embedded, which takes time.
    model.check_sizes(len(labels), len(query.paths), len(classes))
    fitted = model.description.get("known")
    if unknown_below and fitted is None:
        raise InputError(
            "unknown_below needs a model that tells known pictures from unknown ones; fit it with train.calibrate, on "
            "validation classes that are more than its way (and export it again)."
        )
    pictures = np.concatenate([support.pictures, query.pictures])
    features = []
    with tqdm(total=len(pictures), unit="picture", desc="embed", delay=1) as progress:
        for start in range(0, len(pictures), _CHUNK):
            features.append(model.embed(pictures[start : start + _CHUNK]))
            progress.update(len(features[-1]))
    features = np.concatenate(features)
    support_features, query_features = np.split(features, [len(labels)])
    weights = model.adapt(support_features, labels, query_features)
    (logits, before), (_, after) = (model.classify(query_features, weights[step]) for step in (0, -1))
    known = [None] * len(query.paths)
    # One picture alone has nothing to be compared with.
    if fitted is not None and len(query.paths) > 1:
        known = open_set.probability(open_set.score(logits, open_set.centre(logits)), fitted).tolist()
    files = [path.relative_to(query_folder).as_posix() for path in query.paths]
    rows = zip(files, before, after, known, strict=True)
    return [_answer(file, classes.tolist(), *numbers, unknown_below) for file, *numbers in rows]


def save(path: str | os.PathLike, answers: Iterable[Answer]) -> None:
    """Writes answers as CSV (RFC 4180, UTF-8), a row each.

    Names are written as they are: import them as text where a spreadsheet would take "=1+1" for a formula.
    """
    with atomic.new_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["class" if name == "class_name" else name for name in (*Answer._fields, "changed")])
        table.writerows([_cell(value) for value in (*answer, answer.changed)] for answer in answers)


def _answer(file, classes, before, after, known, unknown_below) -> Answer:
    # Stable: of equal probabilities the first class wins, here as in argmax.
    first, second = np.argsort(-after, kind="stable")[:2]
    chosen = (after, first), (after, second), (before, before.argmax())
    named = [value for numbers, place in chosen for value in (classes[place], float(numbers[place]))]
    return Answer(file, *named, known, known is not None and known < unknown_below)


def _cell(value: str | float | bool | None):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6f}" if isinstance(value, float) else value
