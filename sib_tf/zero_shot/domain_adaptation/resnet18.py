"""ResNet-18 (He et al., CVPR 2016) as torchvision and keras-hub have it, and ImageNet weights from keras-hub.

keras-hub is an extra, imported only where its weights are asked for.
"""

import re

import keras
import numpy as np

from sib_tf.errors import InputError
from sib_tf.layers import FusedBatchNormalization

PRESET = "resnet_18_imagenet"
# ImageNet's, RGB, 0-255: what the weights were trained with.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_FILTERS = (64, 128, 256, 512)


def build(image_size: int) -> keras.Model:
    """Builds the network without its classifier, its weights drawn at random.

    Returns:
        A functional model `[pictures, image_size, image_size, 3]` (float32, RGB, 0-255) -> `[pictures, 512]`.
    """
    pictures = keras.Input((image_size, image_size, 3), name="pictures")
    x = keras.layers.Normalization(mean=MEAN, variance=np.square(STD), name="normalise")(pictures)
    x = keras.layers.ReLU()(_conv_norm(x, 64, 7, 2, "stem"))
    # Zeros are below every activation after ReLU, so that padding with them is padding with nothing.
    x = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x))
    for stage, filters in enumerate(_FILTERS):
        for block in range(2):
            x = _basic_block(x, filters, 2 if stage > 0 and block == 0 else 1, f"stage{stage}_block{block}")
    return keras.Model(pictures, keras.layers.GlobalAveragePooling2D(name="feature")(x), name="resnet18")


def load_imagenet(model: keras.Model) -> None:
    """Gives a model from `build` the ImageNet weights of keras-hub, which downloads them once.

    Raises:
        InputError: keras-hub is not installed, or its weights cannot be had.
    """
    way_out = "name a file with --weights=FILE, or --weights=random."
    try:
        import keras_hub
    except ImportError as error:
        raise InputError(
            f"weights=imagenet needs keras-hub, which cannot be imported ({_line(error)}): "
            f"pip install 'sib_tf[domains]', {way_out}"
        ) from error
    try:
        hub = keras_hub.models.Backbone.from_preset(PRESET)
    except Exception as error:  # Network, disk, Kaggle, Hugging Face: each raises its own.
        raise InputError(f"weights=imagenet: {PRESET} cannot be fetched ({_line(error)}); {way_out}") from error
    copy_weights(hub, model)


def copy_weights(hub: keras.Model, model: keras.Model) -> None:
    """Copies the weights of keras-hub's ResNet-18 into a model from `build`.

    Both have the same convolutions and normalisations; they are matched by where they stand, stage by stage, since the
    names differ.

    Raises:
        InputError: keras-hub's model is another than expected.
    """
    taken = {_hub_place(layer.name): layer for layer in hub.layers if layer.weights}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.BatchNormalization):
            continue
        source = taken.pop(layer.name, None)
        if source is None or [w.shape for w in source.weights] != [w.shape for w in layer.weights]:
            raise InputError(f"keras-hub's {PRESET} has nothing that fits {layer.name}; name a file with --weights.")
        layer.set_weights(source.get_weights())


def _hub_place(name: str) -> str:
    """Our name of a layer of keras-hub's: "stack1_block0_0_bn" is stage1_block0_shortcut_norm; the stem is conv1."""
    name = re.sub(r"^stack(\d_block\d)_0_", r"stage\1_shortcut_", name)
    name = re.sub(r"^stack(\d_block\d)_", r"stage\1_", name)
    return re.sub(r"^conv1_", "stem_", name).replace("_bn", "_norm")


def _conv_norm(x, filters: int, kernel: int, stride: int, name: str):
    # PyTorch pads both sides; "same" would pad only the far one where the stride is 2.
    if kernel > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = keras.layers.Conv2D(filters, kernel, stride, use_bias=False, name=f"{name}_conv")(x)
    return FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)


def _basic_block(x, filters: int, stride: int, name: str):
    changes_shape = stride != 1 or x.shape[-1] != filters
    shortcut = _conv_norm(x, filters, 1, stride, f"{name}_shortcut") if changes_shape else x
    y = keras.layers.ReLU()(_conv_norm(x, filters, 3, stride, f"{name}_1"))
    y = _conv_norm(y, filters, 3, 1, f"{name}_2")
    return keras.layers.ReLU()(keras.layers.Add()([y, shortcut]))


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
