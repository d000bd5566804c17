"""Chooses the peers' constants on validation episodes: a small grid a method, the authors' constants first."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf
from tqdm import tqdm

from benchmarks.measurement import base_mean_of, compiled
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


def tune(
    cache: FeatureCache,
    names: Iterable[str],
    episodes: int,
    slow_episodes: int,
    seed: int,
    held: dict | None = None,
    shots: Sequence[int] = (1, 5),
) -> Iterator[dict]:
    """Measures the candidates of peers `names` on lists of validation episodes; yields the record after each name.

    Of the `episodes` of a list, `SLOW` methods take the first `slow_episodes`. What an earlier record, `held`, measured
    on the same episodes is not measured again.

    Yields:
        JSON values: `chosen[distribution][shot][name]` are constants, `measured[name]` lists the constants tried, each
        with its accuracy on every list; and what both are of.
    """
    lists = {}
    for (kind, fields), shot in itertools.product(DISTRIBUTIONS.items(), shots):
        sampler = EpisodeSampler(cache.labels("validation"), EpisodeSpec(way=WAY, shot=shot, **fields), seed)
        lists[f"{kind}, {shot} shot"] = sampler.sample(episodes)
    header = {
        "features": cache.identity,
        "episodes": episodes,
        "slow_episodes": slow_episodes,
        "seed": seed,
        "episode_hashes": {name: fingerprint(rows) for name, rows in lists.items()},
    }
    table, base_mean = tf.constant(cache.table("validation")), base_mean_of(cache)

    def accuracies(peer: Peer, count: int | None) -> dict[str, float]:
        measure = compiled(functools.partial(peer, base_mean=base_mean), WAY)
        return {of: float(measure(rows.part(0, count), table).accuracy.mean()) for of, rows in lists.items()}

    same = held is not None and {part: held.get(part) for part in header} == header
    measured = dict(held["measured"]) if same else {}
    for name in names:
        known = measured.get(name, [])
        count = slow_episodes if name in SLOW else None
        # In the order of the grid, so that of equals the first is chosen, however often tuning was interrupted.
        measured[name] = [
            next((entry for entry in known if entry["constants"] == dataclasses.asdict(peer)), None)
            or {"constants": dataclasses.asdict(peer), "accuracy": accuracies(peer, count)}
            for peer in tqdm(candidates(name), desc=name)
        ]
        chosen = {
            kind: {str(shot): _best(measured, f"{kind}, {shot} shot") for shot in shots} for kind in DISTRIBUTIONS
        }
        yield {**header, "chosen": chosen, "measured": dict(measured)}


def _best(measured: dict[str, list[dict]], episodes: str) -> dict[str, dict]:
    """The constants of each method that were best on the list `episodes`."""
    return {
        name: max(tried, key=lambda entry: entry["accuracy"][episodes])["constants"] for name, tried in measured.items()
    }
