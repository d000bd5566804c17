"""Measures the entrants of a setting on one list of episodes, and keeps the results in files that are gone on from."""

import dataclasses
import io
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.entrants import Entrant
from benchmarks.measurement import BATCH, CompiledMethod
from benchmarks.settings import Setting
from sib_tf.episodes import EpisodeRows, EpisodeSampler, check_room_for_imbalance, fingerprint
from sib_tf.evaluation import mean_and_ci95
from sib_tf.features import FeatureCache
from sib_tf.storage import array_files, atomic

SPLIT = "test"
BASELINE = "prototypes, authors"


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """What all settings of a sweep share.

    Attributes:
        cache: the features.
        folder: where results go: NAME.json and NAME.npz (accuracies of every episode) for each setting.
        episodes: length of each list; slow methods take the first `slow_episodes` of it.
        seed: of the lists.
    """

    cache: FeatureCache
    folder: Path
    episodes: int
    slow_episodes: int
    seed: int

    def run(self, setting: Setting, entrants: Sequence[Entrant], progress) -> dict:
        """Measures what is not measured yet; returns the setting's record, as its JSON file holds it.

        Args:
            setting: the episodes.
            entrants: nearest prototypes first.
            progress: called with a label before each measurement.

        Raises:
            InputError: the split has too few classes or pictures for the setting.
        """
        labels = self.cache.labels(SPLIT)
        check_room_for_imbalance(labels, setting.spec)
        rows = EpisodeSampler(labels, setting.spec, self.seed).sample(self.episodes)
        header = self._header(setting, rows)
        measured, accuracies = self._held(setting, header)
        for entrant in entrants:
            count = min(self.slow_episodes, self.episodes) if entrant.slow else self.episodes
            if _is_measured(measured.get(entrant.label), entrant, count):
                continue
            twin = self._twin(entrant, count, measured)
            if twin is None:
                progress(entrant.label)
                table = tf.constant(self.cache.table(SPLIT))
                found = CompiledMethod(entrant.method, setting.spec.way[1])(rows.part(0, count), table)
                accuracy, seconds = found.accuracy, found.seconds_per_episode
            else:
                accuracy, seconds = accuracies[twin], measured[twin]["seconds_per_episode"]
            accuracies[entrant.label] = accuracy
            measured[entrant.label] = {
                "name": entrant.name,
                "constants": entrant.constants,
                "config": entrant.config,
                "episodes": count,
                **_figures(accuracy, accuracies[BASELINE]),
                "seconds_per_episode": seconds,
            }
            self._save(setting, {**header, "methods": measured}, accuracies)
        return {**header, "methods": measured}

    def _header(self, setting: Setting, rows: EpisodeRows) -> dict:
        return {
            "setting": setting.name,
            "group": setting.group,
            "value": setting.value,
            "shot": setting.spec.shot[1],
            "episode_spec": setting.spec.describe(),
            "split": SPLIT,
            "seed": self.seed,
            "episodes": self.episodes,
            "slow_episodes": self.slow_episodes,
            "episode_hash": fingerprint(rows),
            "batch_episodes": BATCH,
            "dataset": self.cache.manifest["dataset"],
            "backbone": self.cache.manifest["backbone"],
            "hardware": f"{os.cpu_count()} cores, {platform.machine()}, TensorFlow {tf.__version__}",
        }

    def _held(self, setting: Setting, header: dict) -> tuple[dict, dict]:
        """What earlier runs measured on the same episodes and features: figures and accuracies by label."""
        path = self.folder / f"{setting.name}.json"
        if not path.is_file():
            return {}, {}
        record = atomic.read_json(path, "Results")
        same = ("episode_hash", "dataset", "backbone")
        if not isinstance(record, dict) or any(record.get(name) != header[name] for name in same):
            return {}, {}
        accuracies = array_files.read_npz(path.with_suffix(".npz"), f"remove {path} too")
        return {label: figures for label, figures in record["methods"].items() if label in accuracies}, accuracies

    def _twin(self, entrant: Entrant, count: int, measured: dict) -> str | None:
        """The label of a measurement of the same method with the same constants, if there is one."""
        for label, figures in measured.items():
            if figures["name"] == entrant.name and _is_measured(figures, entrant, count):
                return label
        return None

    def _save(self, setting: Setting, record: dict, accuracies: dict[str, np.ndarray]) -> None:
        """Writes the accuracies first: the JSON file names nothing that is not there."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **accuracies)
        path = self.folder / f"{setting.name}.json"
        with atomic.new_file(path.with_suffix(".npz")) as partial:
            partial.write_bytes(buffer.getvalue())
        record["against_best_peer"] = _against_best_peer(record["methods"], accuracies)
        atomic.write_json(path, record)


def _is_measured(figures: dict | None, entrant: Entrant, count: int) -> bool:
    return figures is not None and (figures["config"], figures["episodes"]) == (entrant.config, count)


def _figures(accuracy: np.ndarray, baseline: np.ndarray) -> dict:
    """Mean and 95 % half-width, and those of the paired difference to nearest prototypes."""
    mean, half = mean_and_ci95(accuracy)
    difference, difference_half = mean_and_ci95(accuracy - baseline[: len(accuracy)])
    return {"accuracy": mean, "ci95": half, "difference": difference, "difference_ci95": difference_half}


def _against_best_peer(methods: dict, accuracies: dict[str, np.ndarray]) -> dict:
    """For every meta-trained model the best peer of the setting, and the paired difference to it."""
    # By the difference to prototypes: slow methods are measured on fewer episodes.
    peers = {
        label: figures["difference"] for label, figures in methods.items() if figures["constants"] != "meta-trained"
    }
    best = max(peers, key=peers.get)
    found = {}
    for label in methods.keys() - peers.keys():
        count = min(len(accuracies[label]), len(accuracies[best]))
        difference, half = mean_and_ci95(accuracies[label][:count] - accuracies[best][:count])
        found[label] = {"peer": best, "difference": difference, "difference_ci95": half, "episodes": count}
    return found
