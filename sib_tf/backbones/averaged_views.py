"""Several views of a picture, whose features are averaged: what the field calls test-time augmentation.

Departure: the paper and its released code embed the picture alone.
"""

import keras
from keras import ops

from sib_tf.config import AVERAGED_VIEWS
from sib_tf.errors import require

# Moves are by this part of a side. On validation classes of CIFAR-FS under Conv-4-64, moves of an eighth are worse, and
# six and ten views no better than four. The picture's own edge, repeated or mirrored, in place of black: 0.2 points
# less there, 0.1 on mini-ImageNet's; under EfficientNet-Lite0 on PACS 1 to 2 less on paintings, 0.1 to 0.3 more on
# sketches.
_MOVE = 16


@keras.saving.register_keras_serializable("sib_tf")
class AveragedViews(keras.layers.Wrapper):
    """The mean of a backbone's features over views of the picture, all of them in one batch.

    From pictures `[pictures, size, size, 3]` float32 (RGB, 0-255) to `[pictures, D]` float32. Moves are by a sixteenth
    of the picture's side, and what comes in from outside is black, as in the released code's augmentation.

    Args:
        layer: the backbone; its weights are shared, not copied.
        views: 2 (the picture and its mirror image, left to right), or 4 (also the picture moved towards one corner, and
            the mirror image of the picture moved towards the opposite one).
    """

    def __init__(self, layer: keras.Model, views: int, **kwargs):
        super().__init__(layer, **kwargs)
        require("views", views, views in AVERAGED_VIEWS[1:], "2 or 4")
        self.views = views

    @property
    def beside_weights(self) -> list:
        """What features depend on that no weight shows."""
        return ["averaged views", self.views, _MOVE]

    def call(self, pictures, training=None):
        views = [pictures, _mirrored(pictures)]
        if self.views == 4:
            size = pictures.shape[1]
            move = size // _MOVE
            framed = ops.pad(pictures, [[0, 0], [move, move], [move, move], [0, 0]])
            views += [framed[:, :size, :size], _mirrored(framed[:, 2 * move :, 2 * move :])]
        features = self.layer(ops.concatenate(views, axis=0), training=training)
        return ops.mean(ops.reshape(features, (len(views), -1, features.shape[-1])), axis=0)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), "views": self.views}


def average_views(backbone: keras.Model, views: int) -> keras.Model:
    """Returns a backbone of the same weights that averages over `views` views, and takes that many times as long.

    Classes that are each other's mirror images (left and right hands, b and d) become one to it.
    """
    pictures = keras.Input(backbone.input_shape[1:], name="pictures")
    return keras.Model(pictures, AveragedViews(backbone, views)(pictures), name=f"{backbone.name}_{views}_views")


def views_of(backbone: keras.Model) -> int:
    """Returns how many views of a picture a backbone embeds: 1, 2 or 4."""
    return max((layer.views for layer in backbone._flatten_layers() if isinstance(layer, AveragedViews)), default=1)


def _mirrored(pictures):
    return pictures[:, :, ::-1]
