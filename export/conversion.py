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
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer
from ai_edge_quantizer.utils import qsv_utils
from tqdm import tqdm

from export import flatbuffer, golden
from export.precisions import ALLOWED_OPS, CONVOLUTIONS, PRECISIONS
from sib_tf.errors import InputError
from sib_tf.prediction import trained_run
from sib_tf.prediction.litert import METADATA
from sib_tf.prediction.model import HEAD_SIGNATURES, SIGNATURES
from sib_tf.prediction.signatures import Signatures
from sib_tf.runtime import quiet

_OP_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def convert(
    signatures: Signatures, way: int | None, max_support: int | None = None, max_query: int | None = None
) -> bytes:
    """Converts to a float32 flatbuffer.

    Args:
        signatures: what to compute.
        way: classes of a file with fixed sizes, or of a joint model; None: as many as the labels of an episode say.
        max_support, max_query: rows of a file with fixed sizes, whose `adapt` takes masks (float32, 1 or 0);
            None: any number of rows, and no masks, but a query_mask where the features are of any length.

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
    outputs = _backbone_outputs(model, chosen.calibrated)
    recipe = [{"regex": outputs, "operation": op, **chosen.recipe} for op in chosen.ops]
    engine = quantizer.Quantizer(bytearray(model), recipe)
    ranges = _ranges(model, pictures) if engine.need_calibration else None
    with _silent():
        return bytes(engine.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def write(
    path: str | os.PathLike,
    run: trained_run.Run,
    limits: dict[str, int | None],
    precision: str = "float32",
    pictures: np.ndarray | None = None,
    converted: bytes | None = None,
) -> None:
    """Writes a .tflite file and what it says about itself.

    Args:
        path: the file.
        run: the trained model.
        limits: `way`, `max_support`, `max_query`, as in `convert`.
        precision, pictures: as in `quantised`.
        converted: what `convert` made of the run, for files of several precisions; None: it is made here.
    """
    # Last of all: the quantizer goes by names.
    model = flatbuffer.compact(quantised(converted or convert(run.signatures(), **limits), precision, pictures))
    digest = hashlib.sha256(model).hexdigest()
    description = {**run.description(), **limits, "precision": precision, "model_sha256": digest}
    Path(path).write_bytes(model)
    append_text(path, METADATA, json.dumps(description, indent=2))
    if run.backbone is not None:
        append_text(path, golden.GOLDEN, golden.text(path))


def ops(model: bytes) -> set[str]:
    """Returns the names of the operations in a flatbuffer."""
    return {_op_name(code) for code in schema.ModelT.InitFromPackedBuf(bytearray(model), 0).operatorCodes}


def append_text(path: str | Path, name: str, text: str) -> None:
    """Adds a text to a .tflite file as LiteRT metadata are added: in a ZIP archive behind the flatbuffer."""
    with zipfile.ZipFile(path, "a") as archive:
        # A fixed date: the same model gives the same bytes.
        archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)


def _op_name(code: schema.OperatorCodeT) -> str:
    # Old numbers are in one field, those above 127 in the other; the larger is the code.
    return _OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _archive(signatures: Signatures, way, max_support, max_query) -> keras.export.ExportArchive:
    dim = signatures.sib.config.feature_dim

    def static(support, support_labels, support_mask, query, query_mask):
        return signatures.adapt(support, support_labels, query, support_mask, query_mask, way)

    def dynamic(support, support_labels, query, query_mask=None):
        classes = tf.reduce_max(support_labels) + 1 if way is None else way
        return signatures.adapt(support, support_labels, query, query_mask=query_mask, way=classes)

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
    masks = spec("support_mask", 1, max_support), spec("query_mask", 1, max_query)
    if max_query is not None:
        archive.add_endpoint("adapt", static, [support, labels, masks[0], query, masks[1]])
    elif dim is not None:
        archive.add_endpoint("adapt", dynamic, [support, labels, query])
    else:
        # Without queries the support's gradient still moves the classes, and the row that stands for none must not.
        archive.add_endpoint("adapt", dynamic, [support, labels, query, masks[1]])
    archive.add_endpoint("classify", signatures.classify, [query, spec("weights", 1, way, signatures.weights_dim)])
    return archive


def _embed_graph(model: bytes) -> tuple[int, schema.SubGraphT, list[str]]:
    """The number of the graph of `embed`, the graph, and the names of its operations."""
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    embed = next(definition for definition in parsed.signatureDefs if definition.signatureKey == b"embed")
    graph = parsed.subgraphs[embed.subgraphIndex]
    return embed.subgraphIndex, graph, [_op_name(parsed.operatorCodes[op.opcodeIndex]) for op in graph.operators]


def _backbone_outputs(model: bytes, spares_stem: bool) -> str:
    """A regular expression for the outputs of the backbone's ops, from the first convolution on.

    What comes before makes the pictures what the backbone was trained on: eight bits would spoil it.

    Args:
        spares_stem: whether a first convolution that a depthwise one follows, that one and the next are left out: small
            as they are, most of what a network loses is theirs, whose channels are so unlike one another.
    """
    _, graph, names = _embed_graph(model)
    convolutions = [place for place, name in enumerate(names) if name in CONVOLUTIONS]
    is_mobile = spares_stem and [names[place] for place in convolutions[1:2]] == ["DEPTHWISE_CONV_2D"]
    starts, found = set(convolutions[3 if is_mobile else 0 :]), {}
    for place, op in enumerate(graph.operators):
        if place in starts or not found.keys().isdisjoint(op.inputs):
            found |= {index: graph.tensors[index].name.decode() for index in op.outputs}
    return "^(" + "|".join(map(re.escape, found.values())) + ")(;|$)"


def _ranges(model: bytes, pictures: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The least and largest number of every activation of the backbone over all pictures, as the quantizer takes them.

    Its own calibration takes ten times as long for a moving average, in which the last few pictures alone count.
    """
    number, graph, _ = _embed_graph(model)
    with _silent(), quiet():
        interpreter = Interpreter(model_content=model, num_threads=2, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
        embed, ranges = interpreter.get_signature_runner("embed"), {}
    for picture in tqdm(pictures, desc="measure activations", unit="picture"):
        embed(images=picture[None].astype(np.float32))
        for index in {*graph.inputs, *(output for op in graph.operators for output in op.outputs)}:
            values, name = interpreter.get_tensor(index, number), graph.tensors[index].name.decode()
            here = {"min": values.min(keepdims=True, initial=0), "max": values.max(keepdims=True, initial=0)}
            ranges[name] = qsv_utils.min_max_update(ranges.get(name), here)
    return ranges


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The quantizer draws progress bars for work of a second, and its interpreter warns of what it is asked to do."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
