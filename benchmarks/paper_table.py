"""The table of the paper's rows: published figures, and ours over several seeds where they were run."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.records import load_accuracies, load_metrics
from sib_tf.errors import InputError
from sib_tf.evaluation import mean_and_ci95


class Published(NamedTuple):
    """A published accuracy in %, with its 95 % interval where there is one; 5-way, 15 queries a class."""

    dataset: str
    backbone: str
    shot: int
    num_steps: int
    accuracy: str


# Length of a feature at 32 pixels (80 for mini_imagenet), which tells the backbones apart.
_BACKBONES = {256: "Conv-4-64", 1600: "Conv-4-64", 512: "Conv-4-128", 3200: "Conv-4-128", 640: "WRN-28-10"}
# Hu et al., ICLR 2020, and for WRN-28-10 at K = 3 the authors' code.
PUBLISHED = (
    Published("cifar_fs", "Conv-4-64", 1, 3, "68.7 +-0.6"),
    Published("cifar_fs", "Conv-4-64", 5, 3, "77.1 +-0.4"),
    Published("cifar_fs", "WRN-28-10", 1, 3, "79.8 +-0.6"),
    Published("cifar_fs", "WRN-28-10", 1, 5, "80.0 +-0.6"),
    Published("cifar_fs", "WRN-28-10", 5, 3, "85.7 +-0.4"),
    Published("cifar_fs", "WRN-28-10", 5, 5, "85.3 +-0.4"),
    Published("mini_imagenet", "Conv-4-64", 1, 3, "58.0 +-0.6"),
    Published("mini_imagenet", "Conv-4-64", 5, 3, "70.7 +-0.4"),
    Published("mini_imagenet", "Conv-4-128", 1, 5, "63.3 +-1.1"),
    Published("mini_imagenet", "Conv-4-128", 5, 5, "75.7 +-0.7"),
    Published("mini_imagenet", "WRN-28-10", 1, 3, "70.7 +-0.6"),
    Published("mini_imagenet", "WRN-28-10", 1, 5, "70.0 +-0.6"),
    Published("mini_imagenet", "WRN-28-10", 5, 3, "80.1 +-0.4"),
    Published("mini_imagenet", "WRN-28-10", 5, 5, "79.2 +-0.4"),
)


def rows(folders: list[str | os.PathLike]) -> list[tuple[str, ...]]:
    """Returns the table: data set, backbone, shot, K, published, ours, the seeds' own figures, difference to K = 0.

    Args:
        folders: of `benchmarks.paper_rows`; rows that are in none of them say "not run".

    Raises:
        InputError: a folder holds no metrics, or the seeds of a row were measured on different episodes.
    """
    found = {key[:4]: paths for key, paths in _found(folders).items() if key[4] == 1}
    published = {row[:4]: row.accuracy for row in PUBLISHED}
    table = []
    for key in sorted({*found, *published}):
        cells = _measured(found[key]) if key in found else ("not run", "", "")
        table.append((*key[:2], f"{key[2]}", f"{key[3]}", published.get(key, ""), *cells))
    return table


def views_rows(folders: list[str | os.PathLike]) -> list[tuple[str, ...]]:
    """Returns the table of rows that were also run on several views: data set, backbone, shot, K, views, accuracy, and
    the paired difference to one view.

    Args:
        folders: as in `rows`.

    Raises:
        InputError: as in `rows`.
    """
    found = _found(folders)
    several = {key[:4] for key in found if key[4] > 1}
    table = []
    for key in sorted(key for key in found if key[:4] in several and (*key[:4], 1) in found):
        accuracy, one = (_over_seeds(found[k])[0] for k in (key, (*key[:4], 1)))
        difference = "" if key[4] == 1 else _points(accuracy - one, "+")
        table.append((*key[:2], *map(str, key[2:]), _points(accuracy), difference))
    return table


def _found(folders) -> dict[tuple, list[Path]]:
    """Files of metrics by data set, backbone, shot, K and views."""
    found: dict[tuple, list[Path]] = {}
    for folder in folders:
        paths = sorted(Path(folder).glob("*/metrics.json"))
        if not paths:
            raise InputError(f"rows_dir {folder} holds no metrics; make some with benchmarks.paper_rows.")
        for path in paths:
            found.setdefault(_key(load_metrics(path), path), []).append(path)
    return found


def _key(metrics: dict, path: Path) -> tuple:
    shot = int(path.parent.name.partition("shot")[0])
    model, backbone = metrics["model"], _BACKBONES.get(metrics["model"]["feature_dim"], "other")
    return metrics["dataset"]["name"], backbone, shot, model["num_steps"], metrics["views"]


def _measured(paths: list[Path]) -> tuple[str, str, str]:
    """Mean over seeds, with its interval over episodes; every seed's own; and the same for the gain over K = 0."""
    mean, seeds, baseline = _over_seeds(paths)
    return _points(mean), ", ".join(f"{100 * each.mean():.2f}" for each in seeds), _points(mean - baseline, "+")


def _over_seeds(paths: list[Path]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Accuracies of every episode, `[episodes]` each: their mean over the seeds, the seeds', and K = 0's."""
    if len({load_metrics(path)["episode_hash"] for path in paths}) > 1:
        raise InputError(f"{paths[0].parent} and its like were measured on different episodes; measure them anew.")
    seeds, baseline = [], []
    for path in paths:
        arrays = load_accuracies(path)
        seeds.append(arrays["accuracy"][-1])
        baseline.append(arrays["baseline"])
    return np.mean(seeds, axis=0), seeds, baseline[0]


def _points(values: np.ndarray, sign: str = "") -> str:
    mean, half = mean_and_ci95(values)
    return f"{100 * mean:{sign}.2f} +-{100 * half:.2f}"
