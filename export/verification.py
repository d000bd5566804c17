"""Does an exported file do what the trained model does? Both run the same real episodes; differences have limits."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from export.precisions import PRECISIONS
from sib_tf import templates
from sib_tf.config import EpisodeSpec
from sib_tf.datasets import Split
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.evaluation import mean_and_ci95
from sib_tf.features import FeatureCache
from sib_tf.pictures.pixels import fit_stored
from sib_tf.prediction.model import Model

# Accuracy that a file may lose; one that loses more, and by more than chance explains, fails.
ALLOWED_LOSS = 0.005
# Pictures that are embedded at a time.
_PART = 64


def episode_spec(labels: np.ndarray, *descriptions: dict) -> EpisodeSpec:
    """Returns 1-shot episodes of 5 ways (a joint model: its own) and 15 queries a class, or what there is.

    Args:
        labels: of the split that they are drawn from; users' own may have few classes, or small ones.
        descriptions: of all models, whose limits the episodes fit into.
    """

    def limit(name: str, most: int) -> int:
        return min([most, *(each[name] for each in descriptions if each.get(name) is not None)])

    joint = [each["way"] for each in descriptions if each.get("gradient_network") == "joint"]
    sizes = np.bincount(labels)
    way = joint[0] if joint else min(limit("way", 5), limit("max_support", 5), len(sizes))
    return EpisodeSpec(way=way, shot=1, query=max(min(limit("max_query", 15 * way) // way, int(sizes.min()) - 1), 1))


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison measured.

    Attributes:
        name: of the file.
        precision: key of `PRECISIONS`, or "saved_model".
        bytes: size of the file, or of the folder's files; None for the trained model itself.
        features, weights, probabilities, disagreement: as in `precisions.Limits`.
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

    def figures(self) -> dict:
        """Returns the attributes as JSON values; a difference that is not finite is None."""
        values = dataclasses.asdict(self).items()
        return {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in values}

    def require(self, what: str, way_out: str = "") -> None:
        """Raises an InputError if the file failed; `what` it is and the `way_out` are part of the sentence."""
        if self.failures:
            failures = "; ".join(self.failures)
            raise InputError(f"{what} does not do what the model does ({failures}); nothing was written.{way_out}")


class Embedded(NamedTuple):
    """Pictures that are embedded already, for files of the head alone.

    Attributes:
        features: `[pictures, D]` float32.
        labels: `[pictures]` integers in `[0, classes)`.
    """

    features: np.ndarray
    labels: np.ndarray


class EmbeddedData(NamedTuple):
    """What comparisons need of a data set, from a feature cache.

    Attributes:
        name: of the data set.
        test: its meta-test split.
    """

    name: str
    test: Embedded

    @classmethod
    def open(cls, features_dir: str | os.PathLike) -> "EmbeddedData":
        """Opens a feature cache; raises an InputError if there is none."""
        cache = FeatureCache.open(features_dir)
        return cls(cache.manifest["dataset"]["name"], Embedded(cache.table("test"), cache.labels("test")))

    @classmethod
    def made_up(cls, feature_dim: int) -> "EmbeddedData":
        """Random features around 20 classes' centres: for a head that was not trained on any one backbone's."""
        random, labels = np.random.RandomState(0), np.repeat(np.arange(20), 30)
        centres, noise = random.normal(size=(20, feature_dim)), random.normal(size=(len(labels), feature_dim))
        features = np.maximum(
            centres[labels] + 0.3 * feature_dim**0.5 * noise, -0.5
        )  # Some are rectified, as many are.
        return cls("made-up features", Embedded(features.astype(np.float32), labels))


class Reference:
    """The trained model's answers on a list of real episodes, computed once.

    Args:
        model: the trained model.
        split: pictures of classes that it has not been trained on, or their features: then `embed` is not compared.
        spec: within the limits of all files to be compared.
        episodes, seed: of the list.

    Attributes:
        itself: the trained model's own figures.
    """

    def __init__(self, model: Model, split: Split | Embedded, spec: EpisodeSpec, episodes: int, seed: int = 0):
        self.spec, self._imported = spec, bool((model.description.get("backbone") or {}).get("source"))
        rows = EpisodeSampler(split.labels, spec, seed).sample(episodes)
        used, places = np.unique(np.concatenate([rows.support, rows.query], axis=1), return_inverse=True)
        places = places.reshape(episodes, -1)
        support_rows = rows.support.shape[1]
        if isinstance(split, Embedded):
            self._inputs = split.features[used]
        else:
            self._inputs = fit_stored(split.images[used], model.image_size, model.description["larger"])
        self._rows = rows._replace(support=places[:, :support_rows], query=places[:, support_rows:])
        self._answers = _answers(model, self._inputs, self._rows)
        self.itself = self._verdict("trained model", "Keras float32", None, self._answers, "float32")

    def judge(self, path: str | os.PathLike, candidate: Model, name: str | None = None) -> Verdict:
        """Runs the same episodes through `candidate`, which was opened from `path`, and compares."""
        path = Path(path)
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        precision = candidate.description.get("precision", "float32")
        return self._verdict(
            name or (path.name if path.is_file() else f"{path.parent.name}/{path.name}"),
            "saved_model" if (path / "saved_model.pb").is_file() else precision,
            sum(file.stat().st_size for file in files),
            _answers(candidate, self._inputs, self._rows),
            precision,
        )

    def _verdict(self, name: str, shown: str, size: int | None, found: "_Answers", precision: str) -> Verdict:
        expected, allowed = self._answers, PRECISIONS[precision].limits
        limits = dataclasses.asdict(allowed.of_deep_network() if self._imported else allowed)
        measured = {
            "features": _relative(found.features, expected.features),
            "weights": _relative(found.weights, expected.weights),
            "probabilities": float(np.abs(found.probabilities - expected.probabilities).max()),
            "disagreement": float((found.predictions != expected.predictions).mean()),
        }
        accuracy, ci95 = mean_and_ci95(found.accuracy)
        difference, half = mean_and_ci95(found.accuracy - expected.accuracy)
        # "not <=" and not ">": NaN fails too.
        failures = [f"{n} {value:.2g} > {limits[n]}" for n, value in measured.items() if not value <= limits[n]]
        if not difference + half >= -ALLOWED_LOSS:
            failures.append(f"accuracy {100 * difference:+.2f} +-{100 * half:.2f} points")
        return Verdict(
            name,
            shown,
            size,
            **measured,
            accuracy=accuracy,
            ci95=ci95,
            difference=difference,
            difference_ci95=half,
            episodes=len(self._rows.support),
            failures=tuple(failures),
        )


def table(verdicts: list[Verdict]) -> str:
    """Returns the verdicts as a Markdown table; differences are the largest ones to the trained model."""
    rows = [
        (
            v.name,
            v.precision,
            "" if v.bytes is None else f"{v.bytes / 1000:.0f}",
            *(f"{value:.0e}" for value in (v.features, v.weights, v.probabilities)),
            f"{100 * v.disagreement:.2f} %",
            f"{100 * v.accuracy:.2f} +-{100 * v.ci95:.2f} %",
            f"{100 * v.difference:+.2f} +-{100 * v.difference_ci95:.2f}",
            "; ".join(v.failures) or "ok",
        )
        for v in verdicts
    ]
    measured = ("features (rel.)", "weights (rel.)", "probabilities", "other class", "accuracy", "difference")
    return templates.table(rows, "file", "precision", "kB", *measured, "verdict")


class _Answers(NamedTuple):
    features: np.ndarray
    weights: np.ndarray
    probabilities: np.ndarray
    predictions: np.ndarray
    accuracy: np.ndarray


def _answers(model: Model, inputs: np.ndarray, rows: EpisodeRows) -> _Answers:
    features = inputs if inputs.ndim == 2 else _embedded(model, inputs)
    weights, probabilities = [], []
    for support, labels, query in zip(features[rows.support], rows.support_labels, features[rows.query], strict=True):
        weights.append(model.adapt(support, labels, query))
        probabilities.append(model.classify(query, weights[-1][-1])[1])
    probabilities = np.stack(probabilities)
    predictions = probabilities.argmax(axis=-1)
    accuracy = (predictions == rows.query_labels).mean(axis=1)
    return _Answers(features, np.stack(weights), probabilities, predictions, accuracy)


def _embedded(model: Model, pictures: np.ndarray) -> np.ndarray:
    # Large backbones take minutes; what takes a moment shows nothing.
    parts = tqdm(range(0, len(pictures), _PART), unit="batch", desc="compare on pictures", delay=3)
    return np.concatenate([model.embed(pictures[at : at + _PART]) for at in parts])


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:  # Another number of steps, say: another model altogether.
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())
