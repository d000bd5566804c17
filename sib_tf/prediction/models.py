"""Models that TensorFlow runs, and `open_model` for all kinds of file."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sib_tf.errors import InputError
from sib_tf.prediction.model import HEAD_SIGNATURES, SIGNATURES, Model
from sib_tf.storage import atomic, digests

CONFIG = "config.json"


def open_model(path: str | os.PathLike) -> Model:
    """Opens a .tflite file, a SavedModel of `export.saved_model`, or a run folder with `backbone/` and `sib/`.

    A folder of versions opens at its latest. Only for the folders is TensorFlow imported.

    Args:
        path: the file or folder; TensorFlow takes all cores, the interpreter of a .tflite file one.

    Raises:
        InputError: it is none of these.
    """
    path = Path(path)
    if path.is_file():
        from sib_tf.prediction.litert import LiteRTModel

        return LiteRTModel(path)
    if (path / "sib").is_dir() and (path / "backbone").is_dir():
        from sib_tf.prediction import trained_run

        return KerasModel(trained_run.load(path / "sib", path / "backbone"))
    # Superscripts are digits, too, and no numbers.
    names = [child.name for child in path.glob("*")] if path.is_dir() else []
    versions = [int(name) for name in names if name.isascii() and name.isdigit()]
    if versions:
        path = path / str(max(versions))
    if (path / "saved_model.pb").is_file():
        return SavedModel(path)
    raise InputError(
        f"model {path} is neither a .tflite file, nor a SavedModel folder, nor a run folder with backbone/ and sib/."
    )


def one_picture_embedders(path: str | os.PathLike, model: Model) -> Callable[[], "OnePicture"]:
    """Returns what makes an embedder for each thread from `model`, opened from `path`.

    An interpreter of a .tflite file serves one thread at a time; TensorFlow serves all of them.
    """
    return lambda: OnePicture(open_model(path) if Path(path).is_file() else model)


class OnePicture:
    """A model as `photographs.streaming` takes it."""

    def __init__(self, model: Model):
        self._model = model

    def embed(self, picture: np.ndarray) -> np.ndarray:
        """`[size, size, 3]` uint8, RGB -> features `[D]` float32."""
        return self._model.embed(picture[None])[0]


class KerasModel(Model):
    """A run's own Keras models.

    Args:
        run: a `trained_run.Run`.
    """

    def __init__(self, run):
        import tensorflow as tf

        super().__init__("The trained model", run.description())
        signatures, names = run.signatures(), HEAD_SIGNATURES if run.backbone is None else SIGNATURES
        self._functions = {
            name: tf.function(getattr(signatures, name), reduce_retracing=True, autograph=False) for name in names
        }

    def _run(self, signature: str, **inputs) -> dict[str, np.ndarray]:
        if signature == "adapt":
            inputs["way"] = int(inputs["support_labels"].max()) + 1
        found = self._functions[signature](**inputs)
        return _arrays({"features": found} if signature == "embed" else found)


class SavedModel(Model):
    """A SavedModel of `export.saved_model`, through TensorFlow.

    Args:
        folder: the version's folder.

    Raises:
        InputError: a file is missing, or not the one that was exported: graphs have no checksums of their own.
    """

    def __init__(self, folder: str | os.PathLike):
        import tensorflow as tf

        super().__init__(Path(folder) / CONFIG, atomic.read_json(Path(folder) / CONFIG, "Configuration"))
        # Exports of earlier versions have no list.
        digests.check(folder, self.description.pop("files", {}), "export it again, or copy it again")
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # TensorFlow raises many kinds for a damaged folder.
            raise InputError(f"{folder} cannot be loaded ({type(error).__name__}); export it again.") from error

    def _run(self, signature: str, **inputs) -> dict[str, np.ndarray]:
        import tensorflow as tf

        return _arrays(self._loaded.signatures[signature](**{n: tf.constant(value) for n, value in inputs.items()}))


def _arrays(tensors: dict) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
