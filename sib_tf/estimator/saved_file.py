"""A fitted classifier as one file: NumPy's arrays, a description in JSON, and digests of both; nothing is executed."""

import hashlib
import os
from typing import NamedTuple

import numpy as np

from sib_tf.errors import InputError
from sib_tf.estimator.rows import KeptRows
from sib_tf.storage import array_files, atomic, sealed_json

FORMAT = 1
_WAY_OUT = "save the classifier again, or copy the file again"
_DESCRIPTION = "description"


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        parameters: of the classifier, JSON values by name.
        columns: names of X's columns, or None.
        backbone: name of what made the rows, or None.
        rows: that are kept.
        weights: `[2, way, weights_dim]` float32, before and after the steps.
        log_shift: `[way]`, of log probabilities; None: there is none.
        head: the bytes of a .tflite file.
    """

    parameters: dict
    columns: list[str] | None
    backbone: str | None
    rows: KeptRows
    weights: np.ndarray
    log_shift: np.ndarray | None
    head: bytes


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Writes a file in one move; raises an InputError if the disk refuses, or a parameter cannot be written as JSON."""
    rows = contents.rows
    arrays = {
        "head": np.frombuffer(contents.head, np.uint8),
        "weights": contents.weights,
        "classes": rows.classes.astype(str) if rows.classes.dtype.kind in "OT" else rows.classes,
        "support": rows.support,
        "numbers": rows.numbers.astype(np.int32),
        "seen": rows.seen,
        "unlabelled": rows.unlabelled,
        **({} if contents.log_shift is None else {"log_shift": contents.log_shift}),
    }
    description = {
        "format": FORMAT,
        "parameters": contents.parameters,
        "columns": contents.columns,
        "backbone": contents.backbone,
        "labels_are_objects": rows.classes.dtype.kind in "OT",
        "unlabelled_seen": rows.unlabelled_seen,
        "digests": {name: _digest(array) for name, array in arrays.items()},
    }
    try:
        text = sealed_json.dumps(description).encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"A parameter of the classifier cannot be saved ({error}); take plain numbers.") from error
    with atomic.new_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **{_DESCRIPTION: np.frombuffer(text, np.uint8)}, **arrays)


def read(path: str | os.PathLike) -> Contents:
    """Reads a file of `write`; raises an InputError if it is missing, damaged or of another format."""
    arrays = array_files.read_npz(path, _WAY_OUT)
    try:
        description = sealed_json.loads(arrays.pop(_DESCRIPTION).tobytes())
        if description["format"] != FORMAT:
            raise InputError(f"{path} has format {description['format']}; this version reads {FORMAT}.")
        if description["digests"] != {name: _digest(array) for name, array in arrays.items()}:
            raise ValueError("its digests differ")
        return _contents(description, arrays)
    except InputError:
        raise
    except Exception as error:  # Whatever a file that is none of ours leads to.
        raise InputError(f"{path} is no saved classifier, or is damaged ({error}); {_WAY_OUT}.") from error


def _contents(description: dict, arrays: dict[str, np.ndarray]) -> Contents:
    classes = arrays["classes"].astype(object) if description["labels_are_objects"] else arrays["classes"]
    kept = [arrays[name] for name in ("support", "numbers", "seen", "unlabelled")]
    rows = KeptRows(classes, *kept, description["unlabelled_seen"])
    _check(rows, arrays["weights"], arrays.get("log_shift"))
    return Contents(
        description["parameters"],
        description["columns"],
        description["backbone"],
        rows,
        arrays["weights"],
        arrays.get("log_shift"),
        arrays["head"].tobytes(),
    )


def _check(rows: KeptRows, weights: np.ndarray, log_shift: np.ndarray | None) -> None:
    """Raises a ValueError unless the arrays are of one classifier: a digest says only that they are as written."""
    way, dim = len(rows.classes), rows.support.shape[-1]
    shapes = (
        (rows.classes, (way,)),
        (rows.support, (len(rows.numbers), dim)),
        (rows.seen, (way,)),
        (rows.unlabelled, (len(rows.unlabelled), dim)),
        (weights, (2, way, weights.shape[-1])),
        (np.zeros(way) if log_shift is None else log_shift, (way,)),
    )
    fits = all(array.shape == shape for array, shape in shapes) and all(
        array.dtype == np.float32 and np.isfinite(array).all() for array in (rows.support, rows.unlabelled, weights)
    )
    if not fits or not np.array_equal(np.unique(rows.numbers), np.arange(way)) or way == 0:
        raise ValueError("its arrays do not belong together")


def _digest(array: np.ndarray) -> str:
    """Of the type and shape, too: the same bytes may be other numbers."""
    array = np.ascontiguousarray(array)
    start = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(start + array.tobytes()).hexdigest()
