"""Probabilities that mean what they say: a temperature for every episode, fitted on validation episodes.

One temperature for all episodes does not carry over to new classes: where these are easier or harder than the
validation classes, it leaves the probabilities too low or too high. How confident the model is of an episode's queries
says how easy they are, without labels: the temperature is exp(offset + slope * (confidence - 0.7)), confidence being
the mean over the queries of the largest probability. Guo et al. (ICML 2017) is the case slope = 0.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops
from scipy import optimize, special, stats

from sib_tf import evaluation, heads
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeRows, EpisodeSampler
from sib_tf.errors import InputError
from sib_tf.features import FeatureCache, weights_fingerprint
from sib_tf.records import Record
from sib_tf.sib import MASKED_LOGIT, SIB
from sib_tf.unknown_classes import UNKNOWN, with_unknown_classes

FILE = "calibration.json"
_CENTRE = 0.7
_BINS = 15
# Temperatures stay between 1/8 and 8: beyond, they are noise of a few episodes, and small ones enlarge rounding.
_MOST = float(np.log(8))


@dataclasses.dataclass(frozen=True)
class Calibration(Record):
    """Temperatures of a model after every step k.

    Attributes:
        offset, slope: K + 1 numbers each.
        model: fingerprint of the weights that they were fitted for.
        known: offset and slope of `open_set.probability`; None where there were too few classes to fit them.
    """

    offset: tuple[float, ...]
    slope: tuple[float, ...]
    model: str
    known: tuple[float, float] | None = None

    def temperature(self, logits, step: int, query_mask=None):
        """What an episode's logits `[episodes, queries, way]` under theta^step are divided by: `[episodes]`.

        `query_mask` is `[episodes, queries]`, or None: all count.
        """
        return _temperature(logits, self.offset[step], self.slope[step], query_mask)

    def temperatures(self, logits, query_mask=None):
        """As `temperature`, of all steps at once: `[episodes, K + 1, queries, way]` -> `[episodes, K + 1]`."""
        offset, slope = (ops.array(numbers, logits.dtype) for numbers in (self.offset, self.slope))
        mask = None if query_mask is None else ops.expand_dims(query_mask, 1)
        return _temperature(logits, offset, slope, mask)


def _temperature(logits, offset, slope, query_mask):
    confidence = ops.max(ops.softmax(logits, axis=-1), axis=-1)
    rows = ops.ones_like(confidence) if query_mask is None else ops.cast(query_mask, confidence.dtype)
    count = ops.sum(rows, axis=-1)
    # Without queries there is nothing to tell how easy they are.
    mean = ops.where(count > 0, ops.sum(confidence * rows, axis=-1) / ops.maximum(count, 1.0), _CENTRE)
    return ops.exp(ops.clip(offset + slope * (mean - _CENTRE), -_MOST, _MOST))


def load(model_dir: str | os.PathLike, weights: str) -> Calibration | None:
    """Loads the calibration in `model_dir`, a meta-training's folder; None where there is none.

    Raises an InputError if it is damaged, or not of the model with the fingerprint `weights`.
    """
    path = heads.folder(model_dir) / FILE
    if not path.exists():
        return None
    calibration = Calibration.load(path)
    if calibration.model != weights:
        raise InputError(f"{path} was fitted for other weights; fit it again with train.calibrate, or remove it.")
    return calibration


def fit(logits: np.ndarray, labels: np.ndarray, mask: np.ndarray, weights: str) -> Calibration:
    """Fits the temperatures of the model with the fingerprint `weights` by the queries' mean negative log-likelihood.

    Logits are `[K + 1, episodes, queries, way]`, of validation episodes; labels and mask are `[episodes, queries]`.
    """
    offset, slope = np.array([_fit_step(step, labels, mask) for step in logits.astype(np.float64)]).T.tolist()
    return Calibration(tuple(offset), tuple(slope), weights)


def probabilities(logits: np.ndarray, mask: np.ndarray, calibration: Calibration | None, step: int) -> np.ndarray:
    """Probabilities `[episodes, queries, way]` of logits under theta^step, calibrated or, with None, as they are."""
    if calibration is not None:
        temperature = keras.ops.convert_to_numpy(calibration.temperature(logits, step, mask))
        logits = logits / temperature[:, None, None]
    return special.softmax(logits, axis=-1)


def quality(probability: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> dict:
    """How well probabilities `[episodes, queries, way]` mean what they say; JSON values; labels and mask as in `fit`.

    Returns:
        ece: expected calibration error, in [0, 1]: the mean over 15 equal bins of confidence, weighted by their sizes,
            of the distance between mean confidence and accuracy (Naeini et al., AAAI 2015).
        nll: mean negative log-likelihood, nats.
        bins: for each bin that is not empty [mean confidence, accuracy, share of the queries].
    """
    confidence, right = probability.max(-1)[mask], (probability.argmax(-1) == labels)[mask]
    of_truth = np.take_along_axis(probability, labels[..., None], -1)[..., 0][mask]
    index = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    inside = [index == i for i in np.unique(index)]
    bins = [[float(values.mean()) for values in (confidence[rows], right[rows], rows)] for rows in inside]
    ece = float(sum(abs(c - a) * share for c, a, share in bins))
    return {"ece": ece, "nll": float(-np.log(np.maximum(of_truth, 1e-12)).mean()), "bins": bins}


def quality_of(logits: np.ndarray, rows: EpisodeRows, calibration: Calibration | None, step: int) -> dict:
    """Returns `quality` of the probabilities that `logits` of the queries of `rows` under theta^step make."""
    return quality(probabilities(logits, rows.query_mask, calibration, step), rows.query_labels, rows.query_mask)


def fit_known(score: np.ndarray, is_known: np.ndarray) -> tuple[float, float]:
    """Fits offset and slope of `open_set.probability` by maximum likelihood; known and unknown pictures weigh the same.

    `score` is `[pictures]`, and so is `is_known`, bool, which has both kinds.
    """
    middle, spread = score.mean(), max(score.std(), 1e-12)
    x = (score - middle) / spread
    weights = np.where(is_known, 0.5 / is_known.sum(), 0.5 / (~is_known).sum())
    sign = np.where(is_known, 1.0, -1.0)

    def loss(parameters):
        # A little weight on the slope: scores that separate perfectly would have none that is largest.
        log_odds = sign * (parameters[0] + parameters[1] * x)
        return (weights * np.logaddexp(0, -log_odds)).sum() + 1e-4 * parameters[1] ** 2

    offset, slope = optimize.minimize(loss, np.zeros(2)).x
    return float(offset - slope * middle / spread), float(slope / spread)


def auroc(score: np.ndarray, is_known: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each episode, in [0, 1]: how often a known picture has the higher score.

    All are `[episodes, queries]`; `is_known` and `mask`, False for padding, are bool. Every episode has both kinds.
    """
    # Padding ranks last, above all others, and leaves their ranks as they are.
    rank = stats.rankdata(np.where(mask, score, np.inf), axis=1)
    known, unknown = (is_known & mask), (~is_known & mask)
    count = known.sum(axis=1)
    return ((rank * known).sum(axis=1) - count * (count + 1) / 2) / (count * unknown.sum(axis=1))


