"""Labels as scikit-learn's users give them, some of them missing."""

from collections.abc import Iterable
from numbers import Number

import numpy as np

from sib_tf.errors import InputError

# Of a row without a label: in what users give, where labels are numbers, and in numbered classes.
UNLABELLED = -1


def numbered(y, name: str = "y") -> tuple[np.ndarray, np.ndarray]:
    """Returns the classes, sorted, and the number of every row's class.

    Args:
        y: `[rows]`, text, whole numbers or booleans; -1, or between text None, NaN or NA: the row has no label.
        name: of y, for errors.

    Returns:
        (classes, numbers): `[way]` of the kind of y, and `[rows]` integers, `UNLABELLED` for rows without a label;
        there may be no class at all.

    Raises:
        ValueError: y is none of these, or text and numbers are mixed.
    """
    from sklearn.utils import assert_all_finite, column_or_1d
    from sklearn.utils.multiclass import check_classification_targets

    kept_as = object if _is_array(y) else None
    y = _array(y)
    y = y if y.ndim == 1 else column_or_1d(y, warn=True)
    if y.dtype.kind in "fc":
        try:
            assert_all_finite(y, input_name=name)
        except ValueError as error:
            raise InputError(f"{error} Between numbers -1 says that a row has no label.") from error
    if y.dtype.kind in "mMS":
        raise InputError(f"{name} must be text, whole numbers or booleans. Unknown label type: {y.dtype}.")
    labels, given = y, np.ones(len(y), bool)
    if y.dtype.kind in "OT":
        given = np.array([not _is_missing(label) for label in y], bool)
        labels = _plain(y[given].tolist(), name, kept_as if y.dtype.kind == "O" else None)
    if labels.dtype.kind in "if":
        is_label = labels != UNLABELLED
        given[given], labels = is_label, labels[is_label]
    if labels.dtype.kind not in "iubU" and len(labels):
        check_classification_targets(labels)
    classes, found = np.unique(labels, return_inverse=True)
    numbers = np.full(len(y), UNLABELLED)
    numbers[given] = found
    return classes, numbers


def joined(classes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns both lists of classes as one, sorted.

    Raises an InputError if one is text and the other is not, or no whole number of NumPy's has them all.
    """
    if len(classes) == 0 or len(others) == 0:
        return classes if len(others) == 0 else others
    # NumPy would turn numbers beside text into text, and whole numbers of two types into fractions.
    if _is_text(classes) != _is_text(others):
        raise InputError(f"y must be labels of the kind of {classes.tolist()[0]!r}; got {others.tolist()[0]!r}.")
    if classes.dtype != others.dtype and not _is_text(classes):
        whole = sorted({int(label) for each in (classes, others) for label in each.tolist()})
        kind = np.int64 if whole[-1] < 1 << 63 else np.uint64
        if whole[0] < np.iinfo(kind).min:
            raise InputError(f"y must be labels that one type of whole numbers has; got {whole[0]} and {whole[-1]}.")
        return np.array(whole, kind)
    return np.union1d(classes, others)


def places(every: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Returns where in `every`, of `joined`, each of `classes` is; it has them all."""
    # Whole numbers of two types would be compared as fractions.
    return np.searchsorted(every, classes.astype(every.dtype))


def _is_text(classes: np.ndarray) -> bool:
    return classes.dtype.kind in "OU"


def _array(y) -> np.ndarray:
    """As NumPy has it; but of a list with text in it, it would make text of all, missing labels included."""
    if _is_array(y) or isinstance(y, str) or not isinstance(y, Iterable):
        return np.asarray(y)
    kept = np.array(list(y), dtype=object)
    return kept if any(isinstance(label, str) for label in kept.flat) else np.asarray(kept.tolist())


def _is_array(y) -> bool:
    return hasattr(y, "__array__")


def _is_missing(label) -> bool:
    # pandas's NA is equal to nothing, itself included, and has no truth; its type is told by name without pandas.
    missing = label is None or type(label).__name__ in ("NAType", "NaTType")
    return missing or (isinstance(label, float | np.floating) and bool(label != label))


def _plain(labels: list, name: str, dtype: type | None) -> np.ndarray:
    """Text as `dtype` (None: as NumPy keeps it); numbers that lay among objects as numbers."""
    if all(isinstance(label, str) for label in labels):
        # Of members of an Enum of text NumPy would take the names, cut short.
        return np.array([str.__str__(label) for label in labels], dtype=dtype)
    if all(isinstance(label, Number) for label in labels):
        return np.array(labels)
    kinds = ", ".join(sorted({type(label).__name__ for label in labels}))
    raise InputError(
        f"{name} must be text for every row, or whole numbers for every row (None: no label); got {kinds}. "
        "Unknown label type: mixed."
    )
