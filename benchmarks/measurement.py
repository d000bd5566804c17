"""Accuracy and time of any method on a fixed list of episodes."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sib_tf.episodes import Episode, EpisodeRows
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache
from sib_tf.sib import SIB

# Episodes in one compiled call; times are per episode of such a batch.
BATCH = 50

# A batch of episodes and the way -> scores `[episodes, query_rows, way]`.
Method = Callable[[Episode, int], tf.Tensor]


class Measurement(NamedTuple):
    """What a method did on a list of episodes."""

    accuracy: np.ndarray  # `[episodes]` float64 in [0, 1], share of the queries that are right.
    seconds_per_episode: float  # Median over batches of `BATCH` episodes, after compiling.


def base_mean_of(cache: FeatureCache) -> tf.Tensor:
    """Mean feature of the meta-training pictures (all views), `[D]` float32."""
    if not len(table := cache.table("train")):
        raise InputError(f"{cache.folder} has no training rows, whose mean is needed; import them without all_for.")
    return tf.constant(table.mean(axis=0, dtype=np.float64), tf.float32)


def sib_method(model: SIB) -> Method:
    """A SIB model as a `Method`."""

    def classify(episode: Episode, way: int):
        masks = {"support_mask": episode.support_mask, "query_mask": episode.query_mask}
        return model(episode.support, episode.support_labels, episode.query, **masks, way=way)

    return classify


def compiled(method: Method, way: int) -> Callable[[EpisodeRows, tf.Tensor], Measurement]:
    """Returns what measures `method` on episodes of at most `way` classes; compiles once for each shape of episodes.

    Its arguments: the episodes, and the features `[pictures, D]` float32 that they are of.
    """
    tf.get_logger().setLevel("ERROR")  # No warning that much is compiled: every method is, for every shape.

    @tf.function(jit_compile=True, autograph=False)
    def hits(table, batch):
        predicted = tf.argmax(method(batch.gather(table), way), axis=-1, output_type=tf.int32)
        return tf.math.count_nonzero((predicted == batch.query_labels) & batch.query_mask, axis=1)

    def measure(rows: EpisodeRows, table: tf.Tensor) -> Measurement:
        count = len(rows.support)
        hits(table, _batch(rows, 0))  # Compiles.
        found, seconds = [], []
        for first in range(0, count, BATCH):
            batch = _batch(rows, first)
            start = time.perf_counter()
            found.append(hits(table, batch).numpy())
            seconds.append((time.perf_counter() - start) / len(batch.support))
        queries = rows.query_mask.sum(axis=1)
        return Measurement(np.concatenate(found)[:count] / queries, float(np.median(seconds)))

    return measure


def _batch(rows: EpisodeRows, first: int) -> EpisodeRows:
    """The batch from `first` on; the last one is filled up with its own first episode, to keep the shape."""
    batch = rows.part(first, first + BATCH)
    missing = min(BATCH, len(rows.support)) - len(batch.support)
    return EpisodeRows(*(np.concatenate([field, np.repeat(field[:1], missing, axis=0)]) for field in batch))
