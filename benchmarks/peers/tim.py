"""TIM (Boudiaf et al.: *Transductive Information Maximization for Few-Shot Learning*, NeurIPS 2020).

Minimises lambda * CE(support) - H(Y) + alpha * H(Y | X) over class weights w, where
p(c | x) = softmax_c(-tau / 2 |x - w_c|^2) on unit features, H(Y) is the entropy of the mean prediction of
the queries and H(Y | X) their mean entropy. The weights start as prototypes.
"""

import abc
import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer

# Adam's constants: PyTorch's and Keras's defaults but for epsilon, which is PyTorch's.
_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class TIMBase(Peer, abc.ABC):
    """What TIM-GD, TIM-ADM and alpha-TIM share.

    Attributes:
        temperature: tau, 15.
        support_weight: lambda, weight of the cross-entropy; 0.1.
        marginal_weight: weight of H(Y); 1.
        conditional_weight: alpha, weight of H(Y | X); 0.1.
    """

    temperature: float = 15.0
    support_weight: float = 0.1
    marginal_weight: float = 1.0
    conditional_weight: float = 0.1

    def __call__(self, episode, way, base_mean):
        members = arrays.membership(episode, way)
        classes = arrays.class_mask(members)
        # Masked rows are 0, so that sums over rows need no weights.
        support = arrays.unit(episode.support) * arrays.row_weights(episode.support_mask)
        query = arrays.unit(episode.query) * arrays.row_weights(episode.query_mask)
        task = Task(support, members, query, arrays.row_weights(episode.query_mask), classes)
        weights = self.adapt(arrays.weighted_means(support, members), task)
        return arrays.hide(self.logits(query, weights), classes)

    @abc.abstractmethod
    def adapt(self, weights, task: "Task"):
        """Returns the weights `[episodes, way, D]` after adapting."""

    def logits(self, rows, weights):
        """-tau / 2 |x - w_c|^2, `[episodes, rows, way]`."""
        # |x|^2 is the same for all classes and would cancel in the softmax: left out.
        squares = tf.reduce_sum(tf.square(weights), axis=-1)[:, None]
        return self.temperature * (tf.matmul(rows, weights, transpose_b=True) - 0.5 * squares)

    def probabilities(self, rows, weights, classes):
        """Predictions `[episodes, rows, way]`; classes without support get 0."""
        return arrays.softmax(self.logits(rows, weights), classes)


@dataclasses.dataclass(frozen=True)
class Task:
    """A batch of episodes as TIM needs them.

    Attributes:
        support: `[episodes, support_rows, D]` unit features, 0 where masked.
        members: `[episodes, support_rows, way]` one-hot labels, 0 where masked.
        query: `[episodes, query_rows, D]` unit features, 0 where masked.
        query_weights: `[episodes, query_rows, 1]`, 1 and 0.
        classes: `[episodes, way]` bool.
    """

    support: tf.Tensor
    members: tf.Tensor
    query: tf.Tensor
    query_weights: tf.Tensor
    classes: tf.Tensor

    def support_mean(self, values):
        """Mean over support rows of `[episodes, support_rows]` (masked rows are 0 already): `[episodes]`."""
        return tf.reduce_sum(values, axis=1) / tf.maximum(tf.reduce_sum(self.members, axis=[1, 2]), 1.0)

    def query_mean(self, values):
        """Mean over the queries: `[episodes, query_rows, n]` -> `[episodes, n]`."""
        count = tf.maximum(tf.reduce_sum(self.query_weights, axis=1), 1.0)
        return tf.reduce_sum(values * self.query_weights, axis=1) / count


