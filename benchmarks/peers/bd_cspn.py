"""BD-CSPN (Liu, Song, Qin: *Prototype Rectification for Few-Shot Learning*, ECCV 2020)."""

import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer


def shifted(support, support_mask, query, query_mask) -> tf.Tensor:
    """Moves the queries so that their mean is the support's (their cross-class bias).

    All are unit features; returns `[episodes, query_rows, D]`, not of unit length.
    """
    return query + arrays.mean_row(support, support_mask) - arrays.mean_row(query, query_mask)


def rectified(support, members, query, query_mask, scale: float) -> tf.Tensor:
    """Prototypes after rectification (their intra-class bias): `[episodes, way, D]`.

    p'_c = sum of w_ic x_i over the support and the queries nearest to prototype c by cosine, with
    w_ic = softmax_c(scale * cos(x_i, p_c)).

    Args:
        support: `[episodes, support_rows, D]` and `query`: `[episodes, query_rows, D]`, shifted.
        members: one-hot support labels.
        query_mask: `[episodes, query_rows]` bool.
        scale: epsilon in the paper.

    Returns:
        The sum over the number of rows taken, as the released code of Veilleux et al. has it; a class that no row is
        nearest to keeps its prototype.
    """
    classes = arrays.class_mask(members)
    prototypes = arrays.weighted_means(support, members)
    rows = tf.concat([support, query], axis=1)
    # A support row is one where a class claims it.
    counted = tf.concat([tf.reduce_sum(members, axis=-1), tf.cast(query_mask, tf.float32)], axis=1)[..., None]
    cosines = tf.matmul(arrays.unit(rows), arrays.unit(prototypes), transpose_b=True)
    nearest = tf.one_hot(tf.argmax(arrays.hide(cosines, classes), axis=-1), cosines.shape[-1]) * counted
    weights = arrays.softmax(scale * cosines, classes) * nearest
    counts = tf.reduce_sum(nearest, axis=1)[..., None]
    means = tf.math.divide_no_nan(tf.matmul(weights, rows, transpose_a=True), counts)
    return tf.where(counts > 0, means, prototypes)


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

    def __call__(self, episode, way, base_mean):
        members = arrays.membership(episode, way)
        mean = base_mean if self.centred else None
        support, query = (arrays.normalised(x, mean) for x in (episode.support, episode.query))
        if self.shift:
            query = shifted(support, episode.support_mask, query, episode.query_mask)
        prototypes = rectified(support, members, query, episode.query_mask, self.scale)
        scores = tf.matmul(arrays.unit(query), arrays.unit(prototypes), transpose_b=True)
        return arrays.hide(scores, arrays.class_mask(members))
