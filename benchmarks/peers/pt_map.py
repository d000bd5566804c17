"""PT-MAP (Hu, Gripon, Pateux: *Leveraging the Feature Distribution in Transfer-based Few-Shot Learning*, 2021)."""

import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer, Task


@dataclasses.dataclass(frozen=True)
class PTMAP(Peer):
    """Power transform, then centres and optimal-transport assignments in turn (their algorithm 1).

    The transport gives every class the same number of queries: a balanced query set is part of the method. The
    released code's QR decomposition changes no distance, only their cost, and is left out. Its features are not below
    zero (ReLU); ours of numbers that are is minus the power of their size.
    """

    power: float = 0.5  # beta
    regularisation: float = 10.0  # lambda of Sinkhorn's algorithm
    step: float = 0.2  # alpha of the centres' update
    iterations: int = 20

    def transform(self, rows, weights, base_mean):
        """(x + 1e-6)^power to unit length, minus the mean of the set (support or query), to unit length again."""
        powers = (tf.abs(rows) + 1e-6) ** self.power
        rows = arrays.unit(tf.where(rows < 0, -powers, powers))
        return arrays.unit(rows - arrays.mean_row(rows, weights))

    def scores(self, task):
        def move(centres):
            return centres + self.step * (task.means_with(self.assignments(task, centres)) - centres)

        return self.assignments(task, arrays.repeat(move, task.prototypes, self.iterations))

    def assignments(self, task: Task, centres):
        """Sinkhorn's plan between queries (1 each) and classes (the same share each): `[episodes, query_rows, way]`."""
        kernel = tf.exp(-self.regularisation * arrays.squared_distances(task.query, centres))
        rows, columns = task.query_weights[..., 0], tf.cast(task.classes, tf.float32)
        share = tf.reduce_sum(rows, axis=1) / tf.maximum(tf.reduce_sum(columns, axis=1), 1.0)
        return sinkhorn(kernel * rows[..., None] * columns[:, None], rows, columns * share[:, None])


def sinkhorn(kernel, rows, columns, tolerance: float = 1e-6, most: int = 1000):
    """Scales rows and columns of `kernel` in turn until row sums no longer change by more than `tolerance`.

    Each episode stops by itself, so that none depends on its neighbours, and after `most` turns at the latest.

    Args:
        kernel: `[episodes, rows, way]`, 0 where a row or class does not count.
        rows, columns: `[episodes, rows]`, `[episodes, way]`, the sums wanted, of the same total; columns' are exact.
    """

    def turn(index, plan, busy):
        sums = tf.reduce_sum(plan, axis=2)
        new = plan * tf.math.divide_no_nan(rows, sums)[..., None]
        new *= tf.math.divide_no_nan(columns, tf.reduce_sum(new, axis=1))[:, None]
        change = tf.reduce_max(tf.abs(sums - tf.reduce_sum(new, axis=2)), axis=1)
        return index + 1, tf.where(busy[:, None, None], new, plan), busy & (change > tolerance)

    total = tf.reduce_sum(kernel, axis=[1, 2], keepdims=True)
    start = (tf.constant(0), tf.math.divide_no_nan(kernel, total), tf.ones_like(rows[:, 0], tf.bool))
    return tf.while_loop(lambda index, _, busy: (index < most) & tf.reduce_any(busy), turn, start)[1]
