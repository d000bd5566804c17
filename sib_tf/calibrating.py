"""From folders to a calibration: loads model and features, fits on validation episodes, writes `calibration.json`."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from sib_tf import calibration, evaluation, meta_testing
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import UNKNOWN, EpisodeSampler, with_unknown_classes
from sib_tf.features import FeatureCache, weights_fingerprint
from sib_tf.sib import SIB


def calibrate(
    features_dir: str | os.PathLike, model_dir: str | os.PathLike, spec: EpisodeSpec, episodes: int, seed: int
) -> tuple[dict, dict]:
    """Fits the temperatures of the best model of `model_dir` and writes them there.

    Args:
        features_dir: a feature cache of its backbone.
        model_dir: a meta-training's folder.
        spec: what the validation episodes look like.
        episodes: how many.
        seed: of their list.

    Returns:
        `calibration.quality` under theta^K before and after, on the episodes of the fit.

    Raises:
        InputError: model and features do not belong together, or the split is too small for `spec`.
    """
    cache = FeatureCache.open(features_dir)
    model, record = meta_testing.load_model(model_dir)
    meta_testing.check_backbone(record, cache, model_dir)
    if model.config.gradient_network == "joint":
        spec.fixed_way()
    rows = EpisodeSampler(cache.labels("validation"), spec, seed).sample(episodes)
    evaluation.check_fit(model, cache.feature_dim, rows)
    logits = evaluation.episode_logits(model, rows, cache.table("validation"))
    found = calibration.fit(logits, rows.query_labels, rows.query_mask, weights_fingerprint(model))
    found = dataclasses.replace(found, known=_fit_known(model, cache, spec, episodes, seed))
    found.save(Path(model_dir) / calibration.FILE)
    before, after = (
        calibration.probabilities(logits[-1], rows.query_mask, use, model.config.num_steps) for use in (None, found)
    )
    return tuple(calibration.quality(p, rows.query_labels, rows.query_mask) for p in (before, after))


def _fit_known(model: SIB, cache: FeatureCache, spec: EpisodeSpec, episodes: int, seed: int):
    """Fits what tells known from unknown on episodes with up to as many unknown classes as known ones."""
    labels = cache.labels("validation")
    classes = min(spec.way[1], len(np.unique(labels)) - spec.way[1])
    if classes < 1:
        return None
    rows = with_unknown_classes(labels, spec, classes, episodes, seed)
    score = evaluation.known_score(evaluation.episode_logits(model, rows, cache.table("validation"))[0], rows)
    return calibration.fit_known(score[rows.query_mask], (rows.query_labels != UNKNOWN)[rows.query_mask])
