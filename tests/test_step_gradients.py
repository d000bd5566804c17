"""The gradients that training follows: closed forms against a tape, and both against finite differences, in float64.

In float32 two right codes differ by per cents where a hidden unit is within rounding of its ReLU's kink; in float64
nothing but a wrong formula does.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sib_tf import layers
from sib_tf.config import SIBConfig
from sib_tf.episodes import Episode
from sib_tf.sib import SIB

WAY, DIM = 4, 6


@pytest.fixture(autouse=True)
def float64():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # Keras takes it from the former only until a first layer is built.
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def built(**config) -> SIB:
    """A model far from where training starts, so that nothing is multiplied by zeros."""
    keras.utils.set_random_seed(1)
    model = SIB(SIBConfig(feature_dim=DIM, num_steps=2, inner_learning_rate=0.05, **config))
    model.build()
    random = np.random.RandomState(2)
    for weight in model.weights:
        weight.assign(weight + 0.2 * random.normal(size=weight.shape))
    return model


def episodes(random, last_class: bool) -> Episode:
    """Two, one with masked rows of both kinds, and a class without any where that may be."""
    labels = np.tile(np.repeat(np.arange(WAY), 2), (2, 1)).astype("int32")
    support, query = (np.abs(random.normal(size=(2, rows, DIM))) for rows in (2 * WAY, 7))
    support_mask, query_mask = np.ones(labels.shape, bool), np.ones((2, 7), bool)
    support_mask[1, 0], query_mask[1, 4:] = False, False
    if not last_class:
        support_mask[1, -2:] = False
    query_labels = random.randint(WAY - 1, size=(2, 7)).astype("int32")
    return Episode(*map(tf.constant, (support, labels, support_mask, query, query_labels, query_mask)))


def learned(model: SIB) -> list:
    return [each for each in model.trainable_variables if each.name != "logit_bias"]  # Which cancels.


def gradients(model: SIB, episode: Episode) -> list:
    with tf.GradientTape() as tape:
        loss = model.outer_loss(episode, WAY)
    return tape.gradient(loss, [each.value for each in learned(model)])


def by_tape(monkeypatch) -> None:
    """Takes every hand-written gradient away."""

    def plain(epsilon: float):
        def normalized(x, weights, scale, shift):
            rows = tuple(range(1, len(x.shape) - 1))
            centred = x - ops.sum(weights * x, axis=rows, keepdims=True)
            variance = ops.sum(weights * ops.square(centred), axis=rows, keepdims=True)
            return scale * centred / ops.sqrt(variance + epsilon) + shift

        return normalized

    monkeypatch.setattr(layers, "_normalized", plain)
    monkeypatch.setattr(layers, "_product", lambda left, right, turned_right: ops.matmul(left, right))


@pytest.mark.parametrize(
    "config",
    [
        {"gradient_network": "joint", "way": WAY, "separate_steps": True, "support_gradient": True},
        {"gradient_network": "per_class", "way": None, "step_reduction": "mean", "normalization": "episode"},
        {
            "gradient_network": "per_class",
            "way": None,
            "step_reduction": "shrunk_mean",
            "normalization": "episode",
            "blend": True,
            "support_gradient": True,
        },
    ],
    ids=["joint", "normalized", "blended"],
)
def test_gradients_of_the_outer_loss_are_those_of_its_values(config, monkeypatch):
    model = built(**config)
    episode = episodes(np.random.RandomState(3), last_class=config["gradient_network"] == "joint")
    found = gradients(model, episode)
    with monkeypatch.context() as patched:
        by_tape(patched)
        taped = gradients(model, episode)
    for variable, gradient, expected in zip(learned(model), found, taped, strict=True):
        assert np.linalg.norm(gradient - expected) <= 1e-9 * np.linalg.norm(expected), variable.path
    # And one step along a direction in all of them at once.
    random, step, losses = np.random.RandomState(4), 1e-6, []
    at = [each.numpy() for each in learned(model)]
    along = [random.normal(size=each.shape) for each in at]
    for sign in (1, -1):
        for variable, where, direction in zip(learned(model), at, along, strict=True):
            variable.assign(where + sign * step * direction)
        losses.append(float(model.outer_loss(episode, WAY)))
    expected = sum(np.sum(gradient * direction) for gradient, direction in zip(found, along, strict=True))
    np.testing.assert_allclose((losses[0] - losses[1]) / (2 * step), expected, rtol=1e-5)
