"""The calls of one exported model behind a server: an episode of pictures in, classes out. No TensorFlow."""

from typing import NamedTuple

import numpy as np

from export.model_server import SIGNATURE, ModelServer, Shapes
from sib_tf.errors import InputError
from sib_tf.pictures import picture_folders
from sib_tf.pictures.picture_folders import Query, Support
from sib_tf.pictures.plain_files import plain_file
from sib_tf.prediction.model import padded_episode
from sib_tf.prediction.predictions import sample

# As SIBClassifier has it by default.
MOST_UNLABELLED = 2000
# Pictures that are classified in one request.
_AT_ONCE = 256
_INPUTS = {"support_images": 5, "support_labels": 2, "support_mask": 2, "query_images": 5, "query_mask": 2}
_CLASSIFIED = {"query": 3, "weights": 3}
_ENCODED = ("serving_encoded", "learn_encoded", "classify_encoded")


class Episode(NamedTuple):
    """Pictures of folders.

    Attributes:
        support: labelled pictures; None: there are none.
        query: unlabelled ones, which may be none.
        classes: `[way]`, names of the classes, sorted.
        numbers: `[rows]`, the labelled pictures' places in `classes`.
    """

    support: Support | None
    query: Query
    classes: np.ndarray
    numbers: np.ndarray

    @classmethod
    def read(cls, support: str | None, query: str | None, size: int) -> "Episode":
        """Reads folders, as `picture_folders` does; None: no such pictures; `size` is the side of the squares.

        Raises an InputError if one cannot be opened, or has no pictures.
        """
        labelled = support and picture_folders.read_support(picture_folders.folder_of_classes(support), size)
        nothing = Query(np.zeros((0, size, size, 3), np.uint8), [], [])
        others = nothing if query is None else picture_folders.read_query(query, size)
        names, numbers = np.unique(labelled.labels if labelled else np.zeros(0, str), return_inverse=True)
        return cls(labelled, others, names, numbers)

    @property
    def skipped(self) -> list[str]:
        """What was left out, in sentences."""
        return [*(self.support.skipped if self.support else []), *self.query.skipped]

    @property
    def notes(self) -> list[str]:
        """Pictures that are there more than once, with two labels or with one and without, in sentences."""
        if self.support is None:
            return []
        return [*self.support.notes, *picture_folders.repeated(self.support, self.query)]


class ServedModel:
    """A model of `export.saved_model` behind a server.

    Args:
        server: that serves it.
        encoded: whether to send files, if the model takes them, or pixels.

    Attributes:
        size: side of the pictures that it takes.

    Raises:
        InputError: the model is none of `export.saved_model`; and from the methods whatever `server` raises.
    """

    def __init__(self, server: ModelServer, encoded: bool):
        self.server, self.signatures = server, server.signatures()
        self.size = picture_size(self.signatures[SIGNATURE], server.model)
        # Exports of earlier versions take pixels alone.
        self.encoded = encoded and set(_ENCODED) <= set(self.signatures)

    def require_learning(self) -> None:
        """Raises an InputError unless the model can learn once and classify many times."""
        if missing := [name for name in (*_ENCODED, "head") if name not in self.signatures]:
            raise InputError(
                f"model {self.server.model!r} must have the signatures {', '.join(missing)} for save and learned; "
                "export it again with export.saved_model, or leave both out."
            )
        shapes = self.signatures.get("classify", {})
        if {name: len(shape) for name, shape in shapes.items()} != _CLASSIFIED:
            raise InputError(
                f"model {self.server.model!r} must have the signature classify with query and weights of three axes "
                f"for save and learned; it takes {shapes}. Export it again with export.saved_model, or leave both out."
            )

    def whole_way(self, episode: Episode, support_rows: int | None, query_rows: int | None):
        """Learns and answers in one request, padded to the rows asked for.

        Returns:
            (predicted class, confidence) of the queries, each `[queries]`.
        """
        _check_rows(episode, support_rows, query_rows)
        inputs, signature = self._inputs(episode, support_rows, query_rows)
        return checked(self.server.predict(inputs, signature), len(episode.classes), len(episode.query.paths))

    def learn(self, episode: Episode, path: str, support_rows: int | None, query_rows: int | None):
        """Learns, and saves what was learned to `path`; returns it, a `learned_state.Learned`.

        Of more than `MOST_UNLABELLED` unlabelled pictures the steps see a sample.
        """
        from export import learned_state

        all_queries = len(episode.query.paths)
        episode = episode._replace(query=_some(episode.query, sample(all_queries, MOST_UNLABELLED)))
        _check_rows(episode, support_rows, query_rows)
        inputs, _ = self._inputs(episode, support_rows, query_rows)
        outputs = self.server.predict(inputs, "learn_encoded")
        rows, queries, way = len(episode.numbers), len(episode.query.paths), len(episode.classes)
        learned = _checked_state(outputs, rows, queries, way, self.signatures["classify"])
        head = learned_state.Head.of(self.server)
        learned_state.save(path, learned, episode.classes, episode.numbers, all_queries, head)
        return learned_state.Learned(episode.classes, learned["weights"][0, 1])

    def opened(self, path: str):
        """Returns what a saved classifier learned, a `learned_state.Learned`, if it fits the server's model."""
        from export import learned_state

        return learned_state.load(path, self.server, self.signatures)

    def classify(self, episode: Episode, learned, query_rows: int | None):
        """Answers the queries from what was learned, some in each request; returns as `whole_way`."""
        rows, places = query_rows or _AT_ONCE, np.arange(len(episode.query.paths))
        parts = [_some(episode.query, places[start : start + rows]) for start in range(0, len(places), rows)]
        found = [self._classified(part, learned, query_rows) for part in parts]
        return tuple(np.concatenate(values) for values in zip(*found, strict=True))

    def _classified(self, query: Query, learned, query_rows: int | None):
        files, mask = _padded(_files(query), query_rows)
        inputs = {"query_image_bytes": files, "query_mask": mask, "weights": learned.weights[None]}
        outputs = self.server.predict(inputs, "classify_encoded")
        return checked(learned.answers(outputs), len(learned.classes), len(query.paths))

    def _inputs(self, episode: Episode, support_rows: int | None, query_rows: int | None) -> tuple[dict, str]:
        """One episode, padded, and the signature that takes it."""
        labels = episode.numbers.astype(np.int32)
        if not self.encoded:
            pictures = episode.support.pictures, labels, episode.query.pictures
            inputs = padded_episode(*pictures, support_rows, query_rows)
            return {f"{n}_images" if n in ("support", "query") else n: rows for n, rows in inputs.items()}, SIGNATURE
        support, support_mask = _padded(_files(episode.support), support_rows)
        query, query_mask = _padded(_files(episode.query), query_rows)
        inputs = {
            "support_image_bytes": support,
            "support_labels": _padded(labels, support_rows)[0],
            "support_mask": support_mask,
            "query_image_bytes": query,
            "query_mask": query_mask,
        }
        return inputs, "serving_encoded"


