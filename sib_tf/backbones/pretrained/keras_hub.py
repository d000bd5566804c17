"""Image backbones of keras-hub (extra `domains`), pooled to one vector, with their preset's preprocessing inside."""

import keras
import numpy as np
from keras import layers

from sib_tf.backbones.pretrained.request import Imported, Request
from sib_tf.errors import InputError

SOURCES = ("keras_hub:PRESET",)


def build(request: Request) -> Imported:
    """Builds the preset `request.argument`: a name that keras-hub knows, an address of its kind, or a folder.

    Raises:
        InputError: keras-hub is not installed, the preset cannot be had, or it does not take pictures.
    """
    request.refuse("alpha", "mean", "std", "weights")
    try:
        import keras_hub
    except ImportError as error:
        raise InputError("source keras_hub needs keras-hub: pip install 'sib_tf[domains]'.") from error
    preset = request.argument
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
        size = request.image_size or (converter.image_size or (224,))[0]
        network = _network(keras_hub, preset, size)
    except Exception as error:  # keras-hub raises many kinds: for names, for files, for want of a network.
        reason = " ".join(str(error).split())[:300]
        known = ", ".join(sorted(keras_hub.models.ImageClassifier.presets))
        raise InputError(
            f"source keras_hub:{preset} cannot be loaded as an image backbone ({reason}). Without a network, name the "
            f"folder of a preset that was fetched elsewhere; those that keras-hub knows: {known}."
        ) from error
    pictures = request.pictures(size)
    mean, variance = _mean_and_variance(converter)
    x = layers.Normalization(mean=mean, variance=variance, name="normalise")(pictures)
    model = keras.Model(pictures, _pooled(network(x)), name=f"keras_hub_{network.name}")
    return Imported(model, "as its card says: https://www.kaggle.com/models/keras", preset)


def _network(keras_hub, preset: str, size: int) -> keras.Model:
    try:
        return keras_hub.models.Backbone.from_preset(preset, image_shape=(size, size, 3))
    except (TypeError, ValueError):  # Not all of them take a shape; those take any size.
        return keras_hub.models.Backbone.from_preset(preset)


def _mean_and_variance(converter) -> tuple[np.ndarray, np.ndarray]:
    """Of a converter, which gives x * scale + offset."""
    scale = np.ones(3) if converter.scale is None else np.broadcast_to(converter.scale, 3)
    offset = np.zeros(3) if converter.offset is None else np.broadcast_to(converter.offset, 3)
    return -offset / scale, 1 / np.square(scale)


def _pooled(x):
    """One vector a picture, of a map `[.., height, width, D]` or of tokens `[.., tokens, D]`: the mean."""
    if len(x.shape) == 4:
        return layers.GlobalAveragePooling2D(dtype="float32", name="feature")(x)
    if len(x.shape) == 3:
        return layers.GlobalAveragePooling1D(dtype="float32", name="feature")(x)
    return layers.Activation("linear", dtype="float32", name="feature")(x)
