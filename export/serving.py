"""The signatures of a SavedModel: batches of several tenants' episodes in, answers out, clear errors for the rest.

Checks are ops of the graph, so that a server that knows nothing of this project gives the same errors.
"""

import keras
import tensorflow as tf

from sib_tf.distributions import MOST_CLASSES
from sib_tf.prediction.signatures import Signatures

NO_CLASS = -1


class ServingSignatures:
    """`embed`, `adapt`, `classify` and the whole way from pictures to classes, with checks.

    Args:
        signatures: what to compute.
    """

    def __init__(self, signatures: Signatures):
        self.signatures = signatures
        self.size = signatures.backbone.input_shape[1]
        self.config = signatures.sib.config
        self.way = self.config.fixed_way

    def archive(self) -> keras.export.ExportArchive:
        """Returns the archive, ready to be written, with one endpoint for each signature."""
        archive = keras.export.ExportArchive()
        archive.track(self.signatures.backbone)
        archive.track(self.signatures.sib)
        archive.add_endpoint("serving_default", self.serve, self._serve_inputs())
        archive.add_endpoint("embed", self.embed, [_pictures("images", self.size, 1)])
        archive.add_endpoint("adapt", self.adapt, self._adapt_inputs())
        archive.add_endpoint("classify", self.classify, self._classify_inputs())
        return archive

    def serve(self, support_images, support_labels, support_mask, query_images, query_mask) -> dict:
        """Pictures `[episodes, rows, size, size, 3]` uint8, labels int32, masks bool -> the queries' classes.

        Returns:
            probabilities: `[episodes, queries, way]` float32; 0 for masked queries.
            predicted_class: `[episodes, queries]` int32; -1 for masked queries.
            confidence: `[episodes, queries]` float32, the probability of that class; 0 for masked queries.
            uncertainty: with samples of a posterior, `[episodes, queries]` float32 nats, as `Signatures.classify`.
        """
        support_images, labels, support_mask, query_images, query_mask = self._checked(
            self._serve_inputs(), support_images, support_labels, support_mask, query_images, query_mask
        )
        support, query = self._embed_rows(support_images, query_images)
        weights = self._adapted(support, labels, support_mask, query, query_mask)["weights"]
        result = self.signatures.classify(query, weights)
        counts = tf.cast(query_mask, tf.float32)
        probabilities = result["probabilities"] * counts[..., None]
        uncertainty = {"uncertainty": result["uncertainty"] * counts} if self.signatures.samples else {}
        return {
            **uncertainty,
            "probabilities": probabilities,
            "predicted_class": tf.where(query_mask, tf.argmax(probabilities, -1, tf.int32), NO_CLASS),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def embed(self, images) -> dict:
        """Pictures `[pictures, size, size, 3]` uint8 -> features `[pictures, D]`; several tenants' in one batch."""
        (images,) = _shaped([_pictures("images", self.size, 1)], images)
        with tf.control_dependencies([_assert(tf.shape(images)[0] > 0, "images must hold at least one picture")]):
            return {"features": self.signatures.embed(tf.identity(images))}

    def adapt(self, support, support_labels, support_mask, query, query_mask) -> dict:
        """Features `[episodes, rows, D]` -> weights `[episodes, way, D]` and weights_by_step, as `Signatures.adapt`."""
        inputs = self._checked(self._adapt_inputs(), support, support_labels, support_mask, query, query_mask)
        return self._adapted(*inputs)

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32.
            predicted_class, confidence: `[episodes, queries]`, as in `serve`.
        """
        query, weights = _shaped(self._classify_inputs(), query, weights)
        checks = [
            *_check_episodes("query", query, "weights", weights),
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

    def _embed_rows(self, support_images, query_images) -> list:
        """Embeds all rows in one batch: a convolution of no pictures, where there are no queries, is an error."""
        rows = [tf.reshape(images, (-1, self.size, self.size, 3)) for images in (support_images, query_images)]
        features = tf.split(self.signatures.embed(tf.concat(rows, axis=0)), [tf.shape(part)[0] for part in rows])
        shapes = [
            tf.concat([tf.shape(x)[:2], [self.config.feature_dim]], axis=0) for x in (support_images, query_images)
        ]
        return [tf.reshape(part, shape) for part, shape in zip(features, shapes, strict=True)]

    def _checked(self, specs: list[tf.TensorSpec], *inputs) -> list:
        """Returns the five inputs, the labels of masked rows 0, once all checks have passed.

        Nothing may be computed from the inputs themselves: ops run in any order, and a label of 10**9 asks for all the
        memory there is.
        """
        support, labels, support_mask, query, query_mask = _shaped(specs, *inputs)
        of_support, of_query = specs[0].name, specs[3].name
        rows = [
            *_check_rows("support_labels", labels, of_support, support),
            *_check_rows("support_mask", support_mask, of_support, support),
            *_check_rows("query_mask", query_mask, of_query, query),
            *_check_episodes(of_query, query, of_support, support),
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

    def _features(self, name: str) -> tf.TensorSpec:
        return tf.TensorSpec((None, None, self.config.feature_dim), tf.float32, name)

    def _classify_inputs(self) -> list[tf.TensorSpec]:
        weights = tf.TensorSpec((None, self.way, self.signatures.weights_dim), tf.float32, "weights")
        return [self._features("query"), weights]

    def _adapt_inputs(self) -> list[tf.TensorSpec]:
        return [self._features("support"), *_labels(), self._features("query"), _mask("query_mask")]

    def _serve_inputs(self) -> list[tf.TensorSpec]:
        size = self.size
        return [
            _pictures("support_images", size),
            *_labels(),
            _pictures("query_images", size),
            _mask("query_mask"),
        ]


def _pictures(name: str, size: int, row_axes: int = 2) -> tf.TensorSpec:
    return tf.TensorSpec((None,) * row_axes + (size, size, 3), tf.uint8, name)


def _mask(name: str) -> tf.TensorSpec:
    return tf.TensorSpec((None, None), tf.bool, name)


def _labels() -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None, None), tf.int32, "support_labels"), _mask("support_mask")]


def _shaped(specs: list[tf.TensorSpec], *inputs) -> list:
    """Checks shapes in the graph: Python does before a call, a server's session does not and would compute on."""
    return [tf.ensure_shape(value, spec.shape) for spec, value in zip(specs, inputs, strict=True)]


def _zero_masked(features, mask):
    """Padding may hold anything: 0 * NaN would be NaN."""
    return tf.where(mask[..., None], features, 0.0)


def _assert(holds, message: str, *values):
    return tf.debugging.Assert(holds, [message, *values])


def _check_rows(name: str, values, of: str, features) -> list:
    """`values` must be `[episodes, rows]` of `features`."""
    given, wanted = tf.shape(values), tf.shape(features)[:2]
    message = f"{name} must have the shape [episodes, rows] of {of}; got and expected:"
    return [_assert(tf.reduce_all(given == wanted), message, given, wanted)]


def _check_episodes(name: str, values, of: str, others) -> list:
    given, wanted = tf.shape(values)[0], tf.shape(others)[0]
    return [_assert(given == wanted, f"{name} must have as many episodes as {of}; got and expected:", given, wanted)]


def _check_finite(name: str, values):
    # The sum: lengths are computed, and above 1.8e19 a float32 square is infinite.
    finite = tf.math.is_finite(tf.reduce_sum(tf.square(values), axis=-1))
    return _assert(tf.reduce_all(finite), f"{name} must be finite; it holds NaN, infinity or numbers near it")
