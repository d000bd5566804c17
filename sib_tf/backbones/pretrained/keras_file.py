"""A user's own Keras model from a .keras file: pictures (RGB, 0-255) to vectors, its preprocessing inside."""

from pathlib import Path

import keras
from keras import layers

from sib_tf import checkpoints
from sib_tf.backbones.averaged_views import views_of
from sib_tf.backbones.pretrained.request import Imported, Request
from sib_tf.errors import InputError

SOURCES = ("FILE.keras",)


def build(request: Request) -> Imported:
    """Loads the model in safe mode; a map of features at its end is pooled.

    Raises:
        InputError: the file is missing, damaged or holds code; it takes something else than square RGB pictures of
            `request.image_size`; it ends in class probabilities, or averages over views already.
    """
    request.refuse("alpha", "mean", "std", "weights")
    if not Path(request.source).is_file():
        raise InputError(f"source {request.source} is no file; name a model that Keras saved.")
    network = _in_float32(checkpoints.load_model(request.source))
    if (views := views_of(network)) > 1:
        raise InputError(
            f"{request.source} averages over {views} views; import the model that it is of, and average that "
            "(train.average_views)."
        )
    shape = _input_shape(network)
    if len(shape) != 4 or shape[-1] != 3 or shape[1] != shape[2]:
        raise InputError(f"{request.source} must take square RGB pictures [.., size, size, 3]; it takes {shape}.")
    if request.image_size and shape[1] not in (None, request.image_size):
        raise InputError(f"image_size must be {shape[1]}, as {request.source} takes; got {request.image_size}.")
    if getattr(network.layers[-1], "activation", None) is keras.activations.softmax:
        raise InputError(f"{request.source} ends in class probabilities; save the model without its last layers.")
    if shape[1] is None and request.image_size is None:
        raise InputError(f"{request.source} takes pictures of any size; name one with --image_size.")
    pictures = request.pictures(shape[1])
    outputs = keras.tree.flatten(network(pictures))
    if len(outputs) != 1:
        raise InputError(f"{request.source} must give one vector a picture; it has {len(outputs)} outputs. Keep one.")
    features = outputs[0]
    if len(features.shape) == 4:
        features = layers.GlobalAveragePooling2D(name="feature")(features)
    model = keras.Model(pictures, features, name=network.name)
    return Imported(model, None, request.source, request.digest())


def _input_shape(network: keras.Model) -> tuple:
    """Of a model of one input; () where there are several, or none is known."""
    shape = getattr(network, "input_shape", ())  # Only models of known inputs have it.
    return shape if isinstance(shape, tuple) else ()


def _in_float32(network: keras.Model) -> keras.Model:
    """The same model with all arithmetic in float32, as devices have kernels for; itself where it is that already."""
    if all(layer.compute_dtype == "float32" for layer in network._flatten_layers()):
        return network
    whole = type(network).from_config(_without_policies(network.get_config()))
    whole.set_weights(network.get_weights())
    return whole


def _without_policies(config):
    """A copy of a configuration in which every dtype policy is float32."""
    if isinstance(config, dict) and config.get("class_name", "").endswith("DTypePolicy"):
        return "float32"
    if isinstance(config, dict):
        return {name: _without_policies(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(map(_without_policies, config))
    return config