def _some(query: Query, places: np.ndarray) -> Query:
    """The pictures at some places."""
    return Query(query.pictures[places], [query.paths[place] for place in places], [])


def _files(pictures: Support | Query) -> np.ndarray:
    """`[pictures]` of bytes."""
    files = np.empty(len(pictures.paths), object)
    files[:] = [plain_file(*each) for each in zip(pictures.paths, pictures.pictures, strict=True)]
    return files


def _padded(rows: np.ndarray, length: int | None) -> tuple[np.ndarray, np.ndarray]:
    """An episode's rows and their mask, int32 of 0 and 1, both `[1, length]`; files are padded with nothing."""
    length = len(rows) if length is None else length
    padded = np.full(length, b"" if rows.dtype == object else 0, rows.dtype)
    padded[: len(rows)] = rows
    return padded[None], (np.arange(length) < len(rows)).astype(np.int32)[None]


def _check_rows(episode: Episode, support_rows: int | None, query_rows: int | None) -> None:
    """Raises an InputError if there are more pictures than rows."""
    for name, given, rows in (
        ("support", len(episode.numbers), support_rows),
        ("query", len(episode.query.paths), query_rows),
    ):
        if rows is not None and given > rows:
            raise InputError(f"{name}_rows must be at least the {given} pictures of {name}; got {rows}.")


def _checked_state(outputs: dict[str, np.ndarray], rows: int, queries: int, way: int, shapes: Shapes) -> dict:
    """What `learn_encoded` returned, without padding; raises an InputError if it cannot be that."""
    dim, weights_dim = shapes["query"][2], shapes["weights"][2]
    expected = {"support": (1, rows, dim), "query": (1, queries, dim), "weights": (1, 2, way, weights_dim)}
    found = {}
    for name, shape in expected.items():
        values = outputs.get(name)
        if values is not None and name != "weights" and values.ndim == 3:
            values = values[:, : shape[1]]
        if values is not None and values.size == 0:  # JSON does not tell how long rows are where there are none.
            values = np.zeros(shape, np.float32) if 0 in shape else values
        if values is None or values.shape != shape or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise InputError(f"The server's answer lacks {name} of shape {list(shape)}, of finite numbers.")
        found[name] = values.astype(np.float32)
    return found


def picture_size(shapes: dict[str, tuple[int, ...]], model: str) -> int:
    """Returns the side of the pictures that a model takes, from the shapes of its inputs.

    Raises:
        InputError: they are not those of a SavedModel that `export.saved_model` writes.
    """
    if {name: len(shape) for name, shape in shapes.items()} != _INPUTS or min(shapes["query_images"][2:]) < 1:
        raise InputError(
            f"model {model!r} must take the inputs of a SavedModel of export.saved_model ({', '.join(_INPUTS)}); it "
            f"takes {shapes}."
        )
    return shapes["query_images"][2]


def checked(outputs: dict[str, np.ndarray], way: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (predicted class, confidence) of the queries, each `[queries]`, from an answer of `serving_default`.

    Raises:
        InputError: they are not there, or cannot be true.
    """
    predicted, confidence = outputs.get("predicted_class"), outputs.get("confidence")
    for values, kinds in ((predicted, "iu"), (confidence, "f")):
        there = values is not None and values.ndim == 2 and len(values) == 1
        if not there or values.dtype.kind not in kinds or values.shape[1] < queries:
            raise InputError(f"The server's answer lacks a class or a confidence for each of {queries} pictures.")
    predicted, confidence = predicted[0, :queries], confidence[0, :queries]
    if not ((predicted >= 0) & (predicted < way) & (confidence >= 0) & (confidence <= 1.0001)).all():
        raise InputError(f"The server's answer has classes beyond the {way} given, or confidences beyond 0 to 1.")
    return predicted, confidence
