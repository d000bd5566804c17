"""The models of `keras.applications`, pooled to one vector, with the library's own preprocessing inside."""

import inspect
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import layers

from sib_tf.backbones.pretrained.request import Imported, Request
from sib_tf.errors import InputError, require_choice

SOURCES = ("keras_applications:NAME",)
# What the library's models are trained at where that is not 224 pixels.
_SIZES = {"Xception": 299, "InceptionV3": 299, "InceptionResNetV2": 299, "NASNetLarge": 331}
_SIZES |= {f"EfficientNetB{i}": size for i, size in enumerate((224, 240, 260, 300, 380, 456, 528, 600))}
_SIZES |= {f"EfficientNetV2B{i}": size for i, size in enumerate((224, 240, 260, 300))}
_SIZES |= {"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480}
# Of ImageNet's pictures in [0, 1].
_DEVIATION = np.array([0.229, 0.224, 0.225], "float32")
_CHANNELS = np.eye(3, dtype="float32")


def names() -> list[str]:
    """The models that there are; all of them classify, so that the pooled features of each make sense."""
    return sorted(name for name in dir(keras.applications) if name[0].isupper())


def build(request: Request) -> Imported:
    """Builds `request.argument`, a name of `names()`, with weights "imagenet" (the default) or of a file.

    Raises:
        InputError: there is no such model, it takes no alpha or no pictures of that size, or weights cannot be had.
    """
    request.refuse("mean", "std")
    require_choice("source keras_applications:NAME", request.argument, names())
    kind = getattr(keras.applications, request.argument)
    if "alpha" not in inspect.signature(kind).parameters:
        request.refuse("alpha")
    pictures = request.pictures(_SIZES.get(request.argument, 224))
    network, weights = _network(request, kind, pictures.shape[1:])
    mean, deviation, reverses = _preprocessing(kind)
    if reverses:
        _reverse_channels(network)
    x = layers.Normalization(mean=mean, variance=np.square(deviation), name="normalise")(pictures)
    model = keras.Model(pictures, network(x), name=request.argument)
    return Imported(model, "as Keras gives it: https://keras.io/api/applications", weights, request.digest())


def _network(request: Request, kind, shape: tuple[int, int, int]) -> tuple[keras.Model, str]:
    options = {"include_top": False, "pooling": "avg", "input_shape": shape}
    options |= {} if request.alpha is None else {"alpha": request.alpha}
    weights = request.weights or "imagenet"
    try:
        if weights == "imagenet":
            return kind(weights=weights, **options), weights
        network = kind(weights=None, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Where weights are missing in the file, Keras warns and leaves random ones.
            network.load_weights(weights)
        _mend_variance(network)
        return network, Path(weights).name
    except Exception as error:  # Keras raises many kinds: for sizes, for other networks' files, for want of a network.
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"source {request.source} cannot be built with weights={weights} ({reason}). Without a network, fetch its "
            "file without top from the address in https://keras.io/api/applications elsewhere, and name it with "
            "--weights."
        ) from error


def _mend_variance(network: keras.Model) -> None:
    """Published files of EfficientNet hold the deviation as the variance of the pictures.

    Keras divides by its root once more, but only where it fetches the file itself (TensorFlow's issue 49930).
    """
    for layer in network.layers:
        if isinstance(layer, layers.Normalization) and np.allclose(layer.variance, _DEVIATION, atol=1e-3):
            layer.adapt_variance.assign(keras.ops.square(layer.adapt_variance))
            layer.finalize_state()


def _preprocessing(kind) -> tuple[np.ndarray, np.ndarray, bool]:
    """Reads mean, deviation and whether channels are reversed off the library's own function: (x - mean) / deviation.

    It is affine in every channel, so that black and the three pure colours say all of it. Models that do it inside
    have one that changes nothing.
    """
    preprocess = sys.modules[kind.__module__].preprocess_input
    black = preprocess(np.zeros((1, 1, 1, 3), "float32"))[0, 0, 0]
    colours = preprocess(255 * _CHANNELS[None, None])[0, 0] - black
    reverses = colours[0, 0] == 0
    order = slice(None, None, -1) if reverses else slice(None)
    deviation = 255 / np.abs(colours).max(axis=0)[order]
    return -black[order] * deviation, deviation, bool(reverses)


def _reverse_channels(network: keras.Model) -> None:
    """Turns the first convolution around, which was trained on BGR: nothing has to be reversed then."""
    first = next(layer for layer in network.layers if isinstance(layer, layers.Conv2D))
    first.kernel.assign(first.kernel.numpy()[:, :, ::-1])
