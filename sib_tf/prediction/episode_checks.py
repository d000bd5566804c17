"""What pictures and episodes must be for a model to answer, wherever it runs; NumPy only.

`description` is a model's own, with `image_size`, `feature_dim`, `weights_dim`, `way`, `gradient_network` and, of files
with fixed sizes, `max_support` and `max_query`.
"""

import numpy as np

from sib_tf.errors import InputError


def check_pictures(images: np.ndarray, description: dict) -> None:
    """Checks that pictures are uint8 `[pictures, size, size, 3]`.

    Raises:
        InputError: they are not.
    """
    size = description["image_size"]
    if images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
        raise InputError(
            f"images must be uint8 of shape [pictures, {size}, {size}, 3]; got {images.dtype} {images.shape}."
        )


def check_episode(support: np.ndarray, support_labels: np.ndarray, query: np.ndarray, description: dict) -> int:
    """Checks one episode of features against what a model takes; returns its way.

    Args:
        support, support_labels, query: as for `LiteRTModel.adapt`.
        description: of the model.

    Raises:
        InputError: anything that no answer can be given to.
    """
    check_features("support", support, description)
    check_features("query", query, description)
    labels = np.asarray(support_labels)
    if labels.shape != (len(support),) or len(labels) == 0:
        raise InputError(f"support_labels must be one number for each of {len(support)} (>= 1) support rows.")
    # Fractions would be cut off without a word.
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"support_labels must be whole numbers, 0 .. way - 1; got {labels.dtype}.")
    way = int(labels.max()) + 1
    if labels.min() < 0 or len(np.unique(labels)) != way:
        raise InputError(
            f"support_labels must be 0 .. way - 1, each at least once; got {sorted(set(labels.tolist()))}."
        )
    check_sizes(len(support), len(query), way, description)
    return way


def check_classifier(query: np.ndarray, weights: np.ndarray, description: dict) -> None:
    """Checks features `[queries, D]` and the weights `[way, D]` that classify them.

    Raises:
        InputError: another shape, numbers that are not finite, or more classes than the model takes.
    """
    check_features("query", query, description)
    check_features("weights", weights, description, "weights_dim")
    if len(weights) == 0:
        raise InputError("weights must have at least 1 row, one for each class; got none.")
    _check_way(len(weights), description)


def check_features(name: str, features: np.ndarray, description: dict, length: str = "feature_dim") -> None:
    """Checks that features are finite float32 `[rows, D]`; `name` is theirs in the error, `length` that of D.

    Raises:
        InputError: they are not.
    """
    # Files from before there were samples have no weights_dim.
    dim = description.get(length, description["feature_dim"])
    if features.ndim != 2 or features.shape[1] != dim:
        raise InputError(f"{name} must have the shape [rows, {dim}]; got {features.shape}.")
    if features.dtype != np.float32:
        raise InputError(f"{name} must be float32; got {features.dtype}. Convert it with .astype(numpy.float32).")
    # Lengths are computed: of a row whose squares add up to infinity nothing would be left.
    squares = np.einsum("rd,rd->r", features, features)
    if not np.isfinite(squares).all():
        raise InputError(f"{name} must be finite; it holds NaN, infinity or numbers near it (a length above 1.8e19).")


def check_sizes(support_rows: int, query_rows: int, way: int, description: dict) -> None:
    """Checks that a model takes as many rows and classes.

    Raises:
        InputError: it does not.
    """
    for name, rows in (("support", support_rows), ("query", query_rows)):
        most = description.get(f"max_{name}")
        if most is not None and rows > most:
            raise InputError(
                f"{name} must have at most {most} rows, which this file was exported for; got {rows}. Give fewer "
                f"pictures, or export with a larger --max_{name} or --shapes=dynamic."
            )
    _check_way(way, description)


def _check_way(way: int, description: dict) -> None:
    limit = description["way"]
    if description["gradient_network"] == "joint" and way != limit:
        raise InputError(
            f"way must be {limit}: a joint model takes exactly as many classes; got {way}. Name {limit} classes, or "
            "use a per_class model, which takes any number."
        )
    most = description.get("most_classes")
    if most is not None and way > most:
        raise InputError(f"way must be at most {most} for a model with a gaussian posterior; got {way} classes.")
    if limit is not None and way > limit:
        raise InputError(
            f"way must be at most {limit}, which this file was exported for; got {way} classes. Name fewer, or export "
            "with a larger --way or --shapes=dynamic."
        )
