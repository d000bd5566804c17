"""The signatures of a SavedModel: batches of several tenants' episodes in, answers out, clear errors for the rest.

Checks are ops of the graph, so that a server that knows nothing of this project gives the same errors.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sib_tf.config import EpisodeSpec
from sib_tf.datasets import Split
from sib_tf.distributions import MOST_CLASSES
from sib_tf.episodes import EpisodeSampler
from sib_tf.pictures.pixels import fit_stored
from sib_tf.prediction import trained_run
from sib_tf.prediction.models import CONFIG
from sib_tf.prediction.signatures import Signatures
from sib_tf.storage import atomic, digests

NO_CLASS = -1


def write(folder: Path, run: trained_run.Run) -> None:
    """Writes a SavedModel into a new folder, and what it says about itself."""
    ServingSignatures(run.signatures()).archive().write_out(folder, verbose=False)
    description = {**run.description(), "max_support": None, "max_query": None, "precision": "float32"}
    atomic.write_json(folder / CONFIG, {**description, "files": digests.of_folder(folder)})


def example_request(split: Split, spec: EpisodeSpec, size: int, larger: str) -> dict:
    """Returns a body for TF Serving's REST predict call: one 1-shot episode of real pictures, two queries a class."""
    spec = EpisodeSpec(way=spec.way, shot=1, query=min(2, spec.query[1]))
    rows = EpisodeSampler(split.labels, spec, seed=0).sample(1)
    support, query = (split.images[rows] for rows in (rows.support, rows.query))
    inputs = {
        "support_images": fit_stored(support[0], size, larger)[None],
        "support_labels": rows.support_labels,
        "support_mask": rows.support_mask,
        "query_images": fit_stored(query[0], size, larger)[None],
        "query_mask": rows.query_mask,
    }
    return {"signature_name": "serving_default", "inputs": {k: np.asarray(v).tolist() for k, v in inputs.items()}}


