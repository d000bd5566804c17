"""A second look: how much of what the steps changed is kept.

Ours, not the paper's. Gates are chosen before the steps; whether these went astray shows only after them: the pile
joins other classes than before, or the labelled rows leave their own. A small network reads what changed, beside what
the gates read, and blends theta^0 and theta^K; it is trained with the steps, through them.
"""

import keras
from keras import ops

from sib_tf.any_backbone.normalization import CONTEXT, Rows
from sib_tf.tasks import Task

# Logit scale of the assignments that are compared.
_LOOK_SCALE = 20.0
_CHANGES = 10
# Nearly all is kept at the start.
_START = 2.0


@keras.saving.register_keras_serializable("sib_tf")
class EpisodeBlend(keras.layers.Layer):
    """Chooses how much of theta^K - theta^0 is kept; a pure function of an episode, whatever its features' length."""

    def __init__(self, units: int = 24, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = keras.layers.Dense(units, activation="relu", name="hidden")
        # Zeros: at the start all episodes are treated alike.
        self.kept = keras.layers.Dense(1, kernel_initializer="zeros", name="kept")

    def build(self, *_):
        self.hidden.build((None, CONTEXT + _CHANGES))
        self.kept.build((None, self.units))

    def call(self, task: Task, first, last):
        """theta^0 and theta^K, `[episodes, way, D]`, to the share that is kept, `[episodes, 1, 1]` in (0, 1)."""
        rows = Rows.of(task.support.rows, task.membership, task.query.rows, task.query_mask)
        read = ops.concatenate([task.frame.context, _changes(rows, first, last)], axis=-1)
        return ops.expand_dims(ops.sigmoid(self.kept(self.hidden(read)) + _START), 1)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _changes(rows: Rows, first, last):
    """What the steps changed, of the order of one: `[episodes, 10]`.

    Before and after them: how evenly the queries spread, how unsure they and how near they are, how the labelled rows
    fit; and how many queries stay with their class, and how far the classes' shares moved.
    """
    looks = rows.looks([first, last], rows.query)
    before, after = (rows.joining(look, _LOOK_SCALE) for look in looks)
    labelled = [ops.softmax(_LOOK_SCALE * look, axis=-1) for look in rows.looks([first, last], rows.support)]
    more = rows.query_mean(after) - rows.query_mean(before)
    # Not abs, which not every runtime has.
    moved = ops.sum(ops.maximum(more, -more), axis=-1, keepdims=True)
    parts = [
        rows.unevenness(before, after),
        rows.entropy(before, after),
        ops.sum(rows.query_mean(before * after), axis=-1, keepdims=True),
        rows.nearest(*looks),
        *map(rows.own, labelled),
        5.0 * rows.share / rows.way * moved,
    ]
    return ops.concatenate(parts, axis=-1)[:, 0]
