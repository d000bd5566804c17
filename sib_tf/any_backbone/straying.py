"""Whether the steps went astray, so that nothing of them may be kept.

Ours, not the paper's, and not learned. The queries of two classes that lie far apart can step over to each other's
class all together, and end as sure of the wrong one as they were of the right one; the labelled rows do not show it.
The loss in training is that of the steps as they went: it can teach them better.
"""

import math

from keras import ops

from sib_tf.any_backbone.normalization import Rows
from sib_tf.tasks import Task

# Of the share of the queries that would change their class by chance alone, what the steps may change. On validation
# classes 0.7 cost an earlier head half a point where each of five classes has a single query.
_MOST = 0.9
# Cosines that differ by less are the same.
_ALIKE = 1e-6


def astray(task: Task, first, last):
    """Whether nearly as many queries change their class from theta^0 to theta^K as would by chance.

    theta are `[episodes, way, D]`; the result is `[episodes, 1, 1]` bool, False without queries.
    """
    rows = Rows.of(task.support.rows, task.membership, task.query.rows, task.query_mask)
    # Neither argmax, which does not convert, nor >=, which not every runtime has.
    nearest = (
        ops.cast(look > ops.max(look, axis=-1, keepdims=True) - _ALIKE, first.dtype)
        for look in rows.looks([first, last], rows.query)
    )
    moved = rows.query_mean(1.0 - ops.max(math.prod(nearest), axis=-1, keepdims=True))
    return moved > _MOST * (1.0 - 1.0 / rows.way)
