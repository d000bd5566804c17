"""Pictures to features: embedding a split with a frozen backbone."""

import keras
import numpy as np
import tensorflow as tf


def centre_crop(images: np.ndarray, size: int) -> np.ndarray:
    """Cuts the middle `size` x `size` pixels out of `[pictures, height, width, 3]`; nothing to do where it fits."""
    top, left = ((side - size) // 2 for side in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


def embed(backbone: keras.Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Embeds pictures with the backbone in inference mode.

    Args:
        backbone: from `sib_tf.backbones.build`.
        images: `[pictures, height, width, 3]` uint8, at least as large as the backbone wants; the middle is taken.
        batch_size: pictures per call; only speed and memory depend on it.

    Returns:
        `[pictures, D]` float32.
    """
    size = backbone.input_shape[1]

    @tf.function(reduce_retracing=True)
    def forward(batch):
        return backbone(tf.cast(batch, tf.float32), training=False)

    crops = centre_crop(images, size)
    return np.concatenate([forward(crops[i : i + batch_size]).numpy() for i in range(0, len(crops), batch_size)])
