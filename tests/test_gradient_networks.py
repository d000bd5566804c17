"""The synthetic gradient networks on their own: by hand, and what `per_class` reads."""

import keras
import numpy as np
import pytest

from sib_tf.gradient_networks import JointGradientNetwork, PerClassGradientNetwork, _Counted, _episode_context, _seen


def test_joint_by_hand_is_dense_relu_norm_twice_and_dense():
    keras.utils.set_random_seed(0)
    network = JointGradientNetwork(way=3)
    logits = np.random.RandomState(0).normal(size=(1, 10, 3)).astype("f")
    found = network(logits)
    x = logits[0]
    for dense in (network.dense1, network.dense2):
        x = np.maximum(x @ dense.kernel.numpy() + dense.bias.numpy(), 0)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(found[0], x @ network.dense3.kernel.numpy() + network.dense3.bias.numpy(), atol=1e-5)
    assert network.dense1.kernel.shape == (3, 24)


def test_initial_weights_are_within_pytorch_s_bounds_and_differ():
    keras.utils.set_random_seed(0)
    network = JointGradientNetwork(way=4)
    network.build((None, None, 4))
    for dense, inputs in ((network.dense1, 4), (network.dense2, 32), (network.dense3, 32)):
        for values in (dense.kernel.numpy(), dense.bias.numpy()):
            assert np.abs(values).max() <= inputs**-0.5
        assert np.abs(dense.kernel.numpy()).max() > 0.9 * inputs**-0.5
        assert len(np.unique(dense.bias.numpy())) == len(dense.bias.numpy())
    assert network.dense1.bias.numpy()[0] != network.dense2.bias.numpy()[0]


def test_per_class_inputs_by_hand():
    """Two queries, two classes, probabilities (0.8, 0.2) and (0.5, 0.5): marginals 0.65 and 0.35."""
    logits = np.float32([[[np.log(4), 0], [1, 1]]])
    found = _seen(logits, _Counted.of(logits, np.float32([[1, 5]])))[2][0]
    p, marginal, half = np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0.65, 0.35]), np.log(4) / 2
    entropy = [[-(0.8 * np.log(0.8) + 0.2 * np.log(0.2))], [np.log(2)]]
    inputs = (p, np.log(p), entropy, [[half, -half], [0, 0]], np.log(marginal), p / marginal, np.log([1, 5]))
    for number, expected in enumerate(inputs):
        np.testing.assert_allclose(found[..., number], np.broadcast_to(expected, (2, 2)), atol=1e-5)


def test_the_two_outputs_of_per_class_by_hand():
    """The last layer gives (a, b) = (5, 1) everywhere: a is centred away, and 0.2 * p / share is left.

    p = (0.8, 0.2), (0.5, 0.5) of two queries: shares 0.65 + 0.02 and 0.35 + 0.02.
    """
    network, counts = PerClassGradientNetwork(), np.ones((1, 2), "f")
    logits = np.float32([[[np.log(4), 0], [0, 0]]])
    network(logits, counts)
    network.dense3.kernel.assign(np.zeros(network.dense3.kernel.shape))
    network.dense3.bias.assign([5, 1])
    expected = 0.2 * np.array([[[0.8, 0.2], [0.5, 0.5]]]) / [0.67, 0.37]
    np.testing.assert_allclose(network(logits, counts), expected, atol=1e-6)
    masked = network(np.concatenate([logits, logits + 7], 1), counts, np.arange(4)[None] < 2)
    np.testing.assert_allclose(masked[:, :2], expected, atol=1e-6)
    assert not np.asarray(masked[:, 2:]).any()


def test_the_context_of_an_episode_by_hand():
    """Probabilities (0.8, 0.2) and (0.6, 0.4): sharpened, nearly all of the first class. With padding."""
    p = np.float32([[[0.8, 0.2, 0], [0.6, 0.4, 0], [0, 0, 0]]])
    masks = np.array([[True, True, False]]), np.array([[True, True, False]])
    counted = _Counted.of(p, np.float32([[1, 4, 0]]), *masks)
    entropy = -sum(q * np.log(q) for q in (0.8, 0.2, 0.6, 0.4)) / 2
    uneven = np.log(2) + 0.7 * np.log(0.7) + 0.3 * np.log(0.3)
    second = (0.25**20 + (2 / 3) ** 20 / (1 + (2 / 3) ** 20)) / 2
    sharp = np.log(2) + second * np.log(second) + (1 - second) * np.log(1 - second)
    expected = [[entropy, 5 * uneven, 5 * sharp, np.log(1 * 4) / 2, 2 / 12, 1 / 2]]
    log_p = np.log(np.maximum(p, np.exp(-50))).astype("f")
    found = _episode_context(log_p, p * log_p, counted.query_mean(p), counted)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_context_modulates_both_layers():
    """Weights of the modulation that are not zero make a difference, and an equal one for equal episodes."""
    network, counts = PerClassGradientNetwork(), np.ones((2, 4), "f")
    logits = np.random.RandomState(5).normal(size=(2, 6, 4)).astype("f")
    plain = np.asarray(network(logits, counts))
    random = np.random.RandomState(6)
    for part in range(4):
        kernel = np.zeros(network.modulation.kernel.shape, "f")
        kernel[:, 32 * part : 32 * (part + 1)] = random.normal(size=(32, 32))
        network.modulation.kernel.assign(kernel)
        assert np.abs(np.asarray(network(logits, counts)) - plain).max() > 1e-3
        np.testing.assert_allclose(network(logits[1:], counts[1:]), network(logits, counts)[1:], atol=1e-5)


def test_normalisations_are_modulated_by_hand():
    """gamma * (1 + factor) and beta * (1 + factor) + offset of both, whatever was computed beforehand."""
    network = PerClassGradientNetwork(4)
    network.build((None, None, 3))
    random = np.random.RandomState(8)
    for variable in network.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    context = random.normal(size=(2, 6)).astype("f")
    of_dense = np.asarray(network.modulation(network.context(context)))
    factor1, offset1, factor2, offset2 = np.split(of_dense[:, None, None], 4, axis=-1)
    norms = [(layer.gamma.numpy(), layer.beta.numpy()) for layer in (network.norm1, network.norm2)]
    expected = []
    for (gamma, beta), factor, offset in zip(norms, (factor1, factor2), (offset1, offset2), strict=True):
        expected += [gamma * (1 + factor), beta * (1 + factor) + offset]
    found = network._modulated(context)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (2, 1, 1, 4)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_extreme_logits_stay_finite():
    logits = np.float32([[[1e4, -1e4, 0], [0, 0, 0]]])
    for network in (PerClassGradientNetwork(), JointGradientNetwork(3)):
        assert np.isfinite(network(logits, np.ones((1, 3), "f"))).all()


@pytest.mark.parametrize("network", [JointGradientNetwork(4, 6), PerClassGradientNetwork(9)])
def test_configuration_survives_a_round_trip(network):
    again = type(network).from_config(network.get_config())
    logits = np.random.RandomState(3).normal(size=(1, 5, 4)).astype("f")
    counts = np.ones((1, 4), "f")
    network(logits, counts), again(logits, counts)
    again.set_weights(network.get_weights())
    np.testing.assert_array_equal(again(logits, counts), network(logits, counts))
