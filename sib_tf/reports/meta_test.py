"""A meta-test from folders to files: loads model and features, measures, and writes metrics, figures and a report."""

import dataclasses
import io
import os
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import special

from sib_tf import calibration, evaluation, heads, templates
from sib_tf.config import EpisodeSpec
from sib_tf.datasets import MetaDataset
from sib_tf.episodes import EpisodeRows, EpisodeSampler, fingerprint
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, weights_fingerprint
from sib_tf.prediction import open_set
from sib_tf.reports import episode_figures, figures, history, query_sets
from sib_tf.sib import SIB
from sib_tf.storage import array_files, atomic
from sib_tf.unknown_classes import UNKNOWN, with_unknown_classes

# Episodes of each point of the report's curves, at most.
_CURVE_EPISODES = 500
_HARDEST = 3


@dataclasses.dataclass(frozen=True, eq=False)
class MetaTest:
    """What a meta-test measured of `model` on the episodes `rows` of `cache`.

    `metrics` is the content of `metrics.json`; accuracies in [0, 1] are the model's after every step, `[K + 1,
    episodes]`, and those of nearest prototypes, `baseline`, `[episodes]`; `answers`, `[episodes, queries]` in
    `[0, way)`, are the model's after the last.
    """

    metrics: dict
    accuracy: np.ndarray
    baseline: np.ndarray
    answers: np.ndarray
    model: SIB
    cache: FeatureCache
    rows: EpisodeRows

    def save(self, path: str | os.PathLike) -> None:
        """Writes `path` (JSON), and beside it the accuracies of every episode (.npz) and a figure (.png)."""
        path = Path(path)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, accuracy=self.accuracy, baseline=self.baseline)
        with atomic.new_file(path.with_suffix(".npz")) as partial:
            partial.write_bytes(buffer.getvalue())
        figures.accuracy_figure(self.metrics, self.accuracy, self.baseline, path.with_suffix(".png"))
        atomic.write_json(path, self.metrics)

    def report(
        self,
        folder: str | os.PathLike,
        model_dir: str | os.PathLike,
        backbone_dir: str | os.PathLike | None,
        data: MetaDataset | None = None,
    ) -> Path:
        """Writes `report.md` and its figures into `folder`; returns the page's path.

        The training's curves come from `model_dir` and, where it is given, `backbone_dir`; pictures of the hardest
        episodes come from `data`; an InputError if the features were made from something else.
        """
        folder, metrics = Path(folder), self.metrics
        drawn = {}

        def place(name: str, caption: str) -> Path:
            drawn[caption] = name
            return folder / name

        path = place("accuracy.png", "Accuracy after every step, and paired differences")
        figures.accuracy_figure(metrics, self.accuracy, self.baseline, path)
        if any(metrics.get("curves", {}).values()):
            path = place("curves.png", f"Other query sets, {metrics['curves_episodes']} episodes each")
            figures.curves_figure(metrics["curves"], path)
        path = place("reliability.png", "Reliability: how often answers of a given confidence are right")
        figures.reliability_figure(metrics["confidence"], path)
        if "known_histogram" in metrics.get("open_set", {}):
            caption = "Pictures of the episode's classes and of others, by the probability of being known"
            figures.open_set_figure(metrics["open_set"], place("open_set.png", caption))
        table, gain = self.cache.table(metrics["split"]), self.accuracy[-1] - self.baseline
        middle = int(np.argsort(gain, kind="stable")[len(gain) // 2])
        caption = f"The classifier's path in the episode of median gain (number {middle}), seen in a plane"
        episode_figures.path_figure(self.model, self.rows, middle, table, place("path.png", caption))
        if data is not None:
            self._contact_sheets(data, place)
        columns = ("epoch", "val_prototype_accuracy")
        pretraining = history.read(Path(backbone_dir) / "history.csv", *columns) if backbone_dir else []
        meta_training = history.read(heads.folder(model_dir) / "history.csv", "step", "validation_accuracy")
        if pretraining or meta_training:
            figures.training_figure(pretraining, meta_training, place("training.png", "Training curves"))
        path = folder / "report.md"
        atomic.write_text(path, templates.render("meta_test.md", __package__, **metrics, figures=drawn))
        return path

    def _contact_sheets(self, data: MetaDataset, place: Callable[[str, str], Path]) -> None:
        """Draws the episodes of least accuracy; `place` takes a figure's name and caption."""
        split, name = data.split(self.metrics["split"]), self.metrics["split"]
        require_pictures_of(self.metrics["dataset"], data, name)
        for number, index in enumerate(np.argsort(self.accuracy[-1], kind="stable")[:_HARDEST], start=1):
            episode = self.rows.part(index, index + 1)
            names = [split.class_names[c] for c in classes_of(episode, split.labels)]
            caption = f"Episode {index}, {100 * self.accuracy[-1][index]:.0f} % right: labelled pictures, then answers"
            path = place(f"hardest_{number}.png", caption)
            episode_figures.contact_sheet(self.rows, int(index), self.answers[index], split.images, names, path)


def meta_test(
    features_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    spec: EpisodeSpec,
    episodes: int = 2000,
    seed: int = 0,
    split: str = "test",
    compare_to: str | os.PathLike | None = None,
    unknown_classes: int = 0,
    curves: bool = False,
) -> MetaTest:
    """Measures the best model of `model_dir` on a fixed list of episodes, paired with nearest prototypes.

    Args:
        features_dir: a feature cache of the backbone that the model was meta-trained with.
        model_dir: a meta-training's folder.
        spec, episodes, seed: what the episodes look like, how many, and the seed of their list.
        split: "test" or "validation".
        compare_to: `metrics.json` of another meta-test of the same episodes.
        unknown_classes: classes without support that queries of a second list of episodes come from as well, to
            measure how well "none of these" is told; 0: not measured.
        curves: whether to measure on other query sets too, see `query_sets.measure`.

    Raises:
        InputError: model and features do not belong together, or the split is too small for `spec`.
    """
    # First, so that a wrong name does not cost a measurement.
    other = None if compare_to is None else _load_comparison(Path(compare_to))
    cache, model = evaluation.load(features_dir, model_dir, spec)
    rows = EpisodeSampler(cache.labels(split), spec, seed).sample(episodes)
    if unknown_classes:
        unknown = with_unknown_classes(cache.labels(split), spec, unknown_classes, episodes, seed)
    evaluator, table = evaluation.Evaluator(rows), cache.table(split)
    found = evaluator(model, table)
    baseline = evaluator(evaluation.prototypes(cache.feature_dim, spec.way[1]), table)
    logits = evaluation.episode_logits(model, rows, table)[-1]
    fitted = calibration.load(model_dir, weights_fingerprint(model))
    metrics = {
        **evaluation.summary(found, baseline),
        "episodes": episodes,
        "seed": seed,
        "split": split,
        "episode_spec": spec.describe(),
        "episode_hash": fingerprint(rows),
        "confidence": _confidence(logits, rows, fitted, model.config.num_steps),
        "model": dataclasses.asdict(model.config),
        "model_name": Path(model_dir).resolve().name,
        "dataset": cache.manifest["dataset"],
        "backbone": cache.manifest["backbone"],
        "views": cache.views,
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    if model.config.posterior == "gaussian":
        mean, half = evaluation.mean_and_ci95(evaluation.evidence_bounds(model, rows, table))
        metrics["evidence_bound"] = {"mean": mean, "ci95": half}
    if unknown_classes:
        metrics["open_set"] = {"unknown_classes": unknown_classes, **_open_set(model, unknown, table, fitted)}
    if other is not None:
        metrics["comparison"] = evaluation.compare(metrics, found.accuracy[-1], *other)
    metrics["summary"] = _in_words(metrics)
    if curves:
        count = min(episodes, _CURVE_EPISODES)
        metrics["curves"] = query_sets.measure(model, cache, split, spec, count, seed)
        metrics["curves_episodes"] = count
    return MetaTest(metrics, found.accuracy, baseline.accuracy[-1], logits.argmax(axis=-1), model, cache, rows)


def require_pictures_of(made_from: dict, data: MetaDataset, split: str) -> None:
    """Raises an InputError unless features of `made_from`, a manifest's data set, are of the pictures of `data`."""
    if data.split(split).fingerprint != made_from["fingerprints"][split]:
        raise InputError(
            f"dataset {data.name} does not have the pictures that the features were made from; give data_dir, "
            "stored_size and the like as train.extract_features had them, or leave dataset out."
        )


def classes_of(episode: EpisodeRows, labels: np.ndarray) -> list[int]:
    """The data set's class of each of an episode's, by majority: labels of the support may be wrong."""
    support, numbers, mask, query, query_numbers, query_mask = (field[0] for field in episode)
    pictures = np.concatenate([support[mask], query[query_mask]])
    numbers = np.concatenate([numbers[mask], query_numbers[query_mask]])
    return [int(np.bincount(labels[pictures[numbers == c]]).argmax()) for c in range(numbers.max() + 1)]


def _confidence(logits, rows: EpisodeRows, fitted: calibration.Calibration | None, num_steps: int) -> dict:
    """Quality of the probabilities under theta^K, as they are and, where there is a calibration, calibrated."""
    return {
        name: calibration.quality_of(logits, rows, use, num_steps)
        for name, use in {"uncalibrated": None, **({"calibrated": fitted} if fitted else {})}.items()
    }


def _open_set(model: SIB, rows: EpisodeRows, table, fitted: calibration.Calibration | None) -> dict:
    """How well pictures of the episodes' classes are told from others, by the score and by theta^0's confidence."""
    logits = evaluation.episode_logits(model, rows, table)[0]
    is_known, score = rows.query_labels != UNKNOWN, evaluation.known_score(logits, rows)
    confidence = special.softmax(logits, axis=-1).max(axis=-1)
    aurocs = [calibration.auroc(values, is_known, rows.query_mask) for values in (score, confidence)]
    result = {}
    for name, values in (("auroc", aurocs[0]), ("baseline_auroc", aurocs[1]), ("difference", aurocs[0] - aurocs[1])):
        result[name], result[f"{name}_ci95"] = evaluation.mean_and_ci95(values)
    if fitted is not None and fitted.known is not None:
        probability = open_set.probability(score, fitted.known)
        for name, kind in (("known", is_known), ("unknown", ~is_known)):
            found = probability[kind & rows.query_mask]
            result[f"accepted_{name}"] = float((found >= 0.5).mean())
            result[f"{name}_histogram"] = (np.histogram(found, 20, (0, 1))[0] / len(found)).tolist()
    return result


def _load_comparison(path: Path) -> tuple[dict, np.ndarray]:
    """Returns the metrics of another meta-test and its final accuracies `[episodes]`."""
    metrics = atomic.read_json(path, "compare_to")
    accuracy = array_files.read_npz(path.with_suffix(".npz"), "evaluate that model again").get("accuracy")
    if accuracy is None or accuracy.ndim != 2 or len(accuracy) == 0:
        raise InputError(f"{path.with_suffix('.npz')} has no accuracies of every step; evaluate that model again.")
    if not isinstance(metrics, dict) or not isinstance(metrics.get("accuracy"), int | float):
        raise InputError(f"compare_to {path} is no metrics.json; write it with train.evaluate.")
    return metrics, accuracy[-1]


def _in_words(metrics: dict) -> str:
    def percent(name, half):
        return f"{100 * metrics[name]:.2f} +-{100 * metrics[half]:.2f}"

    text = (
        f"{metrics['dataset']['name']}, {metrics['episode_spec']}: SIB (K = {metrics['model']['num_steps']}) "
        f"{percent('accuracy', 'ci95')} %, nearest prototypes {percent('baseline_accuracy', 'baseline_ci95')} %, "
        f"paired difference {percent('difference', 'difference_ci95')} points "
        f"({metrics['episodes']} {metrics['split']} episodes, seed {metrics['seed']})."
    )
    if comparison := metrics.get("comparison"):
        text += (
            f" Against {100 * comparison['accuracy']:.2f} % of the other model: "
            f"{100 * comparison['difference']:+.2f} +-{100 * comparison['difference_ci95']:.2f} points."
        )
    return text
