"""Nearest prototypes, and two ways to better ones: another space, and a few steps of k-means."""

import dataclasses

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer


@dataclasses.dataclass(frozen=True)
class Prototypes(Peer):
    """Nearest prototypes by cosine: what SIB starts from.

    score_c = <q / |q|, p_c / |p_c|>, where p_c is the mean of class c's unit support features. The same as SIB with
    K = 0 and an untrained initialisation (`sib_tf.evaluation.prototypes`), but for its scale 10.
    """

    def scores(self, task):
        return arrays.cosines(task.query, task.prototypes)


@dataclasses.dataclass(frozen=True)
class SimpleShot(Peer):
    """Nearest centroid (Euclidean; their section 2) of features that are centred, then of unit length (CL2N).

    Wang, Chao, Weinberger, van der Maaten: *SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot
    Learning*, 2019, arXiv 1911.04623.
    """

    centred = True

    def scores(self, task):
        return -arrays.squared_distances(task.query, task.prototypes)


@dataclasses.dataclass(frozen=True)
class SoftKMeans(Peer):
    """p_c <- (sum_s y_sc x_s + sum_q z_qc x_q) / (sum_s y_sc + sum_q z_qc), z_q = softmax_c(-scale |x_q - p_c|^2).

    Ren et al. (*Meta-Learning for Semi-Supervised Few-Shot Classification*, ICLR 2018) take one step on features that
    were trained for it, with scale 1. Here the features are of unit length, so that their distances need a scale; 10 is
    the logit scale that cosine classifiers start from.

    Attributes:
        scale: of the squared distances, > 0.
        steps: refinements; 1 in the paper.
        centred: whether the base mean is taken away first, as in SimpleShot.
    """

    scale: float = 10.0
    steps: int = 1
    centred: bool = False

    def scores(self, task):
        def refine(centres):
            distances = arrays.squared_distances(task.query, centres)
            return task.means_with(arrays.softmax(-self.scale * distances, task.classes))

        centres = arrays.repeat(refine, task.prototypes, self.steps)
        return -arrays.squared_distances(task.query, centres)
