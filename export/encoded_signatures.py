"""Signatures for encoded pictures, and for a client that learns once and classifies many times.

Masks are int32 here, 0 or 1: JSON knows no other numbers, and TF Serving's REST takes true and false alone for bool.
"""

import keras
import tensorflow as tf

from export import encoded_pictures
from export.serving import ServingSignatures, spec
from export.serving_checks import as_mask, check, check_axes, check_weights
from sib_tf.estimator import saved_file


class EncodedSignatures:
    """`serving_encoded`, `embed_encoded`, `learn`, `learn_encoded`, `classify_encoded` and `head`.

    Their names of inputs that hold files end in _bytes, as TF Serving wants names of what is base64 in JSON.

    Args:
        serving: the signatures for pixels and features.
        head: the bytes of a .tflite file of the head alone, which `SIBClassifier` takes; None: no `head`.
        backbone: name of what makes the features, as it stands in saved classifiers.
    """

    def __init__(self, serving: ServingSignatures, head: bytes | None, backbone: str):
        self.serving, self.checks = serving, serving.checks
        self.size, self._head, self._backbone = serving.size, head, backbone
        rows = (None, None)
        features = (*rows, serving.config.feature_dim)
        labels = [spec("support_labels", tf.int32, *rows), spec("support_mask", tf.int32, *rows)]
        query_mask = spec("query_mask", tf.int32, *rows)
        query = spec("query_image_bytes", tf.string, *rows)
        episode = [spec("support_image_bytes", tf.string, *rows), *labels, query, query_mask]
        of_features = [spec("support", tf.float32, *features), *labels, spec("query", tf.float32, *features)]
        weights = spec("weights", tf.float32, None, serving.way, serving.signatures.weights_dim)
        self.inputs = {
            "serving_encoded": episode,
            "embed_encoded": [spec("image_bytes", tf.string, None)],
            "learn": [*of_features, query_mask],
            "learn_encoded": episode,
            "classify_encoded": [query, query_mask, weights],
            **({} if head is None else {"head": [spec("sib_format", tf.int32)]}),
        }

    def add_to(self, archive: keras.export.ExportArchive) -> None:
        """Adds an endpoint for each signature."""
        for name, inputs in self.inputs.items():
            archive.add_endpoint(name, getattr(self, name), inputs)

    def serving_encoded(self, support_image_bytes, support_labels, support_mask, query_image_bytes, query_mask) -> dict:
        """As `serving_default`, of files `[episodes, rows]` string; those of masked rows are not looked at."""
        support, labels, support_mask, query, query_mask = self._embedded_episode(
            "serving_encoded", support_image_bytes, support_labels, support_mask, query_image_bytes, query_mask
        )
        weights = self.serving.adapted(support, labels, support_mask, query, query_mask)["weights"]
        return self.serving.answers(query, weights, query_mask)

    def embed_encoded(self, image_bytes) -> dict:
        """Files `[pictures]` string -> features `[pictures, D]`."""
        (contents,) = self.checks.shaped(self.inputs["embed_encoded"], image_bytes)
        with tf.control_dependencies([check(tf.size(contents) > 0, "image_bytes must hold at least one picture")]):
            contents = tf.identity(contents)
        places = tf.range(tf.shape(contents, tf.int64)[0])[:, None]
        pictures = encoded_pictures.decoded("image_bytes", contents, places, self.size)
        return {"features": self.serving.embedded(pictures)}

    def learn(self, support, support_labels, support_mask, query, query_mask) -> dict:
        """Features, as of `adapt` -> weights `[episodes, 2, way, weights_dim]`, before and after the steps."""
        inputs = support, support_labels, support_mask, query, query_mask
        return {"weights": self._learned(*self.checks.episode(self.inputs["learn"], *inputs))}

    def learn_encoded(self, support_image_bytes, support_labels, support_mask, query_image_bytes, query_mask) -> dict:
        """Files `[episodes, rows]` string -> what a saved classifier holds.

        Returns:
            weights: `[episodes, 2, way, weights_dim]` float32, before and after the steps.
            support, query: the pictures' features `[episodes, rows, D]` float32; 0 for masked rows.
        """
        episode = self._embedded_episode(
            "learn_encoded", support_image_bytes, support_labels, support_mask, query_image_bytes, query_mask
        )
        return {"weights": self._learned(*episode), "support": episode[0], "query": episode[3]}

    def classify_encoded(self, query_image_bytes, query_mask, weights) -> dict:
        """Files `[episodes, queries]` string under weights `[episodes, way, weights_dim]`, the latter of `learn`'s.

        Returns as `serving_default`.
        """
        query, mask, weights = self.checks.shaped(
            self.inputs["classify_encoded"], query_image_bytes, query_mask, weights
        )
        checks = [
            check_axes("query_mask", mask, "query_image_bytes", query, 2),
            check_axes("query_image_bytes", query, "weights", weights, 1),
            *check_weights(weights),
        ]
        with tf.control_dependencies(checks):
            query, mask, weights = tf.identity(query), as_mask("query_mask", mask), tf.identity(weights)
        (features,) = self._embedded({"query_image_bytes": (query, mask)})
        return self.serving.answers(features, weights, mask)

    def head(self, sib_format) -> dict:
        """What else a saved classifier of format `sib_format`, int32, holds.

        Returns:
            head_bytes: string, a .tflite file of the head alone.
            backbone: string, the name of what makes the features.
        """
        (sib_format,) = self.checks.shaped(self.inputs["head"], sib_format)
        message = f"sib_format must be {saved_file.FORMAT}, the format of saved classifiers that this model knows; got:"
        with tf.control_dependencies([check(sib_format == saved_file.FORMAT, message, sib_format)]):
            return {"head_bytes": tf.constant(self._head), "backbone": tf.constant(self._backbone)}

    def _learned(self, support, labels, support_mask, query, query_mask) -> tf.Tensor:
        path = self.serving.adapted(support, labels, support_mask, query, query_mask)["weights_by_step"]
        return tf.stack([path[:, 0], path[:, -1]], axis=1)

    def _embedded_episode(self, signature: str, *inputs) -> list:
        """The checked episode, features in place of files."""
        support, labels, support_mask, query, query_mask = self.checks.episode(self.inputs[signature], *inputs)
        files = {"support_image_bytes": (support, support_mask), "query_image_bytes": (query, query_mask)}
        support, query = self._embedded(files)
        return [support, labels, support_mask, query, query_mask]

    def _embedded(self, files: dict[str, tuple]) -> list:
        """Features `[episodes, rows, D]` of files and their masks, by name; of masked rows 0. One batch for all."""
        places = [tf.where(mask) for _, mask in files.values()]
        pictures = [
            encoded_pictures.decoded(name, tf.gather_nd(contents, place), place, self.size)
            for (name, (contents, _)), place in zip(files.items(), places, strict=True)
        ]
        features = tf.split(self._features(tf.concat(pictures, axis=0)), [tf.shape(x)[0] for x in pictures])
        dim = [self.serving.config.feature_dim]
        shapes = [tf.concat([tf.shape(mask, tf.int64), dim], axis=0) for _, mask in files.values()]
        return [tf.scatter_nd(*parts) for parts in zip(places, features, shapes, strict=True)]

    def _features(self, pictures) -> tf.Tensor:
        """A convolution of no pictures is an error."""
        nothing = tf.zeros((0, self.serving.config.feature_dim))
        return tf.cond(tf.shape(pictures)[0] > 0, lambda: self.serving.embedded(pictures), lambda: nothing)
