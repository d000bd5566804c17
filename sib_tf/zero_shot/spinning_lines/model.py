"""Zero-shot regression: q_theta(w) of a line's slope from its unlabelled inputs alone, by the K steps of SIB.

There is no support set: theta^0 is one learned lambda for all tasks. The synthetic gradient network sees the
predictions w x_i, and the inputs only through them.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from sib_tf import distributions
from sib_tf.sib import descend
from sib_tf.zero_shot.config import SpinningLinesConfig


@keras.saving.register_keras_serializable("sib_tf")
class PredictionGradientNetwork(keras.layers.Layer):
    """From the predictions of a task's points to d loss / d prediction, without targets.

    Each point's prediction, and the mean and the standard deviation of the task's, pass through two layers of
    `hidden_units`, in units of the task's root mean square, whose logarithm is an input too. The result is a first
    output in these units and a second one. Ours: the classifiers' networks normalise over a task, and would lose its
    mean, which is all that there is to learn from. `[tasks, n]` float32 in and out.
    """

    def __init__(self, hidden_units: int, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        self.dense1 = keras.layers.Dense(hidden_units, activation="gelu", name="dense1")
        self.dense2 = keras.layers.Dense(hidden_units, activation="gelu", name="dense2")
        self.dense3 = keras.layers.Dense(2, kernel_initializer="zeros", name="dense3")

    def build(self, predictions_shape=None):
        self.dense1.build((None, None, 4))
        self.dense2.build((None, None, self.hidden_units))
        self.dense3.build((None, None, self.hidden_units))

    def call(self, predictions):
        mean = ops.mean(predictions, axis=1, keepdims=True)
        deviation = ops.sqrt(ops.mean(ops.square(predictions - mean), axis=1, keepdims=True) + 1e-6)
        size = ops.sqrt(ops.square(mean) + ops.square(deviation))
        parts = (predictions / size, mean / size, deviation / size, ops.log(size))
        x = ops.stack([part * ops.ones_like(predictions) for part in parts], axis=-1)
        x = self.dense3(self.dense2(self.dense1(x)))
        return x[..., 0] * size + x[..., 1]

    def get_config(self):
        return {**super().get_config(), "hidden_units": self.hidden_units}


@keras.saving.register_keras_serializable("sib_tf")
class SpinningLines(keras.Model):
    """q_theta(w) of a task from its inputs alone: lambda, then K synthetic-gradient steps."""

    def __init__(self, config: SpinningLinesConfig | dict, **kwargs):
        super().__init__(**kwargs)
        self.config = SpinningLinesConfig.from_dict(config, "config")
        self.prior = distributions.GaussianPrior(1.0, name="prior")
        # A tenth of a natural-gradient step, relative to the mean's: 1 / (2 scale^2) / 10.
        self.posterior = distributions.GaussianPosterior(self.config.posterior_samples, 0.1, 5.0, name="posterior")
        self.gradient_network = PredictionGradientNetwork(self.config.hidden_units, name="gradient_network")

    def build(self, input_shape=None):
        # Not 0: all predictions of a line without slope are 0, and say nothing.
        self.start = self.add_weight(name="start", shape=(1, 1), initializer="ones")
        self.prior.build(1)
        self.posterior.build()
        self.gradient_network.build()

    def call(self, x, noise=None):
        """theta^K of inputs `[tasks, n]`: `[tasks, 1, 2]`, mean and log-scale of the slope."""
        return self.adapt(x, noise)[-1]

    def adapt(self, x, noise=None) -> list:
        """The path theta^0 .. theta^K, `[tasks, 1, 2]` each; noise as for `GaussianPosterior.draw`."""
        return self._descend(x, noise, self.gradient_network)

    def adapt_with_targets(self, x, y, rate: float | None = None) -> list:
        """The path of as many steps with the true gradient: what only the one who knows the targets `y` can take."""
        targets, variance = ops.repeat(y, self.config.posterior_samples, axis=0), self.config.noise**2
        return self._descend(x, None, lambda predictions: (predictions - targets) / variance, rate)

    def _descend(self, x, noise, gradient, rate=None):
        samples, rate = self.config.posterior_samples, rate or self.config.inner_learning_rate
        if noise is None:
            noise = distributions.fixed_noise(samples, 1, 1)
        inputs = ops.repeat(x, samples, axis=0)

        def data_gradient(weights):
            """J^T g of predictions w x_i: the sum of g_i x_i."""
            return rate * ops.sum(gradient(weights[:, 0] * inputs) * inputs, axis=1)[:, None, None]

        def step(theta, k):
            kl_gradient = rate * self.prior.kl_gradient(theta, self.posterior)
            return self.posterior.step(theta, data_gradient, kl_gradient, noise)

        start = self.posterior.initial(ops.zeros_like(x[:, :1, None]) + self.start)
        return descend(start, self.config.num_steps, step)

    def negative_bound(self, theta, x, y, noise):
        """Minus the evidence lower bound of every task, in nats: `[tasks]`."""
        weights = self.posterior.draw(theta, noise)[:, 0]
        samples = noise.shape[1]
        error = ops.repeat(y, samples, axis=0) - weights * ops.repeat(x, samples, axis=0)
        variance = self.config.noise**2
        minus_log = 0.5 * ops.sum(ops.square(error) / variance + np.log(2 * np.pi * variance), axis=1)
        return ops.mean(ops.reshape(minus_log, (-1, samples)), axis=1) + self.prior.kl(theta, self.posterior)

    def get_config(self):
        return {**super().get_config(), "config": dataclasses.asdict(self.config)}
