"""What every exported file computes: embed, adapt, classify. Keras models in, TensorFlow functions out; no checks.

The K steps are those of `sib_tf.sib.SIB`. A class whose weights are all zero has no labelled picture: it gets no
probability, so that `classify` needs no mask beside the weights.
"""

import keras
import tensorflow as tf

from sib_tf.sib import SIB


class Signatures:
    """The three computations of one backbone and the SIB model that was meta-trained on its features.

    Args:
        backbone: from `sib_tf.backbones`.
        sib: takes the backbone's features.
    """

    def __init__(self, backbone: keras.Model, sib: SIB):
        self.backbone, self.sib = backbone, sib

    def embed(self, images) -> tf.Tensor:
        """`[pictures, size, size, 3]` (RGB, 0-255) -> features `[pictures, D]` float32."""
        return self.backbone(tf.cast(images, tf.float32), training=False)

    def adapt(self, support, support_labels, query, support_mask=None, query_mask=None, way=None) -> dict:
        """The K steps; arguments as for `SIB.adapt`.

        Returns:
            weights: `[episodes, way, D]`, theta^K.
            weights_by_step: `[episodes, K + 1, way, D]`, theta^0 .. theta^K.
        """
        path, _ = self.sib.adapt(support, support_labels, query, support_mask, query_mask, way)
        return {"weights": path[-1], "weights_by_step": tf.stack(path, axis=1)}

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32; probability 0 for classes with weights of zero.
        """
        logits = self.sib.classify(weights, query, tf.reduce_any(weights != 0, axis=-1))
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}
