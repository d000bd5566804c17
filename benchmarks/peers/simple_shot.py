"""SimpleShot (Wang, Chao, Weinberger, van der Maaten: *SimpleShot: Revisiting Nearest-Neighbor Classification for
Few-Shot Learning*, 2019, arXiv 1911.04623), with the CL2N transformation."""

import dataclasses

from benchmarks.peers import arrays
from benchmarks.peers.peer import Peer


@dataclasses.dataclass(frozen=True)
class SimpleShot(Peer):
    """Nearest centroid (Euclidean; their section 2) of features that are centred, then of unit length (CL2N)."""

    centred = True

    def scores(self, task):
        return -arrays.squared_distances(task.query, task.prototypes)
