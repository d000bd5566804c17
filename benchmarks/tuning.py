"""Chooses the peers' constants on validation episodes: a small grid a method, the authors' constants first."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf
from tqdm import tqdm

from benchmarks.measurement import base_mean_of, compiled, peer_method
from benchmarks.peers import PEERS, SLOW, Peer, authors
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler, fingerprint
from sib_tf.features import FeatureCache

WAY = 5
# What constants are chosen on: one choice for balanced and imbalanced episodes alike, and one for each.
DISTRIBUTIONS = {
    "mixture": {"query_distribution": "dirichlet", "balanced_fraction": 0.5},
    "balanced": {},
    "dirichlet": {"query_distribution": "dirichlet"},
}
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
    grid = GRIDS.get(name, {})
    tried = [PEERS[name](**dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]
    return list(dict.fromkeys([authors(name, 1), authors(name, 5), *tried]))


class Tuning:
    """Measures candidates on validation episodes, and keeps the best of each method, shot and distribution.

    Args:
        cache: features; base mean from the training pictures, episodes from the validation classes.
        episodes: length of each list.
        slow_episodes: of these, the first that `SLOW` methods are measured on.
        seed: of the lists.
        shots: at which constants are chosen.
    """

    def __init__(
        self, cache: FeatureCache, episodes: int, slow_episodes: int, seed: int, shots: Sequence[int] = (1, 5)
    ):
        labels = cache.labels("validation")
        self._lists = {
            f"{kind}, {shot} shot": EpisodeSampler(labels, EpisodeSpec(way=WAY, shot=shot, **fields), seed).sample(
                episodes
            )
            for kind, fields in DISTRIBUTIONS.items()
            for shot in shots
        }
        self._table, self._base_mean = tf.constant(cache.table("validation")), base_mean_of(cache)
        self._shots, self._slow_episodes = shots, slow_episodes
        self.header = {
            "features": cache.identity,
            "episodes": episodes,
            "slow_episodes": slow_episodes,
            "seed": seed,
            "episode_hashes": {name: fingerprint(rows) for name, rows in self._lists.items()},
        }

    def run(self, names: Iterable[str], held: dict | None = None) -> Iterator[dict]:
        """Measures the candidates of `names`; yields the record after each name.

        Args:
            names: of peers.
            held: an earlier record; what it measured on the same episodes is not measured again.

        Yields:
            JSON values: `chosen[distribution][shot][name]` are constants, `measured[name]` lists the constants tried,
            each with its accuracy on every list; and `header`.
        """
        same = held is not None and {part: held.get(part) for part in self.header} == self.header
        measured = dict(held["measured"]) if same else {}
        for name in names:
            known = measured.get(name, [])
            # In the order of the grid, so that of equals the first is chosen, however often tuning was interrupted.
            measured[name] = [
                next((entry for entry in known if entry["constants"] == dataclasses.asdict(peer)), None)
                or {"constants": dataclasses.asdict(peer), "accuracy": self._accuracies(name, peer)}
                for peer in tqdm(candidates(name), desc=name)
            ]
            yield {**self.header, "chosen": self._chosen(measured), "measured": dict(measured)}

    def _chosen(self, measured: dict) -> dict:
        def best(episodes: str) -> dict:
            return {
                name: max(tried, key=lambda entry: entry["accuracy"][episodes])["constants"]
                for name, tried in measured.items()
            }

        return {kind: {str(shot): best(f"{kind}, {shot} shot") for shot in self._shots} for kind in DISTRIBUTIONS}

    def _accuracies(self, name: str, peer: Peer) -> dict[str, float]:
        measure = compiled(peer_method(peer, self._base_mean), WAY)
        count = self._slow_episodes if name in SLOW else None
        return {
            of: float(measure(rows.part(0, count), self._table).accuracy.mean()) for of, rows in self._lists.items()
        }
