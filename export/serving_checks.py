"""Checks of a server's inputs as ops of the graph: shapes, rows that fit together, masks, labels, finite numbers."""

import tensorflow as tf

from sib_tf.config import SIBConfig
from sib_tf.distributions import MOST_CLASSES


class EpisodeChecks:
    """What every signature checks of its inputs.

    Args:
        config: of the model that will learn from them.
    """

    def __init__(self, config: SIBConfig):
        self.config, self.way = config, config.fixed_way

    def shaped(self, specs: list[tf.TensorSpec], *inputs) -> list:
        """Checks shapes in the graph: Python does before a call, a server's session does not and would compute on."""
        return [tf.ensure_shape(value, spec.shape) for spec, value in zip(specs, inputs, strict=True)]

    def episode(self, specs: list[tf.TensorSpec], *inputs) -> list:
        """Returns the five inputs, masks bool, the labels of masked rows 0, once all checks have passed.

        Nothing may be computed from the inputs themselves: ops run in any order, and a label of 10**9 asks for all the
        memory there is.

        Args:
            specs: of the inputs, whose names errors give.
            inputs: support `[episodes, rows, ...]`, labels int32 and mask `[episodes, rows]`, query `[episodes,
                queries, ...]`, its mask `[episodes, queries]`; masks bool, or int32 of 0 and 1.
        """
        names = [spec.name for spec in specs]
        support, labels, support_mask, query, query_mask = self.shaped(specs, *inputs)
        rows = [
            check_axes(names[1], labels, names[0], support, 2),
            check_axes(names[2], support_mask, names[0], support, 2),
            check_axes(names[4], query_mask, names[3], query, 2),
            check_axes(names[3], query, names[0], support, 1),
        ]
        with tf.control_dependencies(rows):
            support_mask, query_mask = as_mask(names[2], support_mask), as_mask(names[4], query_mask)
            labels = tf.where(support_mask, labels, 0)
        checks = self._labels(labels, support_mask)
        if support.dtype.is_floating:
            with tf.control_dependencies(rows):
                checks += [
                    check_finite(names[0], zero_masked(support, support_mask)),
                    check_finite(names[3], zero_masked(query, query_mask)),
                ]
        with tf.control_dependencies([*rows, *checks]):
            return [tf.identity(value) for value in (support, labels, support_mask, query, query_mask)]

    def _labels(self, labels, mask) -> list:
        some = tf.reduce_all(tf.reduce_any(mask, axis=1)) & (tf.shape(mask)[0] > 0)
        # More classes than rows cannot be: the bound keeps a wild label from asking for all memory.
        way = tf.shape(labels)[1] if self.way is None else self.way
        limit = "there cannot be more classes than support rows" if self.way is None else f"way = {self.way}"
        if self.way is None and self.config.posterior == "gaussian":
            way, limit = tf.minimum(way, MOST_CLASSES), f"{limit}, nor than {MOST_CLASSES}"
        checks = [
            check(some, "every episode, at least one, must have at least one row with support_mask True"),
            check(
                tf.reduce_all((labels >= 0) & (labels < way)),
                f"support_labels must be in [0, way), and {limit}; lowest and highest given:",
                tf.reduce_min(labels),
                tf.reduce_max(labels),
            ),
        ]
        if self.way is not None:
            with tf.control_dependencies(checks):
                counts = tf.reduce_sum(tf.one_hot(labels, self.way) * tf.cast(mask, tf.float32)[..., None], axis=1)
            message = f"every episode must have a support row of each of {self.way} classes"
            checks.append(check(tf.reduce_all(counts > 0), message))
        return checks


def as_mask(name: str, mask):
    """A mask as bool: int32 ones must be 0 or 1."""
    if mask.dtype == tf.bool:
        return mask
    lowest, highest = tf.reduce_min(mask), tf.reduce_max(mask)
    # Of no rows the lowest is the highest number that there is.
    fits = (tf.size(mask) == 0) | ((lowest >= 0) & (highest <= 1))
    with tf.control_dependencies([check(fits, f"{name} must be 0 or 1; lowest and highest given:", lowest, highest)]):
        return mask > 0


def zero_masked(features, mask):
    """Padding may hold anything: 0 * NaN would be NaN."""
    return tf.where(mask[..., None], features, 0.0)


def check(holds, message: str, *values):
    """An op that fails with the message and the values."""
    return tf.debugging.Assert(holds, [message, *values])


def check_axes(name: str, values, of: str, others, axes: int):
    """The first axes of two inputs must be the same: 1, episodes, or 2, rows as well."""
    given, wanted = tf.shape(values)[:axes], tf.shape(others)[:axes]
    what = "as many episodes as" if axes == 1 else "the shape [episodes, rows] of"
    return check(tf.reduce_all(given == wanted), f"{name} must have {what} {of}; got and expected:", given, wanted)


def check_finite(name: str, values):
    """No number may be NaN, infinite or near it."""
    # The sum: lengths are computed, and above 1.8e19 a float32 square is infinite.
    finite = tf.math.is_finite(tf.reduce_sum(tf.square(values), axis=-1))
    return check(tf.reduce_all(finite), f"{name} must be finite; it holds NaN, infinity or numbers near it")


def check_weights(weights) -> list:
    """Weights `[episodes, way, weights_dim]` must be of some class, and finite."""
    some = check(tf.shape(weights)[1] > 0, "weights must have at least one class; got the shape:", tf.shape(weights))
    return [some, check_finite("weights", weights)]
