"""What a model server learned, as a saved classifier (.sib), the numbers that `SIBClassifier.save` writes.

A file of either side serves the other, where backbone and head are the same. No TensorFlow.
"""

import os
from typing import NamedTuple

import numpy as np

from export.model_server import ModelServer, Shapes
from sib_tf import heads
from sib_tf.errors import InputError
from sib_tf.estimator import class_shares, saved_file
from sib_tf.estimator import head as head_files
from sib_tf.estimator.classifier import SIBClassifier
from sib_tf.estimator.rows import KeptRows

# Probabilities of the file's head and of the server's on the same rows, at most.
_TOLERANCE = 1e-3


class Learned(NamedTuple):
    """Classes that were learned.

    Attributes:
        classes: `[way]`, their names, sorted.
        weights: `[way, weights_dim]` float32, after the steps.
        log_shift: `[way]`, what a saved classifier adds to log probabilities; None: nothing.
    """

    classes: np.ndarray
    weights: np.ndarray
    log_shift: np.ndarray | None = None

    def answers(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns outputs of `classify_encoded` as they are after the shift of log probabilities.

        Raises an InputError where there is a shift, and no probabilities of these classes.
        """
        if self.log_shift is None:
            return outputs
        probabilities = outputs.get("probabilities")
        if probabilities is None or probabilities.dtype.kind != "f" or probabilities.shape[2:] != self.log_shift.shape:
            raise InputError(f"The server's answer lacks probabilities of {len(self.log_shift)} classes.")
        flat = np.log(np.maximum(probabilities.reshape(-1, len(self.log_shift)), 1e-30))
        shifted = class_shares.shifted(flat, self.log_shift).reshape(probabilities.shape)
        found = {"predicted_class": shifted.argmax(axis=-1), "confidence": shifted.max(axis=-1)}
        return {**outputs, "probabilities": shifted, **found}


class Head(NamedTuple):
    """What the signature `head` says.

    Attributes:
        content: the bytes of a .tflite file of the head alone.
        backbone: name of what makes the features.
    """

    content: bytes
    backbone: str

    @classmethod
    def of(cls, server: ModelServer) -> "Head":
        """Asks a server whose model has the signature; raises an InputError if the answer is none."""
        outputs = server.predict({"sib_format": np.array(saved_file.FORMAT, np.int32)}, "head")
        found = [np.asarray(outputs.get(name)) for name in ("head_bytes", "backbone")]
        content, backbone = (value.item() if value.size == 1 else None for value in found)
        if isinstance(backbone, bytes):
            # What is not UTF-8 is no name of a backbone, and no file's.
            backbone = backbone.decode(errors="replace")
        if not isinstance(content, bytes) or not isinstance(backbone, str):
            raise InputError(f"server {server.address} has no head in its answer; export its model again.")
        return cls(content, backbone)


def save(
    path: str | os.PathLike,
    outputs: dict[str, np.ndarray],
    classes: np.ndarray,
    numbers: np.ndarray,
    unlabelled_seen: int,
    head: Head,
) -> None:
    """Writes what `learn_encoded` returned for one episode, nothing padded, as `SIBClassifier.load` reads it.

    Args:
        path: the file, .sib.
        outputs: `weights` `[1, 2, way, weights_dim]`, `support` `[1, rows, D]`, `query` `[1, queries, D]`, float32.
        classes: `[way]` text, sorted.
        numbers: `[rows]`, the labelled pictures' places in `classes`.
        unlabelled_seen: how many unlabelled pictures there were, of which `query` may be a sample.
        head: of the same server.
    """
    support, query, weights = (np.asarray(outputs[name][0], np.float32) for name in ("support", "query", "weights"))
    rows = KeptRows(classes, support, numbers, np.bincount(numbers, minlength=len(classes)), query, unlabelled_seen)
    shipped = [name for name in heads.NAMES if heads.path(name).read_bytes() == head.content]
    # What another `fit` would take: the name of no file, where there is none.
    parameters = SIBClassifier((*shipped, "head.tflite")[0], backbone=head.backbone).get_params()
    saved_file.write(path, saved_file.Contents(parameters, None, head.backbone, rows, weights, None, head.content))


def load(path: str | os.PathLike, server: ModelServer, signatures: dict[str, Shapes]) -> Learned:
    """Reads a saved classifier for a server, and compares both.

    Raises:
        InputError: the file is missing or damaged, or was learned with another backbone or head than the server's.
    """
    contents = saved_file.read(path)
    if "head" in signatures and contents.backbone not in (None, backbone := Head.of(server).backbone):
        raise InputError(
            f"learned must be of backbone {backbone}, which makes the server's features; {path} is of "
            f"{contents.backbone}. Learn again, with --support and --save."
        )
    shapes = signatures["classify"]
    row, weights = contents.rows.support.shape[1], contents.weights.shape[1:]
    if shapes["query"][2] != row or shapes["weights"][2] != weights[1] or shapes["weights"][1] not in (-1, weights[0]):
        raise InputError(
            f"learned must fit the server's model, with features of length {shapes['query'][2]} and weights of "
            f"{shapes['weights'][1:]}; {path} has {row} and {weights}. Learn again, with --support and --save."
        )
    _check_head(path, contents, server)
    return Learned(contents.rows.classes.astype(str), contents.weights[1], contents.log_shift)


def _check_head(path: str | os.PathLike, contents: saved_file.Contents, server: ModelServer) -> None:
    """Asks the server for a labelled row of each class, and the head in the file too."""
    rows = contents.rows.support[np.unique(contents.rows.numbers, return_index=True)[1]]
    found = server.predict({"query": rows[None], "weights": contents.weights[None, 1]}, "classify")
    [(_, _, expected)] = head_files.of_bytes(contents.head, path).blocks(rows, contents.weights[1])
    found = np.asarray(found.get("probabilities"))
    fits = found.shape == (1, *expected.shape) and found.dtype.kind == "f"
    if not fits or not np.abs(found[0] - expected).max() <= _TOLERANCE:
        raise InputError(
            f"learned must be of the server's head; that in {path} answers otherwise. Learn again, with --support and "
            "--save."
        )
