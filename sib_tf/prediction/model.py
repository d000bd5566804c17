"""What every model does around its three computations, wherever it runs: checks, padding, batches. NumPy only."""

import abc
import os

import numpy as np

from sib_tf.errors import InputError
from sib_tf.prediction.description import checked, takes_any_length

HEAD_SIGNATURES = ("adapt", "classify")
SIGNATURES = ("embed", *HEAD_SIGNATURES)


class Model(abc.ABC):
    """Pictures to features, one episode to weights, weights to classes.

    Args:
        path: of its file, for errors.
        description: what the file says about itself.

    Attributes:
        description: the same, checked (`image_size`, `feature_dim`, `num_steps`, ...).
        way: the most classes that the file takes; None: any number.
        max_support, max_query: the most labelled and unlabelled pictures; None: any number.
        any_length: whether it takes features of any length D; it has the head alone then.

    Raises:
        InputError: the description lacks something, or no export writes it.
    """

    # Pictures that are embedded at once.
    _batch = 256

    def __init__(self, path: str | os.PathLike, description: dict):
        self.path = path
        self.description = checked(description, path)
        self.way, self.any_length = self.description["way"], takes_any_length(self.description)
        self.max_support, self.max_query = self.description["max_support"], self.description["max_query"]

    @property
    def image_size(self) -> int:
        """Side in pixels of the pictures that `embed` takes.

        Raises:
            InputError: the file has the head alone, and takes no pictures.
        """
        if self.description["head_only"]:
            raise InputError(
                f"{self.path} has the head alone: it takes no pictures, but features of "
                f"{'any length' if self.any_length else 'length ' + str(self.description['feature_dim'])} for adapt "
                "and classify. Embed the pictures with the backbone that "
                "it was meta-trained on, or export a file that has it inside (--backbone_dir instead of --head_only)."
            )
        return self.description["image_size"]

    @property
    def num_steps(self) -> int:
        """K."""
        return self.description["num_steps"]

    def embed(self, images: np.ndarray) -> np.ndarray:
        """`[pictures, size, size, 3]` uint8 -> features `[pictures, D]` float32.

        Raises:
            InputError: the pictures are of another size or type, or the file has the head alone.
        """
        size = self.image_size
        if images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
            raise InputError(
                f"images must be uint8 of shape [pictures, {size}, {size}, 3]; got {images.dtype} {images.shape}."
            )
        parts = [np.zeros((0, self.description["feature_dim"]), np.float32)]
        for start in range(0, len(images), self._batch):
            parts.append(self._run("embed", images=images[start : start + self._batch])["features"])
        return np.concatenate(parts)

    def adapt(self, support: np.ndarray, support_labels: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Learns the classes of one episode.

        Args:
            support: `[support_rows, D]` float32 features.
            support_labels: `[support_rows]` integers in `[0, way)`, every class at least once.
            query: `[queries, D]` float32 features; may be empty: no step moves then, but for the support's gradient
                in a file for features of any length.

        Returns:
            `[K + 1, way, weights_dim]` float32: theta^0 .. theta^K; way as in the labels.

        Raises:
            InputError: more classes or rows than the file takes, a class without a row, or numbers that are not finite.
        """
        self._check_features("support", support, self.description["feature_dim"])
        self._check_features("query", query, support.shape[1])
        labels = np.asarray(support_labels)
        way = _way(labels, len(support))
        self.check_sizes(len(support), len(query), way)
        inputs = padded_episode(support, labels.astype(np.int32), query, self.max_support, self.max_query)
        if self.any_length and len(query) == 0:
            inputs["query_mask"] = ~inputs["query_mask"]
        path = self._run("adapt", **inputs)["weights_by_step"][0, :, :way]
        return path if len(query) or self.any_length else np.broadcast_to(path[:1], path.shape)

    def classify(self, query: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features `[queries, D]` under `[way, weights_dim]` -> (logits, probabilities), both `[queries, way]` float32.

        Raises:
            InputError: another shape, numbers that are not finite, or more classes than the file takes.
        """
        found = self._classified(query, weights)
        return found["logits"], found["probabilities"]

    def uncertainty(self, query: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """How far the posterior's samples disagree on each picture, in nats: `[queries]` float32; as `classify`.

        Raises:
            InputError: as `classify`, or the file has no samples.
        """
        if not self.description.get("posterior_samples"):
            raise InputError(
                f"{self.path} has no samples of a posterior; export a model with posterior=gaussian and "
                "--posterior_samples above 0."
            )
        return self._classified(query, weights)["uncertainty"]

    def check_sizes(self, support_rows: int, query_rows: int, way: int) -> None:
        """Raises an InputError unless the model takes as many rows and classes."""
        for name, rows in (("support", support_rows), ("query", query_rows)):
            most = self.description[f"max_{name}"]
            if most is not None and rows > most:
                raise InputError(
                    f"{name} must have at most {most} rows, which this file was exported for; got {rows}. Give fewer "
                    f"pictures, or export with a larger --max_{name} or --shapes=dynamic."
                )
        self._check_way(way)

    @abc.abstractmethod
    def _run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Computes `embed`, `adapt` or `classify`, as `signatures.Signatures` does, on batches of episodes; no checks.

        Masks are bool, full where nothing is padded: rounding without masks is another, and every step makes ten times
        more of it. Files without masks pass over them.
        """

    def _classified(self, query: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """All outputs of the file, for the queries and classes there are."""
        self._check_features("query", query, self.description["feature_dim"])
        self._check_features("weights", weights, self.description["weights_dim"])
        if self.any_length and weights.shape[1] not in (query.shape[1], 2 * query.shape[1]):
            raise InputError(
                f"query must have features as long as those that weights were made from, all or half of their "
                f"{weights.shape[1]} numbers; got {query.shape[1]}."
            )
        if len(weights) == 0:
            raise InputError("weights must have at least 1 row, one for each class; got none.")
        self._check_way(len(weights))
        rows, queries = self.max_query or max(len(query), 1), len(query)
        # As many queries at once as the file takes.
        parts = [_padded(query[start : start + rows], rows) for start in range(0, max(queries, 1), rows)]
        inputs = {"weights": _padded(weights, self.way)[None]}
        found = [self._run("classify", query=part[None], **inputs) for part in parts]
        outputs = {name: np.concatenate([part[name][0] for part in found])[:queries] for name in found[0]}
        return {name: values if values.ndim == 1 else values[:, : len(weights)] for name, values in outputs.items()}

    def _check_features(self, name: str, features: np.ndarray, length: int | None) -> None:
        """`length` is that of a row; None: any but 0."""
        if features.ndim != 2 or (features.shape[1] != length if length else features.shape[1] == 0):
            raise InputError(f"{name} must have the shape [rows, {length or 'any length'}]; got {features.shape}.")
        if features.dtype != np.float32:
            raise InputError(f"{name} must be float32; got {features.dtype}. Convert it with .astype(numpy.float32).")
        # Lengths are computed: of a row whose squares add up to infinity nothing would be left.
        if not np.isfinite(np.einsum("rd,rd->r", features, features)).all():
            raise InputError(
                f"{name} must be finite; it holds NaN, infinity or numbers near it (a length above 1.8e19)."
            )

    def _check_way(self, way: int) -> None:
        fixed, samples, most = (self.description[name] for name in ("fixed_way", "most_classes", "way"))
        if fixed is not None and way != fixed:
            raise InputError(
                f"way must be {fixed}: a joint model takes exactly as many classes; got {way}. Name {fixed} classes, "
                "or use a per_class model, which takes any number."
            )
        if samples is not None and way > samples:
            raise InputError(f"way must be at most {samples} for a model with a gaussian posterior; got {way} classes.")
        if most is not None and way > most:
            raise InputError(
                f"way must be at most {most}, which this file was exported for; got {way} classes. Name fewer, or "
                "export with a larger --way or --shapes=dynamic."
            )


def padded_episode(
    support: np.ndarray,
    support_labels: np.ndarray,
    query: np.ndarray,
    support_rows: int | None,
    query_rows: int | None,
) -> dict[str, np.ndarray]:
    """Returns the inputs of `adapt` for one episode, `[1, rows, ...]` each, padded to the rows asked for; None: none.

    Without numbers of rows there are no masks in files, but those for features of any length: there the row that stands
    for no query counts, and so it does in TensorFlow.
    """
    queries = max(len(query), 1) if query_rows is None else len(query)
    inputs = {
        "support": _padded(support, support_rows),
        "support_labels": _padded(support_labels, support_rows),
        "support_mask": _padded(np.ones(len(support), bool), support_rows),
        "query": _padded(query, query_rows),
        "query_mask": _padded(np.ones(queries, bool), query_rows),
    }
    return {name: rows[None] for name, rows in inputs.items()}


def _way(labels: np.ndarray, rows: int) -> int:
    """Checks the labels of as many labelled rows; returns their way."""
    if labels.shape != (rows,) or rows == 0:
        raise InputError(f"support_labels must be one number for each of {rows} (>= 1) support rows.")
    # Fractions would be cut off without a word.
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"support_labels must be whole numbers, 0 .. way - 1; got {labels.dtype}.")
    classes = np.unique(labels)
    if not np.array_equal(classes, np.arange(len(classes))):
        raise InputError(f"support_labels must be 0 .. way - 1, each at least once; got {classes.tolist()}.")
    return len(classes)


def _padded(rows: np.ndarray, length: int | None) -> np.ndarray:
    """Appends rows of zeros; without a length, one where there is no row: nothing runs on an empty input."""
    length = max(len(rows), 1) if length is None else length
    if length == len(rows):
        return rows
    return np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]), rows.dtype)])