@dataclasses.dataclass(frozen=True)
class TIMGD(TIMBase):
    """TIM by gradient descent: `iterations` steps of Adam.

    Attributes:
        learning_rate: 1e-4.
        iterations: 1000.
    """

    learning_rate: float = 1e-4
    iterations: int = 1000

    def adapt(self, weights, task):
        def step(index, weights, mean, square):
            # Summed over the episodes: the gradient of each is its own.
            with tf.GradientTape() as tape:
                tape.watch(weights)
                loss = tf.reduce_sum(self.loss(weights, task))
            gradient = tape.gradient(loss, weights)
            mean = _DECAY * mean + (1 - _DECAY) * gradient
            square = _SQUARE_DECAY * square + (1 - _SQUARE_DECAY) * tf.square(gradient)
            count = tf.cast(index + 1, tf.float32)
            root = tf.sqrt(square / (1 - _SQUARE_DECAY**count)) + _EPSILON
            return index + 1, weights - self.learning_rate * mean / (1 - _DECAY**count) / root, mean, square

        start = (tf.constant(0), weights, tf.zeros_like(weights), tf.zeros_like(weights))
        return tf.while_loop(lambda index, *_: index < self.iterations, step, start)[1]

    def loss(self, weights, task: Task):
        """The loss of every episode under `weights`: `[episodes]`."""
        predictions = self.probabilities(task.query, weights, task.classes)
        return (
            self.support_weight * self.cross_entropy(weights, task)
            - self.marginal_weight * self.entropy(task.query_mean(predictions))
            + self.conditional_weight * task.query_mean(self.entropy(predictions)[..., None])[:, 0]
        )

    def cross_entropy(self, weights, task: Task):
        """Mean cross-entropy of the support, `[episodes]`."""
        logarithms = tf.nn.log_softmax(arrays.hide(self.logits(task.support, weights), task.classes))
        return -task.support_mean(tf.reduce_sum(task.members * logarithms, axis=-1))

    def entropy(self, shares):
        """Shannon's, in nats, over the last axis."""
        return -tf.reduce_sum(shares * tf.math.log(shares + arrays.TINY), axis=-1)


@dataclasses.dataclass(frozen=True)
class TIMADM(TIMBase):
    """TIM by their alternating direction method, weighed as in the released code.

    With a = 1 + alpha and b = marginal_weight / (1 + marginal_weight):
    q_ic ~ p_ic^a / (sum_i p_ic^a)^b, and

    w_c <- (s (sum_s y_sc x_s + sum_s p_sc (w_c - x_s)) + t (sum_i q_ic x_i + sum_i p_ic (w_c - x_i)))
           / (s sum_s y_sc + t sum_i q_ic),

    s = lambda / (1 + alpha), t = support rows / queries.

    Attributes:
        iterations: 150.
    """

    iterations: int = 150

    def adapt(self, weights, task):
        return arrays.repeat(lambda weights: self.step(weights, task), weights, self.iterations)

    def step(self, weights, task: Task):
        """One update of q, then of the weights."""
        by_support = tf.reduce_sum(task.members, axis=-1, keepdims=True)
        p_support = self.probabilities(task.support, weights, task.classes) * by_support
        p_query = self.probabilities(task.query, weights, task.classes) * task.query_weights
        s = self.support_weight / (1 + self.conditional_weight)
        t = tf.reduce_sum(by_support, axis=1) / tf.maximum(tf.reduce_sum(task.query_weights, axis=1), 1.0)
        t = t[..., None]
        pull = s * _pull(task.support, task.members, p_support, weights)
        pull += t * _pull(task.query, self.assignments(p_query), p_query, weights)
        mass = s * tf.reduce_sum(task.members, axis=1)[..., None]
        mass += t * tf.reduce_sum(self.assignments(p_query), axis=1)[..., None]
        return tf.math.divide_no_nan(pull, mass)

    def assignments(self, predictions):
        """q of predictions `[episodes, query_rows, way]`; masked rows and classes stay 0."""
        powers = predictions ** (1 + self.conditional_weight)
        share = self.marginal_weight / (1 + self.marginal_weight)
        q = tf.math.divide_no_nan(powers, tf.reduce_sum(powers, axis=1, keepdims=True) ** share)
        return tf.math.divide_no_nan(q, tf.reduce_sum(q, axis=-1, keepdims=True))


def _pull(rows, targets, predictions, weights):
    """sum_i targets_ic x_i + predictions_ic (w_c - x_i): `[episodes, way, D]`."""
    own = weights * tf.reduce_sum(predictions, axis=1)[..., None]
    return tf.matmul(targets - predictions, rows, transpose_a=True) + own
