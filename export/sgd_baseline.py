"""The usual way to learn classes on a device, for comparison: SGD on the labelled pictures, a step a call."""

import keras
import tensorflow as tf

from export import conversion
from sib_tf.layers import unit


def convert(way: int, feature_dim: int, logit_scale: float, learning_rate: float = 0.1) -> bytes:
    """Returns a LiteRT file with the signature `step`: one step of SGD on the cross-entropy of a cosine classifier.

    Its inputs are weights `[way, D]`, support `[way, D]` (one picture of each class) and support_labels `[way]`; its
    output is weights `[way, D]`.
    """

    def step(weights, support, support_labels):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = logit_scale * tf.matmul(unit(support), unit(weights), transpose_b=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(support_labels, logits))
        return {"weights": weights - learning_rate * tape.gradient(loss, weights)}

    rows = (way, feature_dim)
    specs = [tf.TensorSpec(rows, tf.float32, "weights"), tf.TensorSpec(rows, tf.float32, "support")]
    archive = keras.export.ExportArchive()
    archive.add_endpoint("step", step, [*specs, tf.TensorSpec((way,), tf.int32, "support_labels")])
    return conversion.from_archive(archive, ["step"])
