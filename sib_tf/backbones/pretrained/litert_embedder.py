"""An embedder as mobile developers have them: a .tflite file from one picture to one vector, float or quantised."""

import functools
import re
import threading
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sib_tf.backbones.pretrained.litert_normalization import read_normalization
from sib_tf.backbones.pretrained.request import Imported, Request
from sib_tf.errors import InputError
from sib_tf.runtime import quiet

SOURCES = ("FILE.tflite",)


def build(request: Request) -> Imported:
    """Wraps the file as a Keras model, so that all that reads pictures takes it; it cannot be trained or exported.

    Raises:
        InputError: the file is missing or no embedder of square RGB pictures, or does not say how it wants them.
    """
    request.refuse("alpha", "weights")
    path = Path(request.source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"source {path} cannot be read ({error.strerror}).") from error
    details = _details(content, path)
    size = details["input"]["shape"][1]
    if request.image_size not in (None, size):
        raise InputError(f"image_size must be {size}, as {path} takes; got {request.image_size}.")
    mean, std = _normalization(request, content, details["input"])
    pictures = request.pictures(size)
    embedder = LiteRTEmbedder(len(content), details["dim"], mean, std, name="embedder")
    features = embedder(pictures)
    embedder.file.assign(np.frombuffer(content, np.uint8))
    # TensorFlow takes no spaces, accents and such in names.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).lstrip("_-") or "embedder"
    return Imported(keras.Model(pictures, features, name=name), None, path.name, request.digest())


@keras.saving.register_keras_serializable("sib_tf")
class LiteRTEmbedder(keras.layers.Layer):
    """A .tflite file as a layer, run by LiteRT on this machine's CPU; it has no gradient.

    The file is a weight, so that a model that holds it is saved, told apart and checked like any other.

    Args:
        size: of the file in bytes.
        dim: D.
        mean, std: pictures become (x - mean) / std where the file takes floats.

    Call arguments:
        pictures: `[pictures, height, width, 3]` float32, RGB, 0-255.

    Returns:
        `[pictures, D]` float32; quantised numbers are turned back into what they stand for.
    """

    def __init__(self, size: int, dim: int, mean: list[float], std: list[float], **kwargs):
        super().__init__(**{**kwargs, "trainable": False})
        self.size, self.dim, self.mean, self.std = size, dim, mean, std
        # TensorFlow may call from several threads, and an interpreter has one place for its input.
        self._one_at_a_time = threading.Lock()

    @property
    def beside_weights(self) -> list | None:
        """What the pictures are scaled with; None where they stay as they are."""
        numbers = [list(self.mean), list(self.std)]
        return None if numbers == [[0.0], [1.0]] else numbers

    def build(self, input_shape):
        options = {"dtype": "uint8", "initializer": "zeros", "trainable": False}
        self.file = self.add_weight(name="file", shape=(self.size,), **options)

    def call(self, pictures):
        features = tf.numpy_function(self._embed, [pictures], tf.float32, stateful=False)
        return tf.ensure_shape(features, (None, self.dim))

    def compute_output_spec(self, pictures):
        return keras.KerasTensor((pictures.shape[0], self.dim), "float32")

    def get_config(self):
        own = {"size": self.size, "dim": self.dim, "mean": self.mean, "std": self.std}
        return {**super().get_config(), **own}

    def _embed(self, pictures: np.ndarray) -> np.ndarray:
        with self._one_at_a_time:
            features = [self._embed_one(self._interpreter, picture) for picture in pictures]
        return np.stack(features) if features else np.zeros((0, self.dim), np.float32)

    def _embed_one(self, interpreter, picture: np.ndarray) -> np.ndarray:
        taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        if taken["dtype"] == np.float32:
            values = (picture - self.mean) / self.std
        else:
            low = np.iinfo(taken["dtype"]).min
            values = np.rint(picture) + low  # uint8 takes pixels as they are, int8 128 less.
        interpreter.set_tensor(taken["index"], values[None].astype(taken["dtype"]))
        interpreter.invoke()
        return _real(interpreter.get_tensor(given["index"]).reshape(-1), given)

    @functools.cached_property
    def _interpreter(self):
        return _open(self.file.numpy().tobytes())


def _open(content: bytes):
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content, num_threads=2)
        interpreter.allocate_tensors()
    return interpreter


def _details(content: bytes, path: Path) -> dict:
    """The file's only input, and the length of its only output."""
    try:
        interpreter = _open(content)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as error:
        raise InputError(f"source {path} is no .tflite file, or is damaged ({str(error)[:120]}).") from error
    shape, dim = tuple(map(int, inputs[0]["shape"])), int(np.prod(outputs[0]["shape"]))
    square = len(shape) == 4 and shape[0] == 1 and shape[1] == shape[2] and shape[3] == 3
    vector = outputs[0]["shape"].tolist()[-1:] == [dim]
    if len(inputs) != 1 or len(outputs) != 1 or not square or not vector:
        raise InputError(
            f"source {path} must take one RGB picture [1, size, size, 3] and give one vector; it takes "
            f"{[one['shape'].tolist() for one in inputs]} and gives {[one['shape'].tolist() for one in outputs]}."
        )
    if inputs[0]["dtype"] not in (np.float32, np.uint8, np.int8):
        raise InputError(f"source {path} takes {inputs[0]['dtype'].__name__}; float32, uint8 or int8 is needed.")
    return {"input": {**inputs[0], "shape": shape}, "dim": dim}


def _normalization(request: Request, content: bytes, taken: dict) -> tuple[list[float], list[float]]:
    """Means and deviations, one of all channels or three."""
    if taken["dtype"] != np.float32:
        request.refuse("mean", "std")
        return [0.0], [1.0]
    if request.mean is not None and request.std is not None:
        return [request.mean], [request.std]
    if (found := read_normalization(content)) is not None:
        return found
    raise InputError(
        f"source {request.source} takes floats and does not say which; give --mean and --std, so that (x - mean) / std "
        "is what it was trained on (x in 0-255): 127.5 and 127.5 for [-1, 1], 0 and 255 for [0, 1], 0 and 1 for pixels."
    )


def _real(values: np.ndarray, details: dict) -> np.ndarray:
    scale, zero = details["quantization"]
    return values if values.dtype == np.float32 else (values.astype(np.float32) - zero) * scale
