"""The released code's augmentation, on whole batches, as a pure function of the batch and a seed.

Ours, because Keras's random crop does not pad and its brightness is additive. Per picture: crop after zero padding,
brightness, contrast and saturation factors in 1 +- jitter, mirror. The order of the three colour steps, which
torchvision draws per picture, is drawn per batch.
"""

import functools
import itertools

import tensorflow as tf

from sib_tf.config import PretrainConfig
from sib_tf.pictures.pixels import centre_crop

_GREY = (0.299, 0.587, 0.114)
_ORDERS = tuple(itertools.permutations(range(3)))


def augment(images: tf.Tensor, seed: tf.Tensor, size: int, config: PretrainConfig, larger: str = "crop") -> tf.Tensor:
    """Augments a batch `[pictures, height, width, 3]`, RGB, 0-255, as a function of `seed`, `[2]` integers.

    Padding is 4 pixels at 32 and 8 at 80 (the released code), an eighth and a tenth of `size`. What becomes of pictures
    larger than that is as in `BackboneConfig.larger`; smaller ones are enlarged.

    Returns:
        `[pictures, size, size, 3]` float32, 0-255.
    """
    seeds = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 4, alg="philox"))
    images = _scaled(images, size, larger)
    images = random_crop(images, size, size // 8 if size <= 32 else size // 10, seeds[0])
    if config.color_jitter:
        images = color_jitter(images, config.color_jitter, seeds[1], seeds[2])
    if config.mirror:
        images = random_mirror(images, seeds[3])
    return images


def plain(images: tf.Tensor, size: int, larger: str = "crop") -> tf.Tensor:
    """Fits a batch as it is embedded, without augmentation; arguments and result as those of `augment`."""
    return tf.cast(centre_crop(_scaled(images, size, larger), size), tf.float32)


def _scaled(images: tf.Tensor, size: int, larger: str) -> tf.Tensor:
    """Float32 pictures, scaled to `size` unless crops are to be taken from larger ones."""
    images, side = tf.cast(images, tf.float32), images.shape[1]
    if side < size or (side > size and larger == "reduce"):
        # As Pillow does it, to a grey level.
        images = tf.image.resize(images, (size, size), antialias=True)
    return images


def random_crop(images: tf.Tensor, size: int, padding: int, seed: tf.Tensor) -> tf.Tensor:
    """Crops a random square of `size` from each picture, after padding it with black by `padding` on all sides."""
    shape = tf.shape(images)
    images = tf.pad(images, [[0, 0], [padding, padding], [padding, padding], [0, 0]])
    room = shape[1:3] + 2 * padding - size + 1
    corner = tf.random.stateless_uniform([shape[0], 2], seed, alg="philox")
    corner = tf.cast(corner * tf.cast(room, tf.float32), tf.int32)
    window = tf.range(size)
    images = tf.gather(images, corner[:, :1] + window, axis=1, batch_dims=1)
    return tf.gather(images, tf.repeat((corner[:, 1:] + window)[:, None], size, axis=1), axis=2, batch_dims=2)


def random_mirror(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors each picture, left to right, with probability one half."""
    flip = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1, 1], seed, alg="philox") < 0.5
    return tf.where(flip, images[:, :, ::-1], images)


def color_jitter(images: tf.Tensor, strength: float, factor_seed: tf.Tensor, order_seed: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation, each by its own factor in 1 +- strength, in a random order."""
    factors = tf.random.stateless_uniform(
        [3, tf.shape(images)[0], 1, 1, 1], factor_seed, 1 - strength, 1 + strength, alg="philox"
    )
    steps = (tf.multiply, _contrast, _saturation)  # Brightness is a product.

    def in_order(order):
        result = images
        for step in order:
            result = tf.clip_by_value(steps[step](result, factors[step]), 0.0, 255.0)
        return result

    choice = tf.random.stateless_uniform([], order_seed, 0, len(_ORDERS), tf.int32, alg="philox")
    return tf.switch_case(choice, [functools.partial(in_order, order) for order in _ORDERS])


def _contrast(images, factor):
    # torchvision blends with the picture's mean grey.
    mean = tf.reduce_mean(_grey(images), axis=(1, 2), keepdims=True)
    return mean + (images - mean) * factor


def _saturation(images, factor):
    grey = _grey(images)
    return grey + (images - grey) * factor


def _grey(images):
    return tf.reduce_sum(images * tf.constant(_GREY), axis=-1, keepdims=True)
