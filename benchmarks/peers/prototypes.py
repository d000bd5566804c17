"""Nearest prototypes by cosine: what SIB starts from."""

import dataclasses

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer


@dataclasses.dataclass(frozen=True)
class Prototypes(Peer):
    """score_c = <q / |q|, p_c / |p_c|>, where p_c is the mean of class c's unit support features.

    The same as SIB with K = 0 and an untrained initialisation (`sib_tf.evaluation.prototypes`), but for its scale 10.
    """

    def scores(self, task):
        return arrays.cosines(task.query, task.prototypes)
