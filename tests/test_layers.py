"""Unit vectors and rows, the cosine classifier and per-episode normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sib_tf.layers import (
    CosineClassifier,
    EpisodeNormalization,
    along_features,
    along_rows,
    dense,
    normalized,
    row_weights,
    unit,
    unit_rows,
)


def test_unit_of_a_hand_worked_vector_and_of_zero_where_its_gradient_is_finite():
    x = tf.constant([[3.0, 4.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = unit(x)
    np.testing.assert_allclose(y, [[0.6, 0.8], [0, 0]], atol=1e-7)
    assert np.isfinite(tape.gradient(y, x)).all()


def test_a_dense_layer_is_the_same_of_one_episode_of_any_number_of_rows():
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(3, activation="relu", bias_initializer="normal")
    x = np.random.RandomState(0).normal(size=(1, 5, 2, 4)).astype("f")
    expected = layer(x)
    of_any = tf.function(lambda x: dense(layer, x), input_signature=[tf.TensorSpec((1, None, None, 4))])
    for found in (dense(layer, x), of_any(x)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_cosine_classifier_by_hand():
    layer = CosineClassifier(2, initial_scale=10.0)
    layer.build((None, 2))
    layer.kernel.assign([[2.0, 0.0], [0.0, 5.0]])
    # Lengths do not count: (3, 4) has cosines 0.6 and 0.8 with the axes.
    np.testing.assert_allclose(layer(np.float32([[3, 4], [30, 40]])), [[6, 8], [6, 8]], atol=1e-6)


def test_normalization_by_hand():
    layer = EpisodeNormalization(epsilon=0.0)
    x = np.float32([[[1.0], [3.0]], [[10.0], [30.0]]])
    np.testing.assert_allclose(layer(x), [[[-1], [1]], [[-1], [1]]], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 12, 5), (3, 12, 4, 5)])
def test_masked_rows_move_nothing(shape):
    random = np.random.RandomState(1)
    x = random.normal(size=shape).astype("f")
    mask = random.random_sample(shape[:-1]) < 0.6
    mask[:, 0] = True
    layer = EpisodeNormalization()
    noisy = np.where(mask[..., None], x, 1e3 * random.normal(size=shape).astype("f"))
    a, b = (np.asarray(layer(v, mask))[mask] for v in (x, noisy))
    np.testing.assert_allclose(a, b, atol=1e-5)
    for episode in range(3):
        rows = x[episode][mask[episode]]
        expected = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
        np.testing.assert_allclose(np.asarray(layer(x, mask))[episode][mask[episode]], expected, atol=1e-4)


def test_one_row_and_no_row_stay_finite():
    layer = EpisodeNormalization()
    x = np.float32([[[5.0, -5.0]]])
    np.testing.assert_array_equal(layer(x), [[[0, 0]]])
    assert np.isfinite(layer(x, np.array([[False]]))).all()


def check_equal(function, plain, inputs, variables=()) -> None:
    """Values, and gradients of a weighted sum of them (no symmetry hides a mistake), as they are and compiled."""

    def run(function):
        random = np.random.RandomState(3)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            values = function(*inputs)
            total = sum(tf.reduce_sum(value * random.normal(size=value.shape).astype("f")) for value in values)
        return [*values, *(g for g in tape.gradient(total, [*inputs, *variables]) if g is not None)]

    expected = run(plain)
    for each in (function, tf.function(function, jit_compile=True)):
        for found, one in zip(run(each), expected, strict=True):
            np.testing.assert_allclose(found, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_normalization_has_the_gradient_of_its_formula(masked):
    """The closed form against a tape through the formula, of x, gamma and beta, in several episodes."""
    random = np.random.RandomState(2)
    x = tf.constant(random.normal(size=(3, 8, 4)), tf.float32)
    mask = random.random_sample((3, 8)) < 0.7 if masked else np.ones((3, 8), bool)
    mask[:, 0] = True
    rows = mask[..., None].astype("f")  # What masked rows get means nothing.
    layer = EpisodeNormalization()
    layer.build(x.shape)
    layer.gamma.assign(random.normal(size=4))
    layer.beta.assign(random.normal(size=4))

    def formula(x):
        count = rows.sum(axis=1, keepdims=True)
        centred = x - tf.reduce_sum(x * rows, axis=1, keepdims=True) / count
        variance = tf.reduce_sum(tf.square(centred) * rows, axis=1, keepdims=True) / count
        return [rows * (layer.gamma * centred / tf.sqrt(variance + 1e-5) + layer.beta)]

    def normalized(x):
        return [rows * layer(x, mask if masked else None)]

    check_equal(normalized, formula, [x], layer.trainable_variables)


def test_each_episode_may_have_its_own_scale_and_shift():
    """Against shared ones, one episode at a time, with the gradients of all that goes in."""
    random = np.random.RandomState(4)
    x, scale, shift = (tf.constant(random.normal(size=s), tf.float32) for s in ((2, 6, 4), (2, 1, 4), (2, 1, 4)))

    def own(x, scale, shift):
        return [normalized(x, row_weights(x), scale, shift, 1e-5)]

    def shared(x, scale, shift):
        parts = [normalized(x[i : i + 1], row_weights(x[:1]), scale[i, 0], shift[i, 0], 1e-5) for i in range(2)]
        return [tf.concat(parts, axis=0)]

    check_equal(own, shared, [x, scale, shift])


def test_both_layouts_hold_the_same_numbers():
    units = unit_rows(tf.constant([[[3.0, 4.0], [0.0, 0.0]]]))
    np.testing.assert_allclose(units.rows, [[[0.6, 0.8], [0, 0]]], atol=1e-7)
    np.testing.assert_array_equal(tf.transpose(units.rows, (0, 2, 1)), units.columns)
    assert [field.shape for field in units.repeated(3)] == [(3, 2, 2), (3, 2, 2)]


def plain_products(classes, features, values):
    units = unit(features)
    return tf.einsum("bcd,bid->bci", classes, units), tf.einsum("bci,bid->bcd", values, units)


def products(classes, features, values):
    units = unit_rows(features)
    return along_features(classes, units), along_rows(values, units)


def chained(products):
    """As in an unrolled step: what one gives goes into the other."""
    return lambda classes, features, values: products(
        classes, features, tf.tanh(products(classes, features, values)[0])
    )[1:]


@pytest.mark.parametrize("turn", [lambda products: products, chained])
def test_products_of_unit_rows_are_plain_ones_with_their_gradients(turn):
    """The gradient of the features too, which are embedded by a backbone somewhere."""
    random = np.random.RandomState(0)
    inputs = [tf.constant(random.normal(size=size), tf.float32) for size in ((2, 3, 4), (2, 6, 4), (2, 3, 6))]
    check_equal(turn(products), turn(plain_products), inputs)
