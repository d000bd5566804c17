"""Layers and arithmetic that backbones, pre-training and SIB share."""

from typing import NamedTuple

import keras
import tensorflow as tf
from keras import ops

# |v| is bounded below by this, as in the released code; squared where the square is what is bounded.
_TINY = 1e-12


def norm(vectors):
    """Euclidean length along the last axis, at least 1e-12: `[..., D]` -> `[..., 1]`."""
    if vectors.shape[-1] is None:  # In files for features of any length: LiteRT's sums are fast.
        squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    else:
        # A sum as a matrix product: on CPUs XLA adds the terms of a sum one by one, those of a product many at a time.
        squared = times(ops.square(vectors), ops.ones((vectors.shape[-1], 1), dtype=vectors.dtype))
    # The bound is inside the root, so that the gradient at a zero vector is zero and not NaN.
    return ops.sqrt(ops.maximum(squared, _TINY**2))


def times(x, matrix):
    """The product of `[..., n]` and `[n, m]`: `[..., m]`."""
    if x.shape[0] == 1 and None in x.shape:
        # Files take one episode of any number of rows: as a batch of products it needs no arithmetic on shapes.
        return tf.matmul(x, matrix)
    return ops.matmul(x, matrix)


def dense(layer: keras.layers.Dense, x):
    """`layer(x)`, with the product of `times`."""
    return layer.activation(times(x, layer.kernel) + layer.bias)


def unit(vectors):
    """Divides vectors by their length: `[..., D]` -> `[..., D]`; zero stays zero."""
    return vectors / norm(vectors)


@keras.saving.register_keras_serializable("sib_tf")
class CosineClassifier(keras.layers.Layer):
    """Linear classifier on unit features with unit weights and a learned scale, for pre-training.

    logits[i, c] = scale * <features[i] / |features[i]|, weights[c] / |weights[c]|>; no bias (released code).

    From features `[pictures, D]` float32 to logits `[pictures, classes]`. The scale starts at `initial_scale`, which is
    10 in the released code.
    """

    def __init__(self, classes: int, initial_scale: float = 10.0, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes
        self.initial_scale = initial_scale

    def build(self, input_shape):
        normal, scale = keras.initializers.RandomNormal(stddev=1), keras.initializers.Constant(self.initial_scale)
        self.kernel = self.add_weight(name="kernel", shape=(self.classes, input_shape[-1]), initializer=normal)
        self.scale = self.add_weight(name="scale", shape=(), initializer=scale)

    def call(self, features):
        return self.scale * ops.matmul(unit(features), ops.transpose(unit(self.kernel)))

    def get_config(self):
        return {**super().get_config(), "classes": self.classes, "initial_scale": self.initial_scale}


@keras.saving.register_keras_serializable("sib_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation of pictures, with scale and offset, by TensorFlow's fused kernel while training.

    Ours, because Keras 3 computes the moments and the result in separate passes: in conv4 the fused kernel takes a
    third of the time. Its moving variance is the unbiased one, as PyTorch's is. Inference is Keras's own. Replicas of
    `tf.distribute` share their statistics, so that the result is the whole batch's, however many there are.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        # The kernel takes half-precision pictures, and its statistics are float32 always.
        gamma, beta = ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32")
        replica = tf.distribute.get_replica_context()
        if replica and replica.num_replicas_in_sync > 1:
            outputs, mean, variance = self._normalized_together(inputs, gamma, beta, replica)
        else:
            outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                inputs, gamma, beta, epsilon=self.epsilon, is_training=True
            )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + ops.cast(batch, moving.dtype) * (1.0 - self.momentum))
        return outputs

    def _normalized_together(self, inputs, gamma, beta, replica):
        """What the fused kernel returns of the batch of all replicas. Keras's `synchronized` keeps biased variances."""
        x = ops.cast(inputs, "float32")
        rows = ops.cast(ops.prod(ops.shape(x)[:3]) * replica.num_replicas_in_sync, "float32")
        mean = replica.all_reduce("SUM", ops.sum(x, axis=(0, 1, 2))) / rows
        variance = replica.all_reduce("SUM", ops.sum(ops.square(x - mean), axis=(0, 1, 2))) / rows
        outputs = (x - mean) * ops.rsqrt(variance + self.epsilon) * gamma + beta
        return ops.cast(outputs, inputs.dtype), mean, variance * rows / (rows - 1)


