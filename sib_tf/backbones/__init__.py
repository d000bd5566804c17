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
from sib_tf.config import BackboneConfig
from sib_tf.errors import InputError
from sib_tf.storage import atomic, run_records

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
    return keras.Model(pictures, features, name=config.name)


def load(folder: str | os.PathLike) -> tuple[keras.Model, BackboneConfig]:
    """Loads the backbone of a finished or running pre-training from its folder.

    Raises:
        InputError: the folder has no backbone, or a damaged one.
    """
    path = Path(folder) / run_records.CONFIG
    record = atomic.read_json(path, "Configuration")
    if not isinstance(record, dict) or "backbone" not in record:
        raise InputError(f"{path} describes no backbone; name the folder of train.pretrain or train.import_backbone.")
    config = BackboneConfig.from_dict(record["backbone"], path)
    if Path(config.source or "").suffix == ".tflite":
        # Keras knows our layers only once their module is imported; this one takes LiteRT, which others do without.
        importlib.import_module("sib_tf.backbones.pretrained.litert_embedder")
    return checkpoints.load_model(Path(folder) / FILE), config


def in_float32(backbone: keras.Model, config: BackboneConfig) -> keras.Model:
    """Returns the backbone with all arithmetic in float32: itself, or of half precision one of the same weights."""
    if config.precision == "float32":
        return backbone
    whole = build(dataclasses.replace(config, precision="float32"))
    whole.set_weights(backbone.get_weights())
    return whole
