"""Reads the tensors of a .pth file in PyTorch's old format (before 1.6); needs no PyTorch and executes nothing.

Such a file is five pickles (a magic number, a version, the writer's number sizes, the tensors by name, the keys of
their storages), then the storages' raw numbers in the order of the keys.
"""

import collections
import math
import os
import pickle
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from sib_tf.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_KINDS = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}


def read_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name.

    Raises:
        InputError: the file is missing, damaged, in another format, or asks for anything but plain tensors.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # Unpickling raises whatever the broken bytes lead it to.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} is no state dict in PyTorch's old format, or is damaged ({reason}).") from error


class _Storage(NamedTuple):
    kind: np.dtype
    key: str
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Admits what a state dict is made of, and nothing else."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _KINDS:
            return np.dtype(_KINDS[name])
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no state dict needs")

    def persistent_load(self, pid) -> _Storage:
        what, kind, key, _, length, view = pid
        if what != "storage" or not isinstance(kind, np.dtype) or not isinstance(key, str) or view is not None:
            raise pickle.UnpicklingError("it has a storage of another kind")
        return _Storage(kind, key, length)


def _tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    magic, version, _, state, keys = (_Unpickler(file).load() for _ in range(5))
    if (magic, version) != (_MAGIC, _VERSION) or not isinstance(state, dict):
        raise ValueError("it has another magic number or version")
    kinds = {tensor.storage.key: tensor.storage for tensor in state.values()}
    storages = {key: _numbers(file, kinds[key], size) for key in keys}
    return {name: _part(storages[tensor.storage.key], tensor) for name, tensor in state.items()}


def _numbers(file: BinaryIO, storage: _Storage, size: int) -> np.ndarray:
    length = int.from_bytes(file.read(8), "little", signed=True)
    needed, left = length * storage.kind.itemsize, size - file.tell()
    # Before memory is taken: a file may claim any length.
    if length != storage.length or not 0 <= needed <= left:
        raise ValueError(f"storage {storage.key} needs {needed:,} bytes; {left:,} are left")
    return np.frombuffer(file.read(needed), storage.kind)


def _part(numbers: np.ndarray, tensor: _Tensor) -> np.ndarray:
    """A copy of a tensor's numbers, whose axes may lie in any order."""
    _, offset, shape, strides = tensor
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    # Strides of zero would make any number of values of one.
    if min((offset, *strides, *shape)) < 0 or max(last + 1, math.prod(shape)) > len(numbers):
        raise ValueError(f"a tensor {shape} goes beyond its storage")
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps).copy()
