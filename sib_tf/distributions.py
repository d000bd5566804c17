"""Prior and posterior of a task's weights w, for the negative evidence lower bound that the steps minimise,

    E_q[-log p(y | x, w)] + KL(q_theta(w) || p(w)).

Where there is no posterior here, q has all its mass on theta, which is w itself (released code).

Axes: `episodes`; `way`, the rows of w (1 in regression); `D`, its columns; S, the number of samples of w.
"""

import numpy as np
import tensorflow as tf
from keras import initializers, layers, ops, saving

_LOG_2PI = float(np.log(2 * np.pi))
# Of fixed noise where the way is not known before a call.
MOST_CLASSES = 128
_LEAST_PROBABILITY = 1e-37


@saving.register_keras_serializable("sib_tf")
class GaussianPosterior(layers.Layer):
    """Independent normal weights; theta `[episodes, way, 2 D]` is their means, then the logs of their scales.

    w = mean + scale * noise (reparameterised). Scales start at one learned number, for all weights. Their logarithms
    take steps of a learned size of their own, since a unit of them is not a unit of w, and of less than 1, a factor of
    e: longer ones, of networks that are not trained yet, run off.

    Args:
        samples: S >= 0, of w in the expectation of the data term; 0: w is its mean.
        initial_scale: of theta^0, > 0, before training.
        scale_rate: what steps of the log-scales are multiplied by, > 0, before training.
    """

    def __init__(self, samples: int, initial_scale: float = 0.02, scale_rate: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.samples, self.initial_scale, self.scale_rate = samples, initial_scale, scale_rate

    def build(self, input_shape=None):
        start, rate = (initializers.Constant(float(np.log(x))) for x in (self.initial_scale, self.scale_rate))
        self.initial_log_scale = self.add_weight(name="initial_log_scale", shape=(), initializer=start)
        self.log_scale_rate = self.add_weight(name="log_scale_rate", shape=(), initializer=rate)
        self.built = True

    def initial(self, centres):
        return ops.concatenate([centres, ops.zeros_like(centres) + self.initial_log_scale], axis=-1)

    def mean(self, theta):
        return _halves(theta)[0]

    def draw(self, theta, noise=None):
        """Samples of w, `[episodes * S, way, D]` (an episode's side by side); without noise its mean.

        `noise` is `[episodes or 1, S, way, D]`, standard normal.
        """
        mean, log_scale = _halves(theta)
        if noise is None:
            return mean
        samples = mean[:, None] + ops.exp(log_scale)[:, None] * noise
        return ops.reshape(samples, (-1, *ops.shape(samples)[2:]))

    def step(self, theta, data_gradient, kl_gradient, noise=None):
        """theta^k - theta^(k+1): the data's gradient pulled back from w to theta, and the KL divergence's.

        Both come times their rates: `data_gradient` is a function of w, which `draw` makes with the `noise`, to the
        gradient with respect to it; `kl_gradient` is that with respect to theta.
        """
        return self.scaled(self.pull_back(theta, data_gradient(self.draw(theta, noise)), noise) + kl_gradient)

    def pull_back(self, theta, gradient, noise=None):
        """From the gradient with respect to the draws of w to that with respect to theta."""
        mean, log_scale = _halves(theta)
        if noise is None:
            return ops.concatenate([gradient, ops.zeros_like(log_scale)], axis=-1)
        gradient = ops.reshape(gradient, (-1, noise.shape[1], *ops.shape(gradient)[1:]))
        by_scale = ops.mean(gradient * noise, axis=1) * ops.exp(log_scale)
        return ops.concatenate([ops.mean(gradient, axis=1), by_scale], axis=-1)

    def scaled(self, gradient):
        """The gradient as a step takes it, with the log-scales' own rate, and these bounded (tanh)."""
        by_mean, by_log_scale = _halves(gradient)
        return ops.concatenate([by_mean, ops.tanh(ops.exp(self.log_scale_rate) * by_log_scale)], axis=-1)

    def kl(self, theta, prior_mean, prior_log_scale):
        """KL(q || p) of every weight, `[episodes, way, D]`."""
        mean, log_scale = _halves(theta)
        variances = ops.exp(2.0 * (log_scale - prior_log_scale))
        return prior_log_scale - log_scale + 0.5 * (variances + _squared(mean, prior_mean, prior_log_scale) - 1.0)

    def kl_gradient(self, theta, prior_mean, prior_log_scale):
        mean, log_scale = _halves(theta)
        by_mean = (mean - prior_mean) * ops.exp(-2.0 * prior_log_scale)
        return ops.concatenate([by_mean, ops.exp(2.0 * (log_scale - prior_log_scale)) - 1.0], axis=-1)

    def get_config(self):
        own = {"samples": self.samples, "initial_scale": self.initial_scale, "scale_rate": self.scale_rate}
        return {**super().get_config(), **own}


@saving.register_keras_serializable("sib_tf")
class GaussianPrior(layers.Layer):
    """p(w): every row of w (a class's weights) is normal with the same learned mean and scales, `[D]` each.

    The same for all classes, so that any number of them and any order has it. Before training the mean is 0 and the
    scale `initial_scale`, > 0.
    """

    def __init__(self, initial_scale: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.initial_scale = initial_scale

    def build(self, dim: int):
        start = initializers.Constant(float(np.log(self.initial_scale)))
        self.mean = self.add_weight(name="mean", shape=(dim,), initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=(dim,), initializer=start)
        self.built = True

    def kl(self, theta, posterior=None, class_mask=None):
        """KL(q_theta || p) in nats, `[episodes]`; masked classes `[episodes, way]` do not count.

        Without a posterior -log p(theta): KL less the entropy of q, which is minus infinity and does not move.
        """
        if posterior is None:
            each = 0.5 * (_squared(theta, self.mean, self.log_scale) + _LOG_2PI) + self.log_scale
        else:
            each = posterior.kl(theta, self.mean, self.log_scale)
        total = ops.sum(each, axis=-1)
        return ops.sum(total if class_mask is None else total * ops.cast(class_mask, total.dtype), axis=-1)

    def kl_gradient(self, theta, posterior=None, class_mask=None):
        """d kl / d theta, shape of theta; 0 for masked classes."""
        if posterior is None:
            gradient = (theta - self.mean) * ops.exp(-2.0 * self.log_scale)
        else:
            gradient = posterior.kl_gradient(theta, self.mean, self.log_scale)
        return gradient if class_mask is None else gradient * ops.cast(class_mask, gradient.dtype)[..., None]

    def get_config(self):
        return {**super().get_config(), "initial_scale": self.initial_scale}


def fixed_noise(samples: int, way, dim: int, dtype: str = "float32"):
    """The same standard normal numbers always, `[1, S, way, D]`; those of a class do not depend on the way.

    `way` is a number, or a scalar tensor of at most `MOST_CLASSES`.
    """
    random = np.random.RandomState(np.random.Philox(key=[samples, dim]))
    known = isinstance(way, int)
    numbers = random.standard_normal((way if known else MOST_CLASSES, samples, dim)).swapaxes(0, 1)[None]
    noise = ops.convert_to_tensor(numbers, dtype)
    return noise if known else noise[:, :, :way]


def random_noise(seed, episodes: int, samples: int, way: int, dim: int):
    """Standard normal numbers `[episodes, S, way, D]` float32, a pure function of `seed` `[2]` int32."""
    return tf.random.stateless_normal((episodes, samples, way, dim), seed)


def mixture_logits(logits):
    """Logits of the mean probability of the samples: `[episodes, S, queries, way]` -> `[episodes, queries, way]`.

    Their log sum exp is the samples' mean one: as of one sample, it says how near a picture is to all classes.
    """
    if logits.shape[1] == 1:
        return logits[:, 0]
    probability = ops.mean(ops.softmax(logits, axis=-1), axis=1)
    energy = ops.mean(ops.logsumexp(logits, axis=-1, keepdims=True), axis=1)
    return ops.log(ops.maximum(probability, _LEAST_PROBABILITY)) + energy


def disagreement(logits):
    """How far the samples disagree: `[episodes, S, queries, way]` -> `[episodes, queries]`, in nats, >= 0.

    The mutual information of the class and the sample, H(mean p) - mean H(p): what knowing w would tell of the class.
    """
    log_p = ops.log_softmax(logits, axis=-1)
    p = ops.exp(log_p)
    mean = ops.mean(p, axis=1)
    of_mean = -ops.sum(mean * ops.log(ops.maximum(mean, _LEAST_PROBABILITY)), axis=-1)
    return ops.maximum(of_mean + ops.mean(ops.sum(p * log_p, axis=-1), axis=1), 0.0)


def _halves(theta):
    return ops.split(theta, 2, axis=-1)


def _squared(values, mean, log_scale):
    return ops.square((values - mean) * ops.exp(-log_scale))
