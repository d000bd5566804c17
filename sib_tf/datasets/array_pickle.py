"""Reads the pickles in which mini-ImageNet goes round: arrays, lists and names; nothing in them is executed.

There are two kinds, a file a split, of Python 2 or 3: `image_data` with `class_dict` (class -> rows), and `data` with
`labels` and `catname2label` (class -> label).
"""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_tf.errors import InputError

_KINDS = {"u1": np.uint8, "i4": np.int32, "i8": np.int64}


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
            return _pictures(_named(_Unpickler(file, encoding="bytes").load()))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # Unpickling raises whatever the broken bytes lead it to.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no pickle of mini-ImageNet, or is damaged ({reason}); fetch it again.") from error


class _Kind:
    """A dtype; of what is set afterwards only the byte order could matter, and ours are little-endian."""

    def __init__(self, name, *_):
        self.dtype = np.dtype(_KINDS[_text(name)])

    def __setstate__(self, state):
        if _text(state[1]) not in "<|=":
            raise ValueError("numbers are big-endian")


class _Array:
    """An array that is filled in afterwards."""

    def __init__(self, *_):
        self.value = None

    def __setstate__(self, state):
        _, shape, kind, fortran, data = state
        if fortran:
            raise ValueError("an array lies in Fortran's order")
        self.value = np.frombuffer(data, kind.dtype).reshape(shape)


class _Filled(_Array):
    def __init__(self, data, kind: _Kind, shape, order="C"):
        self.__setstate__((1, shape, kind, order != "C", data))


def _scalar(kind: _Kind, data) -> int:
    return int(np.frombuffer(data, kind.dtype)[0])


def _encode(text: str, _encoding) -> bytes:
    return text.encode("latin1")  # Python 3 writes bytes so for Python 2.


class _Unpickler(pickle.Unpickler):
    """Admits arrays of whole numbers, and what holds them."""

    _ADMITTED = {
        ("multiarray", "_reconstruct"): _Array,
        ("multiarray", "scalar"): _scalar,
        ("numeric", "_frombuffer"): _Filled,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): OrderedDict,
    }

    def find_class(self, module: str, name: str):
        short = module.removeprefix("numpy.core.").removeprefix("numpy._core.")
        if found := self._ADMITTED.get((short, name)):
            return found
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _named(content) -> dict:
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}")
    return {_text(name): value for name, value in content.items()}


def _pictures(content: dict) -> PickledPictures:
    if {"image_data", "class_dict"} <= set(content):
        pixels, classes = content["image_data"], _named(content["class_dict"])
        rows = {name: _numbers(of_class) for name, of_class in classes.items()}
    elif {"data", "labels", "catname2label"} <= set(content):
        pixels, labels = content["data"], _numbers(content["labels"])
        rows = {name: np.flatnonzero(labels == label) for name, label in _named(content["catname2label"]).items()}
    else:
        raise ValueError(f"it has {sorted(content)[:5]}, not image_data and class_dict, or data and labels")
    pixels = pixels.value if isinstance(pixels, _Array) else pixels
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
        raise ValueError("its pictures are not one array [pictures, height, width, 3] of bytes")
    for name, of_class in rows.items():
        if len(of_class) and not 0 <= of_class.min() <= of_class.max() < len(pixels):
            raise ValueError(f"class {name} has rows beyond its {len(pixels)} pictures")
    return PickledPictures(pixels, rows)


def _numbers(values) -> np.ndarray:
    return np.asarray(values.value if isinstance(values, _Array) else list(values), np.int64)
