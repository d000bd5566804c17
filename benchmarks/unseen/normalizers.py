"""What rows pass through before a method sees them: an episode in, the same episode with normalised rows out."""

from collections.abc import Callable

import tensorflow as tf

from benchmarks.peers import arrays
from sib_tf.episodes import Episode
from sib_tf.sib import SIB

Normalizer = Callable[[Episode, int], Episode]

# Queries at which their mean counts half of what it can.
_HALF = 10.0


def shrunk_centre(episode: Episode, way: int) -> Episode:
    """Unit rows less (1 - h) * the mean of the classes' means + h * the queries' mean, of unit length again.

    h = n / (n + 10) / 2 for n queries: few of them say little of where their middle is.
    """
    support_weights, query_weights = (
        tf.cast(mask, tf.float32)[..., None] for mask in (episode.support_mask, episode.query_mask)
    )
    support, query = arrays.unit(episode.support), arrays.unit(episode.query)
    members = tf.one_hot(episode.support_labels, way) * support_weights
    present = tf.cast(tf.reduce_any(members > 0, axis=1), tf.float32)[..., None]
    of_support = arrays.mean_row(arrays.weighted_means(support, members), present)
    count = tf.reduce_sum(query_weights, axis=1, keepdims=True)
    share = 0.5 * count / (count + _HALF)
    centre = of_support + share * (arrays.mean_row(query, query_weights) - of_support)
    return episode._replace(support=arrays.unit(support - centre), query=arrays.unit(query - centre))


def of_head(model: SIB) -> Normalizer:
    """The normaliser inside a model, as a function of its own; `shrunk_centre` where the model has none."""
    layer = getattr(model, "normalizer", None)
    if layer is None:
        return shrunk_centre

    def normalized(episode: Episode, way: int) -> Episode:
        support_weights = tf.cast(episode.support_mask, tf.float32)[..., None]
        members = tf.one_hot(episode.support_labels, way) * support_weights
        frame = layer(episode.support, members, episode.query, episode.query_mask)
        return episode._replace(support=frame.support, query=frame.query)

    return normalized
