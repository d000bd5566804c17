"""The compared methods by name, each a `Peer` with its authors' constants as defaults."""

from benchmarks.peers.bd_cspn import BDCSPN
from benchmarks.peers.laplacian_shot import LaplacianShot
from benchmarks.peers.peer import Peer
from benchmarks.peers.prototypes import Prototypes, SimpleShot, SoftKMeans
from benchmarks.peers.pt_map import PTMAP
from benchmarks.peers.tim import TIMADM, TIMGD, AlphaTIM
from benchmarks.peers.unem import UNEM
from sib_tf.errors import InputError

PEERS: dict[str, type[Peer]] = {
    "prototypes": Prototypes,
    "simple_shot": SimpleShot,
    "soft_kmeans": SoftKMeans,
    "bd_cspn": BDCSPN,
    "laplacian_shot": LaplacianShot,
    "tim_adm": TIMADM,
    "tim_gd": TIMGD,
    "alpha_tim": AlphaTIM,
    "pt_map": PTMAP,
    "unem": UNEM,
}
# A thousand steps an episode: measured on fewer episodes.
SLOW = ("tim_gd", "alpha_tim")


def authors(name: str, shot: int) -> Peer:
    """Method `name` with the constants that its authors use at `shot`."""
    if name == "alpha_tim":
        # Chosen on their validation classes, for 1 shot and for 5 and more; their configuration uses these.
        return AlphaTIM(alpha=2.0 if shot == 1 else 7.0)
    return PEERS[name]()


def known_names(names: list[str] | None) -> list[str]:
    """Returns `names`, or all if there are none; an InputError says if one is none of `PEERS`."""
    if unknown := [name for name in names or () if name not in PEERS]:
        raise InputError(f"peers must be among {', '.join(PEERS)}; got {', '.join(unknown)}.")
    return list(names or PEERS)
