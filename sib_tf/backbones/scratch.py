"""Backbones that are trained from scratch, with the layers of the released code.

Batch normalisation has epsilon 1e-5 and momentum 0.9, convolutions have no bias. Departure: features of conv4 are
flattened in [height, width, channel] order (the released code: [channel, height, width]), which changes nothing that
can be learned.
"""

import functools

from keras import layers

from sib_tf.config import BackboneConfig
from sib_tf.layers import FusedBatchNormalization

_norm = functools.partial(FusedBatchNormalization, momentum=0.9, epsilon=1e-5)


def conv4(x, config: BackboneConfig):
    """Normalised pictures `[pictures, size, size, 3]` -> `[pictures, width * (size // 16)**2]`."""
    for block in range(4):
        x = layers.Conv2D(config.width, 3, padding="same", use_bias=False, name=f"block{block}_conv")(x)
        x = _norm(name=f"block{block}_norm")(x)
        # ReLU after pooling gives what ReLU before it does, at a quarter of the work.
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        x = layers.ReLU(name=f"block{block}_relu")(x)
    return layers.Flatten(dtype="float32", name="feature")(x)


def wide_resnet(x, config: BackboneConfig):
    """Normalised pictures `[pictures, size, size, 3]` -> `[pictures, 64 * width]`.

    Pre-activation residual network (Zagoruyko, Komodakis 2016); strides 1, 2, 2 up to 32 pixels, then 2, 2, 2.
    """
    x = _conv(x, 16, 3, 1, "stem")
    for group, stride in enumerate((1, 2, 2) if config.image_size <= 32 else (2, 2, 2)):
        filters = 16 * config.width * 2**group
        for block in range((config.depth - 4) // 6):
            x = _residual_block(x, filters, stride if block == 0 else 1, f"group{group}_block{block}")
    return layers.GlobalAveragePooling2D(dtype="float32", name="feature")(_norm_relu(x, "head"))


def _residual_block(x, filters: int, stride: int, name: str):
    activated = _norm_relu(x, f"{name}_1")
    changes_shape = x.shape[-1] != filters or stride != 1
    shortcut = _conv(activated, filters, 1, stride, f"{name}_shortcut") if changes_shape else x
    y = _conv(activated, filters, 3, stride, f"{name}_conv1")
    y = _conv(_norm_relu(y, f"{name}_2"), filters, 3, 1, f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([y, shortcut])


def _norm_relu(x, name: str):
    return layers.ReLU(name=f"{name}_relu")(_norm(name=f"{name}_norm")(x))


def _conv(x, filters: int, kernel: int, stride: int, name: str):
    padding = "same"
    if stride == 2 and kernel == 3:
        # PyTorch pads both sides; "same" would pad only the far one and shift the grid by a pixel.
        x, padding = layers.ZeroPadding2D(1, name=f"{name}_pad")(x), "valid"
    return layers.Conv2D(filters, kernel, stride, padding, use_bias=False, name=name)(x)
