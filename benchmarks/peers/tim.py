"""TIM (Boudiaf et al.: *Transductive Information Maximization for Few-Shot Learning*, NeurIPS 2020).

Minimises lambda * CE(support) - H(Y) + alpha * H(Y | X) over class weights w, where
p(c | x) = softmax_c(-tau / 2 |x - w_c|^2) on unit features, H(Y) is the entropy of the mean prediction of
the queries and H(Y | X) their mean entropy. The weights start as prototypes.
"""

import abc
import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer, Task

# Inside logarithms, as in the released code.
_TINY = 1e-12
# Adam's constants: PyTorch's and Keras's defaults but for epsilon, which is PyTorch's.
_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class TIMBase(Peer, abc.ABC):
    """What TIM-GD, TIM-ADM and alpha-TIM share."""

    temperature: float = 15.0  # tau
    support_weight: float = 0.1  # lambda, weight of the cross-entropy
    marginal_weight: float = 1.0  # Weight of H(Y).
    conditional_weight: float = 0.1  # alpha, weight of H(Y | X)

    def scores(self, task):
        return self.logits(task.query, self.adapt(task.prototypes, task))

    @abc.abstractmethod
    def adapt(self, weights, task: Task):
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
class TIMGD(TIMBase):
    """TIM by gradient descent: `iterations` steps of Adam."""

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
            - self.marginal_weight * self.entropy(arrays.mean_row(predictions, task.query_weights))[:, 0]
            + self.conditional_weight
            * arrays.mean_row(self.entropy(predictions)[..., None], task.query_weights)[:, 0, 0]
        )

    def cross_entropy(self, weights, task: Task):
        """Mean cross-entropy of the support, `[episodes]`."""
        logarithms = tf.nn.log_softmax(arrays.hide(self.logits(task.support, weights), task.classes))
        own = tf.reduce_sum(task.members * logarithms, axis=-1, keepdims=True)
        return -arrays.mean_row(own, task.support_weights)[:, 0, 0]

    def entropy(self, shares):
        """Shannon's, in nats, over the last axis."""
        return -tf.reduce_sum(shares * tf.math.log(shares + _TINY), axis=-1)


@dataclasses.dataclass(frozen=True)
class AlphaTIM(TIMGD):
    """TIM-GD with Tsallis' entropies, which ask less for balanced predictions: H_a(p) = (1 - sum_c p_c^a) / (a - 1).

    Veilleux, Boudiaf, Piantanida, Ben Ayed: *Realistic Evaluation of Transductive Few-Shot Learning*, NeurIPS 2021. The
    cross-entropy stays Shannon's and all weights are 1, as in the configuration that the authors released.

    Attributes:
        alpha: a, above 0 and not 1. The authors chose 2 at 1 shot and 7 at 5 and more (`benchmarks.peers.authors`).
    """

    alpha: float = 5.0
    support_weight: float = 1.0
    marginal_weight: float = 1.0
    conditional_weight: float = 1.0

    def entropy(self, shares):
        """Tsallis', over the last axis."""
        return (1.0 - tf.reduce_sum((shares + _TINY) ** self.alpha, axis=-1)) / (self.alpha - 1.0)


@dataclasses.dataclass(frozen=True)
class TIMADM(TIMBase):
    """TIM by their alternating direction method, weighed as in the released code.

    With a = 1 + alpha and b = marginal_weight / (1 + marginal_weight):
    q_ic ~ p_ic^a / (sum_i p_ic^a)^b, and

    w_c <- (s (sum_s y_sc x_s + sum_s p_sc (w_c - x_s)) + t (sum_i q_ic x_i + sum_i p_ic (w_c - x_i)))
           / (s sum_s y_sc + t sum_i q_ic),

    s = lambda / (1 + alpha), t = support rows / queries.
    """

    iterations: int = 150

    def adapt(self, weights, task):
        return arrays.repeat(lambda weights: self.step(weights, task), weights, self.iterations)

    def step(self, weights, task: Task):
        """One update of q, then of the weights."""
        p_support = self.probabilities(task.support, weights, task.classes) * task.support_weights
        p_query = self.probabilities(task.query, weights, task.classes) * task.query_weights
        s = self.support_weight / (1 + self.conditional_weight)
        supports, queries = (tf.reduce_sum(rows, axis=1) for rows in (task.support_weights, task.query_weights))
        t, q = (supports / tf.maximum(queries, 1.0))[..., None], self.assignments(p_query)
        pull = s * _pull(task.support, task.members, p_support, weights) + t * _pull(task.query, q, p_query, weights)
        mass = s * tf.reduce_sum(task.members, axis=1) + t[..., 0] * tf.reduce_sum(q, axis=1)
        return tf.math.divide_no_nan(pull, mass[..., None])

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
