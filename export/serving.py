"""The signatures of a SavedModel: batches of several tenants' episodes in, answers out, clear errors for the rest.

Checks are ops of the graph, so that a server that knows nothing of this project gives the same errors.
"""

import keras
import tensorflow as tf

from export.signatures import Signatures

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
        self.way = self.config.way if self.config.gradient_network == "joint" else None

    def archive(self) -> keras.export.ExportArchive:
        """Returns the archive, ready to be written, with one endpoint for each signature."""
        archive = keras.export.ExportArchive()
        archive.track(self.signatures.backbone)
        archive.track(self.signatures.sib)
        archive.add_endpoint("serving_default", self.serve, self._serve_inputs())
        archive.add_endpoint("embed", self.embed, [_pictures("images", self.size, 1)])
        archive.add_endpoint("adapt", self.adapt, self._adapt_inputs())
        archive.add_endpoint("classify", self.classify, [self._features("query"), self._features("weights", self.way)])
        return archive

    def serve(self, support_images, support_labels, support_mask, query_images, query_mask) -> dict:
        """Pictures `[episodes, rows, size, size, 3]` uint8, labels int32, masks bool -> the queries' classes.

        Returns:
            probabilities: `[episodes, queries, way]` float32.
            predicted_class: `[episodes, queries]` int32; -1 for masked queries.
            confidence: `[episodes, queries]` float32, the probability of that class; 0 for masked queries.
        """
        checks = [
            *self._check_support(support_images, support_labels, support_mask),
            *_check_rows("query_mask", query_mask, "query_images", query_images),
            *_check_episodes("query_images", query_images, "support_images", support_images),
        ]
        with tf.control_dependencies(checks):
            support, query = self._embed_rows(support_images), self._embed_rows(query_images)
        weights = self._adapted(support, support_labels, support_mask, query, query_mask)["weights"]
        probabilities = self.signatures.classify(query, weights)["probabilities"]
        probabilities *= tf.cast(query_mask, tf.float32)[..., None]
        return {
            "probabilities": probabilities,
            "predicted_class": tf.where(query_mask, tf.argmax(probabilities, -1, tf.int32), NO_CLASS),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def embed(self, images) -> dict:
        """Pictures `[pictures, size, size, 3]` uint8 -> features `[pictures, D]`; several tenants' in one batch."""
        return {"features": self.signatures.embed(images)}

    def adapt(self, support, support_labels, support_mask, query, query_mask) -> dict:
        """Features `[episodes, rows, D]` -> weights `[episodes, way, D]` and weights_by_step, as `Signatures.adapt`."""
        checks = [
            *self._check_support(support, support_labels, support_mask),
            *_check_rows("query_mask", query_mask, "query", query),
            *_check_episodes("query", query, "support", support),
            _check_finite("support", support),
            _check_finite("query", query),
        ]
        with tf.control_dependencies(checks):
            support = tf.identity(support)
        return self._adapted(support, support_labels, support_mask, query, query_mask)

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32.
            predicted_class, confidence: `[episodes, queries]`, as in `serve`.
        """
        checks = [
            *_check_episodes("query", query, "weights", weights),
            _check_finite("query", query),
            _check_finite("weights", weights),
        ]
        with tf.control_dependencies(checks):
            result = self.signatures.classify(tf.identity(query), weights)
        probabilities = result["probabilities"]
        return {
            **result,
            "predicted_class": tf.argmax(probabilities, -1, tf.int32),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def _adapted(self, support, support_labels, support_mask, query, query_mask) -> dict:
        used = tf.where(support_mask, support_labels, 0)
        way = tf.reduce_max(used) + 1 if self.way is None else self.way
        return self.signatures.adapt(support, used, query, support_mask, query_mask, way)

    def _embed_rows(self, images):
        flat = tf.reshape(images, (-1, self.size, self.size, 3))
        shape = tf.concat([tf.shape(images)[:2], [self.config.feature_dim]], axis=0)
        return tf.reshape(self.signatures.embed(flat), shape)

    def _check_support(self, support, labels, mask) -> list:
        """Checks of the labelled rows; the labels' own come after those of their shape."""
        rows = tf.shape(labels)[1]
        shapes = [
            *_check_rows("support_labels", labels, "support", support),
            *_check_rows("support_mask", mask, "support", support),
        ]
        with tf.control_dependencies(shapes):
            used = tf.where(mask, labels, 0)
            some = tf.reduce_all(tf.reduce_any(mask, axis=1))
        # More classes than rows cannot be: the bound keeps a wild label from asking for all memory.
        way = rows if self.way is None else self.way
        checks = [
            _assert(some, "every episode must have at least one row with support_mask True"),
            _assert(
                tf.reduce_all((used >= 0) & (used < way)),
                "support_labels must be in [0, way), way at most the number of support rows "
                f"({'of this model' if self.way is None else self.way}); lowest and highest given:",
                tf.reduce_min(used),
                tf.reduce_max(used),
            ),
        ]
        if self.way is not None:
            with tf.control_dependencies([*shapes, *checks]):
                counts = tf.reduce_sum(tf.one_hot(used, self.way) * tf.cast(mask, tf.float32)[..., None], axis=1)
            checks.append(
                _assert(
                    tf.reduce_all(counts > 0), f"every episode must have a support row of each of {self.way} classes"
                )
            )
        return [*shapes, *checks]

    def _features(self, name: str, rows: int | None = None) -> tf.TensorSpec:
        return tf.TensorSpec((None, rows, self.config.feature_dim), tf.float32, name)

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
    return _assert(tf.reduce_all(tf.math.is_finite(values)), f"{name} must be finite; it holds NaN or infinity")
