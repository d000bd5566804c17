"""Prior, posterior and bound: by hand, against Monte Carlo, finite differences, and a model whose evidence is known."""

import numpy as np
import pytest
import tensorflow as tf

from sib_tf.distributions import GaussianPosterior, GaussianPrior, fixed_noise, random_noise
from sib_tf.sib import descend

EPISODES, WAY, DIM = 2, 3, 4


def prior(seed=0) -> GaussianPrior:
    layer, random = GaussianPrior(), np.random.RandomState(seed)
    layer.build(DIM)
    layer.mean.assign(random.normal(size=DIM))
    layer.log_scale.assign(0.3 * random.normal(size=DIM))
    return layer


def gaussian(samples=2) -> GaussianPosterior:
    layer = GaussianPosterior(samples)
    layer.build()
    return layer


def theta_of(kind: str, seed=1):
    columns = DIM if kind == "dirac" else 2 * DIM
    return tf.constant(0.5 * np.random.RandomState(seed).normal(size=(EPISODES, WAY, columns)), tf.float32)


def test_kl_by_hand():
    """KL(N(1, 2^2) || N(0, 1)) = -log 2 + (4 + 1 - 1) / 2, for each of DIM weights of WAY classes."""
    layer = GaussianPrior()
    layer.build(DIM)
    theta = np.concatenate([np.ones((1, WAY, DIM)), np.full((1, WAY, DIM), np.log(2))], -1).astype("f")
    expected = WAY * DIM * (2 - np.log(2))
    np.testing.assert_allclose(layer.kl(theta, gaussian()), [expected], rtol=1e-6)
    masked = layer.kl(theta, gaussian(), np.array([[True, False, True]]))
    np.testing.assert_allclose(masked, [expected * 2 / 3], rtol=1e-6)
    # -log N(1; 0, 1)
    dirac = layer.kl(np.ones((1, WAY, DIM), "f"))
    np.testing.assert_allclose(dirac, [WAY * DIM * (0.5 + 0.5 * np.log(2 * np.pi))], rtol=1e-6)


def test_kl_against_monte_carlo():
    """Mean of log q - log p over 200,000 draws; within four standard errors."""
    layer, theta = prior(), theta_of("gaussian")[:1]
    mean, log_scale = np.split(theta.numpy()[0].astype("d"), 2, axis=-1)
    noise = np.random.RandomState(2).normal(size=(200_000, WAY, DIM))
    w = mean + np.exp(log_scale) * noise
    log_q = -0.5 * noise**2 - log_scale
    scale = np.exp(layer.log_scale.numpy())
    log_p = -0.5 * ((w - layer.mean.numpy()) / scale) ** 2 - np.log(scale)
    values = (log_q - log_p).sum(axis=(1, 2))
    error = values.std() / np.sqrt(len(values))
    assert abs(float(layer.kl(theta, gaussian())[0]) - values.mean()) < 4 * error
    assert error < 0.02


@pytest.mark.parametrize("kind", ["dirac", "gaussian"])
def test_kl_gradient_is_the_tape_s(kind):
    layer, theta = prior(), theta_of(kind)
    posterior = None if kind == "dirac" else gaussian()
    mask = np.array([[True, True, False]] * EPISODES)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        total = layer.kl(theta, posterior, mask)
    np.testing.assert_allclose(layer.kl_gradient(theta, posterior, mask), tape.gradient(total, theta), atol=1e-5)


def test_pull_back_is_the_gradient_through_the_draws():
    posterior, theta = gaussian(samples=5), theta_of("gaussian")
    noise = np.random.RandomState(3).normal(size=(EPISODES, 5, WAY, DIM)).astype("f")
    with tf.GradientTape() as tape:
        tape.watch(theta)
        w = posterior.draw(theta, noise)
        # Per episode the mean over its samples.
        value = tf.reduce_sum(tf.sin(w)) / 5
    found = posterior.pull_back(theta, tf.cos(w), noise)
    np.testing.assert_allclose(found, tape.gradient(value, theta), atol=1e-6)
    np.testing.assert_allclose(w[5:], posterior.draw(theta[1:], noise[1:]), atol=1e-7)


def test_log_scales_have_a_step_size_of_their_own():
    posterior = GaussianPosterior(1, scale_rate=3.0)
    posterior.build()
    # tanh(3 * 0.001) and tanh(3 * 10): small steps three times as long, none longer than 1.
    gradient = tf.constant([[[9.0, 1.0, 0.001, -10.0]]])
    np.testing.assert_allclose(posterior.scaled(gradient), [[[9, 1, 0.003, -1]]], rtol=1e-5)


