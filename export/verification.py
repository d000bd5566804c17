"""Does an exported file do what the trained model does? Both run the same real episodes; differences have limits."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from sib_tf.config import EpisodeSpec
from sib_tf.datasets import Split
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.evaluation import mean_and_ci95
from sib_tf.features import centre_crop
from sib_tf.prediction.models import Model
from sib_tf.reports import report
from sib_tf.storage import atomic

# Accuracy that a file may lose; one that loses more, and by more than chance explains, fails.
ALLOWED_LOSS = 0.005


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far a file may be from the trained model; the differences are the largest over all episodes.

    Attributes:
        features, weights: relative to the largest number of the trained model.
        probabilities: absolute.
        disagreement: share of queries with another predicted class.
    """

    features: float
    weights: float
    probabilities: float
    disagreement: float


# By precision. A SavedModel has Keras's own kernels, but its graph is optimised: steps and temperatures of a badly
# conditioned model enlarge the rounding. Quantised values are away from the original ones by intention: int8 is judged
# by what it predicts.
LIMITS = {
    "saved_model": Limits(1e-5, 1e-4, 1e-4, 0.001),
    "float32": Limits(1e-5, 1e-4, 1e-4, 0.001),
    "float16": Limits(5e-3, 2e-2, 5e-2, 0.02),
    "int8": Limits(np.inf, np.inf, np.inf, 0.3),
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison measured.

    Attributes:
        name: of the file.
        precision: key of `LIMITS`.
        bytes: size of the file, or of the folder's files; None for the trained model itself.
        features, weights, probabilities, disagreement: as in `Limits`.
        accuracy, ci95: of the file on the episodes, in [0, 1].
        difference, difference_ci95: to the trained model's accuracy on the same episodes.
        episodes: how many.
        failures: what is beyond its limit; empty if the file passes.
    """

    name: str
    precision: str
    bytes: int | None
    features: float
    weights: float
    probabilities: float
    disagreement: float
    accuracy: float
    ci95: float
    difference: float
    difference_ci95: float
    episodes: int
    failures: tuple[str, ...]


class Reference:
    """The trained model's answers on a list of real episodes, computed once.

    Args:
        model: the trained model.
        split: pictures of classes that it has not been trained on.
        spec: what the episodes look like; within the limits of all files to be compared.
        episodes: how many.
        seed: of the list.

    Attributes:
        itself: the trained model's own figures.
    """

    def __init__(self, model: Model, split: Split, spec: EpisodeSpec, episodes: int, seed: int = 0):
        rows = EpisodeSampler(split.labels, spec, seed).sample(episodes)
        used, places = np.unique(np.concatenate([rows.support, rows.query], axis=1), return_inverse=True)
        places = places.reshape(episodes, -1)
        support_rows = rows.support.shape[1]
        self._images = centre_crop(split.images[used], model.description["image_size"])
        self._rows = rows._replace(support=places[:, :support_rows], query=places[:, support_rows:])
        self._answers = _answers(model, self._images, self._rows)
        self.itself = self._verdict("trained model", "Keras float32", None, self._answers, LIMITS["saved_model"])

    def judge(self, path: str | os.PathLike, candidate: Model, name: str | None = None) -> Verdict:
        """Runs the same episodes through `candidate`, which was opened from `path`, and compares."""
        path = Path(path)
        precision = "saved_model" if path.is_dir() else candidate.description.get("precision", "float32")
        size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
        found = _answers(candidate, self._images, self._rows)
        name = name or (path.name if path.is_file() else f"{path.parent.name}/{path.name}")
        return self._verdict(name, precision, size, found, LIMITS[precision])

    def _verdict(self, name: str, precision: str, size: int | None, found: "_Answers", limits: Limits) -> Verdict:
        expected = self._answers
        measured = {
            "features": _relative(found.features, expected.features),
            "weights": _relative(found.weights, expected.weights),
            "probabilities": float(np.abs(found.probabilities - expected.probabilities).max()),
            "disagreement": float((found.predictions != expected.predictions).mean()),
        }
        accuracy, ci95 = mean_and_ci95(found.accuracy)
        difference, half = mean_and_ci95(found.accuracy - expected.accuracy)
        # "not <=" and not ">": NaN fails too.
        failures = [f"{n} {v:.2g} > {getattr(limits, n)}" for n, v in measured.items() if not v <= getattr(limits, n)]
        if not difference + half >= -ALLOWED_LOSS:
            failures.append(f"accuracy {100 * difference:+.2f} +-{100 * half:.2f} points")
        return Verdict(
            name=name, precision=precision, bytes=size, **measured, accuracy=accuracy, ci95=ci95,
            difference=difference, difference_ci95=half, episodes=len(self._rows.support), failures=tuple(failures),
        )  # fmt: skip


def table(verdicts: list[Verdict]) -> str:
    """Returns the verdicts as a Markdown table; differences are the largest ones to the trained model."""
    lines = [
        "| file | precision | kB | features (rel.) | weights (rel.) | probabilities | other class | accuracy | "
        "difference | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {v.name} | {v.precision} | {'' if v.bytes is None else round(v.bytes / 1000)} | {v.features:.0e} | "
        f"{v.weights:.0e} | {v.probabilities:.0e} | {100 * v.disagreement:.2f} % | "
        f"{100 * v.accuracy:.2f} +-{100 * v.ci95:.2f} % | {100 * v.difference:+.2f} +-{100 * v.difference_ci95:.2f} | "
        f"{'; '.join(v.failures) or 'ok'} |"
        for v in verdicts
    ]
    return "\n".join(lines)


def save(verdicts: list[Verdict], path: str | os.PathLike) -> None:
    """Writes the verdicts as JSON; a difference that is not finite is null there."""
    records = [dataclasses.asdict(verdict) for verdict in verdicts]
    finite = [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in r.items()} for r in records]
    atomic.write_json(path, finite)


def add_to_report(path: str | os.PathLike, verdicts: list[Verdict], spec: EpisodeSpec, dataset: str) -> None:
    """Puts the table into the section "Exported files" of a report."""
    words = (
        f"Every file against the trained model on the same {verdicts[0].episodes} test episodes ({dataset}, "
        f"{spec.describe()}): the largest differences, and the accuracies."
    )
    report.set_section(path, "Exported files", f"{words}\n\n{table(verdicts)}")


@dataclasses.dataclass(frozen=True, eq=False)
class _Answers:
    features: np.ndarray
    weights: np.ndarray
    probabilities: np.ndarray
    predictions: np.ndarray
    accuracy: np.ndarray


def _answers(model: Model, images: np.ndarray, rows: EpisodeRows) -> _Answers:
    features = model.embed(images)
    weights, probabilities = [], []
    for support, labels, query in zip(rows.support, rows.support_labels, rows.query, strict=True):
        path = model.adapt(features[support], labels, features[query])
        weights.append(path)
        probabilities.append(model.classify(features[query], path[-1])[1])
    probabilities = np.stack(probabilities)
    predictions = probabilities.argmax(axis=-1)
    accuracy = (predictions == rows.query_labels).mean(axis=1)
    return _Answers(features, np.stack(weights), probabilities, predictions, accuracy)


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:  # Another number of steps, say: another model altogether.
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())
