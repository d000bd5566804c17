"""Backbones: plain Keras models from pictures (RGB, 0-255) to feature vectors.

Normalisation is the first layer, so that whoever holds a backbone's file need not know its mean and deviation.
The layers are those of the released code: batch normalisation with epsilon 1e-5 and momentum 0.9, convolutions
without bias. Departure: features of conv4 are flattened in [height, width, channel] order (the released code:
[channel, height, width]), which changes nothing that can be learned.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from sib_tf import checkpoints
from sib_tf.config import BackboneConfig
from sib_tf.errors import InputError
from sib_tf.layers import FusedBatchNormalization
from sib_tf.storage import atomic

FILE = "backbone.keras"
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


def build(config: BackboneConfig) -> keras.Model:
    """Builds the backbone that `config` describes.

    Returns:
        A functional model `[pictures, image_size, image_size, 3]` (float32, RGB, 0-255) -> `[pictures, feature_dim]`.
        With `training=True` its batch normalisation uses the batch's statistics and updates the moving ones.
    """
    size = config.image_size
    pictures = keras.Input((size, size, 3), name="pictures")
    variance = np.square(config.std)
    normalise = keras.layers.Normalization(mean=config.mean, variance=variance, dtype="float32", name="normalise")
    with _layers_compute_in(config.precision):
        if config.name == "conv4":
            features = _conv4(normalise(pictures), config.width)
        else:
            features = _wide_resnet(normalise(pictures), config.depth, config.width)
    return keras.Model(pictures, features, name=config.name)


@contextlib.contextmanager
def _layers_compute_in(precision: str) -> Iterator[None]:
    """Layers made in the block have Keras's policy for `precision`; a backbone's file keeps them."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def feature_dim(config: BackboneConfig) -> int:
    """Returns D, the length of the backbone's features: conv4-64 at 32 pixels 256, at 80 pixels 1600; WRN-28-10 640."""
    if config.name == "conv4":
        return config.width * (config.image_size // 16) ** 2
    return 64 * config.width


def load(folder: str | os.PathLike) -> tuple[keras.Model, BackboneConfig]:
    """Loads the backbone of a finished or running pre-training from its folder.

    Raises:
        InputError: the folder has no backbone, or a damaged one.
    """
    folder = Path(folder)
    record = atomic.read_json(folder / checkpoints.CONFIG, "Configuration")
    if not isinstance(record, dict) or "backbone" not in record:
        raise InputError(f"{folder / checkpoints.CONFIG} describes no backbone; name the folder of a pre-training.")
    config = BackboneConfig.from_dict(record["backbone"], folder / checkpoints.CONFIG)
    return checkpoints.load_model(folder / FILE), config


def in_float32(backbone: keras.Model, config: BackboneConfig) -> keras.Model:
    """Returns the backbone with all arithmetic in float32: itself, or for half precision another of the same weights.

    Args:
        backbone: built from `config`, or loaded.
        config: its description.
    """
    if config.precision == "float32":
        return backbone
    whole = build(dataclasses.replace(config, precision="float32"))
    whole.set_weights(backbone.get_weights())
    return whole


def _conv4(x, width: int):
    for block in range(4):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"block{block}_conv")(x)
        x = FusedBatchNormalization(name=f"block{block}_norm", **_BATCH_NORM)(x)
        # ReLU after pooling gives what ReLU before it does, at a quarter of the work.
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
    return keras.layers.Flatten(dtype="float32", name="feature")(x)


def _wide_resnet(x, depth: int, width: int):
    """Pre-activation residual network (Zagoruyko, Komodakis 2016); strides 1, 2, 2 up to 32 pixels, then 2, 2, 2."""
    strides = (1, 2, 2) if x.shape[1] <= 32 else (2, 2, 2)
    x = _conv(16, 3, 1, "stem")(x)
    for group, stride in enumerate(strides):
        for block in range((depth - 4) // 6):
            filters = 16 * width * 2**group
            x = _residual_block(x, filters, stride if block == 0 else 1, f"group{group}_block{block}")
    x = _norm_relu(x, "head")
    return keras.layers.GlobalAveragePooling2D(dtype="float32", name="feature")(x)


def _residual_block(x, filters: int, stride: int, name: str):
    activated = _norm_relu(x, f"{name}_1")
    changes_shape = x.shape[-1] != filters or stride != 1
    shortcut = _conv(filters, 1, stride, f"{name}_shortcut")(activated) if changes_shape else x
    y = _conv(filters, 3, stride, f"{name}_conv1")(activated)
    y = _conv(filters, 3, 1, f"{name}_conv2")(_norm_relu(y, f"{name}_2"))
    return keras.layers.Add(name=f"{name}_add")([y, shortcut])


def _norm_relu(x, name: str):
    x = FusedBatchNormalization(name=f"{name}_norm", **_BATCH_NORM)(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _conv(filters: int, kernel: int, stride: int, name: str):
    def apply(x):
        padding = "same"
        if stride == 2 and kernel == 3:
            # PyTorch pads both sides; "same" would pad only the far one and shift the grid by a pixel.
            x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
            padding = "valid"
        return keras.layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=name)(x)

    return apply
