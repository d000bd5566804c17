"""SimpleShot (Wang, Chao, Weinberger, van der Maaten: *SimpleShot: Revisiting Nearest-Neighbor Classification for
Few-Shot Learning*, 2019, arXiv 1911.04623), with the CL2N transformation."""

import dataclasses

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer


@dataclasses.dataclass(frozen=True)
class SimpleShot(Peer):
    """Nearest centroid (Euclidean; their section 2) of features that are centred, then of unit length (CL2N)."""

    def __call__(self, episode, way, base_mean):
        members = arrays.membership(episode, way)
        centroids = arrays.weighted_means(arrays.normalised(episode.support, base_mean), members)
        distances = arrays.squared_distances(arrays.normalised(episode.query, base_mean), centroids)
        return arrays.hide(-distances, arrays.class_mask(members))
