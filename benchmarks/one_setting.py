"""Measures all entrants of a setting on one list of episodes, and keeps the results in files that are gone on from."""

import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks import entrants, measurement
from benchmarks.entrants import META_TRAINED, Entrant
from benchmarks.peers import SLOW, known_names
from benchmarks.result_files import held, save
from benchmarks.settings import Setting
from sib_tf.episodes import EpisodeSampler, check_room_for_imbalance, fingerprint
from sib_tf.evaluation import mean_and_ci95
from sib_tf.features import FeatureCache

_SPLIT = "test"
_BASELINE = "prototypes, authors"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What all settings of a sweep share: what the flags of `benchmarks.sweeps` say.

    Results go to NAME.json and NAME.npz (accuracies of every episode) in `output_dir` for each setting.
    """

    features_dir: str | os.PathLike
    output_dir: str | os.PathLike
    episodes: int
    slow_episodes: int
    seed: int
    models: Sequence[str] = ()
    tuned: str | None = None
    peers: Sequence[str] | None = None

    def check(self) -> None:
        """Raises an InputError if a file, folder or name is none that can be used."""
        known_names(self.peers)
        cache = FeatureCache.open(self.features_dir)
        entrants.models(self.models, cache)
        entrants.load_tuned(self.tuned, cache)

    def run(self, setting: Setting) -> str:
        """Measures what is not measured yet of a setting; returns a line that says what came out.

        An InputError says if the data set has too few classes or pictures for the setting.
        """
        cache = FeatureCache.open(self.features_dir)
        names = dict.fromkeys(["prototypes", *known_names(self.peers)])
        tuned, base_mean = entrants.load_tuned(self.tuned, cache), measurement.base_mean_of(cache)
        taking_part = entrants.peers(names, tuned, setting, base_mean)
        taking_part += entrants.models(self.models, cache, setting.spec.way[1])
        methods = self.measure(cache, setting, taking_part)
        # Not by accuracy: slow methods are measured on fewer episodes.
        label, figures = max(methods.items(), key=lambda item: item[1]["difference"])
        points = f"{100 * figures['difference']:+.2f} points to nearest prototypes"
        return f"{setting.name}: done; best is {label}, {points}."

    def measure(self, cache: FeatureCache, setting: Setting, taking_part: Sequence[Entrant]) -> dict[str, dict]:
        """As `run`, of those `taking_part`, nearest prototypes first; returns the figures of every method by label."""
        labels = cache.labels(_SPLIT)
        check_room_for_imbalance(labels, setting.spec)
        rows = EpisodeSampler(labels, setting.spec, self.seed).sample(self.episodes)
        table = tf.constant(cache.table(_SPLIT))
        header = self._header(cache, setting, fingerprint(rows))
        path = Path(self.output_dir) / f"{setting.name}.json"
        measured, accuracies = held(path, header, ("episode_hash", "dataset", "backbone"))
        for entrant in taking_part:
            count = min(self.slow_episodes, self.episodes) if entrant.name in SLOW else self.episodes
            own = {"name": entrant.name, "config": entrant.config, "episodes": count}
            known = [label for label, figures in measured.items() if own.items() <= figures.items()]
            if entrant.label in known:
                continue
            if known:  # The same constants may have been chosen twice.
                accuracy, seconds = accuracies[known[0]], measured[known[0]]["seconds_per_episode"]
            else:
                print(f"{setting.name}: {entrant.label}", flush=True)
                measure = measurement.compiled(entrant.method, setting.spec.way[1])
                accuracy, seconds = measure(rows.part(0, count), table)
            accuracies[entrant.label] = accuracy
            figures = _figures(accuracy, accuracies[_BASELINE])
            measured[entrant.label] = {**own, "constants": entrant.constants, **figures, "seconds_per_episode": seconds}
            best = _against_best_peer(measured, accuracies)
            save(path, {**header, "methods": measured, "against_best_peer": best}, accuracies)
        return measured

    def _header(self, cache: FeatureCache, setting: Setting, episode_hash: str) -> dict:
        return {
            "setting": setting.name,
            "group": setting.group,
            "value": setting.value,
            "shot": setting.spec.shot[1],
            "episode_spec": setting.spec.describe(),
            "split": _SPLIT,
            "seed": self.seed,
            "episodes": self.episodes,
            "slow_episodes": self.slow_episodes,
            "episode_hash": episode_hash,
            "batch_episodes": measurement.BATCH,
            "dataset": cache.manifest["dataset"],
            "backbone": cache.manifest["backbone"],
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}, TensorFlow {tf.__version__}",
        }


def _figures(accuracy: np.ndarray, baseline: np.ndarray) -> dict:
    """Mean and 95 % half-width, and those of the paired difference to nearest prototypes."""
    mean, half = mean_and_ci95(accuracy)
    difference, difference_half = mean_and_ci95(accuracy - baseline[: len(accuracy)])
    return {"accuracy": mean, "ci95": half, "difference": difference, "difference_ci95": difference_half}


def _against_best_peer(methods: dict, accuracies: dict[str, np.ndarray]) -> dict:
    """For every meta-trained model the best peer of the setting, and the paired difference to it."""
    # By the difference to prototypes: slow methods are measured on fewer episodes.
    peers = {label: figures["difference"] for label, figures in methods.items() if figures["constants"] != META_TRAINED}
    best = max(peers, key=peers.get)
    found = {}
    for label in methods.keys() - peers.keys():
        count = min(len(accuracies[label]), len(accuracies[best]))
        difference, half = mean_and_ci95(accuracies[label][:count] - accuracies[best][:count])
        found[label] = {"peer": best, "difference": difference, "difference_ci95": half, "episodes": count}
    return found
