"""theta^0: a classifier from the labelled rows, before any step."""

import keras
from keras import ops

from sib_tf.layers import unit


@keras.saving.register_keras_serializable("sib_tf")
class InitializationNetwork(keras.layers.Layer):
    """theta^0_c = a * mean over the support of class c of z / |z|, with a learned vector a, at first 1.

    Built for features of any length (D of None), a is one number. Not normalised again (released code). The class of a
    masked row does not count; a class without rows gets 0.

    From features `[episodes, support_rows, D]` float32 and their `membership` `[episodes, support_rows, way]`, one-hot
    rows of which a masked one is 0, to `[episodes, way, D]`.
    """

    def build(self, support_shape, membership_shape=None):
        shape = support_shape[-1:] if support_shape[-1] else ()
        self.feature_scale = self.add_weight(name="feature_scale", shape=shape, initializer="ones")

    def call(self, support, membership):
        counts = ops.maximum(ops.sum(membership, axis=1), 1.0)[..., None]
        return self.feature_scale * ops.matmul(ops.swapaxes(membership, 1, 2), unit(support)) / counts
