"""Chooses the peers' constants on validation episodes."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from benchmarks import grids
from benchmarks.measurement import CompiledMethod, peer_method
from benchmarks.peers import PEERS, SLOW, Peer
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler, fingerprint
from sib_tf.features import FeatureCache

WAY = 5
SHOTS = (1, 5)
# What constants are chosen on: one choice for balanced and imbalanced episodes alike, and one for each.
DISTRIBUTIONS = {
    "mixture": {"query_distribution": "dirichlet", "balanced_fraction": 0.5},
    "balanced": {},
    "dirichlet": {"query_distribution": "dirichlet"},
}


class Tuning:
    """Measures candidates on validation episodes, and keeps the best of each method, shot and distribution.

    Args:
        cache: features; base mean from the training pictures, episodes from the validation classes.
        episodes: length of each list.
        slow_episodes: of these, the first that `SLOW` methods are measured on.
        seed: of the lists.
        shots: at which constants are chosen.
    """

    def __init__(self, cache: FeatureCache, episodes: int, slow_episodes: int, seed: int, shots: Sequence[int] = SHOTS):
        self._lists = {
            f"{kind}, {shot} shot": EpisodeSampler(
                cache.labels("validation"), EpisodeSpec(way=WAY, shot=shot, **fields), seed
            ).sample(episodes)
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
            tried = [dataclasses.asdict(peer) for peer in grids.candidates(name)]
            # In the order of the grid, so that of equals the first is chosen, however often tuning was interrupted.
            measured[name] = [
                next((entry for entry in known if entry["constants"] == constants), None)
                or {"constants": constants, "accuracy": self._accuracies(name, PEERS[name](**constants))}
                for constants in tqdm(tried, desc=name)
            ]
            yield {**self.header, "chosen": self._chosen(measured), "measured": dict(measured)}

    def _chosen(self, measured: dict) -> dict:
        return {
            kind: {
                str(shot): {
                    name: max(entries, key=lambda entry, own=f"{kind}, {shot} shot": entry["accuracy"][own])[
                        "constants"
                    ]
                    for name, entries in measured.items()
                }
                for shot in self._shots
            }
            for kind in DISTRIBUTIONS
        }

    def _accuracies(self, name: str, peer: Peer) -> dict[str, float]:
        method, count = CompiledMethod(peer_method(peer, self._base_mean), WAY), None
        if name in SLOW:
            count = self._slow_episodes
        return {of: float(method(rows.part(0, count), self._table).accuracy.mean()) for of, rows in self._lists.items()}


def base_mean_of(cache: FeatureCache) -> tf.Tensor:
    """Mean feature of the meta-training pictures (all views), `[D]` float32."""
    return tf.constant(cache.table("train").mean(axis=0, dtype=np.float64), tf.float32)
