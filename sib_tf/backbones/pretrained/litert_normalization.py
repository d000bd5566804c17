"""How a .tflite file says that it wants its pictures: TensorFlow Lite metadata, a flatbuffer inside the model.

Read by hand, since no package that is kept up has the schema (tflite-support is not):
https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs
"""

import struct

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import encode, number_types, packer
from flatbuffers.table import Table

_NAME = b"TFLITE_METADATA"
_NORMALIZATION_OPTIONS = 1
# Offsets of the fields in their tables: 4 + 2 * (place in the schema).
_SUBGRAPHS, _INPUTS, _PROCESS_UNITS, _KIND, _OPTIONS, _MEAN, _STD = 10, 8, 12, 4, 6, 4, 6


def read_normalization(content: bytes) -> tuple[list[float], list[float]] | None:
    """Returns the means and the deviations of the only input, one or three numbers each.

    None where there are none, or none that can be read: of a model's metadata LiteRT checks nothing.
    """
    try:
        means, deviations = _numbers_of(content)
    except (struct.error, IndexError, TypeError, ValueError):  # Broken bytes lead anywhere.
        return None
    usable = len(means) == len(deviations) in (1, 3) and np.isfinite(means).all() and min(deviations) > 0
    return (means, deviations) if usable else None


def _numbers_of(content: bytes) -> tuple[list[float], list[float]]:
    model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
    buffers = [entry.buffer for entry in model.metadata or () if entry.name == _NAME]
    if not buffers:
        return [], []
    data = np.asarray(model.buffers[buffers[0]].data, np.uint8).tobytes()
    root = Table(data, encode.Get(packer.uoffset, data, 0))
    for unit in _tables(_first(_first(root, _SUBGRAPHS), _INPUTS), _PROCESS_UNITS):
        kind = unit.Offset(_KIND)
        if kind and unit.Get(number_types.Uint8Flags, unit.Pos + kind) == _NORMALIZATION_OPTIONS:
            options = Table(data, 0)
            unit.Union(options, unit.Offset(_OPTIONS))
            return _numbers(options, _MEAN), _numbers(options, _STD)
    return [], []


def _tables(table: Table | None, field: int) -> list[Table]:
    offset = table.Offset(field) if table else 0
    if not offset:
        return []
    start = table.Vector(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(table.VectorLen(offset))]


def _first(table: Table | None, field: int) -> Table | None:
    return next(iter(_tables(table, field)), None)


def _numbers(table: Table, field: int) -> list[float]:
    offset = table.Offset(field)
    start, count = (table.Vector(offset), table.VectorLen(offset)) if offset else (0, 0)
    return [table.Get(number_types.Float32Flags, start + 4 * i) for i in range(count)]
