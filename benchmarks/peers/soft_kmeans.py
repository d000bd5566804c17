"""Soft k-means (Ren et al.: *Meta-Learning for Semi-Supervised Few-Shot Classification*, ICLR 2018)."""

import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer


@dataclasses.dataclass(frozen=True)
class SoftKMeans(Peer):
    """p_c <- (sum_s y_sc x_s + sum_q z_qc x_q) / (sum_s y_sc + sum_q z_qc), z_q = softmax_c(-scale |x_q - p_c|^2).

    Ren et al. take one step on features that were trained for it, with scale 1. Here the features are of unit length,
    so that their distances need a scale; 10 is the logit scale that cosine classifiers start from.

    Attributes:
        scale: of the squared distances, > 0.
        steps: refinements; 1 in the paper.
        centred: whether the base mean is taken away first, as in SimpleShot.
    """

    scale: float = 10.0
    steps: int = 1
    centred: bool = False

    def __call__(self, episode, way, base_mean):
        members = arrays.membership(episode, way)
        classes = arrays.class_mask(members)
        mean = base_mean if self.centred else None
        support, query = (arrays.normalised(x, mean) for x in (episode.support, episode.query))
        centres = arrays.weighted_means(support, members)
        rows, query_weights = tf.concat([support, query], axis=1), arrays.row_weights(episode.query_mask)

        def refine(centres):
            shares = arrays.softmax(-self.scale * arrays.squared_distances(query, centres), classes) * query_weights
            return arrays.weighted_means(rows, tf.concat([members, shares], axis=1))

        centres = arrays.repeat(refine, centres, self.steps)
        return arrays.hide(-arrays.squared_distances(query, centres), classes)
