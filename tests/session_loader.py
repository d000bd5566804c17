"""A SavedModel through TensorFlow's C++ session loader, as a model server runs it; no Python TensorFlow.

python -I tests/session_loader.py LIBRARIES FOLDER INPUTS.npz ANSWERS.npz OUTPUT_TENSOR...
"""

import ctypes
import sys
from pathlib import Path

import numpy as np

# TF_DataType, from tensorflow/c/tf_datatype.h.
_TYPES = {np.dtype("float32"): 1, np.dtype("int32"): 3, np.dtype("uint8"): 4, np.dtype("bool"): 10}
_NUMPY = {number: dtype for dtype, number in _TYPES.items()}


class SessionError(Exception):
    """What the C++ code says.

    Attributes:
        code: TF_Code, the numbers of gRPC's codes.
    """

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class Session:
    """A loaded SavedModel.

    Args:
        libraries: folder of TensorFlow's shared libraries.
        folder: of the SavedModel.
    """

    def __init__(self, libraries: Path, folder: Path):
        # Tensors and statuses are in the first library, graphs and sessions in the second.
        self._libraries = [
            ctypes.CDLL(str(libraries / f"libtensorflow_{name}.so.2"), ctypes.RTLD_GLOBAL)
            for name in ("framework", "cc")
        ]
        self._graph = ctypes.c_void_p(self._call("TF_NewGraph"))
        options = ctypes.c_void_p(self._call("TF_NewSessionOptions"))
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = ctypes.c_void_p(
            self._checked(
                "TF_LoadSessionFromSavedModel", options, None, str(folder).encode(), tags, ctypes.c_int(1),
                self._graph, None,
            )
        )  # fmt: skip

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Runs the graph; names are those of tensors, `operation:index`. Raises SessionError."""
        feeds = (_Output * len(inputs))(*map(self._output, inputs))
        values = (ctypes.c_void_p * len(inputs))(*map(self._tensor, inputs.values()))
        fetches = (_Output * len(outputs))(*map(self._output, outputs))
        results = (ctypes.c_void_p * len(outputs))()
        try:
            self._checked(
                "TF_SessionRun", self._session, None, feeds, values, ctypes.c_int(len(inputs)), fetches, results,
                ctypes.c_int(len(outputs)), None, ctypes.c_int(0), None,
            )  # fmt: skip
            return [self._array(ctypes.c_void_p(result)) for result in results]
        finally:
            for tensor in [*values, *results]:
                self._call("TF_DeleteTensor", ctypes.c_void_p(tensor))

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
        ctypes.memmove(self._call("TF_TensorData", ctypes.c_void_p(tensor)), array.tobytes(), array.nbytes)
        return tensor

    def _array(self, tensor: ctypes.c_void_p) -> np.ndarray:
        rank = self._call("TF_NumDims", tensor, returns=ctypes.c_int)
        shape = [self._call("TF_Dim", tensor, ctypes.c_int(axis), returns=ctypes.c_int64) for axis in range(rank)]
        size = self._call("TF_TensorByteSize", tensor, returns=ctypes.c_size_t)
        data = ctypes.string_at(self._call("TF_TensorData", tensor), size) if size else b""
        return np.frombuffer(data, _NUMPY[self._call("TF_TensorType", tensor, returns=ctypes.c_int)]).reshape(shape)

    def _checked(self, name: str, *arguments):
        """Calls a function whose last argument is a status."""
        status = ctypes.c_void_p(self._call("TF_NewStatus"))
        try:
            result = self._call(name, *arguments, status)
            if code := self._call("TF_GetCode", status, returns=ctypes.c_int):
                raise SessionError(code, self._call("TF_Message", status, returns=ctypes.c_char_p).decode())
        finally:
            self._call("TF_DeleteStatus", status)
        return result

    def _call(self, name: str, *arguments, returns=ctypes.c_void_p):
        # A prototype of one's own: the functions of a library are shared by all threads, and so is their `restype`.
        address = next(getattr(library, name) for library in self._libraries if hasattr(library, name))
        return ctypes.CFUNCTYPE(returns)(ctypes.cast(address, ctypes.c_void_p).value)(*arguments)


if __name__ == "__main__":
    libraries, folder, inputs, answers, *names = sys.argv[1:]
    with np.load(inputs) as arrays:
        found = Session(Path(libraries), Path(folder)).run(dict(arrays), names)
    np.savez(answers, **dict(zip(names, found, strict=True)))
    foreign = {"tensorflow", "keras", "sib_tf", "export"} & set(sys.modules)
    sys.exit(f"imported: {foreign}" if foreign else 0)
