"""Keras models to LiteRT flatbuffers: one file with the signatures embed, adapt and classify, K steps unrolled.

A file of the head alone lacks embed.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer

from export.precisions import PRECISIONS
from sib_tf.errors import InputError
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import METADATA
from sib_tf.prediction.model import HEAD_SIGNATURES, SIGNATURES
from sib_tf.prediction.signatures import Signatures

# What a file may contain: ops without state that LiteRT has kernels for on every platform.
ALLOWED_OPS = frozenset(
    """
    ADD AVERAGE_POOL_2D BATCH_MATMUL BROADCAST_TO CAST CONCATENATION CONV_2D DEQUANTIZE DIV EQUAL EXP EXPAND_DIMS
    FULLY_CONNECTED GATHER GREATER L2_NORMALIZATION LOG LOG_SOFTMAX MAX_POOL_2D MAXIMUM MEAN MINIMUM MUL NEG NOT_EQUAL
    ONE_HOT PACK PAD QUANTIZE REDUCE_ANY REDUCE_MAX REDUCE_PROD RELU RESHAPE RSQRT SELECT_V2 SHAPE SOFTMAX SPLIT SQRT
    SQUARE SQUARED_DIFFERENCE STRIDED_SLICE SUB SUM TANH TILE TRANSPOSE UNPACK ZEROS_LIKE
    """.split()  # noqa: SIM905
)


def convert(
    signatures: Signatures, way: int | None, max_support: int | None = None, max_query: int | None = None
) -> bytes:
    """Converts to a float32 flatbuffer.

    Args:
        signatures: what to compute.
        way: classes of a file with fixed sizes, or of a joint model; None: as many as the labels of an episode say.
        max_support, max_query: rows of a file with fixed sizes, whose `adapt` takes masks (float32, 1 or 0);
            None: any number of rows, and no masks.

    Returns:
        The flatbuffer, built-in ops only.

    Raises:
        InputError: an op that is not on the list of allowed ones.
    """
    names = HEAD_SIGNATURES if signatures.backbone is None else SIGNATURES
    model = from_archive(_archive(signatures, way, max_support, max_query), names)
    if refused := ops(model) - ALLOWED_OPS:
        raise InputError(f"The conversion made ops that not every runtime has: {', '.join(sorted(refused))}.")
    return model


def from_archive(archive: keras.export.ExportArchive, names: Sequence[str]) -> bytes:
    """Converts endpoints of an archive to signatures of a flatbuffer."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        archive.write_out(folder, verbose=False)
        warnings.simplefilter("ignore")  # tf.lite announces its move to ai_edge_litert at every use.
        return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names).convert()


def quantised(model: bytes, precision: str, pictures: np.ndarray | None = None) -> bytes:
    """Gives the backbone a precision; the head stays in float.

    Args:
        model: a float32 flatbuffer of `convert`.
        precision: key of `PRECISIONS`.
        pictures: `[pictures, size, size, 3]` uint8, representative ones, for precisions that measure activations.
    """
    chosen = PRECISIONS[precision]
    if not chosen.ops:
        return model
    outputs = _backbone_outputs(model)
    recipe = [{"regex": outputs, "operation": op, **chosen.recipe} for op in chosen.ops]
    engine = quantizer.Quantizer(bytearray(model), recipe)
    with _silent():
        ranges = None
        if engine.need_calibration:
            samples = [{"images": picture[None].astype(np.float32)} for picture in pictures]
            ranges = engine.calibrate({"embed": samples}, num_threads=2)
        return bytes(engine.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def write(
    path: str | os.PathLike,
    run: trained_run.Run,
    limits: dict[str, int | None],
    precision: str = "float32",
    pictures: np.ndarray | None = None,
) -> None:
    """Writes a .tflite file and what it says about itself.

    Args:
        path: the file.
        run: the trained model.
        limits: `way`, `max_support`, `max_query`, as in `convert`.
        precision, pictures: as in `quantised`.
    """
    model = quantised(convert(run.signatures(), **limits), precision, pictures)
    digest = hashlib.sha256(model).hexdigest()
    description = {**run.description(), **limits, "precision": precision, "model_sha256": digest}
    Path(path).write_bytes(model)
    append_text(path, METADATA, json.dumps(description, indent=2))


def ops(model: bytes) -> set[str]:
    """Returns the names of the operations in a flatbuffer."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    codes = schema.ModelT.InitFromPackedBuf(bytearray(model), 0).operatorCodes
    # Old numbers are in one field, those above 127 in the other; the larger is the code.
    return {names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes}


def append_text(path: str | Path, name: str, text: str) -> None:
    """Adds a text to a .tflite file as LiteRT metadata are added: in a ZIP archive behind the flatbuffer."""
    with zipfile.ZipFile(path, "a") as archive:
        # A fixed date: the same model gives the same bytes.
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)


def _archive(signatures: Signatures, way, max_support, max_query) -> keras.export.ExportArchive:
    dim = signatures.sib.config.feature_dim

    def static(support, support_labels, support_mask, query, query_mask):
        return signatures.adapt(support, support_labels, query, support_mask, query_mask, way)

    def dynamic(support, support_labels, query):
        classes = tf.reduce_max(support_labels) + 1 if way is None else way
        return signatures.adapt(support, support_labels, query, way=classes)

    def spec(name, *shape, dtype=tf.float32):
        return tf.TensorSpec(shape, dtype, name)

    support, query = spec("support", 1, max_support, dim), spec("query", 1, max_query, dim)
    labels = spec("support_labels", 1, max_support, dtype=tf.int32)
    archive = keras.export.ExportArchive()
    # Without this the converter finds the variables uninitialised and writes NaN.
    archive.track(signatures.sib)
    if signatures.backbone is not None:
        archive.track(signatures.backbone)
        pictures = spec("images", None if max_query is None else 1, *signatures.backbone.input_shape[1:])
        archive.add_endpoint("embed", lambda images: {"features": signatures.embed(images)}, [pictures])
    if max_query is None:
        archive.add_endpoint("adapt", dynamic, [support, labels, query])
    else:
        masks = spec("support_mask", 1, max_support), spec("query_mask", 1, max_query)
        archive.add_endpoint("adapt", static, [support, labels, masks[0], query, masks[1]])
    archive.add_endpoint("classify", signatures.classify, [query, spec("weights", 1, way, signatures.weights_dim)])
    return archive


def _backbone_outputs(model: bytes) -> str:
    """A regular expression for the outputs of the backbone's ops, those that normalise the pictures left out."""
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    embed = next(definition for definition in parsed.signatureDefs if definition.signatureKey == b"embed")
    graph = parsed.subgraphs[embed.subgraphIndex]
    names = [graph.tensors[index].name.decode() for op in graph.operators for index in op.outputs]
    return "^(" + "|".join(re.escape(name) for name in names if "normalise" not in name) + ")(;|$)"


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The quantizer draws progress bars for work of a second, and its interpreter warns of what it is asked to do."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
