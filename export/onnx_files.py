"""Heads as ONNX, through tf2onnx, and what runs them: adapt.onnx and classify.onnx, as a graph has one function."""

import json
import os
from pathlib import Path

import numpy as np

from sib_tf.errors import InputError
from sib_tf.prediction.model import HEAD_SIGNATURES, Model
from sib_tf.prediction.trained_run import Run

DESCRIPTION = "sib_tf.json"
NAMES = tuple(f"{name}.onnx" for name in HEAD_SIGNATURES)
# What onnxruntime 1.18 and the browsers' of that year run.
OPSET = 18


def write(folder: str | os.PathLike, run: Run) -> None:
    """Writes both files for any number of rows and classes; the description is among the metadata of each.

    Args:
        folder: that is there.
        run: the head.
    """
    import tensorflow as tf
    import tf2onnx

    signatures, dim, way = run.signatures(), run.sib.config.feature_dim, run.sib.config.fixed_way

    def adapt(support, support_labels, query, query_mask):
        classes = tf.reduce_max(support_labels) + 1 if way is None else way
        return signatures.adapt(support, support_labels, query, query_mask=query_mask, way=classes)

    def spec(name, *shape, dtype=tf.float32):
        return tf.TensorSpec(shape, dtype, name)

    query = spec("query", 1, None, dim)
    support = spec("support", 1, None, dim), spec("support_labels", 1, None, dtype=tf.int32)
    inputs = {
        "adapt": (adapt, [*support, query, spec("query_mask", 1, None)]),
        "classify": (signatures.classify, [query, spec("weights", 1, way, signatures.weights_dim)]),
    }
    text = json.dumps({**run.description(), "max_support": None, "max_query": None, "precision": "float32"})
    for name, (function, specs) in inputs.items():
        traced = tf.function(function, autograph=False)
        model, _ = tf2onnx.convert.from_function(traced, input_signature=specs, opset=OPSET)
        model.metadata_props.add(key=DESCRIPTION, value=text)
        Path(folder, f"{name}.onnx").write_bytes(model.SerializeToString())


class ONNXModel(Model):
    """A folder of `write`, by onnxruntime on one thread.

    Args:
        folder: of both files.

    Raises:
        InputError: one is missing, or no file of `write`.
    """

    def __init__(self, folder: str | os.PathLike):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions = {}
        for name in HEAD_SIGNATURES:
            path = str(Path(folder, f"{name}.onnx"))
            try:
                found = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
                description = json.loads(found.get_modelmeta().custom_metadata_map[DESCRIPTION])
            except Exception as error:  # onnxruntime has kinds of its own, which are no OSError.
                raise InputError(f"{path} is missing, or no file of export.onnx; export it again.") from error
            self._sessions[name] = found
        super().__init__(folder, description)

    def _run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        session = self._sessions[signature]
        types = {"tensor(float)": np.float32, "tensor(int32)": np.int32}
        taken = {each.name: inputs[each.name].astype(types[each.type]) for each in session.get_inputs()}
        names = [each.name for each in session.get_outputs()]
        return dict(zip(names, session.run(names, taken), strict=True))
