"""Reads what was measured, for the page and its figures."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sib_tf.errors import InputError
from sib_tf.storage import array_files, atomic


class Group(NamedTuple):
    """How the page speaks of a group of settings: its title, a figure's axis, and a setting's value in a table."""

    title: str
    axis: str
    column: str


# In the order of pages.
GROUPS = {
    "imbalance": Group("Imbalanced query sets", "Dirichlet's alpha (imbalance grows to the right)", "Dirichlet({})"),
    "total_query": Group("Few and many queries", "unlabelled pictures in all", "{} in all"),
    "way": Group("Two to twenty classes", "classes (way)", "{} way"),
    "missing_classes": Group(
        "Classes that no query is of", "classes, of five, that the queries come from", "from {} of 5"
    ),
    "uneven_labels": Group("Uneven labels", "labelled pictures of a class", "{} shots, every class its own"),
    "flipped_labels": Group("Wrong labels", "% of the labels that are wrong", "{} % wrong, 5 shots"),
}
PEER_NAMES = {
    "prototypes": "nearest prototypes",
    "simple_shot": "SimpleShot",
    "soft_kmeans": "soft k-means",
    "bd_cspn": "BD-CSPN",
    "laplacian_shot": "LaplacianShot",
    "tim_adm": "TIM-ADM",
    "tim_gd": "TIM-GD",
    "alpha_tim": "alpha-TIM",
    "pt_map": "PT-MAP",
    "unem": "UNEM",
}
_KEYS = {"setting", "group", "value", "shot", "episode_spec", "episode_hash", "methods", "dataset", "hardware", "seed"}
_METRICS_KEYS = {"accuracy", "ci95", "baseline_accuracy", "baseline_ci95", "difference", "difference_ci95", "dataset"}


@dataclasses.dataclass(frozen=True)
class SweepRecords:
    """The settings of one folder of `benchmarks.sweeps`, all of one data set and backbone."""

    dataset: str
    settings: list[dict]  # The JSON values of every setting, in the order of its group and value.

    def group(self, name: str) -> list[dict]:
        """The settings of a group."""
        return [s for s in self.settings if s["group"] == name]

    def panels(self, name: str) -> list[tuple[int | None, list[dict]]]:
        """What one table or panel shows: the group's settings, of "imbalance" those of every shot by themselves."""
        if name != "imbalance":
            return [(None, self.group(name))]
        shots = sorted({setting["shot"] for setting in self.group(name)})
        return [(shot, [s for s in self.group(name) if s["shot"] == shot]) for shot in shots]


def load_sweep(folder: str | os.PathLike) -> SweepRecords:
    """Reads all results in `folder`, of one data set; other JSON files in it are passed over."""
    read = [atomic.read_json(path, "Results") for path in sorted(Path(folder).glob("*.json"))]
    found = [record for record in read if isinstance(record, dict) and set(record) >= _KEYS]
    if not found:
        raise InputError(f"sweeps_dir {folder} holds no results; make some with benchmarks.sweeps.")
    names = sorted({f"{record['dataset']['name']}, {record['dataset']['version']}" for record in found})
    if len(names) > 1:
        raise InputError(f"sweeps_dir {folder} holds results of {'; '.join(names)}; give each a folder of its own.")
    return SweepRecords(found[0]["dataset"]["name"], sorted(found, key=_place))


def load_metrics(path: str | os.PathLike) -> dict:
    """Reads a `metrics.json` of train.evaluate."""
    metrics = atomic.read_json(path, "metrics")
    if not isinstance(metrics, dict) or not set(metrics) >= _METRICS_KEYS:
        raise InputError(f"metrics {path} is no metrics.json; write it with train.evaluate.")
    return metrics


def load_accuracies(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the accuracies that train.evaluate writes beside `metrics.json`: `accuracy`, by step, and `baseline`."""
    path = Path(path).with_suffix(".npz")
    arrays = array_files.read_npz(path, "evaluate that model again")
    if "accuracy" not in arrays or arrays["accuracy"].ndim != 2:
        raise InputError(f"{path} has no accuracies of every step; evaluate that model again.")
    return arrays


def points(mean: float, half: float, sign: str = "") -> str:
    """A share and half of its interval as tables have them: "71.48 +-0.62", in %; with `sign` "+", a difference."""
    return f"{100 * mean:{sign}.2f} +-{100 * half:.2f}"


def _place(record: dict) -> tuple:
    """Balanced first, then less and less so; otherwise by number."""
    value = record["value"]
    if record["group"] == "imbalance":
        value = float("-inf") if value == "balanced" else -value
    return list(GROUPS).index(record["group"]), record["shot"], value
