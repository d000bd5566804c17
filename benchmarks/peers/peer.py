"""What every compared method is: a frozen record of its constants, called on a batch of episodes."""

import abc
import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from sib_tf.episodes import Episode


@dataclasses.dataclass(frozen=True)
class Task:
    """A batch of episodes as methods take them: features transformed, masks as weights 1 and 0."""

    support: tf.Tensor  # `[episodes, support_rows, D]`, 0 where masked.
    members: tf.Tensor  # `[episodes, support_rows, way]` one-hot labels, 0 where masked.
    query: tf.Tensor  # `[episodes, query_rows, D]`, 0 where masked.
    query_weights: tf.Tensor  # `[episodes, query_rows, 1]`.

    @property
    def support_weights(self) -> tf.Tensor:
        """`[episodes, support_rows, 1]`."""
        return tf.reduce_sum(self.members, axis=-1, keepdims=True)

    @property
    def classes(self) -> tf.Tensor:
        """`[episodes, way]` bool: which classes have support."""
        return tf.reduce_any(self.members > 0, axis=1)

    @property
    def prototypes(self) -> tf.Tensor:
        """Means of the classes' support, `[episodes, way, D]`."""
        return arrays.weighted_means(self.support, self.members)

    def means_with(self, query_shares) -> tf.Tensor:
        """Means of the support and of the queries, each of which counts by its share `[episodes, query_rows, way]`."""
        rows = tf.concat([self.support, self.query], axis=1)
        return arrays.weighted_means(rows, tf.concat([self.members, query_shares * self.query_weights], axis=1))


@dataclasses.dataclass(frozen=True)
class Peer(abc.ABC):
    """A transductive (or not) few-shot classifier on fixed features; the fields of a subclass are its constants.

    Defaults are the authors'. A pure function: an episode's scores depend on no other episode, nor on what masked rows
    hold, and the order of queries and the numbering of classes make no difference.
    """

    # Whether the base mean is taken away from features first; some have it as a constant to choose.
    centred = False

    def __call__(self, episode: Episode, way: int, base_mean: tf.Tensor) -> tf.Tensor:
        """Scores `[episodes, query_rows, way]` float32: the highest of a row is the class.

        Args:
            episode: of features; `query_labels` is not looked at.
            way: above every label; classes without support get `MASKED_LOGIT`.
            base_mean: `[D]` float32, the mean feature of the meta-training pictures.
        """
        task = self.task(episode, way, base_mean)
        return arrays.hide(self.scores(task), task.classes)

    def task(self, episode: Episode, way: int, base_mean: tf.Tensor) -> Task:
        """The episodes as the method takes them; arguments as for calling it."""
        support_weights, query_weights = (
            tf.cast(mask, tf.float32)[..., None] for mask in (episode.support_mask, episode.query_mask)
        )
        return Task(
            self.transform(episode.support, support_weights, base_mean) * support_weights,
            tf.one_hot(episode.support_labels, way) * support_weights,
            self.transform(episode.query, query_weights, base_mean) * query_weights,
            query_weights,
        )

    def transform(self, rows, weights, base_mean) -> tf.Tensor:
        """Features `[episodes, rows, D]` as the method takes them: of unit length, unless it says otherwise."""
        return arrays.unit(rows - base_mean if self.centred else rows)

    @abc.abstractmethod
    def scores(self, task: Task) -> tf.Tensor:
        """`[episodes, query_rows, way]`; those of classes without support count nowhere."""
