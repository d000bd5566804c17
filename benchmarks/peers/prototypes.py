"""Nearest prototypes by cosine: what SIB starts from."""

import dataclasses

import tensorflow as tf

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer


@dataclasses.dataclass(frozen=True)
class Prototypes(Peer):
    """score_c = <q / |q|, p_c / |p_c|>, where p_c is the mean of class c's unit support features.

    The same as SIB with K = 0 and an untrained initialisation (`sib_tf.evaluation.prototypes`), but for its scale 10.
    """

    def __call__(self, episode, way, base_mean):
        members = arrays.membership(episode, way)
        prototypes = arrays.weighted_means(arrays.unit(episode.support), members)
        scores = tf.matmul(arrays.unit(episode.query), arrays.unit(prototypes), transpose_b=True)
        return arrays.hide(scores, arrays.class_mask(members))
