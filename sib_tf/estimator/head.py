"""The head that a classifier learns with: opened from a name, a file, a folder or bytes, and run on many rows."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sib_tf import heads
from sib_tf.errors import InputError
from sib_tf.estimator.rows import float_rows
from sib_tf.prediction.model import Model

# Numbers in the largest array of a block: D, or classes, times rows.
_MOST_IN_BLOCK = 1 << 22


class Head:
    """A head's two computations on NumPy arrays. One at a time: an interpreter serves one thread.

    LiteRT's Interpreter runs one file of dynamic shapes: for 5 ways, 75 unlabelled rows and D = 1,280 `adapt` and
    `classify` take 1.5 ms, 1.8 ms when shapes change. A file of fixed shapes takes a tenth less, but one is needed for
    each shape; inputs that let the interpreter know all shapes before it runs take four times as long whenever they
    change; onnxruntime takes longer, and is one more package.

    Args:
        model: of the head alone.
        content: the bytes of the .tflite file; None of a run's folder, whose model TensorFlow runs.

    Attributes:
        model, content: as given.
    """

    def __init__(self, model: Model, content: bytes | None):
        if not model.description["head_only"]:
            raise InputError(
                f"head {model.path} takes pictures; a classifier takes a head alone: export one with --head_only."
            )
        self.model, self.content, self._lock = model, content, threading.Lock()

    def __reduce__(self):
        return of_bytes, (self.portable(), str(self.model.path))

    def portable(self) -> bytes:
        """Returns the bytes of the .tflite file; raises an InputError if the head is none."""
        if self.content is None:
            raise InputError(
                "head must be a .tflite file to be saved, not a run's folder; export it with python -m export.tflite "
                "--head_only --feature_dim=any, and fit with that file."
            )
        return self.content

    def check_length(self, feature_dim: int) -> None:
        """Raises an InputError unless the head takes features of that length."""
        own = self.model.description["feature_dim"]
        if own not in (None, feature_dim):
            raise InputError(
                f"X must have {own} features, which head {self.model.path} was made for; got {feature_dim}. Take one "
                "for features of any length, such as general."
            )

    def adapt(self, support: np.ndarray, numbers: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Returns the weights before and after the steps, `[2, way, weights_dim]`; arguments as of `Model.adapt`."""
        with self._lock:
            path = self.model.adapt(support, numbers, query)
        return np.stack([path[0], path[-1]])

    def blocks(self, X, weights: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yields parts of X, `[rows, D]`, dense or CSR, with their logits and probabilities, `[rows, way]` float32."""
        rows = max(_MOST_IN_BLOCK // max(X.shape[1], len(weights)), 1)
        for start in range(0, X.shape[0], rows):
            part = slice(start, min(start + rows, X.shape[0]))
            block = float_rows(X, part)
            with self._lock:
                logits, probabilities = self.model.classify(block, weights)
            yield part, logits, probabilities


def file_of(head: str | os.PathLike) -> Path:
    """Returns the file or folder of a head, given as for `opened`, which looks inside."""
    if isinstance(head, str) and head in heads.NAMES:
        return heads.place(head)
    if not isinstance(head, str | os.PathLike) or not str(head) or not Path(head).exists():
        raise InputError(
            f"head must be one of {', '.join(heads.NAMES)}, a .tflite file or a run's folder; got {head!r}."
        )
    return Path(head)


def opened(head: str | os.PathLike) -> Head:
    """Opens a head that ships, by name, a .tflite file, or a meta-training's folder, which needs TensorFlow.

    Raises an InputError if there is none, or it is damaged.
    """
    path = file_of(head)
    if head in heads.NAMES:
        heads.path(head)  # Compares digests.
    return _of_folder(path) if path.is_dir() else of_bytes(path.read_bytes(), path)


def of_bytes(content: bytes, path: str | os.PathLike) -> Head:
    """Opens the bytes of a .tflite file; `path` is for errors, which are as those of `LiteRTModel`."""
    from sib_tf.prediction.litert import LiteRTModel

    return Head(LiteRTModel(path, content=content), content)


def _of_folder(folder: Path) -> Head:
    from sib_tf import runs
    from sib_tf.prediction import models, trained_run

    if not Path(folder, "config.json").exists():
        raise InputError(f"head must be a meta-training's folder, which has a config.json; {folder} has none.")
    sib, _ = runs.load_model(folder)
    return Head(models.KerasModel(trained_run.load_head(folder, sib.config.feature_dim)), None)
