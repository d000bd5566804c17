"""BD-CSPN (Liu, Song, Qin: *Prototype Rectification for Few-Shot Learning*, ECCV 2020)."""

import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer, Task


def shifted(task: Task) -> tf.Tensor:
    """The queries, moved so that their mean is the support's (their cross-class bias); not of unit length."""
    support_mean = arrays.mean_row(task.support, task.support_weights)
    return task.query + support_mean - arrays.mean_row(task.query, task.query_weights)


def rectified(task: Task, query, scale: float) -> tf.Tensor:
    """Prototypes after rectification (their intra-class bias): `[episodes, way, D]`.

    p'_c = sum of w_ic x_i over the support and the (shifted) queries nearest to prototype c by cosine, with
    w_ic = softmax_c(scale * cos(x_i, p_c)), over the number of rows taken, as the released code of Veilleux et al. has
    it; scale is the paper's epsilon. A class that no row is nearest to keeps its prototype.
    """
    rows = tf.concat([task.support, query], axis=1)
    counted = tf.concat([task.support_weights, task.query_weights], axis=1)
    cosines = arrays.cosines(rows, task.prototypes)
    nearest = tf.one_hot(tf.argmax(arrays.hide(cosines, task.classes), axis=-1), cosines.shape[-1]) * counted
    weights = arrays.softmax(scale * cosines, task.classes) * nearest
    counts = tf.reduce_sum(nearest, axis=1)[..., None]
    means = tf.math.divide_no_nan(tf.matmul(weights, rows, transpose_a=True), counts)
    return tf.where(counts > 0, means, task.prototypes)


@dataclasses.dataclass(frozen=True)
class BDCSPN(Peer):
    """Shifts the queries onto the support, rectifies the prototypes with all of them, and classifies by cosine.

    Of the queries all are taken, as in the code of Veilleux et al. (the paper also takes the most certain Z a class).

    Attributes:
        scale: epsilon of the weights, 10 in the paper.
        centred: whether the base mean is taken away before scaling to unit length.
        shift: whether the queries are shifted at all.
    """

    scale: float = 10.0
    centred: bool = False
    shift: bool = True

    def scores(self, task):
        query = shifted(task) if self.shift else task.query
        return arrays.cosines(query, rectified(task, query, self.scale))
