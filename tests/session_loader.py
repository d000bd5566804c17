"""A SavedModel through TensorFlow's C++ session loader, the path of a model server: ctypes and NumPy, no Python TensorFlow.

python -I tests/session_loader.py LIBRARIES REQUESTS ANSWERS

LIBRARIES is the folder of `libtensorflow_cc.so.2`. REQUESTS is a .npz of `<number>/<tensor name>` inputs with
`requests.json` beside it; ANSWERS becomes a .npz of outputs, with the errors as `<number>/error`.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np

# TF_DataType, from tensorflow/c/tf_datatype.h.
_TYPES = {np.dtype("float32"): 1, np.dtype("int32"): 3, np.dtype("uint8"): 4, np.dtype("bool"): 10}
_NUMPY = {number: dtype for dtype, number in _TYPES.items()}


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class Session:
    """A loaded SavedModel.

    Args:
        libraries: folder of TensorFlow's shared libraries.
        folder: of the SavedModel.
    """

    def __init__(self, libraries: Path, folder: Path):
        framework, cc = (
            ctypes.CDLL(str(libraries / f"libtensorflow_{n}.so.2"), ctypes.RTLD_GLOBAL) for n in ("framework", "cc")
        )
        self._call = lambda name, *args, returns=ctypes.c_void_p: _call(cc, framework, name, args, returns)
        self._status = ctypes.c_void_p(self._call("TF_NewStatus"))
        self._graph = ctypes.c_void_p(self._call("TF_NewGraph"))
        options = ctypes.c_void_p(self._call("TF_NewSessionOptions"))
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = ctypes.c_void_p(
            self._call(
                "TF_LoadSessionFromSavedModel", options, None, str(folder).encode(), tags, ctypes.c_int(1),
                self._graph, None, self._status,
            )
        )  # fmt: skip
        self._raise()

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Runs the graph; names are those of tensors, `operation:index`. Raises RuntimeError with the status's text."""
        feeds = (_Output * len(inputs))(*map(self._output, inputs))
        arrays = [np.ascontiguousarray(value) for value in inputs.values()]
        values = (ctypes.c_void_p * len(inputs))(*map(self._tensor, arrays))
        fetches = (_Output * len(outputs))(*map(self._output, outputs))
        results = (ctypes.c_void_p * len(outputs))()
        self._call(
            "TF_SessionRun", self._session, None, feeds, values, ctypes.c_int(len(inputs)), fetches, results,
            ctypes.c_int(len(outputs)), None, ctypes.c_int(0), None, self._status,
        )  # fmt: skip
        self._raise()
        return [self._array(ctypes.c_void_p(result)) for result in results]

    def _output(self, name: str) -> _Output:
        operation, index = name.split(":")
        found = self._call("TF_GraphOperationByName", self._graph, operation.encode())
        if not found:
            raise KeyError(name)
        return _Output(found, int(index))

    def _tensor(self, array: np.ndarray) -> int:
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        kind, size = ctypes.c_int(_TYPES[array.dtype]), ctypes.c_size_t(array.nbytes)
        tensor = self._call("TF_AllocateTensor", kind, dims, ctypes.c_int(array.ndim), size)
        if array.nbytes:
            ctypes.memmove(self._call("TF_TensorData", ctypes.c_void_p(tensor)), array.ctypes.data, array.nbytes)
        return tensor

    def _array(self, tensor: ctypes.c_void_p) -> np.ndarray:
        rank = self._call("TF_NumDims", tensor, returns=ctypes.c_int)
        shape = [self._call("TF_Dim", tensor, ctypes.c_int(i), returns=ctypes.c_int64) for i in range(rank)]
        size = self._call("TF_TensorByteSize", tensor, returns=ctypes.c_size_t)
        data = ctypes.string_at(self._call("TF_TensorData", tensor), size) if size else b""
        return np.frombuffer(data, _NUMPY[self._call("TF_TensorType", tensor, returns=ctypes.c_int)]).reshape(shape)

    def _raise(self) -> None:
        if self._call("TF_GetCode", self._status, returns=ctypes.c_int):
            raise RuntimeError(self._call("TF_Message", self._status, returns=ctypes.c_char_p).decode())


def _call(cc, framework, name: str, args: tuple, returns):
    # Tensors and statuses are in one library, graphs and sessions in the other.
    function = getattr(cc, name, None) or getattr(framework, name)
    function.restype = returns
    return function(*args)
