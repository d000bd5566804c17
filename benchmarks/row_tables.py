"""Tables of what `benchmarks.paper_rows` and `benchmarks.bayes_rows` measured: means over the seeds, intervals over the
episodes, which are the same for all rows of a shot."""

import collections
import os
import re
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

import numpy as np

from benchmarks.records import load_accuracies, load_metrics, points
from sib_tf.errors import InputError
from sib_tf.evaluation import mean_and_ci95
from sib_tf.storage import atomic, run_records

# Data set, backbone, shot, K: accuracy in %, with its 95 % interval; 5-way, 15 queries a class.
# Hu et al., ICLR 2020, and for WRN-28-10 at K = 3 the authors' code.
PUBLISHED = {
    ("cifar_fs", "Conv-4-64", 1, 3): "68.7 +-0.6",
    ("cifar_fs", "Conv-4-64", 5, 3): "77.1 +-0.4",
    ("cifar_fs", "WRN-28-10", 1, 3): "79.8 +-0.6",
    ("cifar_fs", "WRN-28-10", 1, 5): "80.0 +-0.6",
    ("cifar_fs", "WRN-28-10", 5, 3): "85.7 +-0.4",
    ("cifar_fs", "WRN-28-10", 5, 5): "85.3 +-0.4",
    ("mini_imagenet", "Conv-4-64", 1, 3): "58.0 +-0.6",
    ("mini_imagenet", "Conv-4-64", 5, 3): "70.7 +-0.4",
    ("mini_imagenet", "Conv-4-128", 1, 5): "63.3 +-1.1",
    ("mini_imagenet", "Conv-4-128", 5, 5): "75.7 +-0.7",
    ("mini_imagenet", "WRN-28-10", 1, 3): "70.7 +-0.6",
    ("mini_imagenet", "WRN-28-10", 1, 5): "70.0 +-0.6",
    ("mini_imagenet", "WRN-28-10", 5, 3): "80.1 +-0.4",
    ("mini_imagenet", "WRN-28-10", 5, 5): "79.2 +-0.4",
}
_VARIANTS = {
    "released": "none, dirac; sums (released code)",
    "mean": "none, dirac; means",
    "prior": "gaussian, dirac; means",
    "posterior": "gaussian, gaussian; means",
}
_QUERIES = {"balanced": "balanced", "dirichlet": "Dirichlet(2)"}


class Seeds:
    """A row's meta-trainings, which differ in their seed only; `paths` are of their metrics.

    Attributes:
        metrics: of each.
        accuracies: `[seeds, episodes]` in [0, 1].
        accuracy, baseline: their means, and nearest prototypes, `[episodes]`.
    """

    def __init__(self, paths: list[Path]):
        self.metrics = [load_metrics(path) for path in paths]
        if len({metrics.get("episode_hash") for metrics in self.metrics}) > 1:
            raise InputError(f"{paths[0].parent} and its like were measured on different episodes; measure them anew.")
        arrays = [load_accuracies(path) for path in paths]
        self.accuracies = np.array([each["accuracy"][-1] for each in arrays])
        self.accuracy, self.baseline = self.accuracies.mean(axis=0), arrays[0]["baseline"]


def paper(folders: Iterable[str | os.PathLike]) -> list[tuple[str, ...]]:
    """Data set, backbone, shot, K, published, ours, the seeds' own figures, difference to K = 0.

    Rows that are in none of the `folders` of `benchmarks.paper_rows` say "not run". An InputError says if one of them
    holds no metrics, or the seeds of a row were measured on different episodes.
    """
    found = {key[:4]: seeds for key, seeds in _paper_rows(folders).items() if key[4] == 1}
    table = []
    for key in sorted({*found, *PUBLISHED}):
        cells = ("not run", "", "")
        if seeds := found.get(key):
            own = ", ".join(f"{100 * mean:.2f}" for mean in seeds.accuracies.mean(axis=1))
            cells = (_mean(seeds.accuracy), own, _mean(seeds.accuracy - seeds.baseline, "+"))
        table.append((*map(str, key), PUBLISHED.get(key, ""), *cells))
    return table


