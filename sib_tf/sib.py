"""Synthetic Information Bottleneck (Hu et al., ICLR 2020): the model and its steps.

theta^0 = initialisation network(support);

    theta^(k+1) = theta^k - eta * { J^T xi(logits^k) + grad KL(q_theta^k || p(w)) },    k = 0 .. K-1,

where J is d logits / d theta and xi the synthetic gradient network, which sees the queries' logits and no labels. By
default, as in the released code, there is no prior p(w) and no KL term, and q has all its mass on theta.

The support's labels are known, and so is the gradient of its cross-entropy; with `support_gradient` every step takes it
too. Ours: the released code uses the support for theta^0 only.
"""

import dataclasses
from typing import NamedTuple

import keras
from keras import ops

from sib_tf import distributions, gradient_networks
from sib_tf.config import SIBConfig
from sib_tf.errors import InputError
from sib_tf.layers import UnitRows, along_features, along_rows, norm, unit, unit_rows

# Logit of a padded class: its probability is exactly 0, and it stays finite.
MASKED_LOGIT = -1e9
# Where the learned step sizes of the support's gradient start.
_SUPPORT_RATE = 0.05


@keras.saving.register_keras_serializable("sib_tf")
class InitializationNetwork(keras.layers.Layer):
    """theta^0_c = a * mean over the support of class c of z / |z|, with a learned vector a, at first 1.

    Not normalised again (released code). The class of a masked row does not count; a class without rows gets 0.

    Call arguments:
        support: `[episodes, support_rows, D]` float32 features.
        membership: `[episodes, support_rows, way]` float32, one-hot rows; a masked row is 0.

    Returns:
        `[episodes, way, D]` float32.
    """

    def build(self, support_shape, membership_shape=None):
        self.feature_scale = self.add_weight(name="feature_scale", shape=(support_shape[-1],), initializer="ones")

    def call(self, support, membership):
        counts = ops.maximum(ops.sum(membership, axis=1), 1.0)[..., None]
        return self.feature_scale * ops.matmul(ops.swapaxes(membership, 1, 2), unit(support)) / counts


class Task(NamedTuple):
    """What the steps of an episode see.

    Attributes:
        support: of `support_rows`, the labelled ones.
        membership: `[episodes, support_rows, way]` float32, one-hot labels; a masked row is 0.
        class_mask: `[episodes, way]` bool, True for classes with support.
        query: of `queries`.
        query_mask: `[episodes, queries]` bool, or None: all count.
    """

    support: UnitRows
    membership: object
    class_mask: object
    query: UnitRows
    query_mask: object = None

    @property
    def support_counts(self):
        """`[episodes, way]` float32, labelled pictures of every class."""
        return ops.sum(self.membership, axis=1)

    def repeated(self, times: int) -> "Task":
        """Every episode `times` times, side by side: one for each sample of its weights."""
        mask = None if self.query_mask is None else ops.repeat(self.query_mask, times, axis=0)
        membership, class_mask = (ops.repeat(field, times, axis=0) for field in (self.membership, self.class_mask))
        return Task(self.support.repeated(times), membership, class_mask, self.query.repeated(times), mask)


