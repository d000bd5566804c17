"""UNEM (Zhou et al.: *UNEM: UNrolled Generalized EM for Transductive Few-Shot Learning*, CVPR 2025)."""

import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer, Task

# Inside logarithms: a class that nothing is assigned to.
_TINY = 1e-12
TEMPERATURES = (0.1429, 0.1514, 0.1658, 0.1627, 0.1723, 0.1639, 0.1514, 0.08084, 0.01491, 0.03785)
BALANCES = (0.09072, 0.06677, -0.08466, -0.07076, -0.09206, -0.07209, 0.1214, -0.2733, -0.03673, 0.05515)


@dataclasses.dataclass(frozen=True)
class UNEM(Peer):
    """Generalised EM, unrolled: every layer has a temperature and a weight of the classes' shares of its own.

    Gaussian classes of identity covariance on unit features (UNEM-Gaussian). Layer l assigns the queries and
    estimates shares and means anew:

    u_qc = softmax_c((-|x_q - p_c|^2 / 2 + balance_l log pi_c) / temperature_l), pi_c = mean_q u_qc,
    p_c = (sum_s y_sc x_s + sum_q u_qc x_q) / (sum_s y_sc + sum_q u_qc).

    EM is the case of all numbers 1; a balance below 0 pulls towards equal shares, one above 1 away from them. The
    scores are the last assignments' logits. The authors' own numbers are of other backbones; the defaults were trained
    by `benchmarks.unem_training` (300 steps, seed 0) on validation classes of CIFAR-FS under Conv-4-64.

    Attributes:
        temperatures: of every layer, > 0.
        balances: of every layer, the weight of the logarithm of the classes' shares.
    """

    temperatures: tuple[float, ...] = TEMPERATURES
    balances: tuple[float, ...] = BALANCES

    def scores(self, task):
        return unrolled(task, self.temperatures, self.balances)


def unrolled(task: Task, temperatures, balances) -> tf.Tensor:
    """Scores `[episodes, query_rows, way]` after all layers, one for each of `temperatures` and `balances`.

    These are sequences of the same length, of floats or of scalar tensors to be trained.
    """
    present = tf.cast(task.classes, tf.float32)
    # All classes alike at first; classes without support are hidden in every softmax.
    shares, means = present / tf.maximum(tf.reduce_sum(present, -1, keepdims=True), 1.0), task.prototypes
    scores = None
    for temperature, balance in zip(temperatures, balances, strict=True):
        if scores is not None:
            assigned = arrays.softmax(scores, task.classes)
            shares = arrays.mean_row(assigned, task.query_weights)[:, 0]
            means = task.means_with(assigned)
        evidence = -0.5 * arrays.squared_distances(task.query, means)
        scores = (evidence + balance * tf.math.log(shares + _TINY)[:, None]) / temperature
    return scores
