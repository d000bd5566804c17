"""What every exported file computes: embed, adapt, classify. Keras models in, TensorFlow functions out; no checks.

The K steps are those of `sib_tf.sib.SIB`. A class whose weights are all zero has no labelled picture: it gets no
probability, so that `classify` needs no mask beside the weights. The length of a class's weights means nothing to a
cosine classifier; with a calibration it carries the episode's temperature, as 1 / T, from `adapt` to `classify`.
"""

import keras
import tensorflow as tf

from sib_tf.calibration import Calibration
from sib_tf.layers import norm, unit
from sib_tf.sib import SIB


class Signatures:
    """The three computations of one backbone and the SIB model that was meta-trained on its features.

    Args:
        backbone: from `sib_tf.backbones`.
        sib: takes the backbone's features.
        calibration: makes the probabilities mean what they say; None: they are the softmax of the logits.
    """

    def __init__(self, backbone: keras.Model, sib: SIB, calibration: Calibration | None = None):
        self.backbone, self.sib, self.calibration = backbone, sib, calibration

    def embed(self, images) -> tf.Tensor:
        """`[pictures, size, size, 3]` (RGB, 0-255) -> features `[pictures, D]` float32."""
        return self.backbone(tf.cast(images, tf.float32), training=False)

    def adapt(self, support, support_labels, query, support_mask=None, query_mask=None, way=None) -> dict:
        """The K steps; arguments as for `SIB.adapt`.

        Returns:
            weights: `[episodes, way, D]`, theta^K.
            weights_by_step: `[episodes, K + 1, way, D]`, theta^0 .. theta^K; with a calibration all of length 1 / T.
        """
        path, class_mask = self.sib.adapt(support, support_labels, query, support_mask, query_mask, way)
        path = [self.sib.mean_weights(theta) for theta in path]
        if self.calibration is not None:
            logits = [self.sib.weights_logits(weights, query, class_mask) for weights in path]
            temperatures = [self.calibration.temperature(x, step, query_mask) for step, x in enumerate(logits)]
            path = [unit(weights) / t[:, None, None] for weights, t in zip(path, temperatures, strict=True)]
        return {"weights": path[-1], "weights_by_step": tf.stack(path, axis=1)}

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32; probability 0 for classes with weights of zero.
        """
        logits = self.sib.weights_logits(weights, query, tf.reduce_any(weights != 0, axis=-1))
        if self.calibration is None:
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}
        # Classes without weights have length 0, the others all the same.
        inverse = tf.reduce_max(norm(weights), axis=1, keepdims=True)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits * inverse)}
