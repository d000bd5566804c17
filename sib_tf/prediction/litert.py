"""Runs an exported .tflite file on the device: NumPy, Pillow and ai_edge_litert are enough, no TensorFlow, no Keras.

classifier = LiteRTClassifier("model.tflite")
classifier.fit(images, labels, unlabelled)
classifier.predict(unlabelled)
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from sib_tf.errors import InputError
from sib_tf.pictures.pixels import fit_picture, read_picture
from sib_tf.prediction import open_set
from sib_tf.prediction.model import HEAD_SIGNATURES, SIGNATURES, Model
from sib_tf.runtime import quiet
from sib_tf.storage import sealed_json

METADATA = "sib_tf.json"
_MOST_METADATA = 1 << 20
# Pictures whose features a classifier remembers: a camera's would fill the memory.
_KEPT = 10_000


def read_metadata(path: str | os.PathLike, content: bytes | None = None) -> dict:
    """Returns the description inside a .tflite file: a ZIP archive behind the model, as LiteRT metadata always are.

    With `content`, the file's bytes, `path` is for errors only.

    Raises:
        InputError: the file is missing or damaged, or has no such description.
    """
    try:
        with zipfile.ZipFile(path if content is None else io.BytesIO(content)) as archive:
            model_size = min(entry.header_offset for entry in archive.infolist())
            if archive.getinfo(METADATA).file_size > _MOST_METADATA:
                raise ValueError(f"{METADATA} is too large")
            description = sealed_json.loads(archive.read(METADATA))
        if not isinstance(description, dict):
            raise ValueError(f"{METADATA} must be an object")
        with Path(path).open("rb") if content is None else io.BytesIO(content) as file:
            digest = hashlib.sha256(file.read(model_size)).hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except Exception as error:  # zipfile and json raise whatever the broken bytes lead them to.
        raise InputError(f"{path} is not a file of export.tflite, or is damaged; export it again.") from error
    # The interpreter checks the structure only: broken weights would give wrong answers, and a broken structure may end
    # the process.
    if description.get("model_sha256", digest) != digest:
        raise InputError(f"{path} is damaged (its checksum differs); copy it or export it again.")
    return description


class LiteRTModel(Model):
    """The signatures of an exported file on NumPy arrays, one episode at a time; pads where the file is static.

    Args:
        path: the .tflite file.
        num_threads: of the interpreter.
        content: the file's bytes, where they lie in memory; `path` is for errors only then.

    Raises:
        InputError: the file is missing or damaged, or no export of this version or an earlier one.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int = 1, content: bytes | None = None):
        super().__init__(path, read_metadata(path, content))
        # A static file takes one picture at a time.
        self._batch = 32 if self.max_query is None else 1
        signatures = HEAD_SIGNATURES if self.description["head_only"] else SIGNATURES
        try:
            with quiet():
                model = {"model_path": str(path)} if content is None else {"model_content": content}
                self._interpreter = Interpreter(**model, num_threads=num_threads)
                self._interpreter.allocate_tensors()
                self._runners = {name: self._interpreter.get_signature_runner(name) for name in signatures}
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path} is damaged ({str(error)[:120]}); export it again.") from error
        self._types = {
            name: {key: details["dtype"] for key, details in runner.get_input_details().items()}
            for name, runner in self._runners.items()
        }

    def _run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        # Files of any size take no masks; the others take them, and pictures, as float32.
        taken = {name: inputs[name].astype(dtype, copy=False) for name, dtype in self._types[signature].items()}
        return self._runners[signature](**taken)