def test_without_noise_the_mean_is_drawn():
    posterior, theta = gaussian(samples=0), theta_of("gaussian")
    np.testing.assert_array_equal(posterior.draw(theta), theta[..., :DIM])
    gradient = theta[..., :DIM]
    found = posterior.pull_back(theta, gradient)
    np.testing.assert_array_equal(found, np.concatenate([gradient, np.zeros_like(gradient)], -1))


def test_fixed_noise_is_the_same_always_and_whatever_the_way():
    few, many = fixed_noise(50, 3, 40), fixed_noise(50, 8, 40)
    assert few.shape == (1, 50, 3, 40)
    np.testing.assert_array_equal(few, many[:, :, :3])
    assert abs(np.mean(many)) < 4 / np.sqrt(16_000)
    assert abs(np.std(many) - 1) < 4 / np.sqrt(2 * 16_000)
    one, again, other = (random_noise([0, step], 2, 3, 4, 5) for step in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).min() > 0


class Regression:
    """y_i = w x_i + noise of variance 0.25, w ~ N(0, 1): evidence and posterior are normal, by hand."""

    variance = 0.25

    def __init__(self, seed: int, count: int = 6):
        random = np.random.RandomState(seed)
        self.x = random.normal(size=count)
        self.y = random.normal() * self.x + np.sqrt(self.variance) * random.normal(size=count)
        self.precision = 1 + np.sum(self.x**2) / self.variance
        self.mean = np.sum(self.x * self.y) / self.variance / self.precision

    def log_evidence(self) -> float:
        covariance = np.outer(self.x, self.x) + self.variance * np.eye(len(self.x))
        sign, log_det = np.linalg.slogdet(2 * np.pi * covariance)
        return -0.5 * (log_det + self.y @ np.linalg.solve(covariance, self.y))

    def bound(self, theta, noise) -> float:
        """E_q[log p(y | x, w)] - KL(q || p), by the project's own draws and divergence."""
        posterior, layer = GaussianPosterior(noise.shape[1]), GaussianPrior()
        posterior.build(), layer.build(1)
        w = posterior.draw(theta, noise).numpy().reshape(-1, 1).astype("d")
        log_likelihood = -0.5 * ((self.y - w * self.x) ** 2 / self.variance + np.log(2 * np.pi * self.variance))
        return log_likelihood.sum(axis=1).mean() - float(layer.kl(theta, posterior)[0])


def antithetic(samples: int) -> np.ndarray:
    """Noise `[1, samples, 1, 1]` of mean 0 and variance 1."""
    half = np.random.RandomState(9).normal(size=(1, samples // 2, 1, 1)).astype("f")
    noise = np.concatenate([half, -half], axis=1)
    return noise / noise.std()


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_below_the_evidence_and_touches_it_at_the_posterior(seed):
    """20,000 antithetic samples of w: exact up to about 0.02 nats."""
    model, noise = Regression(seed), antithetic(20_000)

    def theta(mean, scale):
        return tf.constant([[[mean, np.log(scale)]]], tf.float32)

    scale = model.precision**-0.5
    evidence = model.log_evidence()
    assert model.bound(theta(model.mean, scale), noise) == pytest.approx(evidence, abs=1e-3)
    for other in (theta(model.mean + scale, scale), theta(model.mean, 2 * scale), theta(0.0, 1.0)):
        assert model.bound(other, noise) < evidence - 0.1


def test_descent_with_exact_gradients_finds_the_posterior():
    """500 steps of the same K-step code, with the labels' own gradient: mean and scale of the conjugate posterior."""
    model, posterior, layer = Regression(0), gaussian(samples=400), GaussianPrior()
    layer.build(1)
    noise = antithetic(400)

    def data_gradient(weights):
        """d/dw sum_i (w x_i - y_i)^2 / (2 variance), of every sample."""
        return 0.01 * (weights.numpy() * np.sum(model.x**2) - np.sum(model.x * model.y)).astype("f") / model.variance

    def step(theta, k):
        return posterior.step(theta, data_gradient, 0.01 * layer.kl_gradient(theta, posterior), noise)

    path = descend(posterior.initial(tf.zeros((1, 1, 1))), 500, step)
    mean, log_scale = path[-1][0, 0].numpy()
    assert mean == pytest.approx(model.mean, abs=1e-3)
    assert np.exp(log_scale) == pytest.approx(model.precision**-0.5, rel=1e-3)


@pytest.mark.parametrize("layer", [GaussianPosterior(3, 0.5, 2.0), GaussianPrior(0.25)])
def test_configuration_survives_a_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
