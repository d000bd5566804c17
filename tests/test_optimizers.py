"""The outer optimiser, by hand and against PyTorch's rule."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sib_tf.config import MetaTrainConfig
from sib_tf.optimizers import CoupledDecaySGD, outer_optimizer


def run(optimizer, start: float, gradients: list[float]) -> list[float]:
    weight = keras.Variable([start])
    optimizer.build([weight])
    values = []
    for gradient in gradients:
        optimizer.apply([tf.constant([gradient])], [weight])
        values.append(float(weight.numpy()[0]))
    return values


def test_first_two_nesterov_steps_by_hand():
    # d = g + 0.1 * w; v = 0.9 * v + d; w -= 0.5 * (d + 0.9 * v), as PyTorch's Nesterov SGD does it.
    # Step 1: d = 1 + 0.2 = 1.2, v = 1.2, w = 2 - 0.5 * (1.2 + 1.08) = 0.86.
    # Step 2: d = -1 + 0.086 = -0.914, v = 1.08 - 0.914 = 0.166, w = 0.86 - 0.5 * (-0.914 + 0.1494) = 1.2423.
    found = run(CoupledDecaySGD(0.5, momentum=0.9, coupled_weight_decay=0.1), 2.0, [1.0, -1.0])
    np.testing.assert_allclose(found, [0.86, 1.2423], rtol=1e-6)


@pytest.mark.parametrize("nesterov", [True, False])
def test_ten_steps_equal_pytorchs(nesterov):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is what is compared with")
    gradients = np.random.RandomState(0).normal(size=10).astype(np.float32)
    weight = torch.nn.Parameter(torch.tensor([1.5]))
    theirs = torch.optim.SGD([weight], lr=0.1, momentum=0.8, nesterov=nesterov, weight_decay=0.05)
    expected = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient])
        theirs.step()
        expected.append(weight.item())
    ours = CoupledDecaySGD(0.1, momentum=0.8, nesterov=nesterov, coupled_weight_decay=0.05)
    np.testing.assert_allclose(run(ours, 1.5, list(gradients)), expected, rtol=1e-5)


def test_without_decay_it_is_keras_sgd():
    gradients = [0.3, -2.0, 0.7]
    expected = run(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True), 1.0, gradients)
    assert run(CoupledDecaySGD(0.1, momentum=0.9), 1.0, gradients) == expected


def test_configuration_there_and_back():
    optimizer = CoupledDecaySGD(0.2, momentum=0.7, coupled_weight_decay=0.3)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, CoupledDecaySGD)
    assert again.get_config() == optimizer.get_config()
    assert run(again, 1.0, [1.0, 1.0]) == run(optimizer, 1.0, [1.0, 1.0])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers_train_with_a_rate_that_falls(optimizer):
    chosen = outer_optimizer(MetaTrainConfig(optimizer=optimizer, cosine_decay=True, steps=10))
    chosen.build([tf.Variable(1.0)])
    assert float(chosen.learning_rate) == pytest.approx(1e-3)
    chosen.iterations.assign(10)
    assert float(chosen.learning_rate) == pytest.approx(0, abs=1e-8)
