"""One way to use a model, whatever file it lies in: pictures to features, one episode to weights, weights to classes.

`KerasModel`, `SavedModel` and `litert_runner.LiteRTModel` have the same methods and the same `description`.
"""

import os
from pathlib import Path
from typing import Protocol

import numpy as np

from sib_tf.errors import InputError
from sib_tf.prediction.description import check_description
from sib_tf.prediction.episode_checks import check_classifier, check_episode, check_pictures
from sib_tf.storage import atomic, digests

CONFIG = "config.json"
_EMBED_BATCH = 256


class Model(Protocol):
    """What the three have in common; see `litert_runner.LiteRTModel` for shapes and errors."""

    description: dict

    def embed(self, images: np.ndarray) -> np.ndarray: ...

    def adapt(self, support: np.ndarray, support_labels: np.ndarray, query: np.ndarray) -> np.ndarray: ...

    def classify(self, query: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


def open_model(path: str | os.PathLike, num_threads: int = 1) -> Model:
    """Opens a .tflite file, a SavedModel of `export.saved_model`, or a run folder with `backbone/` and `sib/`.

    A folder of versions opens at its latest. Only for the folders is TensorFlow imported.

    Args:
        path: the file or folder.
        num_threads: of the interpreter of a .tflite file; TensorFlow takes all cores.

    Raises:
        InputError: it is none of these.
    """
    path = Path(path)
    if path.is_file():
        from sib_tf.prediction.litert import LiteRTModel

        return LiteRTModel(path, num_threads)
    if (path / "sib").is_dir() and (path / "backbone").is_dir():
        from sib_tf.prediction import trained_run

        return KerasModel(trained_run.load(path / "sib", path / "backbone"))
    versions = [int(child.name) for child in path.glob("*") if child.name.isdigit()] if path.is_dir() else []
    if versions:
        path = path / str(max(versions))
    if (path / "saved_model.pb").is_file():
        return SavedModel(path)
    raise InputError(
        f"model {path} is neither a .tflite file, nor a SavedModel folder, nor a run folder with backbone/ and sib/."
    )


class KerasModel:
    """A run's own Keras models.

    Args:
        run: a `trained_run.Run`.
    """

    def __init__(self, run):
        import tensorflow as tf

        self.description = run.description()
        signatures = run.signatures()
        self._embed = tf.function(signatures.embed, reduce_retracing=True, autograph=False)
        self._adapt = tf.function(signatures.adapt, reduce_retracing=True, autograph=False)
        self._classify = tf.function(signatures.classify, reduce_retracing=True, autograph=False)

    def embed(self, images):
        return _embed_batches(self.description, self._embed, images)

    def adapt(self, support, support_labels, query):
        return _adapt_one(self.description, self._adapt_batch, support, support_labels, query)

    def classify(self, query, weights):
        check_classifier(query, weights, self.description)
        result = self._classify(query[None], weights[None])
        return result["logits"][0].numpy(), result["probabilities"][0].numpy()

    def _adapt_batch(self, support, support_labels, query):
        # As exported files are called: rounding without masks is another, and every step makes ten times more of it.
        masks = _all_true_masks(support, query)
        return self._adapt(support, support_labels, query, way=int(support_labels.max()) + 1, **masks)


class SavedModel:
    """A SavedModel of `export.saved_model`, through TensorFlow.

    Args:
        folder: the version's folder.

    Raises:
        InputError: a file is missing, or not the one that was exported: graphs have no checksums of their own.
    """

    def __init__(self, folder: str | os.PathLike):
        import tensorflow as tf

        self.description = _checked_description(Path(folder))
        try:
            self._loaded = tf.saved_model.load(str(folder))
        except Exception as error:  # TensorFlow raises many kinds for a damaged folder.
            raise InputError(f"{folder} cannot be loaded ({type(error).__name__}); export it again.") from error
        self._signatures = self._loaded.signatures

    def embed(self, images):
        return _embed_batches(self.description, lambda batch: self._call("embed", images=batch)["features"], images)

    def adapt(self, support, support_labels, query):
        return _adapt_one(self.description, self._adapt_batch, support, support_labels, query)

    def classify(self, query, weights):
        check_classifier(query, weights, self.description)
        result = self._call("classify", query=query[None], weights=weights[None])
        return result["logits"][0].numpy(), result["probabilities"][0].numpy()

    def _adapt_batch(self, support, support_labels, query):
        masks = _all_true_masks(support, query)
        return self._call("adapt", support=support, support_labels=support_labels, query=query, **masks)

    def _call(self, name: str, **inputs):
        import tensorflow as tf

        return self._signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})


def _checked_description(folder: Path) -> dict:
    """Returns the description of a SavedModel, once its files are known to be those that were exported."""
    path = folder / CONFIG
    description = atomic.read_json(path, "Configuration")
    check_description(description, path)
    # Exports of earlier versions have no list.
    digests.check(folder, description.pop("files", {}), "export it again, or copy it again")
    return description


def _embed_batches(description: dict, embed, images: np.ndarray) -> np.ndarray:
    check_pictures(images, description)
    parts = [np.zeros((0, description["feature_dim"]), np.float32)]
    for start in range(0, len(images), _EMBED_BATCH):
        parts.append(embed(images[start : start + _EMBED_BATCH]).numpy())
    return np.concatenate(parts)


def _all_true_masks(support, query) -> dict:
    return {"support_mask": np.ones(support.shape[:2], bool), "query_mask": np.ones(query.shape[:2], bool)}


def _adapt_one(description: dict, adapt, support, support_labels, query) -> np.ndarray:
    """Checks one episode, and runs a batch of it alone; without queries no step moves."""
    check_episode(support, support_labels, query, description)
    some = query if len(query) else np.zeros((1, support.shape[1]), np.float32)
    path = adapt(support[None], np.asarray(support_labels, np.int32)[None], some[None])["weights_by_step"][0].numpy()
    return path if len(query) else np.broadcast_to(path[:1], path.shape)
