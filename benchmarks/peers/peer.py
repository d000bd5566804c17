"""What every compared method is: a frozen record of its constants, called on a batch of episodes."""

import abc
import dataclasses

import tensorflow as tf

from sib_tf.episodes import Episode


@dataclasses.dataclass(frozen=True)
class Peer(abc.ABC):
    """A transductive (or not) few-shot classifier on fixed features; the fields of a subclass are its constants.

    Defaults are the authors'. A pure function: an episode's scores depend on no other episode, nor on what masked rows
    hold, and the order of queries and the numbering of classes make no difference.
    """

    @abc.abstractmethod
    def __call__(self, episode: Episode, way: int, base_mean: tf.Tensor) -> tf.Tensor:
        """Classifies the queries.

        Args:
            episode: of features; `query_labels` is not looked at.
            way: columns of the result, above every label.
            base_mean: `[D]` float32, the mean feature of the meta-training pictures.

        Returns:
            `[episodes, query_rows, way]` float32: the highest score of a row is the class; `MASKED_LOGIT` for classes
            without support.
        """
