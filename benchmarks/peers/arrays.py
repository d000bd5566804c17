"""Arithmetic on batches of masked episodes that the peers share.

Axes: `episodes`; `support_rows` and `query_rows` (padded; masked rows count nowhere); `way`; `D`.
"""

import tensorflow as tf

from sib_tf.episodes import Episode
from sib_tf.sib import MASKED_LOGIT

# Inside logarithms, as in the released code of TIM.
TINY = 1e-12


def membership(episode: Episode, way: int) -> tf.Tensor:
    """One-hot support labels `[episodes, support_rows, way]` float32; a masked row is 0."""
    return tf.one_hot(episode.support_labels, way) * row_weights(episode.support_mask)


def class_mask(members: tf.Tensor) -> tf.Tensor:
    """`[episodes, way]` bool: which classes have support."""
    return tf.reduce_any(members > 0, axis=1)


def row_weights(mask) -> tf.Tensor:
    """A mask `[episodes, rows]` as weights 0 and 1, `[episodes, rows, 1]` float32."""
    return tf.cast(mask, tf.float32)[..., None]


def weighted_means(features, weights) -> tf.Tensor:
    """Means of features `[episodes, rows, D]` under weights `[episodes, rows, way]`: `[episodes, way, D]`.

    A class of no weight gets 0.
    """
    totals = tf.reduce_sum(weights, axis=1)[..., None]
    return tf.math.divide_no_nan(tf.matmul(weights, features, transpose_a=True), totals)


def mean_row(values, mask) -> tf.Tensor:
    """Mean over the unmasked rows: `[episodes, rows, n]`, `[episodes, rows]` -> `[episodes, 1, n]`."""
    weights = row_weights(mask)
    return tf.reduce_sum(values * weights, axis=1, keepdims=True) / tf.maximum(
        tf.reduce_sum(weights, axis=1, keepdims=True), 1.0
    )


def squared_distances(rows, centres) -> tf.Tensor:
    """|rows_i - centres_c|^2: `[episodes, rows, D]`, `[episodes, way, D]` -> `[episodes, rows, way]`, never below 0."""
    # |x|^2 + |c|^2 - 2 <x, c>: one matrix product, and no array of all differences.
    products = tf.matmul(rows, centres, transpose_b=True)
    lengths = tf.reduce_sum(tf.square(rows), axis=-1)[..., None] + tf.reduce_sum(tf.square(centres), -1)[:, None]
    return tf.maximum(lengths - 2.0 * products, 0.0)


def repeat(step, state, times: int):
    """Returns `state` (a tensor) after `times` calls of `step`; one copy of it is compiled, whatever `times` is."""
    return tf.while_loop(
        lambda index, _: index < times, lambda index, x: (index + 1, step(x)), (tf.constant(0), state)
    )[1]


def hide(scores, classes) -> tf.Tensor:
    """Gives classes without support the score `MASKED_LOGIT`: `[episodes, rows, way]`, `[episodes, way]` bool."""
    return tf.where(classes[:, None], scores, MASKED_LOGIT)


def softmax(scores, classes) -> tf.Tensor:
    """Softmax over the classes with support; the others get exactly 0."""
    return tf.nn.softmax(hide(scores, classes), axis=-1)


def normalised(features, base_mean=None) -> tf.Tensor:
    """Features of unit length `[..., D]`, after taking away `base_mean` `[D]` if there is one; zero stays zero."""
    return unit(features if base_mean is None else features - base_mean)


def unit(vectors) -> tf.Tensor:
    """Divides `[..., D]` by its length; zero stays zero."""
    return vectors * tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True), 1e-24))
