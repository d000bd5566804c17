"""Synthetic Information Bottleneck (Hu et al., ICLR 2020): the K steps, the model, its loss.

    theta^0 = initialisation network(support),
    theta^(k+1) = theta^k - eta * { J^T xi(logits^k) + grad KL(q_theta^k || p(w)) },    k = 0 .. K-1,

where J is d logits / d theta and xi the synthetic gradient network, which sees the queries' logits and no labels. By
default, as in the released code, there is no prior p(w) and no KL term, and q has all its mass on theta = w.

Ours: with `normalization` every episode first chooses the centre that its features are seen from, and nothing is kept
of steps that went astray; with `blend` it chooses how much of theta^K - theta^0 is kept; and with `support_gradient`
every step takes the gradient of the labelled rows too.
"""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from sib_tf import distributions, gradient_networks
from sib_tf.any_backbone.blending import EpisodeBlend
from sib_tf.any_backbone.normalization import EpisodeNormalizer, Frame
from sib_tf.any_backbone.straying import astray
from sib_tf.config import SIBConfig
from sib_tf.errors import InputError
from sib_tf.layers import InitializationNetwork, UnitRows, cosine_logits, pulls, tangent, unit, unit_rows
from sib_tf.tasks import Task

# Logit of a padded class: its probability is exactly 0, and it stays finite.
MASKED_LOGIT = -1e9
# Where the learned step sizes of the support's gradient start.
_SUPPORT_RATE = 0.05


