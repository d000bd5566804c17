"""LiteRT flatbuffers made small: what no runtime reads is left out, and what is equal is there once.

The converter names every tensor after the Python lines that it comes from, gives each a buffer and a record of
quantisation, used or not, and writes equal constants, shapes and options again and again: a third of a head's file.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
# Bytes that constants start at multiples of, as the schema asks for; the generated code does not.
_ALIGNMENT = 16


def compact(model: bytes) -> bytes:
    """Returns the same computation in fewer bytes: same operations in the same order, same constants and signatures.

    Names are left to the inputs and outputs of graphs.
    """
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    for graph in parsed.subgraphs:
        named = {*graph.inputs, *graph.outputs}
        for place, tensor in enumerate(graph.tensors):
            if place not in named:
                tensor.name = None
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
            if tensor.shapeSignature is not None and np.array_equal(tensor.shapeSignature, tensor.shape):
                tensor.shapeSignature = None
        for operator in graph.operators:
            for field in ("intermediates", "mutatingVariableInputs"):
                value = getattr(operator, field)
                if value is not None and len(value) == 0:
                    setattr(operator, field, None)
    _share_buffers(parsed, model)
    _share_options(parsed)
    builder = _Builder(len(model))
    builder.Finish(parsed.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _share_buffers(model: schema.ModelT, content: bytes) -> None:
    """One buffer for all equal constants, and the first, which is empty always, for all tensors without one."""
    kept, places = [schema.BufferT()], {b"": 0}

    def place(old: int) -> int:
        data = _data(model.buffers[old], content)
        if data not in places:
            places[data] = len(kept)
            kept.append(schema.BufferT(np.frombuffer(data, np.uint8)))
        return places[data]

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = place(tensor.buffer)
    for entry in model.metadata or ():
        entry.buffer = place(entry.buffer)
    model.buffers = kept


def _data(buffer: schema.BufferT, content: bytes) -> bytes:
    """What a buffer holds; the quantizer writes some of them behind the flatbuffer."""
    if buffer.offset > 1:  # 1 stands for an offset that a writer has not filled in yet.
        return content[buffer.offset : buffer.offset + buffer.size]
    return b"" if buffer.data is None else bytes(buffer.data)


def _share_options(model: schema.ModelT) -> None:
    """Equal options of operations become one object, packed once."""
    found = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            if (options := operator.builtinOptions) is not None:
                key = type(options), repr(sorted(vars(options).items()))
                operator.builtinOptions = found.setdefault(key, _Once(options))


class _Once:
    """A part of the model that is packed when it is first asked for, and referred to from then on."""

    def __init__(self, part):
        self._part, self._offset = part, None

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802
        if self._offset is None:
            self._offset = self._part.Pack(builder)
        return self._offset


class _Builder(flatbuffers.Builder):
    """Writes equal vectors of numbers once, and constants where the schema wants them."""

    def __init__(self, size: int):
        super().__init__(size)
        self._vectors = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802
        key = x.dtype.str, x.tobytes()
        if key not in self._vectors:
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)
