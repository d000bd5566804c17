"""Arithmetic on batches of masked episodes that the peers share.

Axes: `episodes`; `rows` (padded; those of weight 0 count nowhere); `way`; `D`.
"""

import tensorflow as tf

from sib_tf.sib import MASKED_LOGIT


def unit(vectors) -> tf.Tensor:
    """Divides `[..., D]` by its length; zero stays zero."""
    return tf.math.l2_normalize(vectors, axis=-1, epsilon=1e-24)


def weighted_means(features, weights) -> tf.Tensor:
    """Means of features `[episodes, rows, D]` under weights `[episodes, rows, way]`: `[episodes, way, D]`.

    A class of no weight gets 0.
    """
    totals = tf.reduce_sum(weights, axis=1)[..., None]
    return tf.math.divide_no_nan(tf.matmul(weights, features, transpose_a=True), totals)


def mean_row(values, weights) -> tf.Tensor:
    """Mean of `[episodes, rows, n]` over the rows of weight 1 (`[episodes, rows, 1]`): `[episodes, 1, n]`."""
    count = tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), 1.0)
    return tf.reduce_sum(values * weights, axis=1, keepdims=True) / count


def cosines(rows, centres) -> tf.Tensor:
    """`[episodes, rows, D]`, `[episodes, way, D]` -> `[episodes, rows, way]`."""
    return tf.matmul(unit(rows), unit(centres), transpose_b=True)


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
