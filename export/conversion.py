"""Keras models to LiteRT flatbuffers: one file with the signatures embed, adapt and classify, K steps unrolled."""

import contextlib
import io
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import qtyping, quantizer
from ai_edge_quantizer.algorithm_manager import AlgorithmName

from sib_tf.errors import InputError
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
# Ops of the backbone that int8 covers. Its normalisation of the pictures stays in float, as does the whole head:
# quantised to int8, the head's logits become zeros.
_INT8_OPS = ("CONV_2D", "MAX_POOL_2D", "RESHAPE", "ADD", "MUL", "MEAN", "PAD")


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
    with tempfile.TemporaryDirectory() as folder:
        _archive(signatures, way, max_support, max_query).write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["embed", "adapt", "classify"])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf.lite announces its move to ai_edge_litert at every use.
            model = converter.convert()
    if refused := ops(model) - ALLOWED_OPS:
        raise InputError(f"The conversion made ops that not every runtime has: {', '.join(sorted(refused))}.")
    return model


def to_float16(model: bytes) -> bytes:
    """Stores the backbone's weights as float16; runtimes compute in float32 or, where they can, in float16."""
    recipe = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    engine = quantizer.Quantizer(bytearray(model))
    engine.update_quantization_recipe(
        _backbone_outputs(model), qtyping.TFLOperationName.CONV_2D, recipe, AlgorithmName.FLOAT_CASTING
    )
    return _quantized(engine)


def to_int8(model: bytes, pictures: np.ndarray) -> bytes:
    """Quantises the backbone, weights and activations; the head stays in float.

    Args:
        model: a float32 flatbuffer of `convert`.
        pictures: `[pictures, size, size, 3]` uint8, representative ones: the activations' ranges are measured on them.
    """
    engine = quantizer.Quantizer(bytearray(model))
    outputs = _backbone_outputs(model)
    for name in _INT8_OPS:
        engine.add_static_config(outputs, qtyping.TFLOperationName(name), activation_num_bits=8, weight_num_bits=8)
    samples = [{"images": picture[None].astype(np.float32)} for picture in pictures]
    with _silent():
        ranges = engine.calibrate({"embed": samples}, num_threads=2)
    return _quantized(engine, ranges)


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
    dim, size = signatures.sib.config.feature_dim, signatures.backbone.input_shape[1]
    static = max_query is not None

    def features(name, rows):
        return tf.TensorSpec((1, rows, dim), tf.float32, name)

    def adapt_static(support, support_labels, support_mask, query, query_mask):
        return signatures.adapt(support, support_labels, query, support_mask, query_mask, way)

    def adapt_dynamic(support, support_labels, query):
        return signatures.adapt(
            support, support_labels, query, way=tf.reduce_max(support_labels) + 1 if way is None else way
        )

    labels = tf.TensorSpec((1, max_support), tf.int32, "support_labels")
    support, query = features("support", max_support), features("query", max_query)
    masks = (
        tf.TensorSpec((1, rows), tf.float32, n)
        for n, rows in (("support_mask", max_support), ("query_mask", max_query))
    )
    support_mask, query_mask = masks
    archive = keras.export.ExportArchive()
    # Without this the converter finds the variables uninitialised and writes NaN.
    archive.track(signatures.backbone)
    archive.track(signatures.sib)
    pictures = tf.TensorSpec((1 if static else None, size, size, 3), tf.float32, "images")
    archive.add_endpoint("embed", lambda images: {"features": signatures.embed(images)}, [pictures])
    if static:
        archive.add_endpoint("adapt", adapt_static, [support, labels, support_mask, query, query_mask])
    else:
        archive.add_endpoint("adapt", adapt_dynamic, [support, labels, query])
    archive.add_endpoint(
        "classify", signatures.classify, [query, tf.TensorSpec((1, way, signatures.weights_dim), tf.float32, "weights")]
    )
    return archive


def _backbone_outputs(model: bytes) -> str:
    """A regular expression for the outputs of the backbone's ops, those that normalise the pictures left out."""
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    embed = next(definition for definition in parsed.signatureDefs if definition.signatureKey == b"embed")
    graph = parsed.subgraphs[embed.subgraphIndex]
    names = [graph.tensors[index].name.decode() for op in graph.operators for index in op.outputs]
    return "^(" + "|".join(re.escape(name) for name in names if "normalise" not in name) + ")(;|$)"


def _quantized(engine: quantizer.Quantizer, ranges: dict | None = None) -> bytes:
    with _silent():
        return bytes(engine.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The quantizer draws progress bars for work of a second, and its interpreter warns of what it is asked to do."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
