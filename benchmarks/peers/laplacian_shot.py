"""LaplacianShot (Ziko, Dolz, Granger, Ben Ayed: *Laplacian Regularized Few-Shot Learning*, ICML 2020)."""

import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays, bd_cspn
from benchmarks.peers.peer import Peer


@dataclasses.dataclass(frozen=True)
class LaplacianShot(Peer):
    """Nearest prototypes, with neighbours among the queries pulled to one class (their algorithm 1).

    y_q^(0) = softmax(-a_q), y_q^(i+1) = softmax(-a_q + lambda sum_p w_qp y_p^(i)), where
    a_qc = |x_q - p_c|^2 and w_qp = 1 if p is among the k nearest of q. Features are centred and of unit length (CL2N).

    Attributes:
        weight: lambda; the authors tune it on validation classes, 0.7 for 1 shot on mini-ImageNet.
        neighbours: k = 3, which counts the query itself in the released code: two others.
        iterations: bound updates, 20; the released code may stop earlier, when nothing changes.
        rectify: whether prototypes are first rectified as in BD-CSPN, with scale 10, as they do.
    """

    centred = True
    weight: float = 0.7
    neighbours: int = 3
    iterations: int = 20
    rectify: bool = True

    def scores(self, task):
        prototypes = bd_cspn.rectified(task, bd_cspn.shifted(task), 10.0) if self.rectify else task.prototypes
        unary = arrays.squared_distances(task.query, prototypes)
        graph = nearest_neighbours(task.query, task.query_weights[..., 0] > 0, self.neighbours - 1)

        def update(scores):
            return -unary + self.weight * tf.matmul(graph, arrays.softmax(scores, task.classes))

        return arrays.repeat(update, -unary, self.iterations)


def nearest_neighbours(rows, mask, count: int) -> tf.Tensor:
    """The graph `[episodes, rows, rows]` float32: 1 where the second is among the `count` nearest others of the first.

    Masked rows are nobody's neighbours; where there are fewer others than `count`, all are.
    """
    number = rows.shape[1]
    others = mask[:, None] & ~tf.eye(number, dtype=tf.bool)
    distances = tf.where(others, arrays.squared_distances(rows, rows), float("inf"))
    _, indices = tf.math.top_k(-distances, min(count, number - 1))
    return tf.reduce_sum(tf.one_hot(indices, number), axis=2) * tf.cast(others, tf.float32)
