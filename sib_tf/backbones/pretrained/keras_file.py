"""A user's own Keras model from a .keras file: pictures (RGB, 0-255) to vectors, its preprocessing inside."""

import keras
from keras import layers

from sib_tf import checkpoints
from sib_tf.backbones.pretrained.request import Imported, Request
from sib_tf.errors import InputError

SOURCES = ("FILE.keras",)


def build(request: Request) -> Imported:
    """Loads the model in safe mode; a map of features at its end is pooled.

    Raises:
        InputError: the file is missing, damaged or holds code; it takes something else than square RGB pictures of
            `request.image_size`; or it ends in class probabilities.
    """
    request.refuse("alpha", "mean", "std", "weights")
    network = checkpoints.load_model(request.source)
    shape = network.input_shape if isinstance(network.input_shape, tuple) else ()
    if len(shape) != 4 or shape[-1] != 3 or shape[1] != shape[2]:
        raise InputError(f"{request.source} must take square RGB pictures [.., size, size, 3]; it takes {shape}.")
    if request.image_size and shape[1] not in (None, request.image_size):
        raise InputError(f"image_size must be {shape[1]}, as {request.source} takes; got {request.image_size}.")
    if getattr(network.layers[-1], "activation", None) is keras.activations.softmax:
        raise InputError(f"{request.source} ends in class probabilities; save the model without its last layers.")
    if shape[1] is None and request.image_size is None:
        raise InputError(f"{request.source} takes pictures of any size; name one with --image_size.")
    pictures = request.pictures(shape[1])
    features = network(pictures)
    if len(features.shape) == 4:
        features = layers.GlobalAveragePooling2D(name="feature")(features)
    model = keras.Model(pictures, features, name=network.name)
    return Imported(model, None, request.source, request.digest())
