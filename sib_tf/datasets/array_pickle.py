"""Reads the pickles in which mini-ImageNet goes round: arrays, lists and names; nothing in them is executed.

There are two kinds, a file a split, of Python 2 or 3: `image_data` with `class_dict` (class -> rows), and `data` with
`labels` and `catname2label` (class -> label).
"""

import os
import pickle
import re
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_tf.errors import InputError

_WHOLE = re.compile("[iu][1248]")


class _UnfitError(ValueError):
    """It is a pickle of arrays, but not one of pictures and classes."""


class PickledPictures(NamedTuple):
    """`pixels` are uint8 `[pictures, height, width, 3]`, and `rows` those of each class, in the file's order."""

    pixels: np.ndarray
    rows: dict[str, np.ndarray]


def read(path: str | os.PathLike) -> PickledPictures:
    """Reads a file of either kind.

    Raises:
        InputError: the file is missing, damaged, of another kind, or asks for anything but arrays.
    """
    try:
        with Path(path).open("rb") as file:
            # Python 2 has bytes where Python 3 has text.
            return _pictures(_named(_Unpickler(file, encoding="bytes").load(), "it"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except _UnfitError as error:
        raise InputError(f"{path} cannot be used: {error}.") from error
    except Exception as error:  # Unpickling raises whatever the broken bytes lead it to.
        reason = ascii(" ".join(str(error).split()))[1:-1][:200] or type(error).__name__
        raise InputError(f"{path} is no pickle of mini-ImageNet, or is damaged ({reason}); fetch it again.") from error


class _Kind:
    """A dtype; of what is set afterwards only the byte order could matter, and ours are little-endian."""

    def __init__(self, name, *_):
        self.name = _text(name)
        if not _WHOLE.fullmatch(self.name):
            raise _UnfitError(f"it has numbers of kind {self.name!r}; pictures are of u1, and rows whole")
        self.dtype = np.dtype(self.name)

    def __setstate__(self, state):
        if _text(state[1]) not in "<|=":
            raise _UnfitError("its numbers are big-endian; write them little-endian")


class _Array:
    """An array that is filled in afterwards."""

    def __init__(self, *_):
        self.value = None

    def __setstate__(self, state):
        _, shape, kind, fortran, data = state
        self.value = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")


class _Filled(_Array):
    def __init__(self, data, kind: _Kind, shape, order="C"):
        self.__setstate__((1, shape, kind, order != "C", data))


class _Immutable:
    """What is called and has no state: a pickle may try to set some, on a function too."""

    def __setstate__(self, state):
        raise _UnfitError("it sets what cannot be set")


class _Scalar(_Immutable):
    def __new__(cls, kind: _Kind, data) -> int:
        return int(np.frombuffer(data, kind.dtype)[0])


class _Bytes(_Immutable):
    def __new__(cls, text: str, _encoding) -> bytes:
        return text.encode("latin1")  # Python 3 writes bytes so for Python 2.


class _Unpickler(pickle.Unpickler):
    """Admits arrays of whole numbers, and what holds them."""

    _ADMITTED = {
        ("multiarray", "_reconstruct"): _Array,
        ("multiarray", "scalar"): _Scalar,
        ("numeric", "_frombuffer"): _Filled,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _Bytes,
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): defaultdict,
        ("__builtin__", "list"): list,
        ("builtins", "list"): list,
    }

    def find_class(self, module: str, name: str):
        short = module.removeprefix("numpy.core.").removeprefix("numpy._core.")
        if found := self._ADMITTED.get((short, name)):
            return found
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _named(content, what: str) -> dict:
    if not isinstance(content, dict):
        raise _UnfitError(f"{what} is a {type(content).__name__}; a dictionary is needed")
    names = [_text(name) for name in content]
    if strange := [name for name in names if not isinstance(name, str)]:
        raise _UnfitError(f"{what} has the name {strange[0]!r}; text is needed")
    if len(set(names)) < len(names):
        raise _UnfitError(f"{what} has a name twice, as bytes and as text")
    return dict(zip(names, content.values(), strict=True))


def _pictures(content: dict) -> PickledPictures:
    if {"image_data", "class_dict"} <= set(content):
        pixels, classes = _pixels(content["image_data"]), _named(content["class_dict"], "class_dict")
        rows = {name: _whole_numbers(of_class, f"class {name}") for name, of_class in classes.items()}
    elif {"data", "labels", "catname2label"} <= set(content):
        pixels, rows = _pixels(content["data"]), _rows_of_labels(content["labels"], content["catname2label"])
    else:
        raise _UnfitError(f"it has {sorted(content)[:5]}, not image_data and class_dict, or data and labels")
    if empty := [name for name, of_class in rows.items() if not len(of_class)]:
        raise _UnfitError(f"class {empty[0]} has no pictures")
    used = np.sort(np.concatenate([np.zeros(0, np.int64), *rows.values()]))
    if not np.array_equal(used, np.arange(len(pixels))):
        raise _UnfitError(f"its classes do not have each of its {len(pixels)} pictures once")
    return PickledPictures(pixels, rows)


def _pixels(values) -> np.ndarray:
    pixels = values.value if isinstance(values, _Array) else None
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3 or not pixels.size:
        found = f"{pixels.dtype} {list(pixels.shape)}" if pixels is not None else f"a {type(values).__name__}"
        raise _UnfitError(f"its pictures are {found}; one array [pictures, height, width, 3] of bytes is needed")
    return pixels


def _rows_of_labels(labels, names) -> dict[str, np.ndarray]:
    labels, classes = _whole_numbers(labels, "labels"), _named(names, "catname2label")
    numbers = _whole_numbers(list(classes.values()), "catname2label")
    if repeated := [label for label, times in Counter(numbers.tolist()).items() if times > 1]:
        raise _UnfitError(f"catname2label has the label {repeated[0]} for several names")
    return {name: np.flatnonzero(labels == label) for name, label in zip(classes, numbers, strict=True)}


def _whole_numbers(values, what: str) -> np.ndarray:
    """`[numbers]` int64."""
    if isinstance(values, _Array):
        values = values.value
    elif not isinstance(values, list | tuple) or any(type(each) is not int for each in values):
        raise _UnfitError(f"{what} is no list of whole numbers")
    numbers = np.asarray(values, np.int64)
    if numbers.ndim != 1:
        raise _UnfitError(f"{what} is no list of whole numbers, but has {numbers.ndim} axes")
    return numbers