def descend(theta, num_steps: int, step: Callable) -> list:
    """Takes the K steps, unrolled; everything that adapts takes them here.

    From theta^0 and a pure function `step`, (theta^k, k) -> theta^k - theta^(k+1), to the path [theta^0, .., theta^K].
    """
    path = [theta]
    for k in range(num_steps):
        path.append(path[-1] - step(path[-1], k))
    return path


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
        noise: of the posterior's samples, `[episodes or 1, S, way, D]`; None: the same numbers always.

    Returns:
        logits `[episodes, queries, way]` float32 under theta^K; `MASKED_LOGIT` for padded classes.
    """

    def __init__(self, config: SIBConfig | dict, **kwargs):
        super().__init__(**kwargs)
        self.config = config = SIBConfig.from_dict(config, "config")
        kind = config.gradient_network, config.way, config.hidden_units
        self.initialization = InitializationNetwork(trainable=config.learned_initialization, name="initialization")
        self.gradient_networks = [
            gradient_networks.build(*kind, f"gradient_network{i or ''}")
            for i in range(config.num_steps if config.separate_steps else 1)
        ]
        self.normalizer = EpisodeNormalizer(name="normalizer") if config.normalization == "episode" else None
        self.blend = EpisodeBlend(name="blend") if config.blend else None
        self.prior = self.posterior = None  # No p(w); and q has all its mass on theta.
        # About twice the root mean square of the elements of a unit vector, which theta^0 is the mean of some of.
        scale = 2.0 * (config.feature_dim or 1) ** -0.5
        if config.prior == "gaussian":
            self.prior = distributions.GaussianPrior(scale, name="prior")
        if config.posterior == "gaussian":
            self.posterior = distributions.GaussianPosterior(config.posterior_samples, 0.25 * scale, name="posterior")

    def build(self, input_shape=None):
        if self.built:
            return
        dim, way = self.config.feature_dim, self.config.way
        self.logit_scale = self.add_weight(name="logit_scale", shape=(), initializer=keras.initializers.Constant(10.0))
        self.logit_bias = self.add_weight(name="logit_bias", shape=(), initializer="zeros")
        if self.config.support_gradient:
            start, shape = keras.initializers.Constant(_SUPPORT_RATE), (self.config.num_steps,)
            self.support_rates = self.add_weight(name="support_rates", shape=shape, initializer=start)
        self.initialization.build((None, None, dim))
        for layer in filter(None, (self.normalizer, self.blend, self.posterior)):
            layer.build()
        for network in self.gradient_networks:
            network.build((None, None, way))
        if self.prior is not None:
            self.prior.build(dim)
        self.built = True

    def call(self, support, support_labels, query, support_mask=None, query_mask=None, way=None, noise=None):
        path, class_mask = self.adapt(support, support_labels, query, support_mask, query_mask, way, noise)
        return self.classify(path[-1], query, class_mask, noise)

    def adapt(self, *arguments, **named):
        """Runs the K steps; arguments as for calling the model.

        Returns:
            (path, class_mask): the list theta^0 .. theta^K, and `[episodes, way]` bool, True for classes with support.
            theta is `[episodes, way, D]`, with a gaussian posterior `[episodes, way, 2 D]`: `mean_weights` has its D.
            With `normalization` it is `[episodes, way, 2 D]` too: w, and behind each class's the episode's centre.
        """
        return self.adapt_seen(*arguments, **named)[:2]

    def adapt_seen(
        self, support, support_labels, query, support_mask=None, query_mask=None, way=None, noise=None, guarded=True
    ):
        """As `adapt`, and `UnitRows` of the queries, as the steps saw them. `guarded` False keeps what went astray."""
        membership = self._membership(support_labels, support_mask, way)
        class_mask, frame = ops.sum(membership, axis=1) > 0, None
        query_mask = ops.ones_like(query[..., 0]) if query_mask is None else query_mask  # Once, not in every step.
        if self.normalizer is not None:
            frame = self.normalizer(support, membership, query, query_mask=query_mask)
            support, query = frame.support, frame.query
        support_rows, query_rows = (unit_rows(rows, are_unit=frame is not None) for rows in (support, query))
        task = Task(support_rows, membership, class_mask, query_rows, query_mask, frame)
        theta = self.initialization(support, membership)
        noise = self._noise(theta, noise)
        if self.posterior is not None:
            theta = self.posterior.initial(theta)
        sampled = task if noise is None else task.repeated(noise.shape[1])
        path = descend(theta, self.config.num_steps, lambda theta, k: self.step(theta, k, task, sampled, noise))
        if self.blend is not None:
            path[-1] = path[0] + self.blend(task, path[0], path[-1]) * (path[-1] - path[0])
        if guarded and frame is not None and path[1:]:
            path[-1] = ops.where(astray(task, path[0], path[-1]), path[0], path[-1])
        return path if frame is None else [frame.behind(theta, class_mask) for theta in path], class_mask, task.query

    def step(self, theta, k: int, task: Task, sampled: Task | None = None, noise=None):
        """theta^k - theta^(k+1). Where q has all its mass on theta = w and there is no prior, it is eta * J^T xi.

        `sampled` is the task once for each sample of w, and `noise` what they are drawn with; None: w is not sampled.
        """
        if self.prior is None:
            return self.data_gradient(theta, k, task)
        kl_gradient = self._kl_gradient(theta, task)
        if self.posterior is None:
            return self.data_gradient(theta, k, task) + kl_gradient
        sampled = sampled or task
        return self.posterior.step(theta, lambda w: self.data_gradient(w, k, sampled), kl_gradient, noise)

    def data_gradient(self, weights, k: int, task: Task):
        """eta * J^T xi over the queries, and with `support_gradient` the support's gradient at its own learned rate.

        `weights` are w; they and the result are `[episodes, way, D]` float32.
        """
        rate = self.config.inner_learning_rate * task.mean_weight(self.config.step_reduction) * self.logit_scale
        pull = pulls(task.query, self._query_gradient(weights, k, task) * task.query_rates(rate))
        if self.config.support_gradient:
            rate = self.logit_scale * self.support_rates[k]
            pull = pull + pulls(task.support, self._support_gradient(weights, task) * rate)
        return tangent(weights, pull)

    def negative_bound(self, episode, way: int, kl_weight: float, noise=None):
        """E_q[sum over the queries of -log p(y | x, w)] + kl_weight * KL(q || p(w)) under theta^K: `[episodes]`, nats.

        With `kl_weight` 1 it is minus the evidence lower bound of a `sib_tf.episodes.Episode` of features. Masked
        queries do not count; a model without a prior has no KL divergence. `way` and `noise` as for calling the model.
        Steps that went astray count as they went: of a theta^K that is theta^0 nobody learns to take better ones.
        """
        support, support_labels, support_mask, query, query_labels, query_mask = episode
        given = support, support_labels, query, support_mask, query_mask, way, noise
        path, class_mask = self.adapt(*given, guarded=False)
        logits = self.sampled_logits(path[-1], query, class_mask, noise)
        labels = tf.broadcast_to(query_labels[:, None], tf.shape(logits)[:3])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), axis=1)
        total = tf.reduce_sum(loss * tf.cast(query_mask, loss.dtype), axis=1)
        return total if self.prior is None else total + kl_weight * self.kl(path[-1], class_mask)

    def outer_loss(self, episode, way: int, noise=None):
        """Training's loss: `negative_bound` over the n queries, in nats per query, the mean over episodes.

        Without a prior it is the mean query cross-entropy (released code). An episode is a task with its own w, so
        that KL / n does not depend on how many episodes a batch has, nor on how many queries other episodes have.
        """
        total = self.negative_bound(episode, way, self.config.kl_weight, noise)
        queries = tf.reduce_sum(tf.cast(episode.query_mask, total.dtype), axis=1)
        return tf.reduce_mean(total / tf.maximum(queries, 1.0))

    def mean_weights(self, theta):
        """The mean of w under q_theta, `[episodes, way, D]`."""
        if self.normalizer is not None:
            return ops.split(theta, 2, axis=-1)[0]
        return theta if self.posterior is None else self.posterior.mean(theta)

    def seen(self, theta, query) -> tuple:
        """What logits are of: theta less its centre, and `UnitRows` of `query` `[episodes, queries, D]` from there.

        A query that is `UnitRows` was seen before, and is returned as it is.
        """
        weights, *centre = [theta] if self.normalizer is None else ops.split(theta, 2, axis=-1)
        if not isinstance(query, UnitRows):
            query = unit_rows(unit(query) - centre[0][:, :1] if centre else query)  # Class 0 is never padding.
        return weights, query

    @property
    def samples(self) -> int:
        """S, samples of w; 0: w is the posterior's mean."""
        return 0 if self.posterior is None else self.posterior.samples

    def kl(self, theta, class_mask=None):
        """KL(q_theta || p(w)) in nats, `[episodes]`; without a gaussian posterior -log p(theta). Needs a prior."""
        return self.prior.kl(theta, self.posterior, class_mask)

    def classify(self, theta, query, class_mask=None, noise=None):
        """Logits of features `query` `[episodes, queries, D]` under q_theta: `[episodes, queries, way]`.

        Of several samples of w they are those of the mean probability, see `distributions.mixture_logits`.
        """
        logits = distributions.mixture_logits(self.sampled_logits(theta, query, class_mask, noise))
        return _masked(logits, class_mask, 1)

    def sampled_logits(self, theta, query, class_mask=None, noise=None):
        """Logits of every sample of w, `[episodes, S, queries, way]`; S is 1 where w is not sampled."""
        noise = self._noise(theta, noise)
        theta, units = self.seen(theta, query)
        samples = 1 if noise is None else noise.shape[1]
        units = units if samples == 1 else units.repeated(samples)
        logits = self._logits(theta if self.posterior is None else self.posterior.draw(theta, noise), units)
        return _masked(ops.reshape(logits, (-1, samples, *ops.shape(logits)[1:])), class_mask, 2)

    def weights_logits(self, weights, query, class_mask=None):
        """Logits `[episodes, queries, way]` under theta, whose w may be any multiple; `query` as for `seen`."""
        return _masked(self._logits(*self.seen(weights, query)), class_mask, 1)

    def bound(self, feature_dim: int) -> "SIB":
        """Returns this model for features of length D alone, as exports need it: itself, or one of the same numbers."""
        if self.config.feature_dim == feature_dim:
            return self
        model = SIB(dataclasses.replace(self.config, feature_dim=feature_dim), name=self.name)
        model.build()
        for here, there in zip(self.weights, model.weights, strict=True):
            there.assign(ops.broadcast_to(here, there.shape))
        return model

    def get_config(self):
        return {**super().get_config(), "config": dataclasses.asdict(self.config)}

    def _logits(self, weights, rows: UnitRows, frame: Frame | None = None):
        scale = self.logit_scale if frame is None else self.logit_scale * frame.scale
        return cosine_logits(weights, rows, scale, self.logit_bias)

    def _membership(self, support_labels, support_mask, way):
        way = self.config.way if way is None else way
        if way is None:
            raise InputError("way must be given for a per_class model: it is built for any number of classes.")
        if not self.config.takes_way(way):
            raise InputError(f"way must be {self.config.way}, which this joint model was built for; got {way}.")
        membership = ops.one_hot(support_labels, way, dtype=self.compute_dtype)
        if support_mask is not None:
            membership = membership * ops.expand_dims(ops.cast(support_mask, self.compute_dtype), -1)
        return membership

    def _noise(self, theta, noise):
        """The noise of all draws: as given, or the same numbers always; None where w is not sampled."""
        if noise is not None or not self.samples:
            return noise
        return distributions.fixed_noise(self.samples, ops.shape(theta)[1], self.config.feature_dim, self.compute_dtype)

    def _kl_gradient(self, theta, task: Task):
        """The KL divergence's part of a step, times its rate. Reduced as the queries are: the objective stays one."""
        rate = self.config.inner_learning_rate * self.config.kl_weight * task.mean_weight(self.config.step_reduction)
        return rate * self.prior.kl_gradient(theta, self.posterior, task.class_mask)

    def _query_gradient(self, weights, k: int, task: Task):
        """xi, `[episodes, queries, way]`: of the queries' logits; of masked ones it means nothing."""
        network = self.gradient_networks[k if self.config.separate_steps else 0]
        logits = self._logits(weights, task.query, task.frame)
        return network(logits, task.support_counts, task.query_mask, task.class_mask)

    def _support_gradient(self, weights, task: Task):
        """Of the support's cross-entropy, summed over classes and averaged over the shots of each, by its logits.

        So a class with many labelled pictures pulls no harder than one with few. `[episodes, support_rows, way]`.
        """
        classes = ops.expand_dims(ops.cast(task.class_mask, weights.dtype), 1)
        logits = self._logits(weights, task.support, task.frame) + (classes - 1.0) * -MASKED_LOGIT
        return (ops.softmax(logits, axis=-1) - task.membership) * task.support_shares


def _masked(logits, class_mask, axis: int):
    """Logits with `MASKED_LOGIT` for padded classes; `class_mask` `[episodes, way]` lacks `axis` axes in the middle."""
    if class_mask is None:
        return logits
    return ops.where(ops.expand_dims(class_mask, tuple(range(1, 1 + axis))), logits, MASKED_LOGIT)