class LiteRTClassifier:
    """Learns classes on the device, in scikit-learn's manners. The embeddings of the latest 10,000 pictures are kept.

    Pictures are paths, Pillow images or uint8 arrays `[height, width, 3]` (RGB) of any size: the middle square counts,
    scaled as in training. A file of the head alone takes features `[pictures, D]` float32 wherever pictures are taken.

    Args:
        path: a file of `export.tflite`.
        num_threads: of the interpreter.

    Attributes:
        classes_: `[way]`, the labels given to `fit`, sorted.
        weights_by_step_: `[K + 1, way, D]` float32, the classifier after every step.
    """

    def __init__(self, path: str | os.PathLike, num_threads: int = 1):
        self.model = LiteRTModel(path, num_threads)
        self._features: dict[bytes, np.ndarray] = {}

    def fit(self, images: Sequence, labels: Sequence[str | int], unlabelled: Sequence = ()) -> "LiteRTClassifier":
        """Learns the classes of `labels` from labelled pictures and as many unlabelled ones as there are.

        The more of the pictures to be predicted are among `unlabelled`, the better; without any, the classifier is
        nearest prototypes.

        Raises:
            InputError: no pictures, labels of another number or of mixed kinds, or more than the file takes.
        """
        if len(images) == 0:
            raise InputError("images must hold at least one labelled picture of each class; got none.")
        if len(images) != len(labels):
            raise InputError(f"labels must be as many as images ({len(images)}); got {len(labels)}.")
        classes, numbers = np.unique(_label_array(labels), return_inverse=True)
        features = self._features_of(images)
        others = self._features_of(unlabelled) if len(unlabelled) else features[:0]
        weights = self.model.adapt(features, numbers, others)
        logits = self.model.classify(others if len(others) else features, weights[0])[0]
        self._dim = features.shape[1]
        # All or, after an error, none: an earlier fit stays whole.
        self.classes_, self.weights_by_step_, self._centre = classes, weights, open_set.centre(logits)
        return self

    def known_proba(self, images: Sequence) -> np.ndarray:
        """Returns `[pictures]`, the probabilities that pictures are of one of the classes at all.

        Raises:
            InputError: the model was not fitted to tell, or `fit` was not called.
        """
        fitted = self.model.description.get("known")
        if fitted is None:
            raise InputError("The file cannot tell; fit the model with train.calibrate, and export it again.")
        if not hasattr(self, "weights_by_step_"):
            raise InputError("fit must be called before known_proba.")
        logits = self.model.classify(self._features_of(images), self.weights_by_step_[0])[0]
        return open_set.probability(open_set.score(logits, self._centre), fitted)

    def predict_proba(self, images: Sequence, step: int | None = None) -> np.ndarray:
        """Returns probabilities `[pictures, way]` after `step` of the K steps (None: all of them)."""
        if not hasattr(self, "weights_by_step_"):
            raise InputError("fit must be called before predict.")
        step = self.model.num_steps if step is None else step
        if not isinstance(step, Integral) or not 0 <= step <= self.model.num_steps:
            raise InputError(f"step must be a whole number in [0, {self.model.num_steps}]; got {step}.")
        return self.model.classify(self._features_of(images), self.weights_by_step_[step])[1]

    def predict(self, images: Sequence, step: int | None = None) -> np.ndarray:
        """Returns the label of the most probable class for every picture."""
        numbers = self.predict_proba(images, step).argmax(axis=1)
        return self.classes_[numbers]

    def embed(self, images: Sequence) -> np.ndarray:
        """Returns the pictures' features `[pictures, D]` float32; no picture that is remembered is embedded again.

        Raises:
            InputError: something is no picture, or the file has the head alone.
        """
        pixels = [self._pixels(image) for image in images]
        keys = [hashlib.sha256(picture).digest() for picture in pixels]
        new = {key: picture for key, picture in zip(keys, pixels, strict=True) if key not in self._features}
        if new:
            self._features.update(zip(new, self.model.embed(np.stack(list(new.values()))), strict=True))
        if not keys:
            return np.zeros((0, self.model.description["feature_dim"] or self._dim), np.float32)
        features = np.stack([self._features[key] for key in keys])
        for key in keys:
            self._features[key] = self._features.pop(key)  # The latest come last.
        for key in list(self._features)[:-_KEPT]:
            del self._features[key]
        return features

    def _features_of(self, images: Sequence) -> np.ndarray:
        """Features of pictures; what a file of the head alone is given are features, which `Model` checks."""
        return np.asarray(images) if self.model.description["head_only"] and len(images) else self.embed(images)

    def _pixels(self, image) -> np.ndarray:
        size = self.model.image_size
        if isinstance(image, str | os.PathLike):
            return read_picture(image, size)
        if not isinstance(image, Image.Image):
            array = np.asarray(image)
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
                raise InputError(
                    f"images must be paths, Pillow images or uint8 [height, width, 3]; got {array.dtype} {array.shape}."
                )
            image = Image.fromarray(array)
        return fit_picture(image, size)


def _label_array(labels: Sequence) -> np.ndarray:
    # NumPy would turn numbers beside text into text.
    for kind in (str, Integral):
        if all(isinstance(label, kind) for label in labels):
            return np.asarray(list(labels))
    raise InputError("labels must be text for every picture, or whole numbers for every picture.")