def _fit_step(logits: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    confidence = special.softmax(logits, axis=-1).max(-1)
    mean = (confidence * mask).sum(1) / mask.sum(1) - _CENTRE

    def loss(parameters):
        exponent = np.clip(parameters[0] + parameters[1] * mean, -_MOST, _MOST)
        log_p = special.log_softmax(logits / np.exp(exponent)[:, None, None], axis=-1)
        return -np.take_along_axis(log_p, labels[..., None], -1)[..., 0][mask].mean()

    return optimize.minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-8}).x


def calibrate(
    features_dirs: str | os.PathLike | Sequence[str | os.PathLike],
    model_dir: str | os.PathLike,
    spec: EpisodeSpec,
    episodes: int,
    seed: int,
) -> tuple[Calibration, dict, dict]:
    """Fits the temperatures of the best model of `model_dir`, a meta-training's folder, and writes them there.

    Args:
        features_dirs: a feature cache of its backbone; of a head for any backbone as many as there are.
        model_dir: the meta-training's folder.
        spec: of the validation episodes.
        episodes: how many of each cache.
        seed: of their list.

    Returns:
        What was fitted, and `quality` under theta^K before and after, on the episodes of the fit.

    Raises:
        InputError: model and features do not belong together, or the split is too small for `spec`.
    """
    if heads.folder(model_dir) != Path(model_dir):
        raise InputError(f"model_dir must be a meta-training's folder; head {model_dir} ships calibrated.")
    folders = [features_dirs] if isinstance(features_dirs, str | os.PathLike) else features_dirs
    loaded = [evaluation.load(folder, model_dir, spec) for folder in folders]
    lists = [EpisodeSampler(cache.labels("validation"), spec, seed).sample(episodes) for cache, _ in loaded]
    logits = [
        evaluation.episode_logits(model, rows, cache.table("validation"))
        for (cache, model), rows in zip(loaded, lists, strict=True)
    ]
    way = max(each.shape[-1] for each in logits)
    logits = np.concatenate([_with_classes(each, way) for each in logits], axis=1)
    rows = EpisodeRows(*(np.concatenate(fields) for fields in zip(*lists, strict=True)))
    model = loaded[0][1]
    found = fit(logits, rows.query_labels, rows.query_mask, weights_fingerprint(model))
    found = dataclasses.replace(found, known=_fit_known_on(loaded, spec, episodes, seed))
    found.save(Path(model_dir) / FILE)
    before, after = (quality_of(logits[-1], rows, use, model.config.num_steps) for use in (None, found))
    return found, before, after


def _with_classes(logits: np.ndarray, way: int) -> np.ndarray:
    """`[..., way]`, the further classes padded."""
    padding = [(0, 0)] * (logits.ndim - 1) + [(0, way - logits.shape[-1])]
    return np.pad(logits, padding, constant_values=MASKED_LOGIT)


def _fit_known_on(loaded: Sequence[tuple[FeatureCache, SIB]], spec: EpisodeSpec, episodes: int, seed: int):
    """Fits what tells known from unknown on episodes with up to as many unknown classes as known ones.

    Caches with too few classes for that are left out; None where all are.
    """
    scores, known = [], []
    for cache, model in loaded:
        labels = cache.labels("validation")
        classes = min(spec.way[1], len(np.unique(labels)) - spec.way[1])
        if classes < 1:
            continue
        rows = with_unknown_classes(labels, spec, classes, episodes, seed)
        score = evaluation.known_score(evaluation.episode_logits(model, rows, cache.table("validation"))[0], rows)
        scores.append(score[rows.query_mask])
        known.append((rows.query_labels != UNKNOWN)[rows.query_mask])
    return fit_known(np.concatenate(scores), np.concatenate(known)) if scores else None