class ServingSignatures:
    """`embed`, `adapt`, `classify` and the whole way from pictures to classes, `serving_default`, with checks.

    Args:
        signatures: what to compute.
    """

    def __init__(self, signatures: Signatures):
        self.signatures = signatures
        self.size = signatures.backbone.input_shape[1]
        self.config = signatures.sib.config
        self.way = self.config.fixed_way
        pictures, features = (self.size, self.size, 3), (None, None, self.config.feature_dim)
        rows = (None, None)
        labels = [_spec("support_labels", tf.int32, *rows), _spec("support_mask", tf.bool, *rows)]
        query, query_mask = _spec("query", tf.float32, *features), _spec("query_mask", tf.bool, *rows)
        self.inputs = {
            "serving_default": [
                _spec("support_images", tf.uint8, *rows, *pictures),
                *labels,
                _spec("query_images", tf.uint8, *rows, *pictures),
                query_mask,
            ],
            "embed": [_spec("images", tf.uint8, None, *pictures)],
            "adapt": [_spec("support", tf.float32, *features), *labels, query, query_mask],
            "classify": [query, _spec("weights", tf.float32, None, self.way, signatures.weights_dim)],
        }

    def archive(self) -> keras.export.ExportArchive:
        """Returns the archive, ready to be written, with one endpoint for each signature."""
        archive = keras.export.ExportArchive()
        archive.track(self.signatures.backbone)
        archive.track(self.signatures.sib)
        for name, inputs in self.inputs.items():
            archive.add_endpoint(name, getattr(self, name), inputs)
        return archive

    def serving_default(self, support_images, support_labels, support_mask, query_images, query_mask) -> dict:
        """Pictures `[episodes, rows, size, size, 3]` uint8, labels int32, masks bool -> the queries' classes.

        Returns:
            probabilities: `[episodes, queries, way]` float32; 0 for masked queries.
            predicted_class: `[episodes, queries]` int32; -1 for masked queries.
            confidence: `[episodes, queries]` float32, the probability of that class; 0 for masked queries.
            uncertainty: with samples of a posterior, `[episodes, queries]` float32 nats, as `Signatures.classify`.
        """
        support_images, labels, support_mask, query_images, query_mask = self._checked(
            "serving_default", support_images, support_labels, support_mask, query_images, query_mask
        )
        support, query = self._embed_rows([support_images, query_images])
        weights = self._adapted(support, labels, support_mask, query, query_mask)["weights"]
        result = self.signatures.classify(query, weights)
        counts = tf.cast(query_mask, tf.float32)
        probabilities = result["probabilities"] * counts[..., None]
        return {
            **({"uncertainty": result["uncertainty"] * counts} if self.signatures.samples else {}),
            "probabilities": probabilities,
            "predicted_class": tf.where(query_mask, tf.argmax(probabilities, -1, tf.int32), NO_CLASS),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def embed(self, images) -> dict:
        """Pictures `[pictures, size, size, 3]` uint8 -> features `[pictures, D]`; several tenants' in one batch."""
        (images,) = self._shaped("embed", images)
        with tf.control_dependencies([_assert(tf.shape(images)[0] > 0, "images must hold at least one picture")]):
            return {"features": self.signatures.embed(tf.identity(images))}

    def adapt(self, support, support_labels, support_mask, query, query_mask) -> dict:
        """Features `[episodes, rows, D]` -> weights `[episodes, way, D]` and weights_by_step, as `Signatures.adapt`."""
        return self._adapted(*self._checked("adapt", support, support_labels, support_mask, query, query_mask))

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32.
            predicted_class, confidence: `[episodes, queries]`, as in `serving_default`.
        """
        query, weights = self._shaped("classify", query, weights)
        checks = [
            _check_axes("query", query, "weights", weights, 1),
            _check_finite("query", query),
            _check_finite("weights", weights),
        ]
        with tf.control_dependencies(checks):
            result = self.signatures.classify(tf.identity(query), tf.identity(weights))
        probabilities = result["probabilities"]
        return {
            **result,
            "predicted_class": tf.argmax(probabilities, -1, tf.int32),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def _adapted(self, support, labels, support_mask, query, query_mask) -> dict:
        way = tf.reduce_max(labels) + 1 if self.way is None else self.way
        return self.signatures.adapt(
            _zero_masked(support, support_mask), labels, _zero_masked(query, query_mask), support_mask, query_mask, way
        )

    def _embed_rows(self, images: list) -> list:
        """Embeds all rows in one batch: a convolution of no pictures, where there are no queries, is an error."""
        pictures = [tf.reshape(each, (-1, self.size, self.size, 3)) for each in images]
        features = tf.split(self.signatures.embed(tf.concat(pictures, axis=0)), [tf.shape(x)[0] for x in pictures])
        shapes = [tf.concat([tf.shape(each)[:2], [self.config.feature_dim]], axis=0) for each in images]
        return [tf.reshape(part, shape) for part, shape in zip(features, shapes, strict=True)]

    def _shaped(self, signature: str, *inputs) -> list:
        """Checks shapes in the graph: Python does before a call, a server's session does not and would compute on."""
        return [tf.ensure_shape(value, spec.shape) for spec, value in zip(self.inputs[signature], inputs, strict=True)]

    def _checked(self, signature: str, *inputs) -> list:
        """Returns the five inputs, the labels of masked rows 0, once all checks have passed.

        Nothing may be computed from the inputs themselves: ops run in any order, and a label of 10**9 asks for all the
        memory there is.
        """
        support, labels, support_mask, query, query_mask = self._shaped(signature, *inputs)
        of_support, of_query = (self.inputs[signature][place].name for place in (0, 3))
        rows = [
            _check_axes("support_labels", labels, of_support, support, 2),
            _check_axes("support_mask", support_mask, of_support, support, 2),
            _check_axes("query_mask", query_mask, of_query, query, 2),
            _check_axes(of_query, query, of_support, support, 1),
        ]
        with tf.control_dependencies(rows):
            labels = tf.where(support_mask, labels, 0)
        checks = self._check_labels(labels, support_mask)
        if support.dtype.is_floating:
            with tf.control_dependencies(rows):
                checks += [
                    _check_finite(of_support, _zero_masked(support, support_mask)),
                    _check_finite(of_query, _zero_masked(query, query_mask)),
                ]
        with tf.control_dependencies([*rows, *checks]):
            return [tf.identity(value) for value in (support, labels, support_mask, query, query_mask)]

    def _check_labels(self, labels, mask) -> list:
        some = tf.reduce_all(tf.reduce_any(mask, axis=1)) & (tf.shape(mask)[0] > 0)
        # More classes than rows cannot be: the bound keeps a wild label from asking for all memory.
        way = tf.shape(labels)[1] if self.way is None else self.way
        limit = "there cannot be more classes than support rows" if self.way is None else f"way = {self.way}"
        if self.way is None and self.config.posterior == "gaussian":
            way, limit = tf.minimum(way, MOST_CLASSES), f"{limit}, nor than {MOST_CLASSES}"
        checks = [
            _assert(some, "every episode, at least one, must have at least one row with support_mask True"),
            _assert(
                tf.reduce_all((labels >= 0) & (labels < way)),
                f"support_labels must be in [0, way), and {limit}; lowest and highest given:",
                tf.reduce_min(labels),
                tf.reduce_max(labels),
            ),
        ]
        if self.way is not None:
            with tf.control_dependencies(checks):
                counts = tf.reduce_sum(tf.one_hot(labels, self.way) * tf.cast(mask, tf.float32)[..., None], axis=1)
            message = f"every episode must have a support row of each of {self.way} classes"
            checks.append(_assert(tf.reduce_all(counts > 0), message))
        return checks


def _spec(name: str, dtype: tf.DType, *shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


def _zero_masked(features, mask):
    """Padding may hold anything: 0 * NaN would be NaN."""
    return tf.where(mask[..., None], features, 0.0)


def _assert(holds, message: str, *values):
    return tf.debugging.Assert(holds, [message, *values])


def _check_axes(name: str, values, of: str, others, axes: int):
    """The first axes of two inputs must be the same: 1, episodes, or 2, rows as well."""
    given, wanted = tf.shape(values)[:axes], tf.shape(others)[:axes]
    what = "as many episodes as" if axes == 1 else "the shape [episodes, rows] of"
    return _assert(tf.reduce_all(given == wanted), f"{name} must have {what} {of}; got and expected:", given, wanted)


def _check_finite(name: str, values):
    # The sum: lengths are computed, and above 1.8e19 a float32 square is infinite.
    finite = tf.math.is_finite(tf.reduce_sum(tf.square(values), axis=-1))
    return _assert(tf.reduce_all(finite), f"{name} must be finite; it holds NaN, infinity or numbers near it")
