"""Requests that TF Serving runs itself before it takes others: sessions get ready at the first one, for a second or so.

They lie in `assets.extra/tf_serving_warmup_requests`, TFRecords of PredictionLog, one for each signature.
"""

import io
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

try:
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
except ImportError:
    prediction_log_pb2 = None

FILE = "assets.extra/tf_serving_warmup_requests"
# The server passes over it.
_MODEL = "sib"
_WAY, _QUERIES = 5, 10


def write(folder: Path, signatures: dict[str, list[tf.TensorSpec]], way: int | None) -> bool:
    """Writes a request for each signature into the folder of a SavedModel.

    Args:
        folder: of the version.
        signatures: the inputs of each, by name.
        way: of a joint model; None: any.

    Returns:
        Whether it did: it takes the package tensorflow-serving-api, of the extra `serve`.
    """
    if prediction_log_pb2 is None:
        return False
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as file:
        for name, specs in signatures.items():
            file.write(_log(name, {spec.name: _example(spec, way or _WAY) for spec in specs}).SerializeToString())
    return True


def read(folder: Path) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Returns the requests of a folder: name of the signature and inputs by name. Needs the same package."""
    logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in _records(folder)]
    requests = [log.predict_log.request for log in logs]
    return [
        (each.model_spec.signature_name, {name: tf.make_ndarray(value) for name, value in each.inputs.items()})
        for each in requests
    ]


def _records(folder: Path) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(str(folder / FILE))


def _log(signature: str, inputs: dict[str, np.ndarray]):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = _MODEL, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log


def _example(spec: tf.TensorSpec, way: int) -> np.ndarray:
    """One episode's part: random pictures or features, every class once, nothing masked."""
    random, shape = np.random.RandomState(0), _shape(spec, way)
    if spec.dtype == tf.string:
        files = np.empty(shape, object)
        files[...] = _picture(random)
        return files
    if spec.dtype == tf.uint8:
        return random.randint(0, 256, shape).astype(np.uint8)
    if spec.dtype.is_floating:
        return random.normal(size=shape).astype(np.float32)
    if spec.name == "support_labels":
        return np.arange(shape[1], dtype=np.int32)[None]
    return np.ones(shape, spec.dtype.as_numpy_dtype)  # Masks, and the format of saved classifiers.


def _shape(spec: tf.TensorSpec, way: int) -> list[int]:
    """Where any size is taken: one episode, a row a class, some queries."""
    rows = way if spec.name.startswith(("support", "weights")) else _QUERIES
    # Pictures for `embed` belong to no episode.
    free = iter([rows] if spec.name.startswith("image") else [1, rows])
    return [next(free) if length is None else length for length in spec.shape]


def _picture(random: np.random.RandomState) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random.randint(0, 256, (48, 40, 3)).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()
