"""Runs as training leaves them and files as exports write them, without training: where no learned number matters."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from export import conversion, serving
from sib_tf import backbones, checkpoints
from sib_tf.config import BackboneConfig, SIBConfig
from sib_tf.features import weights_fingerprint
from sib_tf.prediction import trained_run
from sib_tf.sib import SIB
from sib_tf.storage import atomic, run_records

TINY = BackboneConfig(width=4, mean=(120.0, 110.0, 100.0), std=(60.0, 61.0, 62.0))


def write_run(folder: Path, backbone_config: BackboneConfig = TINY, **model) -> Path:
    """Writes `folder/backbone` and `folder/sib` and returns `folder`; `model` are fields of `SIBConfig`.

    Weights are seeded, and away from where training starts: the steps change predictions, and folding the moments of
    batch normalisation is part of a conversion.
    """
    keras.utils.set_random_seed(7)
    random, backbone = np.random.RandomState(7), backbones.build(backbone_config)
    for weight in backbone.weights:
        if weight.path.endswith(("moving_mean", "beta")):
            weight.assign(random.normal(0, 0.3, weight.shape))
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    given = {"gradient_network": "per_class", "inner_learning_rate": 4e-3, **model}
    config = SIBConfig(feature_dim=backbone.output_shape[-1], **given)
    sib = SIB(config)
    sib.build()
    sib.initialization.feature_scale.assign(random.uniform(0.8, 1.2, config.feature_dim))
    sib.logit_bias.assign(0.3)
    checkpoints.save_model(backbone, folder / "backbone" / backbones.FILE)
    checkpoints.save_model(sib, folder / "sib" / checkpoints.BEST)
    record = {"backbone": dataclasses.asdict(backbone_config), "dataset": {"name": "glyphs"}}
    atomic.write_json(folder / "backbone" / run_records.CONFIG, record)
    features = {"backbone": {"name": backbone.name, "weights": weights_fingerprint(backbone)}}
    atomic.write_json(folder / "sib" / run_records.CONFIG, {"model": dataclasses.asdict(config), "features": features})
    return folder


def load_run(folder: Path, samples: int = 0) -> trained_run.Run:
    """Loads what `write_run` wrote."""
    return trained_run.load(folder / "sib", folder / "backbone", samples)


def pictures(count: int, seed: int = 0, size: int = 32) -> np.ndarray:
    """`[count, size, size, 3]` uint8, smooth enough to be told apart; `size` is a multiple of 4."""
    random = np.random.RandomState(seed)
    coarse = random.randint(0, 256, (count, 4, 4, 3))
    noise = random.randint(-20, 21, (count, size, size, 3))
    return np.clip(coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2) + noise, 0, 255).astype(np.uint8)


def write_tflite(
    run: trained_run.Run, path: Path, way=None, max_support=None, max_query=None, precision: str = "float32"
) -> Path:
    """Writes a .tflite file, with fixed sizes if they are given, without the comparison of `export.tflite`."""
    limits = {"way": way or run.sib.config.fixed_way, "max_support": max_support, "max_query": max_query}
    conversion.write(path, run, limits, precision, pictures(32, 5, run.backbone_config.image_size))
    return path


def write_saved_model(run: trained_run.Run, folder: Path) -> Path:
    """Writes a SavedModel and its description, without the comparison of `export.saved_model`."""
    serving.write(folder, run)
    return folder