@keras.saving.register_keras_serializable("sib_tf")
class SIB(keras.Model):
    """Learns the classes of an episode in one forward pass: K unrolled steps, no state, no mode.

    Args:
        config: a `SIBConfig` or its dictionary.

    Call arguments (all but `way` tensors; shapes as in `sib_tf.episodes.Episode`):
        support: `[episodes, support_rows, D]` float32 features.
        support_labels: `[episodes, support_rows]` int32 in `[0, way)`.
        query: `[episodes, queries, D]` float32 features.
        support_mask: `[episodes, support_rows]` bool, or None: all rows count.
        query_mask: `[episodes, queries]` bool, or None.
        way: number of classes (columns of the logits); None: `config.way`. Classes without support rows are padding.

    Returns:
        logits `[episodes, queries, way]` float32 under theta^K; `MASKED_LOGIT` for padded classes.
    """

    def __init__(self, config: SIBConfig | dict, **kwargs):
        super().__init__(**kwargs)
        self.config = config if isinstance(config, SIBConfig) else SIBConfig.from_dict(config, "config")
        learned = self.config.learned_initialization
        self.initialization = InitializationNetwork(trainable=learned, name="initialization")
        count = self.config.num_steps if self.config.separate_steps else 1
        self.gradient_networks = [
            gradient_networks.build(
                self.config.gradient_network, self.config.way, self.config.hidden_units, f"gradient_network{i or ''}"
            )
            for i in range(count)
        ]
        # About twice the root mean square of the elements of a unit vector, which theta^0 is the mean of some of.
        scale = 2.0 * self.config.feature_dim**-0.5
        self.prior = distributions.GaussianPrior(scale, name="prior") if self.config.prior == "gaussian" else None
        self.posterior = distributions.DiracPosterior()
        if self.config.posterior == "gaussian":
            samples = self.config.posterior_samples
            self.posterior = distributions.GaussianPosterior(samples, 0.25 * scale, name="posterior")

    def build(self, input_shape=None):
        if self.built:
            return
        dim, way = self.config.feature_dim, self.config.way
        self.logit_scale = self.add_weight(name="logit_scale", shape=(), initializer=keras.initializers.Constant(10.0))
        self.logit_bias = self.add_weight(name="logit_bias", shape=(), initializer="zeros")
        if self.config.support_gradient:
            start = keras.initializers.Constant(_SUPPORT_RATE)
            self.support_rates = self.add_weight(
                name="support_rates", shape=(self.config.num_steps,), initializer=start
            )
        self.initialization.build((None, None, dim))
        for network in self.gradient_networks:
            network.build((None, None, way))
        if self.prior is not None:
            self.prior.build(dim)
        if self.config.posterior == "gaussian":
            self.posterior.build()
        self.built = True

    def call(self, support, support_labels, query, support_mask=None, query_mask=None, way=None, noise=None):
        path, class_mask = self.adapt(support, support_labels, query, support_mask, query_mask, way, noise)
        return self.classify(path[-1], query, class_mask, noise)

    def adapt(self, support, support_labels, query, support_mask=None, query_mask=None, way=None, noise=None):
        """Runs the K steps; arguments as for calling the model.

        Returns:
            (path, class_mask): the list theta^0 .. theta^K, and `[episodes, way]` bool, True for classes with support.
            theta is `[episodes, way, D]`, with a gaussian posterior `[episodes, way, 2 D]`: `mean_weights` has its D.
        """
        membership = self._membership(support_labels, support_mask, way)
        class_mask = ops.any(membership > 0, axis=1)
        task = Task(unit_rows(support), membership, class_mask, unit_rows(query), query_mask)
        theta = self.posterior.initial(self.initialization(support, membership))
        noise = self._noise(theta, noise)
        sampled = task if noise is None else task.repeated(noise.shape[1])
        path = distributions.descend(
            theta,
            self.config.num_steps,
            self.posterior,
            lambda weights, k: self.weights_gradient(weights, sampled, k),
            None if self.prior is None else lambda theta: self._kl_gradient(theta, task),
            noise,
        )
        return path, class_mask

    def weights_gradient(self, weights, task: Task, k: int):
        """The data's part of step k with respect to the classifier's weights w, times its rate.

        Args:
            weights: w, `[episodes, way, D]` float32.
            task: support and queries.
            k: number of the step; makes a difference with `separate_steps` and `support_gradient` only.

        Returns:
            `[episodes, way, D]` float32.
        """
        gradient = self.config.inner_learning_rate * self._query_gradient(weights, task, k)
        if self.config.support_gradient:
            gradient = gradient + self.support_rates[k] * self._support_gradient(weights, task)
        return gradient

    def mean_weights(self, theta):
        """The mean of w under q_theta, `[episodes, way, D]`: with a Dirac posterior theta itself."""
        return self.posterior.mean(theta)

    def kl(self, theta, class_mask=None):
        """KL(q_theta || p(w)) in nats, `[episodes]`; with a Dirac posterior -log p(theta). Needs a prior."""
        return self.prior.kl(self.posterior, theta, class_mask)

    def classify(self, theta, query, class_mask=None, noise=None):
        """Logits of features `query` `[episodes, queries, D]` under q_theta: `[episodes, queries, way]`.

        Of several samples of w they are those of the mean probability, see `distributions.mixture_logits`.
        """
        logits = distributions.mixture_logits(self.sampled_logits(theta, query, class_mask, noise))
        return logits if class_mask is None else ops.where(class_mask[:, None], logits, MASKED_LOGIT)

    def sampled_logits(self, theta, query, class_mask=None, noise=None):
        """Logits of every sample of w, `[episodes, S, queries, way]`; S is 1 where w is not sampled."""
        noise = self._noise(theta, noise)
        samples = 1 if noise is None else noise.shape[1]
        units = unit_rows(query)
        units = units if samples == 1 else units.repeated(samples)
        logits = self._logits(self.posterior.draw(theta, noise), units)
        logits = ops.reshape(logits, (-1, samples, *ops.shape(logits)[1:]))
        return logits if class_mask is None else ops.where(class_mask[:, None, None], logits, MASKED_LOGIT)

    def weights_logits(self, weights, query, class_mask=None):
        """Logits `[episodes, queries, way]` of `query` under weights w `[episodes, way, D]` of any length."""
        logits = self._logits(weights, unit_rows(query))
        return logits if class_mask is None else ops.where(class_mask[:, None], logits, MASKED_LOGIT)

    def get_config(self):
        return {**super().get_config(), "config": dataclasses.asdict(self.config)}

    def _logits(self, theta, query: UnitRows):
        """scale * (<query, theta> / (|query| |theta|) + bias); the bias cancels in the softmax but xi sees it."""
        cosine = along_features(unit(theta), query)
        # Scaled before it is transposed: XLA would fold the transpose into the product.
        return ops.swapaxes(self.logit_scale * (cosine + self.logit_bias), 1, 2)

    def _membership(self, support_labels, support_mask, way):
        way = self.config.way if way is None else way
        if way is None:
            raise InputError("way must be given for a per_class model: it is built for any number of classes.")
        if not self.config.takes_way(way):
            raise InputError(f"way must be {self.config.way}, which this joint model was built for; got {way}.")
        membership = ops.one_hot(support_labels, way, dtype=self.compute_dtype)
        return (
            membership if support_mask is None else membership * ops.cast(support_mask, self.compute_dtype)[..., None]
        )

    def _noise(self, theta, noise):
        """The noise of all draws: as given, or the same numbers always; None where w is not sampled."""
        if noise is not None or not self.posterior.samples:
            return noise
        way = ops.shape(theta)[1]
        return distributions.fixed_noise(self.posterior.samples, way, self.config.feature_dim, self.compute_dtype)

    def _kl_gradient(self, theta, task: Task):
        """The KL divergence's part of a step, times its rate. Reduced as the queries are: the objective stays one."""
        rate = self.config.inner_learning_rate * self.config.kl_weight
        if self.config.step_reduction != "sum":
            rate = rate * self._mean_weight(task)
        return rate * self.prior.kl_gradient(self.posterior, theta, task.class_mask)

    def _query_gradient(self, theta, task: Task, k: int):
        """J^T xi over the queries, added up as `step_reduction` says."""
        network = self.gradient_networks[k if self.config.separate_steps else 0]
        logits = self._logits(theta, task.query)
        gradients = network(logits, task.support_counts, task.query_mask, task.class_mask)
        if task.query_mask is not None:
            gradients = gradients * ops.cast(task.query_mask, gradients.dtype)[..., None]
        total = classifier_gradient(theta, task.query, gradients, self.logit_scale)
        return total if self.config.step_reduction == "sum" else total * self._mean_weight(task)

    def _support_gradient(self, theta, task: Task):
        """The gradient of the support's cross-entropy, summed over classes and averaged over the shots of one."""
        classes = ops.cast(task.class_mask, theta.dtype)[:, None]
        logits = self._logits(theta, task.support) + (classes - 1.0) * -MASKED_LOGIT
        # Masked rows have no label and no probabilities.
        rows = ops.sum(task.membership, axis=-1, keepdims=True)
        gradients = ops.softmax(logits, axis=-1) * rows - task.membership
        shots = ops.sum(rows, axis=1, keepdims=True) / ops.maximum(ops.sum(classes, axis=-1, keepdims=True), 1.0)
        total = classifier_gradient(theta, task.support, gradients, self.logit_scale)
        return total / ops.maximum(shots, 1.0)

    def _mean_weight(self, task: Task):
        """What the sum over the n queries is multiplied by, 1/n and what shrinks it: `[episodes, 1, 1]`."""
        units, mask = task.query.rows, task.query_mask
        rows = ops.ones_like(units[..., 0]) if mask is None else ops.cast(mask, units.dtype)
        count = ops.maximum(ops.sum(rows, axis=1), 1.0)
        weight = 1.0 / count
        if self.config.step_reduction == "shrunk_mean":
            way = ops.sum(ops.cast(task.class_mask, count.dtype), axis=1)
            weight *= (count - 1.0) / (count - 1.0 + way)
        return weight[:, None, None]


def classifier_gradient(theta, query: UnitRows, logit_gradients, logit_scale):
    """J^T g in closed form: the gradient of sum_ic g_ic * logits_ic(theta) with respect to theta, g held fixed.

    With t_c = theta_c / |theta_c| and G_c = scale * sum_i g_ic q_i, the result is (G_c - t_c <G_c, t_c>) / |theta_c|.

    Args:
        theta: `[episodes, way, D]` float32.
        query: of `queries`.
        logit_gradients: `[episodes, queries, way]` float32; 0 for masked queries and classes.
        logit_scale: scalar.

    Returns:
        `[episodes, way, D]` float32, orthogonal to theta.
    """
    length = norm(theta)
    direction = theta / length
    pull = along_rows(logit_scale * ops.swapaxes(logit_gradients, 1, 2), query)
    return (pull - direction * ops.sum(pull * direction, axis=-1, keepdims=True)) / length
