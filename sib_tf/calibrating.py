"""From folders to a calibration: loads model and features, fits on validation episodes, writes `calibration.json`."""

import os
from pathlib import Path

from sib_tf import calibration, evaluation, meta_testing
from sib_tf.config import EpisodeSpec
from sib_tf.episodes import EpisodeSampler
from sib_tf.features import FeatureCache, weights_fingerprint


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
    found.save(Path(model_dir) / calibration.FILE)
    before, after = (
        calibration.probabilities(logits[-1], rows.query_mask, use, model.config.num_steps) for use in (None, found)
    )
    return tuple(calibration.quality(p, rows.query_labels, rows.query_mask) for p in (before, after))
