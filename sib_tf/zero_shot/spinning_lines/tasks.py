"""The tasks of the spinning lines: lines that go through the origin, and what can be known of them.

A task is a line. Its slope is w = mu, its inputs are x_i ~ N(mu, spread^2), i = 1 .. n, and its targets
y_i = w x_i + noise * N(0, 1), with mu ~ N(0, 1). So the inputs say where the slope must be. All is normal, so that the
posterior p(w | x, y), with the prior w ~ N(0, 1), is known.

The experiment is the paper's ("spinning lines", Hu et al., ICLR 2020); the generator's numbers (w = mu, the prior, n,
spread, noise) are ours, since the text leaves them open.
"""

import numpy as np

from sib_tf.zero_shot.config import SpinningLinesConfig


def sample_tasks(config: SpinningLinesConfig, count: int, seed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws tasks: slopes `[tasks]`, inputs and targets `[tasks, n]` float32; a pure function of `seed` (integers)."""
    random = np.random.RandomState(np.random.Philox(np.random.SeedSequence(seed)))
    slope = random.normal(size=count)
    x = slope[:, None] + config.spread * random.standard_normal((count, config.queries))
    y = slope[:, None] * x + config.noise * random.standard_normal(x.shape)
    return slope, x.astype("f"), y.astype("f")


def exact_posterior(x: np.ndarray, y: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of p(w | x, y), `[tasks]` each, with the generator's prior."""
    x, y = np.asarray(x, "d"), np.asarray(y, "d")
    precision = 1 + np.sum(x**2, axis=1) / noise**2
    return np.sum(x * y, axis=1) / noise**2 / precision, precision**-0.5


def divergence(theta, x: np.ndarray, y: np.ndarray, noise: float) -> np.ndarray:
    """KL(q_theta || p(w | x, y)) in nats, `[tasks]`."""
    mean, log_scale = np.asarray(theta, "d")[:, 0].T
    exact_mean, exact_scale = exact_posterior(x, y, noise)
    ratio = np.exp(log_scale) / exact_scale
    return 0.5 * (ratio**2 + ((mean - exact_mean) / exact_scale) ** 2 - 1) - np.log(ratio)


def least_divergence(x: np.ndarray, config: SpinningLinesConfig) -> np.ndarray:
    """The least divergence, in the mean over the targets, for who sees the inputs and no target: `[tasks]`, in nats.

    Given x, the slope is normal with precision 1 + n / spread^2, and so is the mean of p(w | x, y). At
    best q is in the middle of what this mean can be, and as wide as p(w | x, y): left is half the variance of the mean,
    in units of the posterior's.
    """
    x = np.asarray(x, "d")
    information = np.sum(x**2, axis=1) / config.noise**2
    precision = 1 + information
    slope_variance = 1 / (1 + config.queries / config.spread**2)
    mean_variance = (information / precision) ** 2 * slope_variance + information / precision**2
    return 0.5 * mean_variance * precision