def views(folders: Iterable[str | os.PathLike]) -> list[tuple[str, ...]]:
    """Of rows that were also run on several views: data set, backbone, shot, K, views, accuracy, and the paired
    difference to one view. Arguments and errors are those of `paper`.
    """
    found = _paper_rows(folders)
    several = {key[:4] for key in found if key[4] > 1}
    table = []
    for key in sorted(found):
        seeds, one = found[key], found.get((*key[:4], 1))
        if key[:4] in several and one:
            difference = "" if seeds is one else _mean(seeds.accuracy - one.accuracy, "+")
            table.append((*map(str, key), _mean(seeds.accuracy), difference))
    return table


def bayes(folder: str | os.PathLike) -> dict:
    """Returns how a folder of `benchmarks.bayes_rows` was made (`dataset`, `steps`, `seeds`, `weights`, the KL weights
    tried), and `rows`: shot, queries, prior and posterior, KL weight, accuracy, difference to the model without a
    prior, calibration error, NLL.
    """

    def key(path: Path) -> tuple | None:
        parts = re.fullmatch(r"(\d+)shot_([a-z]+?)(?:_kl([0-9.e-]+))?_seed\d+", path.parent.name)
        return (int(parts[1]), path.stem, parts[2], parts[3] or "") if parts and path.stem in _QUERIES else None

    paths = sorted(Path(folder).glob("*/*.json"))
    found = _by_key(paths, key)
    if not found:
        raise InputError(f"bayes_dir {folder} holds no metrics; make some with benchmarks.bayes_rows.")
    some = next(path for path in paths if key(path))
    config = atomic.read_json(some.with_name(run_records.CONFIG), "Configuration")
    tried = {match[1] for path in paths if (match := re.search(r"_kl([0-9.e-]+)_seed", path.parent.name))}
    order = list(_VARIANTS)
    table = []
    for shot, queries, variant, weight in sorted(found, key=lambda key: (*key[:2], order.index(key[2]))):
        seeds, base = found[shot, queries, variant, weight], found.get((shot, queries, "mean", ""))
        difference = "" if base in (None, seeds) else _mean(seeds.accuracy - base.accuracy, "+")
        confidence = [metrics["confidence"]["uncalibrated"] for metrics in seeds.metrics]
        ece, nll = (np.mean([quality[name] for quality in confidence]) for name in ("ece", "nll"))
        cells = (_mean(seeds.accuracy), difference, f"{100 * ece:.2f} %", f"{nll:.3f}")
        table.append((str(shot), _QUERIES[queries], _VARIANTS[variant], weight, *cells))
    return {
        "dataset": load_metrics(some)["dataset"]["name"],
        "steps": config["meta_training"]["steps"],
        "seeds": max(len(seeds.metrics) for seeds in found.values()),
        "weights": sorted(tried, key=float),
        "rows": table,
    }


def _paper_rows(folders: Iterable[str | os.PathLike]) -> dict[tuple, Seeds]:
    """Rows by data set, backbone, shot, K and views."""
    paths = []
    for folder in folders:
        paths += (there := sorted(Path(folder).glob("*/metrics.json")))
        if not there:
            raise InputError(f"rows_dir {folder} holds no metrics; make some with benchmarks.paper_rows.")
    return _by_key(paths, _paper_key)


def _paper_key(path: Path) -> tuple:
    metrics = load_metrics(path)
    features = atomic.read_json(path.with_name(run_records.CONFIG), "Configuration")["features"]
    shot = int(path.parent.name.partition("shot")[0])
    return metrics["dataset"]["name"], _backbone(features), shot, metrics["model"]["num_steps"], metrics["views"]


def _backbone(features: dict) -> str:
    """The backbone that the features were made with, as the paper calls it."""
    averaged = re.fullmatch(r"(.+)_(\d)_views", features["backbone"]["name"])
    name, dim = averaged[1] if averaged else features["backbone"]["name"], features["feature_dim"]
    if name == "conv4":  # A feature is the last map, halved four times.
        name = f"Conv-4-{dim // (features['image_size'] // 16) ** 2}"
    elif name == "wide_resnet":
        name = f"WRN-28-{dim // 64}"
    return f"{name}, {averaged[2]} views averaged" if averaged else name


def _by_key(paths: Iterable[Path], key: Callable[[Path], Hashable | None]) -> dict[Hashable, Seeds]:
    found = collections.defaultdict(list)
    for path in paths:
        found[key(path)].append(path)
    return {place: Seeds(own) for place, own in found.items() if place is not None}


def _mean(values: np.ndarray, sign: str = "") -> str:
    return points(*mean_and_ci95(values), sign)
