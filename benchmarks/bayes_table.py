"""The table of what prior and posterior do, from the metrics of `benchmarks.bayes_rows`."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.records import load_accuracies, load_metrics
from sib_tf import checkpoints
from sib_tf.errors import InputError
from sib_tf.evaluation import mean_and_ci95
from sib_tf.storage import atomic

HEADER = ("shot", "queries", "prior, posterior", "KL weight", "accuracy", "difference", "calibration error", "NLL")
_NAMES = {
    "released": "none, dirac; sums (released code)",
    "mean": "none, dirac; means",
    "prior": "gaussian, dirac; means",
    "posterior": "gaussian, gaussian; means",
}
_BASE = "mean"
_QUERIES = {"balanced": "balanced", "dirichlet": "Dirichlet(2)"}


class Table(NamedTuple):
    """Rows under `HEADER`, and what they are in words."""

    text: str
    rows: list[tuple[str, ...]]


def load(folder: str | os.PathLike) -> Table:
    """Returns the table: means over the seeds; intervals over the episodes; differences to the model without a prior.

    Args:
        folder: of `benchmarks.bayes_rows`.

    Raises:
        InputError: it holds no metrics.
    """
    found: dict[tuple, list[Path]] = {}
    for path in sorted(Path(folder).glob("*/*.json")):
        parts = re.fullmatch(r"(\d+)shot_([a-z]+?)(?:_kl([0-9.e-]+))?_seed\d+", path.parent.name)
        if parts and path.stem in _QUERIES:
            found.setdefault((int(parts[1]), path.stem, parts[2], parts[3] or ""), []).append(path)
    if not found:
        raise InputError(f"bayes_dir {folder} holds no metrics; make some with benchmarks.bayes_rows.")
    order = list(_NAMES)
    keys = sorted(found, key=lambda key: (key[0], key[1], order.index(key[2])))
    return Table(_text(Path(folder), found), [_row(key, found) for key in keys])


def _text(folder: Path, found: dict[tuple, list[Path]]) -> str:
    """How the rows were made, as their own files say."""
    path = next(iter(found.values()))[0]
    steps = atomic.read_json(path.parent / checkpoints.CONFIG, "Configuration")["meta_training"]["steps"]
    tried = {match[1] for each in folder.iterdir() if (match := re.search(r"_kl([0-9.e-]+)_seed", each.name))}
    weights, seeds = ", ".join(sorted(tried, key=float)), max(map(len, found.values()))
    dataset = load_metrics(path)["dataset"]["name"]
    return f"""The joint network with and without a learned prior and a gaussian posterior (docs/method.md), {dataset},
meta-trained for {steps:,} steps on balanced episodes of the row's shot. Means over {seeds} seeds; intervals over the
same test episodes; differences to the model without a prior. The weight of the KL divergence was chosen on validation
classes, among {weights}. Calibration error and negative log-likelihood are as the model is, before `train.calibrate`.
Command: `python -m benchmarks.bayes_rows --features_dir=RUN/features --output_dir=RUN/bayes --steps={steps}`."""


def _row(key: tuple, found: dict[tuple, list[Path]]) -> tuple[str, ...]:
    shot, queries, variant, weight = key
    accuracy, base = _over_seeds(found[key]), found.get((shot, queries, _BASE, ""))
    difference = "" if variant == _BASE or base is None else _points(accuracy - _over_seeds(base), "+")
    confidence = [load_metrics(path)["confidence"]["uncalibrated"] for path in found[key]]
    ece, nll = (np.mean([quality[name] for quality in confidence]) for name in ("ece", "nll"))
    cells = (_points(accuracy), difference, f"{100 * ece:.2f} %", f"{nll:.3f}")
    return (f"{shot}", _QUERIES[queries], _NAMES[variant], weight, *cells)


def _over_seeds(paths: list[Path]) -> np.ndarray:
    """Accuracies of every episode, the mean over the seeds: `[episodes]`."""
    values = []
    for path in paths:
        values.append(load_accuracies(path)["accuracy"][-1])
    return np.mean(values, axis=0)


def _points(values: np.ndarray, sign: str = "") -> str:
    mean, half = mean_and_ci95(values)
    return f"{100 * mean:{sign}.2f} +-{100 * half:.2f}"
