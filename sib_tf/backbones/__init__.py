"""Backbones: plain Keras models from pictures (RGB, 0-255) to feature vectors, all built and loaded here.

Normalisation is the first layer, so that whoever holds a backbone's file need not know its mean and deviation.
"""

import dataclasses
import importlib
import os
from pathlib import Path

import keras
import numpy as np

from sib_tf import checkpoints
from sib_tf.backbones import scratch
from sib_tf.backbones.averaged_views import average_views
from sib_tf.config import BackboneConfig
from sib_tf.errors import InputError
from sib_tf.storage import atomic, run_lock, run_records

FILE = "backbone.keras"
# By the names in `config.BACKBONES`: (normalised pictures, configuration) -> features, as layers of a functional model.
_BUILDERS = {"conv4": scratch.conv4, "wide_resnet": scratch.wide_resnet}


def build(config: BackboneConfig) -> keras.Model:
    """Builds the backbone that `config` describes.

    Returns:
        A functional model `[pictures, image_size, image_size, 3]` (float32, RGB, 0-255) -> `[pictures, D]` float32.
        With `training=True` its batch normalisation uses the batch's statistics and updates the moving ones.
    """
    pictures = keras.Input((config.image_size, config.image_size, 3), name="pictures")
    variance = np.square(config.std)
    normalise = keras.layers.Normalization(mean=config.mean, variance=variance, dtype="float32", name="normalise")
    before = keras.config.dtype_policy()
    # What layers made now compute in; a backbone's file keeps it.
    keras.config.set_dtype_policy("float32" if config.precision == "float32" else f"mixed_{config.precision}")
    try:
        features = _BUILDERS[config.name](normalise(pictures), config)
    finally:
        keras.config.set_dtype_policy(before)
    backbone = keras.Model(pictures, features, name=config.name)
    return average_views(backbone, config.averaged_views) if config.averaged_views > 1 else backbone


def load(folder: str | os.PathLike) -> tuple[keras.Model, BackboneConfig]:
    """Loads the backbone of a finished or running pre-training from its folder.

    Raises:
        InputError: the folder has no backbone, or a damaged one.
    """
    record = _record(folder)
    config = BackboneConfig.from_dict(record["backbone"], Path(folder) / run_records.CONFIG)
    if _is_tflite(config):
        # Keras knows our layers only once their module is imported; this one takes LiteRT, which others do without.
        importlib.import_module("sib_tf.backbones.pretrained.litert_embedder")
    return checkpoints.load_model(Path(folder) / FILE), config


def write(folder: str | os.PathLike, backbone: keras.Model, record: dict, kind: str) -> None:
    """Writes a backbone that needs no training here, as `pretraining.pretrain` writes one.

    Args:
        folder: a new one, or one that such a backbone was written to, which is replaced.
        record: what `config.json` holds; its part `kind` tells such folders from others.

    Raises:
        InputError: the folder holds another run, or another process is at it.
    """
    check_free(folder, kind)
    path = Path(folder) / run_records.CONFIG
    with run_lock.held(folder):
        with atomic.new_file(Path(folder) / FILE) as partial:
            backbone.save(partial)
            path.unlink(missing_ok=True)  # Killed between the two files, it is no backbone rather than a mixed one.
        atomic.write_json(path, record)


def check_free(folder: str | os.PathLike, kind: str) -> None:
    """Raises an InputError if `write` would."""
    path = Path(folder) / run_records.CONFIG
    record = atomic.read_json(path, "Configuration") if path.exists() else {kind: {}}
    if not isinstance(record, dict) or kind not in record:
        raise InputError(f"output_dir {folder} holds another run; name a new folder.")


def write_averaged(folder: str | os.PathLike, views: int, output_dir: str | os.PathLike) -> BackboneConfig:
    """Writes the backbone in `folder` to `output_dir` as one that averages over `views` views (2 or 4).

    Returns:
        The configuration of the new one.

    Raises:
        InputError: `folder` has no backbone, one that averages already, or a .tflite file, which devices give one view;
            or `output_dir` holds another run.
    """
    check_free(output_dir, "averaged")
    backbone, config = load(folder)
    if config.averaged_views > 1:
        raise InputError(
            f"backbone_dir {folder} averages over {config.averaged_views} views already; name the one that it is of."
        )
    if _is_tflite(config):
        raise InputError(
            f"backbone_dir {folder} holds {config.source}, which devices run by itself, on one view of a picture; name "
            "a backbone of Keras."
        )
    averaged = dataclasses.replace(config, averaged_views=views)
    before = _record(folder)
    record = {"backbone": dataclasses.asdict(averaged), "averaged": {"source": str(folder), "record": before}}
    record |= {"dataset": before["dataset"]} if "dataset" in before else {}
    write(output_dir, average_views(backbone, views), record, "averaged")
    return averaged


def in_float32(backbone: keras.Model, config: BackboneConfig) -> keras.Model:
    """Returns the backbone with all arithmetic in float32: itself, or of half precision one of the same weights."""
    if config.precision == "float32":
        return backbone
    whole = build(dataclasses.replace(config, precision="float32"))
    whole.set_weights(backbone.get_weights())
    return whole


def _record(folder: str | os.PathLike) -> dict:
    path = Path(folder) / run_records.CONFIG
    record = atomic.read_json(path, "Configuration")
    if not isinstance(record, dict) or "backbone" not in record:
        raise InputError(
            f"{path} describes no backbone; name the folder of train.pretrain, train.import_backbone or "
            "train.average_views."
        )
    return record


def _is_tflite(config: BackboneConfig) -> bool:
    return Path(config.source or "").suffix == ".tflite"
