"""The constants that tuning tries: a small grid a method. The authors' defaults are tried besides."""

import itertools

from benchmarks.peers import PEERS, Peer, authors

GRIDS: dict[str, dict[str, tuple]] = {
    "soft_kmeans": {"scale": (5.0, 10.0, 20.0), "steps": (1, 3, 10), "centred": (False, True)},
    "bd_cspn": {"scale": (5.0, 10.0, 20.0, 40.0), "centred": (False, True), "shift": (False, True)},
    "laplacian_shot": {"weight": (0.1, 0.3, 0.5, 0.7, 1.0, 1.5), "rectify": (False, True)},
    "tim_adm": {
        "support_weight": (0.1, 1.0),
        "marginal_weight": (0.0, 0.1, 0.3, 1.0),
        "conditional_weight": (0.1, 0.5, 1.0),
    },
    "tim_gd": {
        "support_weight": (0.1, 1.0),
        "marginal_weight": (0.0, 0.1, 0.3, 1.0),
        "conditional_weight": (0.1, 0.5),
    },
    "alpha_tim": {"alpha": (1.5, 2.0, 3.0, 5.0, 7.0), "marginal_weight": (0.25, 0.5, 1.0)},
    "pt_map": {"regularisation": (2.5, 5.0, 10.0, 20.0), "step": (0.2, 0.4)},
}


def candidates(name: str) -> list[Peer]:
    """Every configuration of method `name` that is tried, its authors' first."""
    kind, grid = PEERS[name], GRIDS.get(name, {})
    tried = [kind(**dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]
    return list(dict.fromkeys([authors(name, 1), authors(name, 5), *tried]))