@keras.saving.register_keras_serializable("sib_tf")
class EpisodeNormalization(keras.layers.Layer):
    """Batch normalisation with the statistics of each episode alone, always: transductive and stateless.

    The mean and (biased) variance of every channel are taken over all unmasked rows of an episode. With one episode
    per batch and no mask this is what the released code's `BatchNorm1d` computes, there over whole batches. Masked
    rows get values too, which mean nothing; no other row depends on them. `epsilon`, 1e-5 as in the released code, is
    added to the variance.

    Call arguments:
        x: `[episodes, ..., channels]` float32; the axes between are rows of one episode.
        row_mask: broadcastable to `x.shape[:-1]`, 1 or True for rows that count; None: all count.

    Returns:
        float32, shape of `x`.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, x_shape, row_mask_shape=None):
        channels = (x_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=channels, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=channels, initializer="zeros")

    def call(self, x, row_mask=None):
        # Copies: a function with a gradient of its own takes tensors.
        return normalized(x, row_weights(x, row_mask), ops.copy(self.gamma), ops.copy(self.beta), self.epsilon)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


def row_weights(x, row_mask=None):
    """What each row of `x` `[episodes, ..., channels]` counts for in a mean over its episode's: `[episodes, ..., 1]`.

    `row_mask` as for `EpisodeNormalization`. They add up to 1, or to 0 where no row counts.
    """
    rows = ops.ones_like(x[..., :1])
    if row_mask is not None:
        mask = ops.expand_dims(ops.cast(row_mask, x.dtype), -1)
        rows = mask if mask.shape == rows.shape else rows * mask
    return rows / ops.maximum(ops.sum(rows, axis=tuple(range(1, len(x.shape))), keepdims=True), 1.0)


def normalized(x, weights, scale, shift, epsilon: float):
    """scale * xhat + shift: normalisation over weighted rows, as `EpisodeNormalization` does it.

    Its gradient is in closed form, fewer operations than a tape records: with weights w that add up to 1, the gradient
    g of the result becomes, for x, scale / deviation * (g - w * (sum g + xhat * sum (g * xhat))); w gets none.

    Args:
        x: `[episodes, ..., channels]` float32.
        weights: of `row_weights`.
        scale, shift: `[channels]`, or each episode's own, `[episodes, 1, ..., 1, channels]`.
        epsilon: added to the variance.
    """
    return _normalized(epsilon)(x, weights, scale, shift)


def _normalized(epsilon: float):
    @ops.custom_gradient
    def normalized(x, weights, scale, shift):
        rows = tuple(range(1, len(x.shape) - 1))
        centred = x - ops.sum(weights * x, axis=rows, keepdims=True)
        inverse = ops.rsqrt(ops.sum(weights * ops.square(centred), axis=rows, keepdims=True) + epsilon)

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            unscaled = centred * inverse
            total, along = _row_sums(upstream), _row_sums(upstream * unscaled)
            to_x = scale * inverse * (upstream - weights * (total + unscaled * along))
            if len(scale.shape) == 1:  # Of all episodes.
                total, along = (ops.sum(each, axis=(0, *rows)) for each in (total, along))
            return to_x, ops.zeros_like(weights), along, total

        # The small factors first: rows are many.
        return centred * (inverse * scale) + shift, gradient

    return normalized


def _row_sums(x):
    """Sums over all axes but the first and the last, which stay with length 1, as matrix products: see `norm`."""
    flat = ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))
    sums = ops.matmul(ops.swapaxes(ops.ones_like(flat[..., :1]), 1, 2), flat)
    return ops.reshape(sums, (-1, *(1,) * (len(x.shape) - 2), x.shape[-1]))


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
        counts = ops.expand_dims(ops.maximum(ops.sum(membership, axis=1), 1.0), -1)
        return self.feature_scale * ops.matmul(ops.swapaxes(membership, 1, 2), unit(support)) / counts


class UnitRows(NamedTuple):
    """Features of unit length, twice.

    Every step multiplies the same rows twice: along the features (logits) and along the pictures (J^T g), and the
    gradients of both do the other. CPUs want the right factor of a product as it lies in memory, so that the rows are
    kept in both orders, and each product has a gradient that uses the order it needs.

    Attributes:
        rows: `[episodes, n, D]` float32.
        columns: `[episodes, D, n]` float32, the same numbers.
    """

    rows: object
    columns: object

    def repeated(self, times: int) -> "UnitRows":
        """Every episode `times` times, side by side."""
        return UnitRows(*(ops.repeat(field, times, axis=0) for field in self))


def unit_rows(features, are_unit: bool = False) -> UnitRows:
    """Divides features `[episodes, n, D]` by their length, where it is not 1 already; zero stays zero."""
    if are_unit and features.shape[-1] is None:  # In files for features of any length a division takes its time.
        return UnitRows(features, ops.swapaxes(features, 1, 2))
    length = norm(features)
    # Not the transpose of the quotient: XLA would do without it, and transpose in every product.
    return UnitRows(features / length, ops.swapaxes(features, 1, 2) / ops.swapaxes(length, 1, 2))


def along_features(classes, units: UnitRows):
    """<classes_c, units_i>: `[episodes, way, D]` -> `[episodes, way, n]`."""
    return _product(classes, units.columns, units.rows)


def along_rows(values, units: UnitRows):
    """sum_i values_ci * units_i: `[episodes, way, n]` -> `[episodes, way, D]`."""
    return _product(values, units.rows, units.columns)


@ops.custom_gradient
def _product(left, right, turned_right):
    def gradient(*arguments, upstream=None):
        upstream = arguments[0] if upstream is None else upstream
        to_left, to_right = ops.matmul(upstream, turned_right), ops.matmul(ops.swapaxes(left, 1, 2), upstream)
        return to_left, to_right, ops.zeros_like(turned_right)

    return ops.matmul(left, right), gradient


def cosine_logits(weights, rows: UnitRows, logit_scale, logit_bias):
    """scale * (<q_i, w_c> / |w_c| + bias), `[episodes, n, way]`, from w `[episodes, way, D]` and q, the rows.

    The bias cancels in a softmax.
    """
    cosine = along_features(unit(weights), rows)
    # Scaled before it is transposed: XLA would fold the transpose into the product.
    return ops.swapaxes(logit_scale * (cosine + logit_bias), 1, 2)


def classifier_gradient(weights, rows: UnitRows, logit_gradients, logit_scale):
    """J^T g in closed form: the gradient of sum_ic g_ic * logits_ic(w) with respect to w, g held fixed.

    With G_c = scale * sum_i g_ic q_i it is `tangent` of G, `[episodes, way, D]` as w is. g is `[episodes, n, way]`, 0
    for masked pictures and classes.
    """
    return tangent(weights, pulls(rows, logit_scale * logit_gradients))


def pulls(rows: UnitRows, logit_gradients):
    """sum_i g_ic q_i: `[episodes, n, way]` -> `[episodes, way, D]`."""
    return along_rows(ops.swapaxes(logit_gradients, 1, 2), rows)


def tangent(weights, pull):
    """What a pull G at the directions t_c = w_c / |w_c| is at w: (G_c - t_c <G_c, t_c>) / |w_c|, orthogonal to w."""
    length = norm(weights)
    direction = weights / length
    return (pull - direction * ops.sum(pull * direction, axis=-1, keepdims=True)) / length
