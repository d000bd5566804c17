"""Measures all entrants of a cell on the same episodes, and keeps the results in files that are gone on from."""

import dataclasses
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.result_files import held, save
from benchmarks.unseen.cells import Cell
from benchmarks.unseen.entrants import BALANCED_HEAD, BASELINE, HEAD, Entrant
from sib_tf import calibration
from sib_tf.episodes import Episode, EpisodeRows, fingerprint
from sib_tf.evaluation import mean_and_ci95

# Of the features of a batch of episodes, and how many episodes it has at most.
_BATCH_BYTES, _MOST = 1 << 26, 100
SAME = ("episode_hash", "rows")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a method did on a list of episodes."""

    accuracy: np.ndarray  # `[episodes]` float64 in [0, 1].
    seconds_per_episode: float  # Median over batches, but for the first, which traces.
    scores: np.ndarray  # `[episodes, query_rows, way]` float32.


def run(cell: Cell, taking_part: Sequence[Entrant], folder: Path, episodes: int, seed: int) -> dict:
    """Measures what is not measured yet of a cell into `folder`, as NAME.json and NAME.npz; returns the record."""
    rows, path = cell.draw(episodes, seed), folder / f"{cell.name}.json"
    header = _header(cell, rows, episodes, seed)
    measured, accuracies = held(path, header, SAME)
    for entrant in taking_part:
        if not entrant.takes(cell):
            continue
        count = entrant.count(episodes)
        config = json.loads(json.dumps(entrant.config))  # As it comes back.
        own = {"name": entrant.name, "normalised": entrant.normalized, "config": config, "episodes": count}
        if own.items() <= measured.get(entrant.label, {}).items():
            continue
        found = measure(entrant, cell, rows.part(0, count))
        accuracies[entrant.label] = found.accuracy
        measured[entrant.label] = {**own, "seconds_per_episode": found.seconds_per_episode}
        if entrant.steps is not None:
            measured[entrant.label] |= _calibration_errors(entrant, rows.part(0, count), found.scores)
        save(path, {**header, "methods": _compared(measured, accuracies)}, accuracies)
    return {**header, "methods": _compared(measured, accuracies)}


def measure(entrant: Entrant, cell: Cell, rows: EpisodeRows) -> Measurement:
    """Measures an entrant on `rows` of the cell's data set."""
    table, way = cell.data_set.rows, cell.spec.way[1]
    features = (rows.support.shape[1] + rows.query.shape[1]) * table.shape[1]
    size = min(max(1, _BATCH_BYTES // (4 * features)), _MOST, max(1, len(rows.support) // 2))
    scores, seconds = [], []
    for first in range(0, len(rows.support), size):
        batch = rows.part(first, first + size)
        missing = size - len(batch.support)
        # The last batch has the shape of the others.
        filled = Episode(*(np.concatenate([field, np.repeat(field[:1], missing, axis=0)]) for field in batch))
        episode = filled._replace(support=table[filled.support], query=table[filled.query])
        start = time.perf_counter()
        found = entrant.scores(episode, way, cell.data_set.base_mean)
        seconds.append((time.perf_counter() - start) / len(found))
        scores.append(found[: len(batch.support)])
    scores = np.concatenate(scores)
    right = (scores.argmax(axis=-1) == rows.query_labels) & rows.query_mask
    return Measurement(
        right.sum(axis=1) / rows.query_mask.sum(axis=1), float(np.median(seconds[1:] or seconds)), scores
    )


def _header(cell: Cell, rows: EpisodeRows, episodes: int, seed: int) -> dict:
    return {
        "cell": cell.name,
        "data_set": cell.data_set.name,
        "column": cell.column,
        "ways": cell.ways,
        "shot": cell.shot,
        "distribution": cell.distribution,
        "episode_spec": cell.spec.describe(),
        "feature_dim": int(cell.data_set.rows.shape[1]),
        "rows": cell.data_set.digest,
        "episodes": episodes,
        "seed": seed,
        "episode_hash": fingerprint(rows),
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}, TensorFlow {tf.__version__}",
    }


def _calibration_errors(entrant: Entrant, rows: EpisodeRows, logits: np.ndarray) -> dict:
    """Expected calibration error of a head's probabilities, and before its temperatures, in [0, 1]."""
    uses = {"ece": entrant.calibration, "ece_before": None}
    return {name: calibration.quality_of(logits, rows, use, entrant.steps)["ece"] for name, use in uses.items()}


def _compared(measured: dict, accuracies: dict[str, np.ndarray]) -> dict:
    """Adds each method's mean, and its paired differences to K = 0 and of the heads to it, with 95 % half-widths."""
    found = {}
    for label, figures in measured.items():
        own = dict(zip(("accuracy", "ci95"), mean_and_ci95(accuracies[label]), strict=True))
        for name, first, second in (
            ("difference", label, BASELINE),
            ("head_over", HEAD, label),
            ("balanced_head_over", BALANCED_HEAD, label),
        ):
            if first in accuracies and second in accuracies:
                count = min(len(accuracies[first]), len(accuracies[second]))
                pair = mean_and_ci95(accuracies[first][:count] - accuracies[second][:count])
                own |= dict(zip((name, f"{name}_ci95"), pair, strict=True))
        found[label] = {**figures, **own}
    return found
