"""What the steps see of an episode."""

from typing import NamedTuple

from keras import ops

from sib_tf.any_backbone.normalization import Frame
from sib_tf.layers import UnitRows


class Task(NamedTuple):
    """What the steps of an episode see.

    Attributes:
        support: of `support_rows`, the labelled ones.
        membership: `[episodes, support_rows, way]` float32, one-hot labels; a masked row is 0.
        class_mask: `[episodes, way]` bool, True for classes with support.
        query: of `queries`.
        query_mask: `[episodes, queries]` bool, or None: all count.
        frame: that support and query are seen in; None: as they are.
    """

    support: UnitRows
    membership: object
    class_mask: object
    query: UnitRows
    query_mask: object = None
    frame: Frame | None = None

    @property
    def support_counts(self):
        """`[episodes, way]` float32, labelled pictures of every class."""
        return ops.sum(self.membership, axis=1)

    @property
    def support_shares(self):
        """`[episodes, support_rows, 1]`, one over the shots of a row's class; 0 for masked rows."""
        shots = ops.expand_dims(ops.maximum(self.support_counts, 1.0), 1)
        return ops.sum(self.membership / shots, axis=-1, keepdims=True)

    def repeated(self, times: int) -> "Task":
        """Every episode `times` times, side by side: one for each sample of its weights."""
        mask = None if self.query_mask is None else ops.repeat(self.query_mask, times, axis=0)
        membership, class_mask = (ops.repeat(field, times, axis=0) for field in (self.membership, self.class_mask))
        return Task(self.support.repeated(times), membership, class_mask, self.query.repeated(times), mask, self.frame)

    def query_rates(self, rate):
        """A step's `rate` for every query, `[episodes, queries, 1]`: times the frame's trust, 0 for masked ones."""
        if self.frame is not None:
            rate = rate * self.frame.trust
        if self.query_mask is None:
            return rate
        return rate * ops.expand_dims(ops.cast(self.query_mask, rate.dtype), -1)

    def mean_weight(self, step_reduction: str):
        """What a sum over the n queries is multiplied by, `[episodes, 1, 1]`: 1/n, and what shrinks a "shrunk_mean".

        Of a "sum" it is the number 1.
        """
        if step_reduction == "sum":
            return 1.0
        units = self.query.rows
        rows = ops.ones_like(units[..., 0]) if self.query_mask is None else ops.cast(self.query_mask, units.dtype)
        count = ops.maximum(ops.sum(ops.expand_dims(rows, -1), axis=1, keepdims=True), 1.0)
        weight = 1.0 / count
        if step_reduction == "shrunk_mean":
            way = ops.sum(ops.expand_dims(ops.cast(self.class_mask, count.dtype), 1), axis=-1, keepdims=True)
            weight *= (count - 1.0) / (count - 1.0 + way)
        return weight
