"""Unit rows in two layouts: products and their gradients against plain ones."""

import numpy as np
import tensorflow as tf

from sib_tf.layers import along_features, along_rows, unit, unit_rows

RANDOM = np.random.RandomState(0)
FEATURES, CLASSES, VALUES = (tf.constant(RANDOM.normal(size=s), tf.float32) for s in ((2, 6, 4), (2, 3, 4), (2, 3, 6)))


def test_both_layouts_hold_the_same_numbers():
    units = unit_rows(tf.constant([[[3.0, 4.0], [0.0, 0.0]]]))
    np.testing.assert_allclose(units.rows, [[[0.6, 0.8], [0, 0]]], atol=1e-7)
    np.testing.assert_array_equal(tf.transpose(units.rows, (0, 2, 1)), units.columns)
    assert [field.shape for field in units.repeated(3)] == [(3, 2, 2), (3, 2, 2)]


def gradients(function, *inputs):
    """Value, and gradients of a weighted sum of it, so that no symmetry hides a mistake."""
    with tf.GradientTape() as tape:
        for each in inputs:
            tape.watch(each)
        value = function(*inputs)
        weights = np.arange(1, 1 + np.prod(value.shape), dtype=np.float32).reshape(value.shape) / 10
        total = tf.reduce_sum(value * weights)
    return value, *tape.gradient(total, inputs)


def check(function, plain, *inputs):
    for run in (function, tf.function(function, jit_compile=True)):
        for found, expected in zip(gradients(run, *inputs), gradients(plain, *inputs), strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5)


def test_products_along_features_are_plain_ones_with_their_gradients():
    """The gradient of the features too, which are embedded by a backbone somewhere."""
    check(
        lambda classes, features: along_features(classes, unit_rows(features)),
        lambda classes, features: tf.einsum("bcd,bid->bci", classes, unit(features)),
        CLASSES,
        FEATURES,
    )


def test_products_along_rows_are_plain_ones_with_their_gradients():
    check(
        lambda values, features: along_rows(values, unit_rows(features)),
        lambda values, features: tf.einsum("bci,bid->bcd", values, unit(features)),
        VALUES,
        FEATURES,
    )


def test_a_step_through_both_has_the_plain_gradient():
    """As in an unrolled step: what one gives goes into the other."""

    def plain(classes, features):
        units = unit(features)
        return tf.einsum("bci,bid->bcd", tf.tanh(tf.einsum("bcd,bid->bci", classes, units)), units)

    def ours(classes, features):
        units = unit_rows(features)
        return along_rows(tf.tanh(along_features(classes, units)), units)

    check(ours, plain, CLASSES, FEATURES)
